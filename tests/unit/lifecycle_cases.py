"""Slices, remote tasks and receipts that lifecycle tests start from."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.core import events as ev
from orchestrator.core.job import DestinationSpec, Job, JobIdentity, Order, ServedFormat, ServiceSpec
from orchestrator.core.lifecycle import Rules, transition
from orchestrator.core.model import Fault, Receipt, RemoteTask, RemoteTaskStatus, Slice, SliceState, slice_id
from orchestrator.core.window import Window

WINDOW = Window(1000, 1600)
JOB = Job(
    name="web",
    identity=JobIdentity("bj", "shop", "web", "", "match *"),
    service=ServiceSpec("", "http://x"),
    window=Window(0, 10_000),
    due_until_s=10_000,
    destination=DestinationSpec("/archive"),
    max_lines=100,
    attempts=3,
)
RULES = Rules(JOB)
ID = slice_id(JOB, "", WINDOW)
NOW = 5_000.0


def task(**changes: object) -> RemoteTask:
    """An accepted remote task of the slice."""
    made = RemoteTask(1, "o-x-1", ID, "web", 1, WINDOW, 100, Order.ASC, ServedFormat.JSON, 4_000.0, uuid="u1")
    return replace(made, **changes)  # type: ignore[arg-type]  # test shorthand


def slice_(state: SliceState, **changes: object) -> Slice:
    """A slice in ``state`` with a remote task where that state has one."""
    made = Slice(ID, "web", "", WINDOW, state=state, expected_lines=50, counted_at=1.0)
    if state is not SliceState.PLANNED:
        made = replace(made, attempt=1, task=task())
    return replace(made, **changes)  # type: ignore[arg-type]  # test shorthand


def receipt(stored: int = 50, **changes: object) -> Receipt:
    """A whole, plain file, its first row dated exactly at the start."""
    made = Receipt("/archive/.s/a", "jsonl", ".jsonl", 10, "aa", 10, "aa", stored, 0, stored, WINDOW)
    return replace(made, **{"start_met": True, **changes})  # type: ignore[arg-type]  # test shorthand


def status(state: str, **changes: object) -> RemoteTaskStatus:
    """What the service says of the remote task."""
    return replace(RemoteTaskStatus("u1", "o-x-1", state), **changes)  # type: ignore[arg-type]  # test shorthand


def observed(state: str, **changes: object) -> ev.Observed:
    """The event for it."""
    return ev.Observed(ID, 1, status(state, **changes))


def fault(disposition: str = "retry", code: str = "service_fault", **changes: object) -> Fault:
    """A fault of that disposition."""
    return replace(Fault(code, "it went wrong", disposition), **changes)  # type: ignore[arg-type]  # test shorthand


def go(before: Slice, event: ev.Event, rules: Rules = RULES) -> ev.Step:
    """One transition at a fixed instant."""
    return transition(before, event, NOW, rules)


def kinds(step: ev.Step) -> list[str]:
    """Names of the instructions, in order."""
    return [type(order).__name__ for order in step.instructions]


def staged(before: Slice, **changes: object) -> ev.Step:
    """A transfer of that slice ended with that receipt."""
    return go(before, ev.Staged(ID, 1, receipt(**changes), "/archive/a.jsonl"))  # type: ignore[arg-type]  # test shorthand
