"""A slice's life under every legal sequence of events, with deaths in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.core import events as ev
from orchestrator.core.lifecycle import TABLE, IllegalEvent, transition
from orchestrator.core.model import LIVE_STATES, Receipt, RemoteTaskStatus, Slice, SliceState
from orchestrator.core.window import Window, subtract
from tests.unit.lifecycle_cases import ID, RULES, WINDOW, fault, slice_

S = SliceState
COUNTS = st.none() | st.integers(0, 60)
DISPOSITIONS = st.sampled_from(["retry", "throttle", "refuse", "look", "renew", "give up", "stop"])
CODES = st.sampled_from(
    [
        "unreachable",
        "broken_body",
        "file_missing",
        "remote_task_not_found",
        "path_occupied",
        "disk_full",
        "throttled",
    ]
)
FAULTS = st.builds(fault, DISPOSITIONS, CODES, status=st.sampled_from([0, 400, 403, 503]))
WORDS = st.sampled_from(["WAITING", "RUNNING", "SUCCESS", "FAILED", "EXPIRED", "PAUSED", ""])


@st.composite
def receipts(draw: st.DrawFn, window: Window) -> Receipt:
    """What a transfer may leave of a slice: whole, truncated, cut, empty, undated."""
    stored, dropped = draw(st.integers(0, 60)), draw(st.integers(0, 5))
    truncated = draw(st.booleans())
    kept: Window | None = window
    if truncated:
        at_s = draw(st.integers(window.start_s, window.end_s))
        kept = Window(window.start_s, at_s) if at_s > window.start_s else None
    return Receipt(
        f"/archive/.s/{draw(st.integers(0, 9))}" if stored and kept is not None else "",
        "jsonl",
        ".jsonl",
        10,
        "aa",
        10,
        "aa",
        stored + dropped,
        dropped,
        stored,
        kept,
        truncated=truncated,
        time_known=draw(st.booleans()),
    )


def legal_events(draw: st.DrawFn, slice_now: Slice, fresh_number: int) -> ev.Event:
    """One event that the table allows, with drawn content."""
    kinds = sorted(
        (
            event
            for state, event in TABLE
            if state is slice_now.state and (event is not ev.Withdrawn or slice_now.replaces)
        ),
        key=lambda kind: kind.__name__,
    )
    kind = draw(st.sampled_from(kinds))
    task = slice_now.task
    number = task.number if task is not None else 0

    def status() -> RemoteTaskStatus:
        return RemoteTaskStatus("u1", state=draw(WORDS), written_rows=draw(COUNTS))

    made: dict[type[ev.Event], Callable[[], ev.Event]] = {
        ev.Resumed: lambda: ev.Resumed(slice_now.id),
        ev.Dropped: lambda: ev.Dropped(slice_now.id),
        ev.Marked: lambda: ev.Marked(slice_now.id, "damaged"),
        ev.Withdrawn: lambda: ev.Withdrawn(slice_now.id, "source gone"),
        ev.Admitted: lambda: ev.Admitted(
            slice_now.id, number if task is not None and not task.uuid else fresh_number, "o-x-n"
        ),
        ev.Created: lambda: ev.Created(slice_now.id, number, f"u{fresh_number}", "r", 1.0),
        ev.CreateRefused: lambda: ev.CreateRefused(slice_now.id, number, draw(FAULTS)),
        ev.CreateDoubted: lambda: ev.CreateDoubted(
            slice_now.id, number, draw(FAULTS), draw(st.none() | st.just(9.0)), 1.0
        ),
        ev.Adopted: lambda: ev.Adopted(
            slice_now.id, number, seen := status(), draw(st.sampled_from([(), (seen,)]))
        ),
        ev.ProvedAbsent: lambda: ev.ProvedAbsent(slice_now.id, number),
        ev.LeftInDoubt: lambda: ev.LeftInDoubt(slice_now.id, number, draw(FAULTS)),
        ev.WatchRefused: lambda: ev.WatchRefused(slice_now.id, number, draw(FAULTS)),
        ev.Observed: lambda: ev.Observed(slice_now.id, number, status()),
        ev.Vanished: lambda: ev.Vanished(slice_now.id, number),
        ev.StoodStill: lambda: ev.StoodStill(slice_now.id, number),
        ev.TransferAdmitted: lambda: ev.TransferAdmitted(slice_now.id, number),
        ev.Staged: lambda: ev.Staged(
            slice_now.id, number, draw(receipts(slice_now.window)), "/archive/a.jsonl"
        ),
        ev.TransferFailed: lambda: ev.TransferFailed(slice_now.id, number, draw(FAULTS)),
        ev.Recounted: lambda: ev.Recounted(slice_now.id, number, draw(COUNTS), 1.0),
        ev.Published: lambda: ev.Published(slice_now.id, number),
        ev.PublishFailed: lambda: ev.PublishFailed(slice_now.id, number, draw(FAULTS)),
        ev.StagedLost: lambda: ev.StagedLost(slice_now.id, number),
        ev.Divided: lambda: ev.Divided(
            slice_now.id, number, draw(st.sampled_from([(), (("a", 30), ("b", 90)), (("a", 200),)])), ()
        ),
        ev.Relieved: lambda: ev.Relieved(slice_now.id, slice_now),
        ev.Gathered: lambda: ev.Gathered(slice_now.id, slice_now, draw(st.integers(0, 300))),
    }
    return made[kind]()


class SliceLife(RuleBasedStateMachine):
    """Walks one slice, or one of its children, through whatever may happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 10_000.0
        self.slice = slice_(S.PLANNED)
        self.number = 100
        self.may_post: set[int] = set()
        """Numbers whose last create is known to have made nothing."""
        self.posted: set[int] = set()

    @initialize(expected=COUNTS, replaces=st.sampled_from(["", "older"]))
    def begin(self, expected: int | None, replaces: str) -> None:
        """Planned, counted or not, at first or anew."""
        self.slice = slice_(S.PLANNED, expected_lines=expected, replaces=replaces)

    @precondition(lambda self: any(state is self.slice.state for state, _ in TABLE))
    @rule(data=st.data(), later_s=st.floats(0.0, 500.0))
    def happen(self, data: st.DataObject, later_s: float) -> None:
        """Any legal event."""
        self.now += later_s
        self.number += 1
        self._go(data.draw(st.composite(legal_events)(self.slice, self.number)), data)

    @precondition(lambda self: (self.slice.state, ev.Resumed) in TABLE)
    @rule()
    def die_and_resume(self) -> None:
        """The process dies after the commit: whatever was ordered is forgotten, and Resumed is all there
        is."""
        if self.slice.state is S.SETTLING and self.slice.receipt is None:
            return
        step = transition(self.slice, ev.Resumed(self.slice.id), self.now, RULES)
        assert not any(isinstance(order, ev.Submit) for order in step.instructions)
        self.slice = step.slice

    def _go(self, event: ev.Event, data: st.DataObject) -> None:
        before = self.slice
        step = transition(before, event, self.now, RULES)
        assert step.slice.state in TABLE[before.state, type(event)].targets
        if isinstance(event, (ev.CreateRefused, ev.ProvedAbsent)) and before.task is not None:
            self.may_post.add(before.task.number)
        for order in step.instructions:
            if isinstance(order, ev.Submit):
                number = order.task.number
                assert number not in self.posted or number in self.may_post, "a create was repeated"
                self.posted.add(number)
                self.may_post.discard(number)
        if before.replaces:
            assert step.uncovered is None, "the older generation stays covered"
            published = [order for order in step.instructions if isinstance(order, ev.Publish)]
            assert not (published and before.parent), "parts of a redo take their place together"
        if step.covered is not None and not isinstance(event, ev.Gathered):
            assert step.slice.state in (S.DONE, S.EMPTY)
            assert step.slice.reason == ""
        if isinstance(event, ev.Divided):
            assert all(child.window == before.window for child in step.children), (
                "by stream or by millisecond"
            )
        elif step.children:
            assert subtract([before.window], [child.window for child in step.children]) == ()
            assert sum(child.window.length_s for child in step.children) == before.window.length_s
            assert step.slice.state in (S.CUT, S.SUPERSEDED)
        choices = [step.slice, *step.children] if step.children else [step.slice]
        self.slice = data.draw(st.sampled_from(choices))

    @invariant()
    def what_lives_can_be_resumed(self) -> None:
        """No state that a crash can leave is a dead end, and whatever waits for the service has a remote
        task."""
        if self.slice.state in LIVE_STATES:
            assert (self.slice.state, ev.Resumed) in TABLE
            assert self.slice.task is not None

    @invariant()
    def what_settles_has_something_to_settle(self) -> None:
        """Only a receipt can be published."""
        if self.slice.state is S.SETTLING:
            assert self.slice.receipt is not None


SliceLife.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestSliceLife = SliceLife.TestCase


@given(st.sampled_from(list(SliceState)), st.data())
def test_an_illegal_event_changes_nothing(state: SliceState, data: st.DataObject) -> None:
    """Whatever the table does not know is refused before anything is decided."""
    before = slice_(state)
    missing = [event for _, event in TABLE if (state, event) not in TABLE]
    kind = data.draw(st.sampled_from(sorted(set(missing), key=lambda event: event.__name__)))
    with pytest.raises(IllegalEvent):
        transition(before, kind.__new__(kind), 1.0, RULES)
    assert before == slice_(state)
    assert replace(before) == before
    assert before.id == ID
    assert before.window == WINDOW
