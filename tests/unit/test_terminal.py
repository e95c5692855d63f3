"""The progress of a run: sums that add up, estimates that are honest, a view that leaves nothing behind."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from orchestrator.core.events import TransferFailed
from orchestrator.core.model import Fault, Receipt, Slice, SliceState
from orchestrator.core.window import Window
from orchestrator.dashboard.progress import Held, Progress, Snapshot
from orchestrator.dashboard.terminal import TerminalView, amount, span, summary_lines

RECEIPT = Receipt("", "jsonl", ".jsonl", 1000, "", 1000, "", 50, 0, 50, None, wire_bytes=1200)


class Ticks:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def piece(number: int) -> Slice:
    return Slice(f"{number:016x}", "web", "", Window(number * 60, number * 60 + 60))


def finished(slice_: Slice) -> Slice:
    return replace(slice_, state=SliceState.DONE, receipt=RECEIPT)


def walk(progress: Progress, slice_: Slice, *states: SliceState) -> Slice:
    for state in states:
        after = replace(slice_, state=state, receipt=RECEIPT if state is SliceState.DONE else slice_.receipt)
        progress.changed(slice_, after, None)
        slice_ = after
    return slice_


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def progress(ticks: Ticks) -> Progress:
    return Progress(ticks, lambda: {"create": 3, "list": 4}, held=Held(missing_s=240))


def test_sums_follow_the_slices(progress: Progress) -> None:
    """Done, remote, local, lines and bytes are those of the slices seen."""
    for number in range(4):
        progress.changed(None, piece(number), None)
    walk(
        progress,
        piece(0),
        SliceState.SUBMITTING,
        SliceState.WAITING,
        SliceState.TRANSFERRING,
        SliceState.DONE,
    )
    walk(progress, piece(1), SliceState.RUNNING)
    walk(progress, piece(2), SliceState.TRANSFERRING)
    now = progress.snapshot()
    assert (now.slices_done, now.slices_total, now.remote, now.local) == (1, 4, 1, 1)
    assert (now.lines, now.bytes_fetched, now.requests) == (50, 1200, 7)


def test_planning_ends_when_everything_missing_is_in_a_slice(progress: Progress) -> None:
    """Until then no time left is told: it would be a guess about work nobody has seen."""
    progress.changed(None, piece(0), None)
    assert progress.snapshot().planning
    for number in range(1, 4):
        progress.changed(None, piece(number), None)
    assert not progress.snapshot().planning


def test_time_left_waits_for_evidence_and_then_goes_by_slices(progress: Progress, ticks: Ticks) -> None:
    """After two slices in 10 s, two slices more take 10 s."""
    for number in range(4):
        progress.changed(None, piece(number), None)
    ticks.at = 10.0
    progress.changed(piece(0), finished(piece(0)), None)
    assert progress.snapshot().time_left_s is None
    progress.changed(piece(1), finished(piece(1)), None)
    assert progress.snapshot().time_left_s == pytest.approx(10.0)
    for number in (2, 3):
        progress.changed(piece(number), finished(piece(number)), None)
    assert progress.snapshot().time_left_s == 0.0


def test_earlier_runs_count_as_done_but_not_as_speed(ticks: Ticks) -> None:
    """A resumed run begins where the last one stopped; its time left goes by its own pace."""
    held = Held({SliceState.DONE: 6, SliceState.PLANNED: 3, SliceState.FAILED: 1}, 600, 240, 180)
    progress = Progress(ticks, dict, held=held)
    now = progress.snapshot()
    assert (now.slices_done, now.slices_total, now.slices_failed, now.lines, now.planning) == (
        6,
        10,
        1,
        600,
        True,
    )
    failed = replace(piece(9), state=SliceState.FAILED)
    progress.changed(failed, replace(failed, state=SliceState.PLANNED), None)
    ticks.at = 10.0
    for number in range(2):
        progress.changed(piece(number), finished(piece(number)), None)
    now = progress.snapshot()
    assert (now.slices_done, now.slices_total, now.slices_failed, now.planning) == (8, 10, 0, False)
    assert now.lines_per_s == pytest.approx(10.0)
    assert now.time_left_s == pytest.approx(10.0)


def test_rates_are_those_of_the_last_minute(progress: Progress, ticks: Ticks) -> None:
    """A run that stands still shows 0 a minute later, whatever it did before."""
    progress.changed(None, piece(0), None)
    ticks.at = 10.0
    progress.changed(piece(0), finished(piece(0)), None)
    assert progress.snapshot().lines_per_s == pytest.approx(5.0)
    for ticks.at in (40.0, 80.0, 120.0):
        now = progress.snapshot()
    assert now.lines_per_s == 0.0


def test_the_same_end_counts_once(progress: Progress) -> None:
    """A slice that is told twice to be done is one slice."""
    progress.changed(None, piece(0), None)
    progress.changed(piece(0), finished(piece(0)), None)
    progress.changed(finished(piece(0)), finished(piece(0)), None)
    assert progress.snapshot().slices_done == 1


def test_replaced_slices_are_neither_done_nor_to_do(progress: Progress) -> None:
    """A slice that was cut is replaced by others and leaves the sums."""
    for number in range(4):
        progress.changed(None, piece(number), None)
    progress.changed(None, replace(piece(5), window=Window(0, 30)), None)
    progress.changed(None, replace(piece(6), window=Window(30, 60)), None)
    walk(progress, piece(0), SliceState.SUPERSEDED)
    assert (progress.snapshot().slices_total, progress.snapshot().planning) == (5, False)


def test_problems_are_shown_redacted_and_throttling_is_counted(ticks: Ticks) -> None:
    """The last problem is told without what must not be shown."""
    progress = Progress(ticks, dict, redact=lambda text: text.replace("SECRET", "[redacted]"))
    fault = Fault("throttled", "429 SECRET", "throttle")
    progress.changed(piece(0), piece(0), TransferFailed(piece(0).id, 1, fault))
    now = progress.snapshot()
    assert now.throttled == 1
    assert now.last_problem is not None
    assert now.last_problem.endswith("429 [redacted]")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "", "0"),
        (999, "B", "999 B"),
        (1_234_567, "", "1.23 M"),
        (12_345, "B", "12.3 kB"),
        (5e11, "B", "500 GB"),
    ],
)
def test_amounts_have_three_digits(value: float, unit: str, text: str) -> None:
    """Nobody reads nine digits while they change."""
    assert amount(value, unit) == text


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [(0.4, "0 s"), (59, "59 s"), (61, "1 min 01 s"), (4000, "1 h 06 min"), (90_000, "1 d 01 h")],
)
def test_spans_have_two_units(duration_s: float, text: str) -> None:
    """An estimate is not known to the second."""
    assert span(duration_s) == text


SNAPSHOT = Snapshot(65.0, 3, 8, 1, False, 2, 1, 3_000_000, 1e9, 1e4, 1e6, 40, 2.5, 7, 120.0, "it broke")


def test_every_fact_stands_in_the_view() -> None:
    """Slices, lines, bytes, rates, requests, throttling, time left and the last problem are all there."""
    text = "\n".join(summary_lines(SNAPSHOT))
    for fact in (
        "3 of 8, 1 failed",
        "3.00 M lines",
        "1.00 GB",
        "1.00 MB/s",
        "40 requests",
        "2.5/s",
        "throttled 7",
    ):
        assert fact in text
    assert "about 2 min 00 s left" in text
    assert "last problem: it broke" in text


def test_unknown_time_left_is_said_to_be_unknown() -> None:
    """No number is better than a wrong one."""
    assert "not known yet" in "\n".join(summary_lines(replace(SNAPSHOT, time_left_s=None, planning=True)))


def test_the_live_view_draws_and_leaves_nothing_behind() -> None:
    """It redraws in place and erases itself when the run ends; long lines are cut to the terminal."""
    target = io.StringIO()
    console = Console(file=target, force_terminal=True, width=60, legacy_windows=False)
    with TerminalView(console) as view:
        view.show(SNAPSHOT)
        view.show(replace(SNAPSHOT, slices_done=4, last_problem="x" * 500))
    drawn = target.getvalue()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)
    assert "3 of 8" in plain
    assert "4 of 8" in plain
    assert max(len(line) for line in re.split(r"[\r\n]", plain)) <= 60
    assert drawn.rstrip().endswith("\x1b[2K")


def test_no_colour_when_colour_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR leaves movement but no colour."""
    monkeypatch.setenv("NO_COLOR", "1")
    target = io.StringIO()
    console = Console(file=target, force_terminal=True, width=60, legacy_windows=False)
    with TerminalView(console) as view:
        view.show(SNAPSHOT)
    assert "\x1b[32m" not in target.getvalue()
