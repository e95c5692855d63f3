"""Every undocumented behaviour again with the service in process, and every form of a CSV file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.testing.switch_row import Switch
from orchestrator.testing.switches import on_the_table
from tests.simulation.switches import CSV_FORMS, SCENES, SHOWN, Scene, csv_scene, ordinary, play

ONLY_OVER_HTTP = {
    "task_total_key",
    "search_statistic_key",
    "request_id_key",
    "ok_code",
    "create_status",
    "read_status",
    "delete_status",
    "delete_body",
    "time_form",
    "not_yet",
    "link_kind",
    "link_host",
    "link_scheme",
    "link_redirects",
    "retry_after_form",
    "auth_style",
    "count_form",
}
"""Switches of spelling, which the ports do not know."""


@pytest.mark.parametrize(
    ("switch", "value"),
    [
        pytest.param(switch, value, id=f"{switch.name}={value}")
        for switch in SHOWN
        if switch.name not in ONLY_OVER_HTTP
        for value in switch.settings
        if switch.name == "window_start" or not ordinary(switch, value)
    ],
)
def test_an_export_through_the_ports_is_right_under_every_setting(
    tmp_path: Path, switch: Switch, value: Any
) -> None:
    """The engine is as right with the service in process as it is over HTTP."""
    scene = SCENES.get(switch.name, Scene())
    played = play(switch, value, scene, tmp_path, wired=False)
    assert scene.rule(value)(played) == []


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in CSV_FORMS for value in on_the_table()[name].settings]
)
def test_csv_is_stored_as_served_under_every_setting_of_its_form(
    tmp_path: Path, name: str, value: Any
) -> None:
    """Every row of every CSV file is stored once, with its line ends, quotes and mark."""
    played = play(on_the_table()[name], value, csv_scene(value), tmp_path, wired=True)
    assert csv_scene(value).rule(value)(played) == []


def test_a_clock_hours_behind_makes_no_remote_task_look_old(tmp_path: Path) -> None:
    """A remote task that was found in the list bears the service's date; ``give_up_after`` counts by our own
    clock."""
    scene = Scene(job=lambda _: {"give_up_after_s": 600}, runs=1)
    switch = on_the_table()["lost_reply_made"]
    played = play(switch, 1.0, scene, tmp_path, wired=False, clock_offset_s=-7200.0)
    assert scene.rule(1.0)(played) == []
