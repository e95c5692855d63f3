"""How is a window handed on that was too large for one remote task, and how is one second put together
again?"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from orchestrator.core import events as ev
from orchestrator.core.attempts import again
from orchestrator.core.job import Order
from orchestrator.core.letting_go import discard, fail, handed_on, let_go, outdated
from orchestrator.core.model import Evidence, Part, Receipt, Slice, SliceState, slice_id
from orchestrator.core.reasons import Reason, short_by
from orchestrator.core.rules import Rules, task_of
from orchestrator.core.window import Window

__all__ = ["cut", "divided", "gathered", "relieved", "split"]

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
        published_path="",
        published_sha256="",
        published_rows=0,
    )
    after = replace(handed_on(slice_), state=S.CUT, task=None)
    losers = discard(slice_, keep=receipt.staged_path)
    rest_child = _child(slice_, rest, rules)
    orders = (ev.Recount(child, task.number), *losers)
    return ev.Step(after, orders, children=(child, rest_child), uncovered=_in_question(slice_))


def split(slice_: Slice, rules: Rules) -> ev.Step:
    """Both halves become slices; the remote task that could not carry the whole, if there is one, is
    deleted."""
    middle_s = slice_.window.start_s + slice_.window.length_s // 2
    halves = slice_.window.split(middle_s)
    task = task_of(slice_)
    after = replace(handed_on(slice_), state=S.SUPERSEDED)
    gone = (ev.DeleteRemote(task),) if task.uuid else ()
    children = tuple(_child(slice_, half, rules) for half in halves)
    return ev.Step(after, (*discard(slice_), *gone), children=children, uncovered=_in_question(slice_))


def divided(slice_: Slice, event: ev.Divided, now: float, rules: Rules) -> ev.Step:
    """One second holds more than a remote task may carry: ask for it by log stream; one stream, or what no
    stream divides, or what nobody counted, from both ends of the order. Whatever the parts hold, they are
    proven only together: their rows must add up to what the second was counted to hold. As long as an outage
    keeps the log streams from being told, the next attempt asks again. An older generation is not replaced by
    parts."""
    if slice_.replaces:
        return fail(slice_, Reason.OVERFULL_SECOND, discard(slice_))
    if event.untold and not slice_.logstream and slice_.attempt < rules.job.attempts:
        return again(slice_, now, rules, Reason.ATTEMPTS_EXHAUSTED)
    total, receipt = slice_.recount, slice_.receipt
    counted = [(stream, lines) for stream, lines in event.streams if lines > 0]
    whole = total is not None and sum(lines for _, lines in counted) >= total
    if not slice_.logstream and len(counted) > 1 and whole:
        return _by_stream(slice_, counted, event.earlier, rules)
    if receipt is not None and receipt.turn_ms is not None and slice_.window.length_s == 1:
        return _from_both_ends(slice_, receipt.turn_ms, event.earlier, rules)
    return fail(slice_, Reason.OVERFULL_SECOND, discard(slice_))


def _by_stream(
    slice_: Slice, counted: list[tuple[str, int]], earlier: tuple[Slice, ...], rules: Rules
) -> ev.Step:
    left = {(child.logstream, child.part): child for child in earlier}
    children: list[Slice] = []
    stored: set[str] = set()
    for stream, lines in counted:
        child = left.get((stream, Part.WHOLE))
        if child is not None and child.state is S.DONE and child.published_rows == lines:
            stored.add(child.id)  # by an earlier division
            continue
        fresh = replace(
            _child(slice_, slice_.window, rules, logstream=stream),
            expected_lines=lines,
            counted_at=slice_.recounted_at,
            padded=slice_.padded,
        )
        children.append(_with_file_of(child, fresh))
    orders = (*discard(slice_), ev.DeleteRemote(task_of(slice_)))
    if not children:
        orders = (*orders, ev.Gather(slice_.job, slice_.whole or slice_.id))
    return _to_parts(slice_, children, orders, earlier, stored)


def _from_both_ends(slice_: Slice, edge_ms: int, earlier: tuple[Slice, ...], rules: Rules) -> ev.Step:
    """The truncated file holds one part whole, up to the millisecond at which it stops: that one is fetched
    once more, without the rest. The other end is asked for in the opposite order."""
    left = {child.part: child for child in earlier if child.logstream == slice_.logstream}
    task = task_of(slice_)
    children: list[Slice] = []
    for part in (Part.EARLY, Part.LATE):
        child = replace(
            _child(slice_, slice_.window, rules, part=part), edge_ms=edge_ms, padded=slice_.padded
        )
        if (part is Part.EARLY) == (task.order is Order.ASC):
            child = replace(
                child,
                state=S.READY,
                attempt=slice_.attempt,
                fetch_round=slice_.fetch_round + 1,
                task=replace(task, slice_id=child.id),
            )
        children.append(_with_file_of(left.get(part), child))
    return _to_parts(replace(slice_, task=None), children, discard(slice_), earlier)


def _with_file_of(earlier: Slice | None, child: Slice) -> Slice:
    if earlier is None:
        return child
    return replace(
        child,
        published_path=earlier.published_path,
        published_sha256=earlier.published_sha256,
        published_rows=0 if child.part else earlier.published_rows,  # the edge may lie elsewhere now
    )


def _to_parts(
    slice_: Slice,
    children: list[Slice],
    orders: tuple[ev.Instruction, ...],
    earlier: tuple[Slice, ...],
    stored: Collection[str] = (),
) -> ev.Step:
    """The whole stays superseded until its parts are gathered. What an earlier division by another way left
    counts no more; its files stand until then, so that no stored row is missing for a moment."""
    after = replace(handed_on(slice_), state=S.SUPERSEDED, evidence=Evidence.NONE)
    reborn = {child.id for child in children}
    kept = {child.task.uuid for child in children if child.task is not None}
    mine = [old for old in earlier if not slice_.whole or old.parent == slice_.id]
    anew = [old for old in mine if old.id in reborn]
    parts = outdated([old for old in mine if old.id not in reborn and old.id not in stored])
    return ev.Step(
        after,
        (*orders, *let_go([*anew, *parts], kept)),
        children=tuple(children),
        outdated=parts,
        uncovered=slice_.window if parts else _in_question(slice_),
        also_uncovered=tuple(sorted({part.logstream for part in parts if not part.part})),
    )


def gathered(slice_: Slice, event: ev.Gathered, now: float, rules: Rules) -> ev.Step:
    """All parts are stored: together they are the second, or fall short of it. A second that nobody counted
    was asked for from both ends, which meet: it is whole if its start is sure to be counted in. If that is
    what may be wrong, the next time begins a second earlier."""
    start_sure = rules.start_inclusive or slice_.padded
    evidence = Evidence.COUNT
    if slice_.recount is None:
        if not start_sure:
            return fail(replace(slice_, padded=True), Reason.EDGES_UNPROVEN)
        evidence = Evidence.ROWS_ONLY
    elif event.rows < slice_.recount:
        short = replace(slice_, padded=not rules.start_inclusive)
        return fail(short, short_by(slice_.recount - event.rows))
    after = replace(slice_, evidence=evidence)
    return ev.Step(after, (ev.Relieve(slice_.job, slice_.id),), covered=slice_.window)


def relieved(slice_: Slice, event: ev.Relieved, now: float, rules: Rules) -> ev.Step:
    """Nothing stands for the divided slice itself any more."""
    return ev.Step(replace(slice_, published_path="", published_sha256="", published_rows=0))


def _in_question(slice_: Slice) -> Window | None:
    """While old and new files stand side by side, the window of a slice that had one is not covered."""
    return slice_.window if slice_.published_path and not slice_.replaces else None


def _child(
    parent: Slice, window: Window, rules: Rules, *, logstream: str | None = None, part: Part = Part.WHOLE
) -> Slice:
    """Without a planned count: what is left of the parent's is a difference of figures that need not
    agree."""
    stream = parent.logstream if logstream is None else logstream
    return Slice(
        id=slice_id(rules.job, stream, window, parent.generation, part),
        job=parent.job,
        logstream=stream,
        window=window,
        generation=parent.generation,
        parent=parent.id,
        replaces=parent.replaces,
        whole=(parent.whole or parent.id) if window == parent.window else parent.whole,
        part=part,
    )
