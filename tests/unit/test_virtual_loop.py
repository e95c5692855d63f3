"""A virtual day takes no time, keeps the order of deadlines, and says when nothing can happen any more."""

from __future__ import annotations

import asyncio
import time

import pytest

from orchestrator.ports.time import Clock, Rng
from orchestrator.testing import loop as loop_module
from orchestrator.testing.boundary import SimulatedCrash
from orchestrator.testing.loop import (
    START_AT,
    Deadlock,
    OutOfTime,
    SeededRng,
    Spinning,
    VirtualClock,
    VirtualTime,
    run_virtual,
)


def test_a_virtual_year_passes_at_once_and_the_result_comes_back() -> None:
    """Sleeping a year moves loop time and wall clock by a year and takes no real time to speak of."""

    async def main(virtual: VirtualTime) -> tuple[float, float]:
        await asyncio.sleep(365 * 86_400)
        return virtual.elapsed_s, virtual.clock.now()

    began = time.monotonic()
    elapsed_s, now = run_virtual(main, start_at=1000.0)
    assert time.monotonic() - began < 30
    assert elapsed_s == 365 * 86_400
    assert now == 1000.0 + 365 * 86_400


def test_timers_fire_in_the_order_of_their_deadlines() -> None:
    """Whoever waits less is woken first, however the waits were started."""

    async def main(_: VirtualTime) -> list[float]:
        woken: list[float] = []

        async def sleeper(delay_s: float) -> None:
            await asyncio.sleep(delay_s)
            woken.append(delay_s)

        await asyncio.gather(*(sleeper(delay_s) for delay_s in (3600.0, 0.25, 86_400.0, 0.2, 7.0)))
        return woken

    assert run_virtual(main) == [0.2, 0.25, 7.0, 3600.0, 86_400.0]


def test_short_timers_still_fire_after_years_of_virtual_time() -> None:
    """A millisecond after thirty virtual years is still a millisecond, and the loop does not turn for
    ever."""

    async def main(virtual: VirtualTime) -> float:
        await asyncio.sleep(30 * 365 * 86_400)
        before = virtual.elapsed_s
        for _ in range(100):
            await asyncio.sleep(0.001)
        return virtual.elapsed_s - before

    assert run_virtual(main) == pytest.approx(0.1, abs=2e-4)


def test_timeouts_are_virtual() -> None:
    """``asyncio.timeout`` expires at its virtual deadline."""

    async def main(virtual: VirtualTime) -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.sleep(3600)
        return virtual.elapsed_s

    assert run_virtual(main) == pytest.approx(30)


def test_waiting_for_nothing_is_a_deadlock_that_names_who_waits() -> None:
    """When all tasks wait and no timer runs, the run ends with the names of the waiting tasks instead of
    hanging."""

    async def main(virtual: VirtualTime) -> None:
        async def patient() -> None:
            await asyncio.Event().wait()

        await asyncio.create_task(patient(), name="patient-one")

    with pytest.raises(Deadlock, match="patient-one"):
        run_virtual(main)


def test_what_never_ends_stops_at_the_horizon() -> None:
    """A program that polls for ever is stopped at the horizon, with clean-up that may itself wait."""
    cleaned: list[bool] = []

    async def main(_: VirtualTime) -> None:
        try:
            while True:
                await asyncio.sleep(10)
        finally:
            await asyncio.sleep(60)
            cleaned.append(True)

    with pytest.raises(OutOfTime):
        run_virtual(main, horizon_s=1000)
    assert cleaned == [True]


