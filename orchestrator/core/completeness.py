"""Is a fetched file all of its window? The one place where rows, limits and counts are weighed (design 5,
Completeness).

What speaks, strongest first: a count made after the remote task succeeded, the plan's count, nothing. The
plan's count alone does not show that the first rows are there: were the start exclusive, a record that came
late could make up for one of them. So it settles a file only when the start is known to be counted in, or was
asked for a second earlier.
``writtenRows`` is a hint to look twice, never a proof: the service may state it as missing, zero, or equal to
the limit whatever the file holds (bls-api.md 10.13).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.core.job import Order
from orchestrator.core.model import Evidence, Receipt, RemoteTask, Slice

__all__ = ["Ruling", "Verdict", "judge"]


class Ruling(StrEnum):
    """What to do about a fetched file."""

    COMPLETE = "complete"
    RECOUNT = "recount"  # ask the service how many lines there are now
    REFETCH = "refetch"  # the same file once more
    RETRY = "retry"  # a new remote task, one second wider at both ends
    SHORT = "short"  # attempts are used up: keep the fullest file, say what is missing
    CUT = "cut"  # truncated, in order: keep the part that is whole, plan the rest
    SPLIT = "split"  # truncated, not in order: halve the window
    CROWDED = "crowded"  # truncated by rows of a second beside the window: ask so that these come last
    CROWDED_LATE = "crowded late"  # the same, by rows after its end that nobody asked for
    OVERFULL = "overfull"  # one second holds more than one remote task may carry
    UNPROVEN = "unproven"  # rows cannot be dated and no count agrees


@dataclass(frozen=True, slots=True)
class Verdict:
    """A ruling, with the evidence for it or the number of rows still missing."""

    ruling: Ruling
    evidence: Evidence = Evidence.NONE
    missing: int = 0


def judge(
    slice_: Slice, task: RemoteTask, receipt: Receipt, *, attempts_left: bool, start_inclusive: bool
) -> Verdict:
    """Weigh one receipt. Pure; asks for a recount at most once and for a second fetch at most once.

    ``start_inclusive``: an earlier file of this run held a row dated exactly at its requested start.
    """
    if slice_.part and receipt.time_known:
        # Proven together with its sibling: what counts here is that it reaches the edge between them.
        reaches = receipt.kept == slice_.window
        return Verdict(Ruling.COMPLETE if reaches else Ruling.OVERFULL, Evidence.ROWS_ONLY)
    if receipt.truncated and receipt.kept != slice_.window:
        # Kept whole in spite of the limit: the rows run past the window's end, so what was cut off lies
        # outside.
        return _truncated(slice_, task, receipt)
    asked_again = slice_.recounted_at is not None
    count = slice_.recount if asked_again else slice_.expected_lines
    if not receipt.time_known:
        return _undated(slice_, task, receipt, count, asked_again=asked_again)
    stored = receipt.stored_rows
    suspicious = bool(task.written_rows) and task.written_rows != receipt.served_rows
    early = task.window.start_s < slice_.window.start_s
    start_sure = early or start_inclusive or receipt.start_met
    if not asked_again:
        if stored == count and start_sure and not suspicious:
            return Verdict(Ruling.COMPLETE, Evidence.COUNT)
        return Verdict(Ruling.RECOUNT)
    if count is None:
        count = slice_.expected_lines
    second_look = slice_.recount is not None or slice_.refetched > 0 or not suspicious
    if count is not None and stored >= count and second_look:
        # More rows than a count made after them, or no such count: the start may be exclusive for all that
        # is known. A wider request shows it.
        unsure = not start_sure and (stored > count or slice_.recount is None)
        again = unsure and attempts_left
        return Verdict(Ruling.RETRY) if again else Verdict(Ruling.COMPLETE, Evidence.COUNT)
    if suspicious and slice_.refetched == 0:
        return Verdict(Ruling.REFETCH)
    if count is not None:
        return Verdict(Ruling.RETRY if attempts_left else Ruling.SHORT, missing=count - stored)
    if not start_sure:
        # The start may be exclusive and nothing counts the rows: only a wider window shows that none is
        # missing.
        return Verdict(Ruling.RETRY if attempts_left else Ruling.UNPROVEN)
    return Verdict(Ruling.COMPLETE, Evidence.ROWS_ONLY)


def _truncated(slice_: Slice, task: RemoteTask, receipt: Receipt) -> Verdict:
    if receipt.kept is not None and slice_.window.holds(receipt.kept):
        return Verdict(Ruling.CUT)
    if receipt.inside_rows is not None and 2 * receipt.inside_rows < receipt.served_rows:
        margin = task.window != slice_.window
        if task.order is Order.ASC or task.window.end_s > slice_.window.end_s:
            if margin:
                return Verdict(Ruling.CROWDED)
        elif not margin or slice_.window.length_s == 1:
            return Verdict(Ruling.CROWDED_LATE)
        # Asked so that the margin came last, and still full of others: the window is nearly empty, and only
        # a single second has room for its neighbours.
    if slice_.window.length_s > 1:
        return Verdict(Ruling.SPLIT)
    if slice_.recounted_at is None:
        return Verdict(Ruling.RECOUNT)
    if slice_.recount is not None and receipt.stored_rows >= slice_.recount:
        return Verdict(Ruling.COMPLETE, Evidence.COUNT)
    return Verdict(Ruling.OVERFULL, missing=max(0, (slice_.recount or 0) - receipt.stored_rows))


def _undated(
    slice_: Slice, task: RemoteTask, receipt: Receipt, count: int | None, *, asked_again: bool
) -> Verdict:
    # Nothing was clipped, so a padded file may hold rows of its neighbours: only an unpadded one can agree
    # with a count. Whether its start was counted in, rows without a time never tell.
    if asked_again and count is not None and receipt.stored_rows == count and task.window == slice_.window:
        return Verdict(Ruling.COMPLETE, Evidence.COUNT)
    return Verdict(Ruling.UNPROVEN if asked_again else Ruling.RECOUNT)
