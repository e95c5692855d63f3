"""The documented life of a slice is the one the engine follows."""

from __future__ import annotations

import re

from orchestrator.core.events import Resumed
from orchestrator.core.lifecycle import TABLE
from orchestrator.core.model import LIVE_STATES, OUTSTANDING_STATES, SliceState
from tests.architecture.tree import ROOT

PAGE = (ROOT / "docs" / "states.md").read_text(encoding="utf-8")
DRAWN = re.findall(r"^    (\w+) --> (\w+): (.+)$", PAGE, re.MULTILINE)


def test_diagram_equals_the_transition_table() -> None:
    """Every arrow of the diagram is a row of the table, and every row is an arrow."""
    in_diagram = {(a, event, b) for a, b, events in DRAWN for event in events.split(", ")}
    in_table = {
        (str(state), event.__name__, str(target))
        for (state, event), row in TABLE.items()
        for target in row.targets
    }
    assert in_diagram == in_table


def test_every_state_is_explained() -> None:
    """Each state, a public word, has its line of meaning."""
    explained = re.findall(r"^\| `(\w+)` \| [^`|]+ \|$", PAGE, re.MULTILINE)
    assert explained == [str(state) for state in SliceState]


def test_ends_of_the_diagram_are_states_that_nothing_leaves() -> None:
    """A state is drawn as an end exactly when the table has no event for it."""
    ends = set(re.findall(r"^    (\w+) --> \[\*\]$", PAGE, re.MULTILINE))
    assert ends == {str(state) for state in SliceState} - {str(state) for state, _ in TABLE}


def test_every_unfinished_state_knows_how_to_go_on_after_a_crash() -> None:
    """A run that finds a slice under way has a rule for it, so a kill at any instant leaves no orphan."""
    under_way = LIVE_STATES | OUTSTANDING_STATES | {SliceState.PLANNED}
    assert [state for state in under_way if (state, Resumed) not in TABLE] == []


def test_every_state_with_events_can_be_reached() -> None:
    """No row of the table waits for a slice that cannot come: from planned, or stored so by the planner."""
    reached = {SliceState.PLANNED, SliceState.EMPTY}
    while True:
        further = {t for (state, _), row in TABLE.items() if state in reached for t in row.targets}
        if further <= reached:
            break
        reached |= further
    assert {state for state, _ in TABLE} <= reached
