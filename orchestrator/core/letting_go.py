"""How does a slice end without a file, and what of its leavings goes with it?"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from orchestrator.core import events as ev
from orchestrator.core.model import Evidence, Slice, SliceState
from orchestrator.core.reasons import Reason
from orchestrator.core.rules import IllegalEvent, Rules

__all__ = ["discard", "dropped", "fail", "handed_on", "let_go", "marked", "outdated", "withdrawn"]

S = SliceState

_ENDED = frozenset({S.DONE, S.EMPTY, S.FAILED})


def fail(slice_: Slice, reason: str, orders: tuple[ev.Instruction, ...] = ()) -> ev.Step:
    """The slice is a gap for now, with a word of ``core.reasons``."""
    return ev.Step(replace(slice_, state=S.FAILED, reason=reason, evidence=Evidence.NONE), orders)


def discard(slice_: Slice, keep: str = "") -> tuple[ev.Instruction, ...]:
    """Orders to delete whatever is staged for the slice, except ``keep``."""
    staged = {r.staged_path for r in (slice_.receipt, slice_.best) if r is not None and r.staged_path}
    return tuple(ev.DiscardStaged(slice_.job, path) for path in sorted(staged - {keep}))


def dropped(slice_: Slice, event: ev.Dropped, now: float, rules: Rules) -> ev.Step:
    """Nobody asks for the window any more: its remote task and its staged files go."""
    task = slice_.task
    orders: tuple[ev.Instruction, ...] = discard(slice_)
    if task is not None and task.uuid:
        orders = (ev.Unwatch(task), ev.DeleteRemote(task), *orders)
    return ev.Step(replace(slice_, state=S.ABANDONED, receipt=None, best=None), orders)


def withdrawn(slice_: Slice, event: ev.Withdrawn, now: float, rules: Rules) -> ev.Step:
    """The older generation stays. Raises IllegalEvent for a slice that replaces nothing."""
    if not slice_.replaces:
        raise IllegalEvent(f"slice {slice_.id} is to replace no other")
    step = dropped(slice_, ev.Dropped(slice_.id), now, rules)
    return replace(step, slice=replace(step.slice, reason=event.reason, replaces=""))


def marked(slice_: Slice, event: ev.Marked, now: float, rules: Rules) -> ev.Step:
    """An audit found the stored window, or a divided second, wanting: it is no longer covered."""
    return ev.Step(
        replace(slice_, state=S.FAILED, reason=event.reason, evidence=Evidence.NONE),
        uncovered=slice_.window,
        also_uncovered=(rules.job.identity.logstream,) if slice_.whole else (),
    )


def handed_on(slice_: Slice) -> Slice:
    """Others carry on: nothing staged or waited for is this slice's any more. A file that stands for it stays
    its own until all of its rows stand elsewhere; that of an older generation is not its own."""
    if slice_.replaces:
        slice_ = replace(slice_, published_path="", published_sha256="", published_rows=0)
    return replace(slice_, receipt=None, best=None, path="", reason=Reason.REPLACED)


def outdated(parts: Iterable[Slice]) -> tuple[Slice, ...]:
    """Those of them that came to an end, as parts that nothing rests on any more: their files go last."""
    return tuple(
        replace(handed_on(part), state=S.SUPERSEDED, evidence=Evidence.NONE)
        for part in parts
        if part.state in _ENDED
    )


def let_go(parts: Iterable[Slice], kept: Collection[str] = ()) -> tuple[ev.Instruction, ...]:
    """Orders to delete the remote tasks of slices that have no use for them any more, but those ``kept``."""
    tasks = (part.task for part in parts if part.task is not None)
    return tuple(ev.DeleteRemote(task) for task in tasks if task.uuid and task.uuid not in kept)