def test_turning_without_time_passing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A coroutine that only ever yields is called spinning."""
    monkeypatch.setattr(loop_module, "_SPIN_LIMIT", 1000)

    async def main(_: VirtualTime) -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Spinning):
        run_virtual(main)


def test_executors_run_inline_and_carry_exceptions() -> None:
    """A call handed to an executor happens on this thread at this instant; its exception comes back, crashes
    included."""

    async def main(virtual: VirtualTime) -> None:
        assert await virtual.loop.run_in_executor(None, divmod, 7, 2) == (3, 1)
        assert await asyncio.to_thread(sorted, [2, 1]) == [1, 2]
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(divmod, 1, 0)

        def crash() -> None:
            raise SimulatedCrash(1, "here")

        with pytest.raises(SimulatedCrash):
            await virtual.loop.run_in_executor(None, crash)
        assert virtual.elapsed_s == 0.0

    run_virtual(main)


def test_an_interrupt_inside_an_executor_call_is_not_held_back() -> None:
    """Ctrl-C during an inline call ends the run at once."""

    async def main(_: VirtualTime) -> None:
        def interrupted() -> None:
            raise KeyboardInterrupt

        await asyncio.to_thread(interrupted)

    with pytest.raises(KeyboardInterrupt):
        run_virtual(main)


def test_the_wall_clock_jumps_either_way_and_waits_do_not_notice() -> None:
    """After a jump the date differs by the jump and a running sleep ends when it would have ended."""

    async def main(virtual: VirtualTime) -> tuple[float, float]:
        clock: Clock = virtual.clock
        sleep = asyncio.create_task(asyncio.sleep(100))
        await asyncio.sleep(50)
        virtual.clock.jump(-3600)
        assert clock.now() == START_AT + 50 - 3600
        virtual.clock.jump(7200)
        await sleep
        return virtual.elapsed_s, clock.now()

    assert run_virtual(main) == (100.0, START_AT + 100 + 3600)


def test_the_clock_needs_no_loop() -> None:
    """Any source of seconds drives it, so pure tests may use it too."""
    assert VirtualClock(lambda: 5.0, 100.0).now() == 105.0


def test_the_same_seed_draws_the_same_and_another_seed_does_not() -> None:
    """Draws are a function of the seed and their number; forks are independent of what their parent draws."""
    rng: Rng = SeededRng(7)
    again, other = SeededRng(7), SeededRng(8)
    draws = [rng.random() for _ in range(1000)]
    assert draws == [again.random() for _ in range(1000)]
    assert draws != [other.random() for _ in range(1000)]
    assert all(0.0 <= draw < 1.0 for draw in draws)
    assert abs(sum(draws) / 1000 - 0.5) < 0.05
    assert SeededRng(7).fork("a").random() == again.fork("a").random() != again.fork("b").random()


def test_tokens_are_hex_of_the_length_asked_for_and_never_repeat() -> None:
    """``token_hex`` gives twice as many hex digits as bytes, also beyond one hash, and a new value every
    time."""
    rng = SeededRng(0)
    tokens = [rng.token_hex(8) for _ in range(100)]
    assert len(set(tokens)) == 100
    assert {len(token) for token in tokens} == {16}
    assert len(rng.token_hex(100)) == 200
    assert rng.token_hex(0) == ""
    bytes.fromhex("".join(tokens))


def test_two_runs_of_one_seed_are_equal() -> None:
    """Nothing but the seed decides what a virtual run does."""

    async def main(virtual: VirtualTime) -> list[tuple[float, int]]:
        trace: list[tuple[float, int]] = []

        async def worker(number: int) -> None:
            for _ in range(20):
                await asyncio.sleep(virtual.rng.random())
                trace.append((virtual.elapsed_s, number))

        await asyncio.gather(*(worker(number) for number in range(5)))
        return trace

    assert run_virtual(main, seed=3) == run_virtual(main, seed=3) != run_virtual(main, seed=4)


def test_tasks_left_over_are_cancelled() -> None:
    """A background task that outlives the coroutine is cancelled, not lost."""
    ended: list[str] = []

    async def main(_: VirtualTime) -> None:
        async def background() -> None:
            try:
                await asyncio.sleep(1e9)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        task = asyncio.create_task(background())
        await asyncio.sleep(0)
        assert not task.done()

    run_virtual(main)
    assert ended == ["cancelled"]
