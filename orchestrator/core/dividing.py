"""How is a window handed on that was too large for one remote task?"""

from __future__ import annotations

from dataclasses import replace

from orchestrator.core import events as ev
from orchestrator.core.letting_go import discard
from orchestrator.core.model import Receipt, Slice, SliceState, slice_id
from orchestrator.core.reasons import Reason
from orchestrator.core.rules import Rules, task_of
from orchestrator.core.window import Window

__all__ = ["cut", "split"]

S = SliceState


def cut(slice_: Slice, receipt: Receipt, rules: Rules) -> ev.Step:
    """Kept part and rest become slices of their own; the kept one takes the remote task and the staged file
    with it, and is weighed against a count of its own: the order of rows proves its end, not its start."""
    task, kept = task_of(slice_), receipt.kept or slice_.window
    keep_left = kept.start_s == slice_.window.start_s
    rest = (
        Window(kept.end_s, slice_.window.end_s) if keep_left else Window(slice_.window.start_s, kept.start_s)
    )
    kept_id = slice_id(rules.job, slice_.logstream, kept, slice_.generation)
    child = replace(
        slice_,
        id=kept_id,
        window=kept,
        state=S.TRANSFERRING,
        parent=slice_.id,
        task=replace(task, slice_id=kept_id),
        receipt=replace(receipt, truncated=False),
        expected_lines=None,
        counted_at=None,
        recount=None,
        recounted_at=None,
        best=None,
        reason="",
        published_rows=0,
    )
    after = replace(_without_file(slice_), state=S.CUT, task=None)
    losers = discard(slice_, keep=receipt.staged_path)
    rest_child = _child(slice_, rest, rules)
    return ev.Step(after, (ev.Recount(child, task.number), *losers), children=(child, rest_child))


def split(slice_: Slice, rules: Rules) -> ev.Step:
    """Both halves become slices; the remote task that could not carry the whole is deleted."""
    middle_s = slice_.window.start_s + slice_.window.length_s // 2
    halves = slice_.window.split(middle_s)
    task = task_of(slice_)
    after = replace(_without_file(slice_), state=S.SUPERSEDED)
    orders = (*discard(slice_), ev.DeleteRemote(task))
    left, right = (_child(slice_, half, rules) for half in halves)
    # One of them takes over the file that stands for the whole, if any, and replaces it when it settles.
    heir = replace(left, published_path=slice_.published_path, published_sha256=slice_.published_sha256)
    return ev.Step(after, orders, children=(heir, right))


def _without_file(slice_: Slice) -> Slice:
    """Others carry on: nothing staged, published or waited for is this slice's any more."""
    return replace(
        slice_,
        receipt=None,
        best=None,
        path="",
        published_path="",
        published_sha256="",
        published_rows=0,
        reason=Reason.REPLACED,
    )


def _child(parent: Slice, window: Window, rules: Rules) -> Slice:
    """Without a planned count: what is left of the parent's is a difference of figures that need not
    agree."""
    return Slice(
        id=slice_id(rules.job, parent.logstream, window, parent.generation),
        job=parent.job,
        logstream=parent.logstream,
        window=window,
        generation=parent.generation,
        parent=parent.id,
    )
