"""Every undocumented behaviour of the service, under every setting: the export is right, and the setting is
real."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from orchestrator.emulator.behaviour import Behaviour
from orchestrator.testing.switch_row import Switch
from orchestrator.testing.switches import SWITCHES, on_the_table
from tests.simulation.asking import PROBES, answer_of
from tests.simulation.rig import Rig
from tests.simulation.switches import SCENES, SHOWN, Scene, ordinary, play, said, statuses, transcript

CASES = [
    pytest.param(switch, value, id=f"{switch.name}={value}") for switch in SHOWN for value in switch.settings
]


@dataclass(frozen=True)
class Ended:
    """What is kept of an export: complaints, the digest of all that was said, what the evidence found."""

    complaints: list[str]
    transcript: str
    evident: bool


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """A new folder at each call."""
    return lambda: tmp_path_factory.mktemp("switch")


@pytest.fixture(scope="module")
def over_http(folders: Callable[[], Path]) -> Callable[[Switch, Any], Ended]:
    """Exports over the wire; one that two switches share is played once."""

    @cache
    def once(behaviour: Behaviour, name: str, value: Any) -> Ended:
        switch = on_the_table()[name]
        scene = SCENES.get(name, Scene())
        played = play(switch, value, scene, folders(), wired=True)
        evidence = EVIDENCE.get((name, value))
        return Ended(
            scene.rule(value)(played), transcript(played.rig), evidence is None or evidence(played.rig)
        )

    def ended(switch: Switch, value: Any) -> Ended:
        plain = ordinary(switch, value)
        name = SHOWN[0].name if plain else switch.name
        chosen = on_the_table()[name].settings[0] if plain else value
        return once(Behaviour(**{**switch.staged, switch.name: value}), name, chosen)

    return ended


@pytest.mark.parametrize(("switch", "value"), CASES)
def test_an_export_over_http_is_right_under_every_setting(
    over_http: Callable[[Switch, Any], Ended], switch: Switch, value: Any
) -> None:
    """Through the real client the export ends complete with exactly the true rows, or with the gap that the
    setting leaves; ceilings hold and no twin lives."""
    ended = over_http(switch, value)
    assert ended.complaints == []
    assert ended.evident, "the service did not do what the setting is about"


@pytest.mark.parametrize("switch", SHOWN, ids=lambda switch: switch.name)
def test_every_setting_makes_the_service_act_otherwise(
    over_http: Callable[[Switch, Any], Ended], switch: Switch
) -> None:
    """No two settings of a switch lead to the same conversation, though seed, stage and clock are the same:
    none of them is dead."""
    said = [over_http(switch, value).transcript for value in switch.settings]
    same = [
        (a, b)
        for a, x in zip(switch.settings, said, strict=True)
        for b, y in zip(switch.settings, said, strict=True)
        if x == y and a != b
    ]
    assert same == []


def test_the_same_setting_leads_to_the_same_conversation(folders: Callable[[], Path]) -> None:
    """All that is said follows from seed and switches, so that a difference is the switch's doing."""
    switch = on_the_table()["window_start"]
    first, second = (
        transcript(play(switch, "inclusive", Scene(), folders(), wired=True).rig) for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize(
    ("name", "value"),
    [(switch.name, value) for switch in SWITCHES if switch.never_sent for value in switch.settings],
)
def test_what_the_program_never_sends_is_answered_as_the_setting_says(name: str, value: Any) -> None:
    """Requests of another client show each setting at work."""
    probe, expected, staged = PROBES[name]
    assert answer_of(probe, **{**staged, name: value}) == expected[value]


@pytest.mark.parametrize(
    ("name", "value"),
    [(switch.name, value) for switch in SWITCHES if switch.never_sent for value in switch.settings],
)
def test_an_export_never_meets_what_it_never_sends(
    over_http: Callable[[Switch, Any], Ended], name: str, value: Any
) -> None:
    """Under every setting of these the conversation is the one of an ordinary day, and the export is
    exact."""
    switch = on_the_table()[name]
    ended, plain = over_http(switch, value), over_http(on_the_table()["window_start"], "inclusive")
    assert ended.complaints == []
    assert ended.transcript == plain.transcript


# --- what a setting is about, where more is to be seen than a difference


def _met(endpoint: str, *wanted: int) -> Callable[[Rig], bool]:
    return lambda rig: set(wanted) <= statuses(rig, endpoint)


def _only(endpoint: str, *wanted: int) -> Callable[[Rig], bool]:
    return lambda rig: set(wanted) == statuses(rig, endpoint)


def _said(text: bytes) -> Callable[[Rig], bool]:
    return lambda rig: said(rig, text) > 0


EVIDENCE: dict[tuple[str, Any], Callable[[Rig], bool]] = {
    ("create_repeated", "two-tasks"): lambda rig: bool(rig.world.witness.duplicate_names),
    ("create_repeated", "error"): _met("create", 409),
    ("lost_reply_made", 1.0): _only("create", 0),
    ("lost_reply_unmade", 1.0): lambda rig: rig.world.witness.tasks_made == 0,
    ("lost_reply_form", "drop"): _met("create", 0, 201),
    ("lost_reply_form", "500"): _met("create", 500, 201),
    ("lost_reply_form", "502"): _met("create", 502, 201),
    ("lost_reply_form", "503"): _met("create", 503, 201),
    ("lost_reply_form", "504"): _met("create", 504, 201),
    ("describe_lag_s", 5.0): _met("describe", 404),
    ("page_size_above_max", "rejected"): _met("list", 400),
    ("create_status", 200): _only("create", 200),
    ("create_status", 204): _only("create", 204),
    ("read_status", 201): lambda rig: statuses(rig, "describe") == statuses(rig, "link") == {201},
    ("delete_status", 204): _only("delete", 204),
    ("link_refusal", "403"): _met("file", 403),
    ("link_refusal", "400"): _met("file", 400),
    ("link_again", "same"): _met("file", 403),
    ("file_lifetime_s", 1.0): _said(b'"EXPIRED"'),
    ("after_lifetime", "expired"): _said(b'"EXPIRED"'),
    ("after_lifetime", "vanished"): _met("describe", 404),
    ("ranges", "honoured"): _met("file", 206),
    ("empty_result", "empty-file"): _said(b"Content-Length: 0\r\n"),
    ("empty_result", "no-file"): _met("file", 404),
    ("empty_result", "failed"): _said(b'"FAILED"'),
    ("histogram_fails", "always"): _only("histogram", 500),
    ("histogram_fails", "timeout"): _only("histogram", 504),
    ("count_refused", True): _only("query", 400),
    ("index_needed", True): _only("query", 400),
    ("create_per_s", 1.5): _met("create", 429),
    ("read_per_s", 1.0): _met("describe", 429),
    ("list_per_s", 0.5): _met("list", 429),
    ("link_per_s", 1.0): _met("link", 429),
    ("delete_per_s", 0.2): _met("delete", 429),
    ("query_per_s", 2.0): _met("query", 429),
    ("throttle_probability", 0.2): _met("create", 429),
    ("retry_after_s", 5.0): _said(b"Retry-After: 5\r\n"),
    ("retry_after_form", "date"): _said(b"Retry-After: Wed, 14 Jan 2026"),
    ("queries_at_once", 1): _met("query", 429),
    ("outstanding_cap", 2): lambda rig: rig.world.witness.max_outstanding <= 2,
    ("outstanding_cap_form", "429"): _met("create", 429),
    ("outstanding_cap_form", "400"): _met("create", 400),
    ("outstanding_cap_form", "403"): _met("create", 403),
    ("outstanding_cap_form", "waits"): _only("create", 201),
    ("overload_rows", 50): _met("query", 413),
    ("overload_rows", 20): _met("create", 413),
    ("auth_style", "platform"): _said(b"HTTP/1.1 400"),
    ("auth_style", "bls-401"): _said(b"HTTP/1.1 401"),
    ("auth_style", "bls-403"): _said(b"HTTP/1.1 403"),
    ("clock_offset_s", 7200.0): _said(b'"RequestExpired"'),
    ("clock_offset_s", -7200.0): _said(b'"RequestExpired"'),
    ("unknown_state", "PAUSED"): _said(b'"PAUSED"'),
    ("unknown_state_probability", 1.0): _said(b'"PAUSED"'),
    ("fail_probability", 0.4): _said(b'"FAILED"'),
    ("fail_codes", "empty"): _said(b'"failedCode":"","failedMessage":""'),
    ("expires_at_link_probability", 0.5): _met("file", 404),
    ("delete_running", "refused"): _met("delete", 403),
    ("delete_again", "not-found"): _met("delete", 404),
    ("store_removed", "failed"): _said(b'"FAILED"'),
    ("store_removed", "not-found"): _said(b'"failedCode":"LogStoreNotFound"'),
    ("store_recreated", "lost"): _said(b'"FAILED"'),
    ("missing_stream", "not-found"): _met("create", 404),
    ("reset_probability", 0.15): lambda rig: any(key.endswith(" 0") for key in rig.world.witness.statuses),
    ("bad_gateway_probability", 0.15): _said(b"502 Bad Gateway"),
    ("server_error_probability", 0.15): _said(b"HTTP/1.1 500"),
    ("malformed_probability", 0.15): _said(b'"uuid'),
    ("file_reset_probability", 0.5): _met("file", 0),
    ("file_error_probability", 0.5): _met("file", 503),
}


def test_evidence_is_asked_of_settings_that_exist() -> None:
    """No evidence waits for a setting that is played nowhere."""
    played = {(switch.name, value) for switch in SHOWN for value in switch.settings}
    assert set(EVIDENCE) <= played
    assert set(SCENES) <= {switch.name for switch in SHOWN}
    assert set(PROBES) == {switch.name for switch in SWITCHES if switch.never_sent}
