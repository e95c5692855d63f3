"""Rows, limits and counts are weighed the same way whoever asks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.core.completeness import Ruling, judge
from orchestrator.core.job import Order, ServedFormat
from orchestrator.core.model import Evidence, Receipt, RemoteTask, Slice
from orchestrator.core.window import Window

WINDOW = Window(1000, 1600)
TASK = RemoteTask(1, "o-x-1", "s", "job", 1, WINDOW, 100, Order.ASC, ServedFormat.JSON, 0.0, uuid="u")
PADDED = replace(TASK, window=Window(999, 1601))
RECEIPT = Receipt("staged", "jsonl", ".jsonl", 10, "aa", 10, "aa", 50, 0, 50, WINDOW)
SLICE = Slice("s", "job", "", WINDOW)


def weigh(
    slice_: Slice,
    task: RemoteTask,
    receipt: Receipt,
    *,
    attempts_left: bool = True,
    start_inclusive: bool = False,
) -> tuple[Ruling, Evidence, int]:
    """The verdict as a tuple."""
    verdict = judge(slice_, task, receipt, attempts_left=attempts_left, start_inclusive=start_inclusive)
    return verdict.ruling, verdict.evidence, verdict.missing


def counted(
    expected: int | None = None, recount: int | None = None, *, asked: bool = False, refetched: int = 0
) -> Slice:
    """The slice with what was counted for it."""
    return replace(
        SLICE,
        expected_lines=expected,
        recount=recount,
        recounted_at=5.0 if asked else None,
        refetched=refetched,
    )


@pytest.mark.parametrize(
    ("slice_", "task", "attempts_left", "verdict"),
    [
        (counted(50), TASK, True, (Ruling.RECOUNT, Evidence.NONE, 0)),
        (counted(50), PADDED, True, (Ruling.COMPLETE, Evidence.COUNT, 0)),
        (counted(49), TASK, True, (Ruling.RECOUNT, Evidence.NONE, 0)),
        (counted(49, 50, asked=True), TASK, True, (Ruling.COMPLETE, Evidence.COUNT, 0)),
        (counted(49, 49, asked=True), TASK, True, (Ruling.RETRY, Evidence.NONE, 0)),
        (counted(49, 49, asked=True), TASK, False, (Ruling.COMPLETE, Evidence.COUNT, 0)),
        (counted(49, 49, asked=True), PADDED, True, (Ruling.COMPLETE, Evidence.COUNT, 0)),
        (counted(51), TASK, True, (Ruling.RECOUNT, Evidence.NONE, 0)),
        (counted(), TASK, True, (Ruling.RECOUNT, Evidence.NONE, 0)),
        (counted(51, 50, asked=True), TASK, True, (Ruling.COMPLETE, Evidence.COUNT, 0)),
        (counted(50, 60, asked=True), TASK, True, (Ruling.RETRY, Evidence.NONE, 10)),
        (counted(50, 60, asked=True), TASK, False, (Ruling.SHORT, Evidence.NONE, 10)),
        (counted(60, None, asked=True), TASK, False, (Ruling.SHORT, Evidence.NONE, 10)),
        (counted(50, 50, asked=True), TASK, True, (Ruling.COMPLETE, Evidence.COUNT, 0)),
        (counted(50, None, asked=True), PADDED, True, (Ruling.COMPLETE, Evidence.COUNT, 0)),
        (counted(50, None, asked=True), TASK, True, (Ruling.RETRY, Evidence.NONE, 0)),
        (counted(50, None, asked=True), TASK, False, (Ruling.COMPLETE, Evidence.COUNT, 0)),
        (counted(None, None, asked=True), PADDED, True, (Ruling.COMPLETE, Evidence.ROWS_ONLY, 0)),
        (counted(None, None, asked=True), TASK, True, (Ruling.RETRY, Evidence.NONE, 0)),
        (counted(None, None, asked=True), TASK, False, (Ruling.UNPROVEN, Evidence.NONE, 0)),
        (counted(50), replace(PADDED, written_rows=50), True, (Ruling.COMPLETE, Evidence.COUNT, 0)),
        (counted(50), replace(PADDED, written_rows=0), True, (Ruling.COMPLETE, Evidence.COUNT, 0)),
        (counted(50), replace(PADDED, written_rows=70), True, (Ruling.RECOUNT, Evidence.NONE, 0)),
        (counted(50), replace(TASK, written_rows=70), True, (Ruling.RECOUNT, Evidence.NONE, 0)),
        (
            counted(50, 50, asked=True),
            replace(TASK, written_rows=70),
            True,
            (Ruling.COMPLETE, Evidence.COUNT, 0),
        ),
        (
            counted(50, 70, asked=True),
            replace(TASK, written_rows=70),
            True,
            (Ruling.REFETCH, Evidence.NONE, 0),
        ),
        (
            counted(50, None, asked=True),
            replace(TASK, written_rows=70),
            True,
            (Ruling.REFETCH, Evidence.NONE, 0),
        ),
        (
            counted(50, None, asked=True, refetched=1),
            replace(PADDED, written_rows=70),
            True,
            (Ruling.COMPLETE, Evidence.COUNT, 0),
        ),
        (
            counted(50, 70, asked=True, refetched=1),
            replace(TASK, written_rows=70),
            True,
            (Ruling.RETRY, Evidence.NONE, 20),
        ),
    ],
)
def test_a_whole_file_is_complete_only_when_no_count_says_otherwise(
    slice_: Slice, task: RemoteTask, attempts_left: bool, verdict: tuple[Ruling, Evidence, int]
) -> None:
    """Stored rows are complete when a count agrees; a doubt is looked into once, and what stays short is
    never called complete."""
    assert weigh(slice_, task, RECEIPT, attempts_left=attempts_left) == verdict


@pytest.mark.parametrize(
    "slice_",
    [
        counted(50),
        counted(50, None, asked=True),
        counted(49, 49, asked=True),
        counted(None, None, asked=True),
    ],
)
def test_a_start_known_to_be_counted_in_needs_no_further_look(slice_: Slice) -> None:
    """The question whether the first rows were left out is asked until one file answers it: this one, or an
    earlier one of the run."""
    met = replace(RECEIPT, start_met=True)
    assert weigh(slice_, TASK, RECEIPT)[0] in (Ruling.RECOUNT, Ruling.RETRY)
    assert weigh(slice_, TASK, met)[0] is Ruling.COMPLETE
    assert weigh(slice_, TASK, RECEIPT, start_inclusive=True)[0] is Ruling.COMPLETE


FULL = replace(RECEIPT, served_rows=100, stored_rows=100, truncated=True, kept=None)
SECOND = Window(1000, 1001)


@pytest.mark.parametrize(
    ("slice_", "receipt", "verdict"),
    [
        (SLICE, replace(FULL, kept=Window(1000, 1500)), (Ruling.CUT, Evidence.NONE, 0)),
        (SLICE, FULL, (Ruling.SPLIT, Evidence.NONE, 0)),
        (counted(100), replace(FULL, kept=WINDOW, start_met=True), (Ruling.COMPLETE, Evidence.COUNT, 0)),
        (counted(100), replace(FULL, kept=WINDOW), (Ruling.RECOUNT, Evidence.NONE, 0)),
        (SLICE, replace(FULL, kept=Window(1000, 1700)), (Ruling.SPLIT, Evidence.NONE, 0)),
        (replace(SLICE, window=SECOND), FULL, (Ruling.RECOUNT, Evidence.NONE, 0)),
        (
            replace(counted(None, 100, asked=True), window=SECOND),
            FULL,
            (Ruling.COMPLETE, Evidence.COUNT, 0),
        ),
        (replace(counted(None, 130, asked=True), window=SECOND), FULL, (Ruling.OVERFULL, Evidence.NONE, 30)),
        (replace(counted(None, None, asked=True), window=SECOND), FULL, (Ruling.OVERFULL, Evidence.NONE, 0)),
    ],
)
def test_a_file_at_the_limit_is_never_taken_for_whole(
    slice_: Slice, receipt: Receipt, verdict: tuple[Ruling, Evidence, int]
) -> None:
    """A file with as many rows as the limit is cut, split or, for one second, believed only when a count
    equals it."""
    assert weigh(slice_, TASK, receipt) == verdict


CROWDED = replace(FULL, inside_rows=10)
EARLY = replace(TASK, window=Window(WINDOW.start_s - 1, WINDOW.end_s))


@pytest.mark.parametrize(
    ("task", "receipt", "ruling"),
    [
        (EARLY, CROWDED, Ruling.CROWDED),
        (PADDED, CROWDED, Ruling.CROWDED),
        (replace(PADDED, order=Order.DESC), CROWDED, Ruling.CROWDED),
        (replace(EARLY, order=Order.DESC), CROWDED, Ruling.SPLIT),
        (replace(TASK, order=Order.DESC), CROWDED, Ruling.CROWDED_LATE),
        (TASK, CROWDED, Ruling.SPLIT),
        (EARLY, replace(CROWDED, inside_rows=50), Ruling.SPLIT),
        (EARLY, FULL, Ruling.SPLIT),
        (EARLY, replace(CROWDED, kept=Window(1000, 1100)), Ruling.CUT),
    ],
    ids=[
        "start crowded",
        "some side crowded",
        "descending, end crowded",
        "descending, the margin came last",
        "descending, no margin",
        "no margin",
        "half of it",
        "not known",
        "some of it whole",
    ],
)
def test_a_file_filled_by_the_margin_is_asked_for_so_that_the_margin_comes_last(
    task: RemoteTask, receipt: Receipt, ruling: Ruling
) -> None:
    """Smaller windows would meet the same full second beside them again."""
    assert weigh(SLICE, task, receipt)[0] is ruling


UNDATED = replace(RECEIPT, time_known=False)


@pytest.mark.parametrize(
    ("slice_", "task", "ruling"),
    [
        (counted(50), TASK, Ruling.RECOUNT),
        (counted(50, 50, asked=True), TASK, Ruling.COMPLETE),
        (counted(51), TASK, Ruling.RECOUNT),
        (counted(50), PADDED, Ruling.RECOUNT),
        (counted(51, 50, asked=True), TASK, Ruling.COMPLETE),
        (counted(51, 52, asked=True), TASK, Ruling.UNPROVEN),
        (counted(50, 50, asked=True), PADDED, Ruling.UNPROVEN),
    ],
)
def test_rows_without_a_time_are_believed_only_when_a_count_equals_them(
    slice_: Slice, task: RemoteTask, ruling: Ruling
) -> None:
    """Undated rows cannot be clipped, so only an exact count of an unpadded request proves them."""
    assert weigh(slice_, task, UNDATED)[0] is ruling
