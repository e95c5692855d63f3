"""How does what was weighed come to stand: published, proven empty, or kept short?"""

from __future__ import annotations

from orchestrator.core import events as ev
from orchestrator.core.changing import replace
from orchestrator.core.letting_go import discard, fail, let_go, outdated
from orchestrator.core.model import Evidence, Receipt, RemoteTask, Slice, SliceState
from orchestrator.core.reasons import Reason, short_by
from orchestrator.core.rules import Rules

__all__ = [
    "NOTHING",
    "ask_without_receipt",
    "fuller",
    "publish_failed",
    "published",
    "settle",
    "settle_empty",
    "settle_short",
    "staged_lost",
    "withheld",
]

S = SliceState

NOTHING = Receipt("", "none", "", 0, "", 0, "", 0, 0, 0, None)
"""The receipt of a window that is proven to hold no row, where a file stood before."""


def settle(slice_: Slice, receipt: Receipt) -> ev.Step:
    """Proven (or as full as it gets, when it has a reason): order the file to its place."""
    if receipt.stored_rows < slice_.published_rows:
        # What stands here already holds more, and the service no longer has it: nothing replaces it.
        return fail(slice_, slice_.reason or Reason.SOURCE_GONE, discard(slice_))
    if not receipt.staged_path and not slice_.published_path:
        after = replace(slice_, state=S.EMPTY, receipt=receipt, best=None)
        return _proven(after, discard(slice_))
    after = replace(slice_, state=S.SETTLING, receipt=receipt, best=None)
    losers = discard(slice_, keep=receipt.staged_path)
    if withheld(after):
        return ev.Step(after, losers, parked=True)
    return ev.Step(after, (ev.Publish(after, receipt), *losers))


def withheld(slice_: Slice) -> bool:
    """Whether a verified slice must wait for its siblings: one that came from dividing what is to replace an
    older generation. All of them take its place together, or none."""
    return bool(slice_.replaces and slice_.parent)


def _proven(slice_: Slice, orders: tuple[ev.Instruction, ...] = ()) -> ev.Step:
    """The window is covered; of a part, once all its siblings are there."""
    if slice_.whole:
        orders = (*orders, ev.Gather(slice_.job, slice_.whole))
    if slice_.parent and slice_.parent != slice_.whole:
        orders = (*orders, ev.Relieve(slice_.job, slice_.parent))
    if not withheld(slice_):
        slice_ = replace(slice_, replaces="")
    return ev.Step(slice_, orders, covered=None if slice_.part else slice_.window)


def settle_short(slice_: Slice, receipt: Receipt) -> ev.Step:
    """Attempts are used up: the fullest file is stored and accounted for, its window is a gap."""
    best = fuller(slice_.best, receipt)
    counted = slice_.recount if slice_.recount is not None else slice_.expected_lines
    missing = (counted or 0) - best.stored_rows
    if not best.staged_path or slice_.replaces:
        return fail(replace(slice_, receipt=best), short_by(missing), discard(slice_))
    return settle(replace(slice_, reason=short_by(missing), evidence=Evidence.NONE), best)


def fuller(best: Receipt | None, receipt: Receipt) -> Receipt:
    """The receipt with more rows; of equals the later one."""
    return best if best is not None and best.stored_rows > receipt.stored_rows else receipt


def settle_empty(slice_: Slice, task: RemoteTask, evidence: Evidence) -> ev.Step:
    """The window is proven to hold no row; a file that stood for it goes."""
    seen = replace(slice_, evidence=evidence, reason="")
    if not slice_.published_path:
        after = replace(seen, state=S.EMPTY, receipt=None)
        return _proven(after, (ev.Unwatch(task), *discard(slice_)))
    step = settle(seen, NOTHING)
    return replace(step, instructions=(ev.Unwatch(task), *step.instructions))


def ask_without_receipt(slice_: Slice, task: RemoteTask, before: tuple[ev.Instruction, ...]) -> ev.Step:
    """No file, and perhaps nothing to put in one: only a count can tell (bls-api.md 10.12)."""
    after = replace(slice_, state=S.TRANSFERRING, receipt=None)
    return ev.Step(after, (*before, ev.Recount(after, task.number)))


def published(slice_: Slice, event: ev.Published, now: float, rules: Rules) -> ev.Step:
    """The file stands: the window is covered, or accounted for as a gap that has a file."""
    receipt = slice_.receipt
    if receipt is None or not receipt.staged_path:
        bare = replace(
            slice_,
            state=S.EMPTY,
            path="",
            published_path="",
            published_sha256="",
            published_rows=0,
            replaces="",
        )
        return _proven(bare)
    stands = replace(
        slice_,
        published_path=slice_.path,
        published_sha256=receipt.stored_sha256,
        published_rows=receipt.stored_rows,
        replaces="",
    )
    if slice_.reason:
        # The fullest file of a slice that stayed short: stored and accounted for, but its window is a gap.
        return ev.Step(replace(stands, state=S.FAILED))
    step = _proven(replace(stands, state=S.DONE))
    if sum(part.published_rows for part in event.parts) > receipt.stored_rows:
        return step  # the service has lost some of it since
    parts = outdated(event.parts)
    if not parts:
        return step
    orders = (*step.instructions, *let_go(parts), ev.Relieve(slice_.job, slice_.id))
    return replace(step, instructions=orders, outdated=parts)


def publish_failed(slice_: Slice, event: ev.PublishFailed, now: float, rules: Rules) -> ev.Step:
    """A foreign file is in the way, or this machine cannot store it."""
    if event.fault.code == "path_occupied" and slice_.reason:
        return fail(replace(slice_, receipt=None), Reason.PATH_OCCUPIED, discard(slice_))
    if event.fault.code == "path_occupied":
        # What is staged is proved: once the path is free it can take its place without being fetched again.
        return ev.Step(replace(slice_, state=S.FAILED, reason=Reason.PATH_OCCUPIED))
    return ev.Step(slice_, (ev.StopRun(event.fault),), parked=True)


def staged_lost(slice_: Slice, event: ev.StagedLost, now: float, rules: Rules) -> ev.Step:
    """Nothing to publish any more: fetched anew, from the same remote task; what was only the fullest of
    several short files is a gap without one."""
    if slice_.reason:
        return fail(replace(slice_, receipt=None, path=""), slice_.reason)
    after = replace(
        slice_, state=S.READY, receipt=None, fetch_round=slice_.fetch_round + 1, not_before_at=now
    )
    return ev.Step(after)
