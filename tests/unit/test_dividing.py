"""One second above the limit: into which parts it falls, and when they are the second again."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.core import events as ev
from orchestrator.core.job import Order
from orchestrator.core.lifecycle import Rules, transition
from orchestrator.core.model import Evidence, Part, SliceState
from orchestrator.core.reasons import Reason
from orchestrator.core.window import Window
from tests.unit.lifecycle_cases import ID, JOB, NOW, RULES, WINDOW, go, kinds, receipt, slice_, staged, task

S = SliceState
SECOND = Window(1000, 1001)
CUT_SHORT = replace(receipt(100), truncated=True, kept=None, turn_ms=400)


def deleted(step: ev.Step) -> list[str]:
    """The remote tasks that are let go besides the second's own."""
    return [
        order.task.uuid
        for order in step.instructions
        if isinstance(order, ev.DeleteRemote) and order.task.uuid != "u1"
    ]


def test_streams_that_are_stored_already_are_not_asked_for_again() -> None:
    """A second that fell short is divided again: only what changed is exported, into the files that stand."""
    second = slice_(S.TRANSFERRING, window=Window(1000, 1001), recounted_at=1.0, recount=90)
    first = go(second, ev.Divided(ID, 1, (("a", 40), ("b", 50)), ()))
    assert [(c.logstream, c.expected_lines, c.whole) for c in first.children] == [
        ("a", 40, ID),
        ("b", 50, ID),
    ]
    stored = tuple(
        replace(child, state=S.DONE, published_path=f"/archive/{child.logstream}", published_rows=40)
        for child in first.children
    )
    again = go(second, ev.Divided(ID, 1, (("a", 40), ("b", 50)), stored))
    assert [(c.logstream, c.published_path) for c in again.children] == [("b", "/archive/b")]
    same = go(second, ev.Divided(ID, 1, (("a", 40), ("b", 40)), stored))
    assert same.slice.reason == Reason.OVERFULL_SECOND  # streams that do not add up to the count
    whole = replace(second, recount=80)
    nothing_new = go(whole, ev.Divided(ID, 1, (("a", 40), ("b", 40)), stored))
    assert (nothing_new.children, kinds(nothing_new)) == ((), ["DeleteRemote", "Gather"])


def test_the_two_ends_of_a_second_are_asked_for_in_opposite_order() -> None:
    """The file at hand holds one end, up to the millisecond at which it stops; the other is a new request."""
    cut_short = replace(receipt(100), truncated=True, kept=None, turn_ms=400)
    second = slice_(
        S.TRANSFERRING, window=Window(1000, 1001), recounted_at=1.0, recount=150, receipt=cut_short
    )
    step = go(second, ev.Divided(ID, 1, (), ()))
    early, late = step.children
    assert [(c.part, c.edge_ms, c.state, c.whole) for c in (early, late)] == [
        (Part.EARLY, 400, S.READY, ID),
        (Part.LATE, 400, S.PLANNED, ID),
    ]
    assert early.task is not None
    assert early.task.number == 1
    late_intent = transition(late, ev.Admitted(late.id, 2, "n"), NOW, Rules(JOB, padded=True)).slice.task
    assert late_intent is not None
    assert (late_intent.order, late_intent.window) == (Order.DESC, Window(1000, 1001))
    short = go(replace(step.slice, state=S.SUPERSEDED), ev.Gathered(ID, step.slice, 149))
    assert (short.slice.state, short.slice.reason, short.covered) == (S.FAILED, "short by 1", None)
    assert short.slice.padded
    sure = go(step.slice, ev.Gathered(ID, step.slice, 149), replace(RULES, start_inclusive=True))
    assert not sure.slice.padded
    wider = replace(early, state=S.PLANNED, padded=True)
    early_intent = transition(wider, ev.Admitted(early.id, 3, "n"), NOW, Rules(JOB)).slice.task
    assert early_intent is not None
    assert (early_intent.order, early_intent.window) == (Order.ASC, Window(999, 1001))
    together = go(step.slice, ev.Gathered(ID, step.slice, 150))
    assert (together.slice.evidence, together.covered) == (Evidence.COUNT, Window(1000, 1001))


def test_a_damaged_part_uncovers_the_second_it_is_part_of() -> None:
    """What rests on all parts does not outlive one of them."""
    part = slice_(S.DONE, logstream="a", whole="whole")
    step = go(part, ev.Marked(ID, "damaged"))
    assert (step.uncovered, step.also_uncovered) == (WINDOW, ("",))


def test_the_end_that_does_not_reach_the_other_leaves_the_second_overfull() -> None:
    """A part counts by reaching the edge between the two; truncated before it, nothing can be made of it."""
    second = Window(1000, 1001)
    part = slice_(S.TRANSFERRING, window=second, part=Part.LATE, edge_ms=400, whole="whole", recounted_at=1.0)
    reached = staged(part, truncated=True, kept=second)
    assert (reached.slice.state, reached.slice.evidence) == (S.SETTLING, Evidence.ROWS_ONLY)
    stands = go(reached.slice, ev.Published(ID, 1))
    assert (stands.slice.state, stands.covered, kinds(stands)) == (S.DONE, None, ["Gather"])
    short = staged(part, truncated=True, kept=None)
    assert (short.slice.state, short.slice.reason) == (S.FAILED, Reason.OVERFULL_SECOND)


