"""The fast way to change a field comes to the same as the standard library's."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.core import events as ev
from orchestrator.core.changing import replace
from orchestrator.core.job import Order, ServedFormat
from orchestrator.core.model import Receipt, RemoteTask, Slice, SliceState
from orchestrator.core.window import Window

WINDOW = Window(0, 60)
TASK = RemoteTask(1, "o-1", "s", "web", 1, WINDOW, 9, Order.ASC, ServedFormat.JSON, 5.0, uuid="u")
RECEIPT = Receipt("", "jsonl", ".jsonl", 1, "a", 1, "a", 5, 1, 4, WINDOW, inside_rows=4, start_met=True)
SLICE = Slice("s", "web", "", WINDOW, attempt=2, task=TASK, receipt=RECEIPT, updated_at=7.0)


@pytest.mark.parametrize(
    ("value", "changes"),
    [
        (SLICE, {"state": SliceState.DONE, "task": None, "updated_at": 8.0}),
        (SLICE, {}),
        (TASK, {"uuid": "v", "deleted": True}),
        (RECEIPT, {"kept": None, "inside_rows": None}),
        (ev.Step(SLICE), {"slice": dataclasses.replace(SLICE, attempt=3)}),
    ],
    ids=["slice", "nothing", "remote task", "receipt", "step"],
)
def test_it_is_the_same_as_the_standard_one(value: object, changes: dict[str, object]) -> None:
    """Equal field by field, fields that comparison leaves out included, and the old value is untouched."""
    before = dataclasses.asdict(value)  # type: ignore[call-overload]  # one of ours
    made = replace(value, **changes)  # type: ignore[type-var]  # one of ours
    wanted = dataclasses.replace(value, **changes)  # type: ignore[type-var]  # one of ours
    assert type(made) is type(value)
    assert dataclasses.asdict(made) == dataclasses.asdict(wanted)
    assert dataclasses.asdict(value) == before  # type: ignore[call-overload]  # one of ours


def test_what_a_class_refuses_is_refused() -> None:
    """Its own checks run, and a field it has not is an error."""
    with pytest.raises(ValueError, match="not after its start"):
        replace(WINDOW, end_s=0)
    with pytest.raises(KeyError):
        replace(WINDOW, middle_s=0)  # type: ignore[call-arg]  # no such field
