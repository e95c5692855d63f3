"""Every instant of a run goes to one cause, and a full limit is named only where it was felt."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.job import Limits
from orchestrator.core.timing import Brake, Cause, Going, Timing, Watch, cause_of

LIMITS = Limits(tasks=20, downloads=4, requests_per_s=20.0, queries=10)
EVERYTHING = Going(20, 5, 3, 4, 2, 1, frozenset(Brake))


@pytest.mark.parametrize(
    ("going", "cause"),
    [
        (Going(), Cause.OTHER),
        (Going(outstanding=20, planned=100), Cause.SERVICE),
        (Going(outstanding=20, counting=1), Cause.PLANNING),
        (Going(outstanding=20, counting=1, transfers=1, fetching=1), Cause.FETCHING),
        (Going(outstanding=20, transfers=1), Cause.CONVERTING),
        (Going(transfers=3, fetching=3, brakes=frozenset({Brake.CEILING})), Cause.CEILING),
        (Going(outstanding=7, brakes=frozenset({Brake.PLACES})), Cause.THROTTLED),
        (Going(brakes=frozenset({Brake.CEILING, Brake.REFUSALS})), Cause.THROTTLED),
        (Going(brakes=frozenset({Brake.QUERIES}), counting=10), Cause.PLANNING),
        (EVERYTHING, Cause.FETCHING),
        (replace(EVERYTHING, fetching=0), Cause.CONVERTING),
        (replace(EVERYTHING, transfers=3), Cause.THROTTLED),
    ],
)
def test_the_cause_of_an_instant_follows_one_order(going: Going, cause: Cause) -> None:
    """Full downloads first, then brakes, then a file under way, then counting; the service when nothing else
    is to be done."""
    assert cause_of(going, LIMITS) is cause


_GOING = st.builds(
    Going,
    outstanding=st.integers(0, 25),
    planned=st.integers(-1, 3),
    ready=st.integers(0, 3),
    transfers=st.integers(0, 5),
    fetching=st.integers(0, 5),
    counting=st.integers(0, 2),
    brakes=st.frozensets(st.sampled_from(Brake)),
)


@given(changes=st.lists(st.tuples(st.floats(-5.0, 1e6), _GOING), max_size=30), last_s=st.floats(0.0, 100.0))
def test_the_parts_add_up_to_the_run(changes: list[tuple[float, Going]], last_s: float) -> None:
    """Whatever goes on, and also when the clock is set back, no second is counted twice or left out."""
    watch, now = Watch(1000.0, LIMITS), 1000.0
    for step_s, going in changes:
        now += step_s
        watch.change(now, going)
    timing = watch.read(now + last_s)
    assert sum(timing.seconds.values()) == pytest.approx(timing.duration_s)
    assert all(share >= 0 for share in timing.seconds.values())
    assert all(full_s <= timing.duration_s + 1e-6 for full_s in timing.full_s.values())
    assert sum(timing.share(cause) for cause in Cause) == pytest.approx(1.0 if timing.duration_s else 0.0)


def after(*stretches: tuple[float, Going], limits: Limits = LIMITS) -> Timing:
    """A run of such stretches, each with its seconds."""
    watch, now = Watch(0.0, limits), 0.0
    for length_s, going in stretches:
        watch.change(now, going)
        now += length_s
    return watch.read(now)


BUSY = Going(outstanding=20, planned=50)


def test_a_full_limit_that_was_felt_is_to_be_raised() -> None:
    """The hint names the limit, its value, how long it was full and the key of the job file."""
    timing = after((71.0, BUSY), (29.0, Going(transfers=1, fetching=1)))
    assert timing.share(Cause.SERVICE) == 0.71
    assert timing.hints == ("tasks = 20 was full for 71% of the run: raise [limits] tasks",)


def test_what_felt_longest_is_named_first() -> None:
    """Several limits may have mattered."""
    full = Going(transfers=4, fetching=4, ready=2)
    held = Going(brakes=frozenset({Brake.CEILING}))
    asked = Going(counting=10, brakes=frozenset({Brake.QUERIES}))
    timing = after((20.0, BUSY), (50.0, full), (18.0, held), (12.0, asked))
    assert [hint.partition(" ")[0] for hint in timing.hints] == [
        "downloads",
        "tasks",
        "requests_per_second",
        "queries",
    ]


@pytest.mark.parametrize(
    "stretches",
    [
        [(9.0, BUSY), (91.0, Going())],
        [(100.0, Going(outstanding=20))],
        [(100.0, replace(BUSY, transfers=4, fetching=4))],
        [],
    ],
    ids=["a short while", "nothing more was planned", "files were what it waited for", "no time at all"],
)
def test_a_limit_that_made_no_difference_is_not_named(stretches: list[tuple[float, Going]]) -> None:
    """Full for a moment, with nothing behind it, or while something else was waited for: no hint."""
    assert after(*stretches).hints == ()


def test_what_the_service_holds_back_no_limit_of_ours_mends() -> None:
    """A quota of the service is said to be one."""
    timing = after((50.0, Going(outstanding=7, planned=9, brakes=frozenset({Brake.PLACES}))), (50.0, Going()))
    (hint,) = timing.hints
    assert hint.startswith("the service held us back for 50% of the run")


def test_a_ceiling_on_bandwidth_is_named_when_fetching_took_long() -> None:
    """Only where there is one."""
    fetching = (30.0, Going(transfers=1, fetching=1)), (70.0, Going())
    assert after(*fetching).hints == ()
    (hint,) = after(*fetching, limits=replace(LIMITS, bandwidth_bytes_per_s=1_000_000)).hints
    assert "bandwidth" in hint
