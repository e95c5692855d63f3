"""Switches, worlds described in a file, chance, pace and evidence."""

from __future__ import annotations

import tomllib
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.emulator import world_file
from orchestrator.emulator.behaviour import Behaviour, BehaviourError
from orchestrator.emulator.chance import Chance, fraction
from orchestrator.emulator.density import Diurnal
from orchestrator.emulator.generated import GeneratedStore
from orchestrator.emulator.mishap import Kind, Pace, draw_latency, draw_mishap
from orchestrator.emulator.record import Record
from orchestrator.emulator.records import RecordStore
from orchestrator.emulator.refusal import Refusal
from orchestrator.emulator.search import EVERYTHING
from orchestrator.emulator.witness import Witness
from orchestrator.emulator.world_file import world_from_dict


def complaints(spec: dict[str, object]) -> tuple[str, ...]:
    with pytest.raises(BehaviourError) as error:
        Behaviour.from_dict(spec)
    return error.value.complaints


def test_every_wrong_switch_is_named_at_once() -> None:
    """All complaints come together: the unknown key with its nearest neighbour, and every value out of
    range."""
    found = complaints({"list_lag": 1.0, "etag": "maybe", "create_status": 404, "fail_probability": 1.5})
    assert found == (
        "unknown switch 'list_lag'; did you mean 'list_lag_s'?",
        "etag must be one of opaque, md5, weak, changing, none, not 'maybe'",
        "create_status must be a 2xx status, not 404",
        "fail_probability is a probability between 0 and 1, not 1.5",
    )


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ({"crlf": 1}, "true or false"),
        ({"executors": 2.5}, "whole number"),
        ({"executors": True}, "whole number"),
        ({"latency_s": "fast"}, "number"),
        ({"latency_s": -1}, "negative"),
        ({"unknown_state": 3}, "text"),
        ({"omitted_keys": "message"}, "list of texts"),
        ({"omitted_keys": [1]}, "list of texts"),
    ],
)
def test_wrong_types_are_named(spec: dict[str, object], part: str) -> None:
    """A value of the wrong type says what is expected."""
    assert part in complaints(spec)[0]


def test_switches_are_laid_over_a_base() -> None:
    """Only the named switches change; lists from TOML or JSON become tuples."""
    base = Behaviour(list_lag_s=3.0)
    changed = Behaviour.from_dict({"omitted_keys": ["message"], "retry_after_s": -1}, base)
    assert (changed.list_lag_s, changed.omitted_keys) == (3.0, ("message",))
    assert Behaviour.from_dict({}) == Behaviour()


def test_a_constructor_checks_too() -> None:
    """A Behaviour made in code cannot hold a value outside its switch."""
    with pytest.raises(BehaviourError):
        Behaviour(etag="maybe")  # type: ignore[arg-type]
    assert len(fields(Behaviour)) > 80


def test_the_example_world_is_read() -> None:
    """The file shown in the module's own description builds the world it describes."""
    text = (world_file.__doc__ or "").split("\n\n", 1)[1]
    world = world_from_dict(tomllib.loads(text))
    assert world.behaviour.list_lag_s == 2.0
    store = world.account.store("shop", "web-access")
    assert (store.retention_days, store.indexed) == (30, True)
    assert isinstance(store.source, GeneratedStore)
    assert store.source.streams == ("app/prod-1", "app/prod-2")
    day = store.source.timeline.before(1_768_435_200) - store.source.timeline.before(1_768_348_800)
    assert day == Diurnal(50_000_000).rows_per_day


def test_a_logstore_of_no_density_takes_records() -> None:
    """A store that is said to be empty can be pushed to; one that is only named holds records."""
    world = world_from_dict(
        {"logstores": [{"name": "mine", "density": {"kind": "empty"}}, {"name": "other"}]}
    )
    assert isinstance(world.account.store("default", "mine").source, RecordStore)
    assert isinstance(world.account.store("default", "other").source, GeneratedStore)


def test_records_are_found_by_whoever_can_read_files() -> None:
    """A store of real records holds what is found under the name; files that hold none are complained
    about."""
    spec = {"logstores": [{"name": "mine", "records": "some.jsonl"}]}
    record = Record(1_768_348_800_000, 1, "s", "one", (), 1_768_348_800_000)
    world = world_from_dict(spec, find_records=lambda name: [record] if name == "some.jsonl" else [])
    found = world.account.store("default", "mine").source.matching(
        EVERYTHING, None, from_ms=0, visible_ms=2**62
    )
    assert found.count(0, 2**62) == 1

    def none_there(name: str) -> list[Record]:
        raise ValueError(f"{name}: not there")

    with pytest.raises(BehaviourError, match=r"logstores\[0\].records: some.jsonl: not there"):
        world_from_dict(spec, find_records=none_there)
    with pytest.raises(BehaviourError, match=r"logstores\[0\].records: no file can be read here"):
        world_from_dict(spec)


def test_a_wrong_world_is_complained_about_all_at_once() -> None:
    """Every finding names its place in the file."""
    with pytest.raises(BehaviourError) as error:
        world_from_dict(
            {
                "sead": 1,
                "seed": "x",
                "behaviour": {"etags": "md5"},
                "logstores": [
                    {"name": "a", "density": {"kind": "wavy"}},
                    {"nam": "b"},
                    {"density": {}},
                    {"name": "c", "start": "yesterday"},
                    {"name": "d", "start": 5, "end": 4},
                    {"name": "e", "density": {}, "streams": []},
                ],
            }
        )
    assert [complaint.split(":")[0] for complaint in error.value.complaints] == [
        "sead",
        "seed",
        "behaviour",
        "logstores[0]",
        "logstores[1].nam",
        "logstores[1].name",
        "logstores[2].name",
        "logstores[3].start",
        "logstores[4].end",
        "logstores[5].streams",
    ]