def test_a_second_divided_another_way_forgets_the_earlier_parts() -> None:
    """What stands of the earlier division counts no more, its coverage and its remote tasks go at once, its
    files when the new parts are whole."""
    second = slice_(S.TRANSFERRING, window=SECOND, recounted_at=1.0, recount=90)
    made = go(second, ev.Divided(ID, 1, (("a", 40), ("b", 50)), ())).children
    earlier = tuple(
        replace(child, state=S.DONE, published_path=f"/archive/{number}", task=task(uuid=f"old-{number}"))
        for number, child in enumerate(made)
    )
    ends = replace(second, receipt=CUT_SHORT)
    step = go(ends, ev.Divided(ID, 1, (), earlier))
    assert [(part.id, part.state, part.published_path) for part in step.outdated] == [
        (made[0].id, S.SUPERSEDED, "/archive/0"),
        (made[1].id, S.SUPERSEDED, "/archive/1"),
    ]
    assert (step.uncovered, step.also_uncovered) == (SECOND, ("a", "b"))
    assert deleted(step) == ["old-0", "old-1"]
    back = go(second, ev.Divided(ID, 1, (("a", 40), ("b", 50)), (*step.outdated, *step.children)))
    assert [(part.part, part.state) for part in back.outdated] == []  # not stored yet: nothing to forget
    assert [child.published_path for child in back.children] == ["/archive/0", "/archive/1"]


def test_a_part_that_is_exported_anew_lets_its_remote_task_go() -> None:
    """Divided the same way again: one end comes with the file at hand, the other is asked for anew."""
    second = slice_(S.TRANSFERRING, window=SECOND, recounted_at=1.0, recount=150, receipt=CUT_SHORT)
    early, late = go(second, ev.Divided(ID, 1, (), ())).children
    stored = (
        replace(early, state=S.DONE, task=task(uuid="old-early")),
        replace(late, state=S.DONE, task=task(uuid="old-late")),
    )
    again = go(second, ev.Divided(ID, 1, (), stored))
    assert (again.outdated, deleted(again)) == ((), ["old-early", "old-late"])
    taken_along = (replace(stored[0], task=second.task), stored[1])
    assert deleted(go(second, ev.Divided(ID, 1, (), taken_along))) == ["old-late"]


def test_a_stream_that_is_divided_leaves_its_siblings_alone() -> None:
    """Only what came from the same slice is outdated by dividing it again."""
    stream = slice_(
        S.TRANSFERRING, window=SECOND, logstream="a", whole="whole", recounted_at=1.0, receipt=CUT_SHORT
    )
    sibling = slice_(S.DONE, id="sibling", window=SECOND, logstream="b", whole="whole", parent="whole")
    step = go(stream, ev.Divided(ID, 1, (), (sibling,)))
    assert (step.outdated, deleted(step), step.uncovered) == ((), [], None)


def test_a_second_nobody_counted_is_whole_when_its_ends_meet_and_starts_are_counted_in() -> None:
    """Without a count the two ends speak for themselves, but for a first row that an exclusive start would
    leave out; log streams never do, because one may be missing."""
    uncounted = slice_(S.TRANSFERRING, window=SECOND, recounted_at=1.0, recount=None, receipt=CUT_SHORT)
    step = go(uncounted, ev.Divided(ID, 1, (("a", 40), ("b", 50)), ()))
    assert [child.part for child in step.children] == [Part.EARLY, Part.LATE]
    unsure = go(step.slice, ev.Gathered(ID, step.slice, 150))
    assert (unsure.slice.state, unsure.slice.reason) == (S.FAILED, Reason.EDGES_UNPROVEN)
    padded = go(replace(step.slice, padded=unsure.slice.padded), ev.Gathered(ID, step.slice, 150))
    assert (padded.slice.evidence, padded.covered) == (Evidence.ROWS_ONLY, SECOND)
    sure = go(step.slice, ev.Gathered(ID, step.slice, 150), replace(RULES, start_inclusive=True))
    assert (sure.slice.evidence, sure.covered) == (Evidence.ROWS_ONLY, SECOND)


def test_a_second_that_became_one_file_after_all_outdates_its_parts() -> None:
    """Their files and remote tasks go once the one file stands; unless they hold rows that it does not."""
    part = slice_(
        S.DONE, id="early", window=SECOND, part=Part.EARLY, published_rows=10, task=task(uuid="old")
    )
    whole = slice_(S.SETTLING, window=SECOND, receipt=receipt(12), path="/archive/a.jsonl")
    stands = go(whole, ev.Published(ID, 1, (part,)))
    assert (stands.slice.state, stands.covered, deleted(stands)) == (S.DONE, SECOND, ["old"])
    assert kinds(stands) == ["DeleteRemote", "Relieve"]
    assert [(old.id, old.state) for old in stands.outdated] == [("early", S.SUPERSEDED)]
    gone = go(whole, ev.Published(ID, 1, stands.outdated))
    assert (gone.outdated, kinds(gone)) == ((), [])
    fuller = go(whole, ev.Published(ID, 1, (replace(part, published_rows=13),)))
    assert (fuller.slice.state, fuller.outdated) == (S.DONE, ())


def test_streams_that_an_outage_kept_from_being_told_are_asked_for_again() -> None:
    """By the next attempt; only the last one makes do without them. One stream alone needs no list."""
    second = slice_(S.TRANSFERRING, window=SECOND, recounted_at=1.0, recount=150, receipt=CUT_SHORT)
    untold = ev.Divided(ID, 1, (), (), untold=True)
    later = go(second, untold)
    assert (later.slice.state, later.children, kinds(later)) == (
        S.PLANNED,
        (),
        ["DeleteRemote", "DiscardStaged"],
    )
    last = go(replace(second, attempt=JOB.attempts), untold)
    assert [child.part for child in last.children] == [Part.EARLY, Part.LATE]
    alone = go(replace(second, logstream="a"), untold)
    assert [child.part for child in alone.children] == [Part.EARLY, Part.LATE]
