"""The planner asks the service at most what it may, hands out slices early, and survives a service that
cannot count."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import pytest

from orchestrator.core.job import Align, Job, JobIdentity, ServiceSpec
from orchestrator.core.slicing import PlannedWindow, Proof, Rules
from orchestrator.core.window import Window, normalise
from orchestrator.engine.counting import Counting, Silence
from orchestrator.engine.planner import PlanPart, parts_of, rules_for
from orchestrator.errors import (
    CredentialsError,
    MalformedAnswer,
    Refused,
    ServiceError,
    ServiceFault,
    Throttled,
    Unreachable,
)
from orchestrator.ports.service import Bucket, CountApi, CountUnavailable, Histogram
from orchestrator.testing.loop import START_AT, VirtualTime, run_virtual

IDENTITY = JobIdentity("bj", "default", "web", "", "match *")
DAY = Window(0, 86_400)


@dataclass
class Service:
    """One line per ``every_s`` seconds; counting takes a second each. ``count_fault`` and ``histogram_fault``
    say what goes wrong with the n-th such call (from 1), if anything."""

    every_s: int = 1
    count_fault: Callable[[int], ServiceError | CountUnavailable | Exception | None] = lambda _: None
    histogram_fault: Callable[[int], ServiceError | CountUnavailable | Histogram | None] = lambda _: None
    buckets_fault: Callable[[int], ServiceError | CountUnavailable | None] = lambda _: None
    holes: tuple[Window, ...] = ()
    calls: list[str] = field(default_factory=list)
    streams: set[str] = field(default_factory=set)
    out: int = 0
    most_out: int = 0

    def _lines(self, window: Window) -> int:
        if any(hole.holds(window) for hole in self.holes):
            return 0
        return -(-window.end_s // self.every_s) - -(-window.start_s // self.every_s)

    async def _takes_time(self, call: str, logstream: str) -> int:
        self.calls.append(call)
        number = self.calls.count(call)
        self.streams.add(logstream)
        self.out += 1
        self.most_out = max(self.most_out, self.out)
        try:
            await asyncio.sleep(1)
        finally:
            self.out -= 1
        return number

    async def count(
        self, identity: JobIdentity, logstream: str, window: Window, *, match_all: bool = False
    ) -> int | CountUnavailable:
        number = await self._takes_time("match_all" if match_all else "count", logstream)
        fault = self.count_fault(number)
        if isinstance(fault, Exception):
            raise fault
        return fault or self._lines(window)

    async def histogram(
        self, identity: JobIdentity, logstream: str, window: Window
    ) -> Histogram | CountUnavailable:
        fault = self.histogram_fault(await self._takes_time("histogram", logstream))
        if isinstance(fault, Exception):
            raise fault
        return fault or replace(self._histogram(window, -(-window.length_s // 60)), hits=self._lines(window))

    async def buckets(
        self, identity: JobIdentity, logstream: str, window: Window, width_s: int
    ) -> Histogram | CountUnavailable:
        fault = self.buckets_fault(await self._takes_time("buckets", logstream))
        if isinstance(fault, Exception):
            raise fault
        return fault or self._histogram(window, width_s)

    def _histogram(self, window: Window, width_s: int) -> Histogram:
        starts = range(window.start_s // width_s * width_s, window.end_s, width_s)
        buckets = [
            Bucket(
                float(at_s),
                self._lines(Window(max(at_s, window.start_s), min(at_s + width_s, window.end_s))),
            )
            for at_s in starts
        ]
        return Histogram(float(width_s), tuple(bucket for bucket in buckets if bucket.lines), None)


def planned(
    service: Service,
    missing: tuple[Window, ...] = (DAY,),
    *,
    capacity: int = 10_000,
    at_once: int = 10,
    query: str = "match *",
) -> tuple[list[PlanPart], Counting]:
    """All parts, in virtual time."""

    async def main(virtual: VirtualTime) -> tuple[list[PlanPart], Counting]:
        api: CountApi = service
        rules = Rules(capacity, lambda _: None, at_once)
        counting = Counting(api, replace(IDENTITY, query=query))
        async with aclosing(parts_of(missing, "app", rules, counting, virtual.clock)) as parts:
            return [part async for part in parts], counting

    return run_virtual(main)


def slices(parts: list[PlanPart]) -> list[PlannedWindow]:
    return [planned for part in parts for planned in part.ready]


def blind(parts: list[PlanPart]) -> list[Window]:
    return [window for part in parts for window in part.blind]


def proofs(parts: list[PlanPart]) -> list[Proof]:
    return [proof for part in parts for proof in part.proofs]


def test_a_day_is_planned_with_counts() -> None:
    """Slices cover the day exactly, carry counts and the time they were asked at, and every call is
    counted."""
    service = Service()
    parts, counting = planned(service)
    made = slices(parts)
    assert normalise(part.window for part in made) == (DAY,)
    assert sum(part.lines or 0 for part in made) == 86_400
    assert all(part.lines is not None and part.lines <= 10_000 for part in made)
    assert all(part.counted_at is not None and START_AT <= part.counted_at < START_AT + 60 for part in made)
    assert counting.calls == len(service.calls)
    assert service.streams == {"app"}
    assert service.calls == ["count", "buckets"]


def no_buckets() -> Service:
    """It counts, and nothing more."""
    return Service(
        buckets_fault=lambda _: CountUnavailable("no such function"),
        histogram_fault=lambda _: CountUnavailable("no index"),
    )


def test_questions_are_out_together_but_no_more_than_may_be() -> None:
    """Parts of a large window are asked about at once, as many as may be."""
    service = no_buckets()
    planned(service, capacity=1000, at_once=7)
    assert service.most_out == 7


def test_the_first_slices_come_before_the_last_window_was_asked_about() -> None:
    """Whoever takes the first part of a long plan finds most questions still unasked; leaving then cancels
    what is out."""
    service = Service()

    async def main(virtual: VirtualTime) -> int:
        counting = Counting(service, IDENTITY)
        rules = Rules(100, lambda _: None, 4)
        async with aclosing(parts_of([DAY], "", rules, counting, virtual.clock)) as parts:
            async for part in parts:
                assert part.ready
                break
        await asyncio.sleep(0)
        assert service.out == 0
        return counting.calls

    assert run_virtual(main) < 120


def test_where_sql_has_no_buckets_the_histogram_has_some() -> None:
    """Buckets of the service's own width serve as well; where a slice ends inside one, what it holds is an
    estimate that says so."""
    service = Service(buckets_fault=lambda _: CountUnavailable("no such function"))
    parts, _ = planned(service)
    made = slices(parts)
    assert normalise(part.window for part in made) == (DAY,)
    assert service.calls == ["count", "buckets", "histogram"]
    assert len(made) == 9
    assert all(part.lines is not None and part.lines <= 10_000 for part in made)
    assert any(part.counted_at is None for part in made)


def test_what_is_too_much_at_once_is_asked_for_in_shorter_windows() -> None:
    """A count that ran out of time says nothing about a shorter window; a few of them are tried before the
    service is taken not to count at all."""
    service = Service(
        count_fault=lambda number: CountUnavailable("timeout", too_much=True) if number <= 2 else None
    )
    parts, _ = planned(service)
    made = slices(parts)
    assert normalise(part.window for part in made) == (DAY,)
    assert all(part.counted_at is not None for part in made)
    deaf = Service(
        count_fault=lambda _: CountUnavailable("timeout", too_much=True),
        histogram_fault=lambda _: CountUnavailable("timeout", too_much=True),
    )
    parts, counting = planned(deaf, (Window(0, 365 * 86_400),))
    assert slices(parts) == []
    assert normalise(blind(parts)) == (Window(0, 365 * 86_400),)
    assert counting.calls <= 12


def test_nothing_missing_asks_nothing() -> None:
    """A covered window costs no call."""
    service = Service()
    parts, counting = planned(service, ())
    assert parts == []
    assert counting.calls == 0


def test_a_dead_count_is_tried_twice_and_then_the_histogram_counts() -> None:
    """Where SQL cannot count, two calls find out, even with ten questions at once; totals come from the
    histogram."""
    windows = tuple(Window(at_s, at_s + 50) for at_s in range(0, 2000, 100))
    service = Service(count_fault=lambda _: CountUnavailable("no index"))
    parts, counting = planned(service, windows)
    assert [part.lines for part in slices(parts)] == [50] * 20
    assert service.calls.count("count") == 2
    assert service.calls.count("histogram") == 20
    assert counting.calls == 22


def test_a_way_that_failed_once_and_then_worked_is_kept() -> None:
    """One failure at the start is no death: from the first success on it is asked without hesitation."""
    service = Service(count_fault=lambda number: CountUnavailable("busy") if number in {1, 4, 5, 6} else None)
    windows = tuple(Window(at_s, at_s + 50) for at_s in range(0, 2000, 100))
    parts, _ = planned(service, windows, at_once=2)
    assert [part.lines for part in slices(parts)] == [50] * 20
    assert service.calls.count("count") == 20
    assert service.calls.count("histogram") == 4


def test_without_any_count_planning_goes_on_blind() -> None:
    """Neither way works: all of it is handed out as it is, and each way is asked twice at most."""
    service = Service(
        count_fault=lambda _: CountUnavailable("no index"),
        histogram_fault=lambda _: CountUnavailable("no index"),
    )
    windows = (DAY, Window(100_000, 103_600), Window(200_000, 200_010))
    parts, counting = planned(service, windows)
    assert slices(parts) == []
    assert tuple(blind(parts)) == windows
    assert counting.calls == 4


@pytest.mark.parametrize(
    "fault", [Throttled("429"), Unreachable("reset"), ServiceFault("500"), MalformedAnswer("<html>")]
)
def test_a_count_the_service_fails_to_give_is_only_missing(fault: ServiceError) -> None:
    """Throttling, faults, silence and nonsense leave a window to the other way of counting; the plan is
    complete."""
    service = Service(
        count_fault=lambda number: fault if number > 3 else None,
        buckets_fault=lambda _: fault,
        histogram_fault=lambda _: fault,
    )
    parts, _ = planned(service)
    assert blind(parts)
    assert normalise([*(part.window for part in slices(parts)), *blind(parts)]) == (DAY,)


def test_who_may_not_query_plans_without_counts() -> None:
    """A refused count leaves windows uncounted: exporting may be allowed all the same."""
    service = Service(
        count_fault=lambda _: Refused("AccessDenied"), histogram_fault=lambda _: Refused("AccessDenied")
    )
    parts, _ = planned(service)
    assert (slices(parts), blind(parts)) == ([], [DAY])


@pytest.mark.parametrize("error", [CredentialsError("none"), ZeroDivisionError()])
def test_lost_keys_or_a_bug_stop_planning(error: Exception) -> None:
    """What no other way of counting mends is raised, and no question stays out."""
    service = replace(no_buckets(), count_fault=lambda number: error if number >= 4 else None)
    with pytest.raises(type(error)):
        planned(service)
    assert service.out == 0


@pytest.mark.parametrize(
    "histogram", [Histogram(60.0, (), None), Histogram(60.0, (Bucket(0.0, 5),), 5, truncated=True)]
)
def test_a_histogram_without_a_full_total_is_no_count(histogram: Histogram) -> None:
    """A missing total and a truncated one leave the window without a count."""
    service = Service(count_fault=lambda _: CountUnavailable("x"), histogram_fault=lambda _: histogram)
    parts, _ = planned(service, (Window(0, 3600),))
    assert (slices(parts), blind(parts)) == ([], [Window(0, 3600)])


def test_buckets_beyond_the_total_are_believed() -> None:
    """Where buckets and hits differ, the larger figure plans: nothing is called empty that some figure calls
    full."""
    service = Service(
        count_fault=lambda _: CountUnavailable("x"),
        histogram_fault=lambda _: Histogram(60.0, (Bucket(0.0, 5),), 0),
    )
    parts, _ = planned(service, (Window(0, 3600),))
    assert [part.lines for part in slices(parts)] == [5]
    assert proofs(parts) == []


@pytest.mark.parametrize(
    "query, witness", [("match *", "match_all"), ("*", "match_all"), ("match status=200", "histogram")]
)
def test_emptiness_is_witnessed_another_way(query: str, witness: str) -> None:
    """Counting nothing is confirmed without a match part when the query is everything, else by the
    histogram."""
    service = Service(holes=(DAY,))
    parts, _ = planned(service, query=query)
    assert [proof.window for proof in proofs(parts)] == [DAY]
    assert service.calls == ["count", witness]


def test_the_witness_falls_back_on_whatever_still_counts() -> None:
    """Without match_all the histogram is the witness, without a histogram the same count again."""
    service = Service(
        holes=(DAY,),
        count_fault=lambda number: CountUnavailable("x") if service.calls[-1] == "match_all" else None,
    )
    parts, _ = planned(service)
    assert service.calls == ["count", "match_all", "histogram"]
    assert len(proofs(parts)) == 1
    service = Service(holes=(DAY,), histogram_fault=lambda _: CountUnavailable("x"))
    parts, _ = planned(service, query="match error")
    assert service.calls == ["count", "histogram", "count"]
    assert len(proofs(parts)) == 1


def test_a_histogram_alone_is_repeated_as_its_own_witness() -> None:
    """Where only the histogram counts, emptiness takes two of its answers."""
    service = Service(holes=(DAY,), count_fault=lambda _: CountUnavailable("x"))
    parts, _ = planned(service)
    assert service.calls.count("histogram") == 2
    assert len(proofs(parts)) == 1


def test_what_was_learned_holds_for_the_next_windows() -> None:
    """What counts and what does not is known for all streams: a dead count is not tried again."""
    service = Service(count_fault=lambda _: CountUnavailable("x"))

    async def main(virtual: VirtualTime) -> None:
        counting = Counting(service, IDENTITY)
        rules = Rules(10**9, lambda _: None, 4)
        for stream in ("a", "b", "c", "d"):
            async with aclosing(parts_of([DAY], stream, rules, counting, virtual.clock)) as parts:
                assert [part.ready[0].window async for part in parts] == [DAY]

    run_virtual(main)
    assert service.calls.count("count") == 2
    assert service.streams == {"a", "b", "c", "d"}


def test_the_same_service_gives_the_same_plan() -> None:
    """Two plans of the same logs are equal, part for part."""
    assert planned(Service(), capacity=777)[0] == planned(Service(), capacity=777)[0]


def test_the_rules_follow_the_job() -> None:
    """Capacity from max_lines, boundaries from align in the job's time zone."""
    job = Job(
        name="web",
        identity=IDENTITY,
        service=ServiceSpec("", "http://127.0.0.1"),
        window=DAY,
        due_until_s=DAY.end_s,
        timezone="Asia/Shanghai",
        align=Align.DAY,
        max_lines=1000,
    )
    rules = rules_for(job, at_once=3, observed_excess=0.02)
    assert (rules.capacity, rules.at_once) == (980, 3)
    assert rules.next_boundary(0) == 16 * 3600


def test_who_did_not_answer_some_times_in_a_row_is_asked_now_and_then() -> None:
    """Every tenth question is put, and one answer makes all of them worth putting again."""
    silence = Silence()
    for _ in range(2):
        silence.heard(answer=False)
    silence.heard(answer=True)
    for _ in range(3):
        assert silence.worth_asking()
        silence.heard(answer=False)
    assert [silence.worth_asking() for _ in range(21)].count(True) == 2
    silence.heard(answer=True)
    assert all(silence.worth_asking() for _ in range(5))