def test_two_logstores_of_one_name_are_refused() -> None:
    """A world cannot hold a name twice."""
    with pytest.raises(BehaviourError, match="already exists"):
        world_from_dict({"logstores": [{"name": "a"}, {"name": "a"}]})


@given(seed=st.integers(), label=st.text())
def test_chance_follows_from_its_labels(seed: int, label: str) -> None:
    """The same seed and label give the same number in [0, 1)."""
    assert fraction(seed, label) == fraction(seed, label)
    assert 0 <= fraction(seed, label) < 1


def test_draws_of_one_label_do_not_move_another() -> None:
    """Drawing more often under one label leaves the luck of the others alone."""
    one, other = Chance(3), Chance(3)
    for _ in range(10):
        one.fraction("noise")
    assert [one.fraction("signal") for _ in range(5)] == [other.fraction("signal") for _ in range(5)]
    assert not one.happens("never", 0.0)
    share = sum(one.happens("often", 0.3) for _ in range(4000)) / 4000
    assert 0.27 < share < 0.33


def test_every_mishap_can_happen() -> None:
    """Lost replies, resets, gateway pages, server errors and malformed answers are drawn as asked for."""
    chance = Chance(1)
    for switch, kind in (
        ("reset_probability", Kind.DROP),
        ("bad_gateway_probability", Kind.GATEWAY_PAGE),
        ("server_error_probability", Kind.SERVER_ERROR),
        ("malformed_probability", Kind.MALFORMED),
    ):
        mishap = draw_mishap(Behaviour.from_dict({switch: 1.0}), chance, "read")
        assert mishap is not None
        assert mishap.kind is kind
    for form, kind, status in (
        ("drop", Kind.DROP, 0),
        ("500", Kind.SERVER_ERROR, 500),
        ("503", Kind.SERVER_ERROR, 503),
        ("502", Kind.GATEWAY_PAGE, 502),
        ("504", Kind.GATEWAY_PAGE, 504),
    ):
        for switch, made in (("lost_reply_made", True), ("lost_reply_unmade", False)):
            behaviour = Behaviour.from_dict({switch: 1.0, "lost_reply_form": form})
            mishap = draw_mishap(behaviour, chance, "create")
            assert mishap is not None
            assert (mishap.kind, mishap.status, mishap.after_effect) == (kind, status, made)
            assert draw_mishap(behaviour, chance, "read") is None
    assert draw_mishap(Behaviour(), chance, "create") is None


def test_latency_varies_around_its_mean() -> None:
    """Latency lies within its jitter around the mean; none is none."""
    behaviour = Behaviour(latency_s=0.2, latency_jitter=0.5)
    drawn = [draw_latency(behaviour, Chance(seed)) for seed in range(200)]
    assert 0.1 <= min(drawn) < 0.13
    assert 0.27 < max(drawn) <= 0.3
    assert draw_latency(Behaviour(), Chance(1)) == 0.0


def test_each_family_has_its_own_rate() -> None:
    """A family's requests above its rate get 429 with the Retry-After asked for; others pass; waiting
    refills."""
    pace, behaviour = Pace(Chance(1)), Behaviour(create_per_s=2.0, retry_after_s=1.5)
    pace.admit("create", behaviour, 100.0)
    pace.admit("create", behaviour, 100.0)
    with pytest.raises(Refusal) as refusal:
        pace.admit("create", behaviour, 100.0)
    assert (refusal.value.status, refusal.value.code, refusal.value.retry_after_s) == (
        429,
        "RequestLimited",
        1.5,
    )
    pace.admit("read", behaviour, 100.0)
    pace.admit("create", behaviour, 100.5)
    with pytest.raises(Refusal):
        pace.admit("create", behaviour, 100.6)
    with pytest.raises(Refusal) as plain:
        pace.admit("read", Behaviour(throttle_probability=1.0), 100.0)
    assert plain.value.retry_after_s is None


def test_the_witness_sees_the_busiest_second() -> None:
    """The maximum is taken over every one-second interval, not over calendar seconds; files are not paced."""
    witness = Witness()
    for at_s in (10.6, 10.8, 11.0, 11.2, 11.5, 11.65):
        witness.request("list", at_s)
    witness.request("file", 11.1, signed=False)
    assert witness.max_requests_in_1s == 5
    assert witness.max_requests_in_1s_by_endpoint == {"list": 5}
    assert witness.requests == {"list": 6, "file": 1}


def test_a_clock_set_back_is_no_burst() -> None:
    """Requests before the server's clock was set back do not count into the second after it."""
    witness = Witness()
    for at_s in (100.0, 100.1, 100.2, 40.0, 40.1):
        witness.request("list", at_s)
    assert witness.max_requests_in_1s == 3


def test_the_witness_remembers_duplicate_names() -> None:
    """Two live tasks of one name are evidence, also after one of them is gone."""
    witness = Witness()
    witness.task_made("a", 1)
    witness.task_made("", 2)
    witness.task_made("", 3)
    witness.task_made("a", 4)
    assert witness.live_duplicate_names() == ("a",)
    witness.task_gone("a")
    stats = witness.stats()
    assert (stats["duplicate_names_live"], stats["duplicate_names_ever"]) == ([], {"a": 2})
    assert (stats["max_outstanding"], stats["tasks_made"]) == (4, 4)
