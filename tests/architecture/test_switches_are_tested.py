"""What no page of the service says is a switch, each switch is a row of the table, each row is tested."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from orchestrator.emulator.behaviour import Behaviour
from orchestrator.testing.switch_row import Switch
from orchestrator.testing.switches import ITEMS, SWITCHES, complaints, on_the_table
from tests.simulation.asking import PROBES
from tests.simulation.switches import CSV_FORMS, SCENES, SHOWN


def test_every_switch_is_on_the_table_under_every_setting() -> None:
    """A new switch or a new value of one without a row or a setting fails here."""
    assert complaints() == []


def test_every_item_of_the_reference_is_there() -> None:
    """Section 10 has 26 items; 0 stands for the network."""
    assert sorted(ITEMS) == list(range(27))
    assert {switch.item for switch in SWITCHES} == set(ITEMS)


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: switch.name)
def test_every_setting_is_one_the_emulator_takes(switch: Switch) -> None:
    """Every setting, on its stage, is a behaviour; what it is staged with are switches too."""
    for value in switch.settings:
        Behaviour(**{**switch.staged, switch.name: value})
    assert switch.does
    assert switch.name not in switch.staged


def test_what_an_export_cannot_show_is_shown_by_a_request() -> None:
    """Every row is played by an export or asked by a probe with what it must find under each setting; stages
    and probes of switches that are gone are gone."""
    asked = {switch.name for switch in SWITCHES if switch.never_sent}
    assert set(PROBES) == asked
    assert all(set(PROBES[name][1]) == set(on_the_table()[name].settings) for name in asked)
    assert set(SCENES) <= {switch.name for switch in SHOWN}
    assert set(CSV_FORMS) <= set(on_the_table())
    for name in SCENES:
        assert set(SCENES[name].judged) <= set(on_the_table()[name].settings)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (SWITCHES[1:], f"{SWITCHES[0].name}: no row"),
        ((*SWITCHES, SWITCHES[0]), f"{SWITCHES[0].name}: more than one row"),
        ((*SWITCHES, replace(SWITCHES[0], name="window_middle")), "window_middle: no such switch"),
        (
            tuple(
                replace(row, settings=row.settings[:-1]) if row.name == "etag" else row for row in SWITCHES
            ),
            "etag: no test of 'none'",
        ),
        (
            tuple(replace(row, settings=(True,)) if row.name == "crlf" else row for row in SWITCHES),
            "crlf: one setting proves nothing",
        ),
        (tuple(row for row in SWITCHES if row.item != 8), "item 8: no switch"),
    ],
)
def test_a_hole_in_the_table_is_found(rows: tuple[Switch, ...], said: str) -> None:
    """The check sees what is missing, doubled, unknown or tested one way only."""
    assert said in complaints(rows)


def test_the_table_has_a_row_per_field() -> None:
    """As many rows as switches: neither more nor less."""
    assert len(SWITCHES) == len(fields(Behaviour))
