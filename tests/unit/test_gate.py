"""The gate lets requests go in their order of arrival and never more than the ceilings allow, in virtual
time."""

from __future__ import annotations

import asyncio
import bisect

import pytest

from orchestrator.engine.gate import RequestGate
from orchestrator.ports.control import Family, Gate
from orchestrator.testing.loop import SeededRng, VirtualTime, run_virtual


def gate_of(virtual: VirtualTime, *, requests_per_s: float = 20.0, queries: int = 10) -> RequestGate:
    return RequestGate(requests_per_s=requests_per_s, queries=queries, rng=virtual.rng)


def most_in_a_second(at: list[float]) -> int:
    return max(bisect.bisect_right(at, start + 1.0) - number for number, start in enumerate(at))


@pytest.mark.parametrize("per_s", [0.5, 1.0, 7.5, 20.0])
def test_all_families_together_stay_below_the_ceiling(per_s: float) -> None:
    """200 requests of all signed families come at once: no second sees more than the ceiling, and none takes
    longer than the ceiling demands."""

    async def main(virtual: VirtualTime) -> list[float]:
        gate: Gate = gate_of(virtual, requests_per_s=per_s)
        went: list[float] = []

        async def one(family: Family) -> None:
            async with gate.request(family):
                went.append(virtual.elapsed_s)

        families = [family for family in Family if family is not Family.FILE]
        await asyncio.gather(*(one(families[number % len(families)]) for number in range(200)))
        return went

    went = run_virtual(main)
    assert len(went) == 200
    assert most_in_a_second(went) <= max(1, int(per_s))
    assert went[-1] <= 200 * 1.05 / max(1, int(per_s)) / min(1.0, per_s)


def test_requests_go_in_the_order_they_came() -> None:
    """Creates among reads neither starve nor overtake."""

    async def main(virtual: VirtualTime) -> list[int]:
        gate = gate_of(virtual, requests_per_s=2.0)
        went: list[int] = []

        async def one(number: int) -> None:
            async with gate.request(Family.CREATE if number % 5 == 0 else Family.DESCRIBE):
                went.append(number)

        await asyncio.gather(*(one(number) for number in range(40)))
        return went

    assert run_virtual(main) == list(range(40))


def test_query_slots_are_held_while_inside() -> None:
    """No more than ``queries`` count and histogram calls are out at once, and other calls pass them by."""

    async def main(virtual: VirtualTime) -> tuple[int, float, float]:
        gate = gate_of(virtual, requests_per_s=100.0, queries=3)
        inside, most = 0, 0

        async def query(number: int) -> None:
            nonlocal inside, most
            async with gate.request(Family.QUERY if number % 2 else Family.HISTOGRAM):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(10)
                inside -= 1

        queries = [asyncio.create_task(query(number)) for number in range(9)]
        await asyncio.sleep(1)
        before = virtual.elapsed_s
        async with gate.request(Family.DESCRIBE):
            passed_by_s = virtual.elapsed_s - before
        await asyncio.gather(*queries)
        return most, virtual.elapsed_s, passed_by_s

    most, elapsed_s, passed_by_s = run_virtual(main)
    assert most == 3
    assert passed_by_s == 0.0
    assert 30 <= elapsed_s < 31


def test_a_query_that_fails_gives_its_slot_back() -> None:
    """An error inside the gate frees the slot for the next query."""

    async def main(virtual: VirtualTime) -> None:
        gate = gate_of(virtual, queries=1)
        for _ in range(3):
            with pytest.raises(ConnectionError):
                async with gate.request(Family.QUERY):
                    raise ConnectionError

        async with asyncio.timeout(10):
            async with gate.request(Family.HISTOGRAM):
                pass

    run_virtual(main)


def test_cancelled_waiters_cost_nobody_a_turn() -> None:
    """Of ten queries that wait for one slot, the eight cancelled ones are skipped and the last one still
    goes."""

    async def main(virtual: VirtualTime) -> list[int]:
        gate = gate_of(virtual, requests_per_s=100.0, queries=1)
        went: list[int] = []

        async def query(number: int) -> None:
            async with gate.request(Family.QUERY):
                went.append(number)
                await asyncio.sleep(5)

        tasks = [asyncio.create_task(query(number)) for number in range(10)]
        await asyncio.sleep(1)
        for task in tasks[1:9]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert virtual.elapsed_s == pytest.approx(10, abs=0.1)
        return went

    assert run_virtual(main) == [0, 9]


def test_a_request_cancelled_in_the_instant_it_was_let_go_keeps_no_slot() -> None:
    """Let go and cancelled before its task ran again: the slot is free, and no request is counted for it."""

    async def main(virtual: VirtualTime) -> None:
        gate = gate_of(virtual, queries=1)

        async def query() -> None:
            async with gate.request(Family.QUERY):
                await asyncio.sleep(1)

        async def query_then_cancel() -> None:
            await query()
            second.cancel()  # the slot just freed has let it go, and it has not run since

        first, second = asyncio.create_task(query_then_cancel()), asyncio.create_task(query())
        await asyncio.wait([first, second])
        assert second.cancelled()
        async with asyncio.timeout(5):
            async with gate.request(Family.QUERY):
                assert gate.counts["query"] == 2

    run_virtual(main)


def test_a_refused_family_waits_alone() -> None:
    """Retry-After holds creates back for at least as long as it says; describes go on, in their order."""

    async def main(virtual: VirtualTime) -> tuple[float, float]:
        gate = gate_of(virtual)
        async with gate.request(Family.CREATE):
            gate.throttled(Family.CREATE, 30.0)
        create = asyncio.create_task(gate.request(Family.CREATE).__aenter__())
        await asyncio.sleep(0)
        for _ in range(20):
            async with gate.request(Family.DESCRIBE):
                gate.accepted(Family.DESCRIBE)
        described_s = virtual.elapsed_s
        await create
        return described_s, virtual.elapsed_s

    described_s, created_s = run_virtual(main)
    assert described_s < 1.1
    assert 30.0 <= created_s <= 33.1


def test_a_service_that_takes_less_than_the_ceiling_is_not_overrun_for_long() -> None:
    """Against a hidden limit of 10 links a second under a ceiling of 100, a minute of links settles near
    the limit: more than half of it gets through and few are refused."""

    async def main(virtual: VirtualTime) -> tuple[int, int]:
        gate = gate_of(virtual, requests_per_s=100.0)
        accepted: list[float] = []
        refused = 0

        async def worker() -> None:
            nonlocal refused
            while virtual.elapsed_s < 60:
                async with gate.request(Family.LINK):
                    await asyncio.sleep(0.05)
                    if sum(at > virtual.elapsed_s - 1 for at in accepted[-10:]) < 10:
                        accepted.append(virtual.elapsed_s)
                        gate.accepted(Family.LINK)
                    else:
                        refused += 1
                        gate.throttled(Family.LINK, None)

        await asyncio.gather(*(worker() for _ in range(30)))
        return len(accepted), refused

    accepted, refused = run_virtual(main)
    assert accepted >= 330
    assert refused <= 0.2 * accepted


def test_files_are_counted_and_not_paced() -> None:
    """A hundred file requests go at once under a ceiling of one request per second, and every family is
    counted."""

    async def main(virtual: VirtualTime) -> dict[str, int]:
        gate = gate_of(virtual, requests_per_s=1.0)
        async with gate.request(Family.CREATE):
            pass
        for _ in range(100):
            async with gate.request(Family.FILE):
                pass
        assert virtual.elapsed_s == 0.0
        return gate.counts

    counts = run_virtual(main)
    assert counts == {family.value: 0 for family in Family} | {"create": 1, "file": 100}


def test_a_refused_file_server_is_left_in_peace() -> None:
    """Retry-After holds for files too."""

    async def main(virtual: VirtualTime) -> float:
        gate = gate_of(virtual)
        gate.throttled(Family.FILE, 10.0)
        async with gate.request(Family.FILE):
            return virtual.elapsed_s

    assert 10.0 <= run_virtual(main) <= 11.0


def test_no_query_at_all_is_refused() -> None:
    """A gate without query slots would wait for ever; it is an error instead."""
    with pytest.raises(ValueError, match="0 queries"):
        RequestGate(requests_per_s=1.0, queries=0, rng=SeededRng(0))


def test_a_gate_may_stay_shut_at_first() -> None:
    """What an earlier process sent in its last second counts: nothing is let go before that is over."""

    async def work(time: VirtualTime) -> float:
        gate = RequestGate(requests_per_s=20.0, queries=1, rng=time.rng, quiet_s=1.05)
        async with gate.request(Family.META):
            return time.elapsed_s

    assert run_virtual(work) == pytest.approx(1.05)


def test_refused_queries_become_fewer_at_once_and_more_again() -> None:
    """A service that takes three queries at once, though ten are allowed: after some seconds hardly any is
    refused, and all of them are answered in the end."""

    async def main(virtual: VirtualTime) -> tuple[int, int, float]:
        gate = gate_of(virtual, requests_per_s=100.0, queries=10)
        inside, refused_late, answered = 0, 0, 0

        async def worker() -> None:
            nonlocal inside, refused_late, answered
            while virtual.elapsed_s < 120:
                async with gate.request(Family.QUERY):
                    takes = inside < 3
                    inside += takes
                    await asyncio.sleep(1.0 if takes else 0.05)
                    inside -= takes
                if takes:
                    gate.accepted(Family.QUERY)
                    answered += 1
                else:
                    gate.throttled(Family.QUERY, None)
                    refused_late += virtual.elapsed_s > 20

        await asyncio.gather(*(worker() for _ in range(10)))
        return answered, refused_late, virtual.elapsed_s

    answered, refused_late, elapsed_s = run_virtual(main)
    assert answered >= 0.7 * 3 * elapsed_s
    assert refused_late <= 0.1 * answered
