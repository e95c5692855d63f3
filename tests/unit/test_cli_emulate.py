"""What `emulate` serves: a world described in TOML, records from a file, or a world of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.app.emulation import described_world, loaded_store, records_of, world_of
from orchestrator.emulator.record import Arrangement
from orchestrator.emulator.search import EVERYTHING
from orchestrator.errors import UsageError

NOW_S = 1_768_521_600.0
DAY_MS = 86_400_000


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_world_is_read_with_its_stores_and_switches(tmp_path: Path) -> None:
    """Density, window, project, retention and behaviour arrive where they belong."""
    path = write(
        tmp_path / "world.toml",
        """
        seed = 7
        [behaviour]
        run_base_s = 0.5
        [[logstores]]
        name = "web"
        project = "shop"
        retention_days = 30
        indexed = false
        start = 2026-01-14
        end = 2026-01-15T00:00:00Z
        density = { kind = "uniform", rows_per_day = 1000 }
        [[logstores]]
        name = "quiet"
        """,
    )
    world = described_world(path)
    store = world.account.store("shop", "web")
    assert (store.retention_days, store.indexed, world.behaviour.run_base_s, world.seed) == (
        30,
        False,
        0.5,
        7,
    )
    start_ms = 1_768_348_800_000
    matching = store.source.matching(EVERYTHING, None, from_ms=0, visible_ms=start_ms + 9 * DAY_MS)
    assert matching.count(start_ms - DAY_MS, start_ms + 5 * DAY_MS) == 1000
    assert world.account.store("default", "quiet").name == "quiet"


def test_all_complaints_about_a_world_come_at_once(tmp_path: Path) -> None:
    """Unknown keys, wrong types and unknown switches are named together."""
    path = write(
        tmp_path / "world.toml",
        """
        sed = 7
        [behaviour]
        run_bass_s = 0.5
        [[logstores]]
        name = 3
        densty = {}
        start = "soon"
        [[logstores]]
        name = "b"
        density = { kind = "odd" }
        """,
    )
    with pytest.raises(UsageError) as raised:
        described_world(path)
    for word in (
        "sed: unknown",
        "run_bass_s",
        "logstores[0].name",
        "densty",
        "start",
        "logstores[1]: density",
    ):
        assert word in raised.value.message


@pytest.mark.parametrize("text", ["", "logstores = 3", "[[logstores]\n", "seed = 1"])
def test_what_describes_no_world_is_refused(tmp_path: Path, text: str) -> None:
    """An empty world would answer every question with nothing."""
    with pytest.raises(UsageError):
        described_world(write(tmp_path / "world.toml", text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The refusal says which file."""
    for paths in ({"world_path": str(tmp_path / "no.toml")}, {"load_path": str(tmp_path / "no.jsonl")}):
        with pytest.raises(UsageError, match=r"no\.(toml|jsonl)"):
            world_of(**paths, now_s=NOW_S)


def test_the_built_in_world_holds_the_last_days() -> None:
    """Without any file there is something to export, up to now."""
    world = world_of(now_s=NOW_S)
    (store,) = world.account.stores("default")
    end_ms = int(NOW_S * 1000)
    matching = store.source.matching(EVERYTHING, None, from_ms=0, visible_ms=end_ms)
    assert matching.count(end_ms - DAY_MS, end_ms) > 1_000_000


ROWS = [
    {"@timestamp": 1000, "@raw": "one", "@stream": "s", "@seq": 9, "status": 200, "level": "info"},
    {"timestamp": 2000, "message": "two", "stream": "t", "ratio": 0.5, "deep": {"x": 1}},
]


def test_records_are_read_in_both_spellings(tmp_path: Path) -> None:
    """Exported rows can be loaded again; other plain values become fields."""
    path = write(tmp_path / "my rows.jsonl", "\n".join(map(json.dumps, ROWS)) + "\n\n")
    one, two = records_of(path)
    assert (one.at_ms, one.raw, one.stream, dict(one.tags)) == (
        1000,
        "one",
        "s",
        {"status": 200, "level": "info"},
    )
    assert (two.at_ms, two.raw, two.stream, dict(two.tags)) == (2000, "two", "t", {"ratio": "0.5"})
    assert loaded_store(path, NOW_S).name == "my-rows"


@pytest.mark.parametrize(
    "line", ["not json", "[1]", '{"@raw": "x"}', '{"@timestamp": "now", "@raw": "x"}', '{"@timestamp": 5}']
)
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str) -> None:
    """Nothing is skipped silently: the file and the line are named."""
    path = write(tmp_path / "rows.jsonl", json.dumps(ROWS[0]) + "\n" + line + "\n")
    with pytest.raises(UsageError, match=r"rows\.jsonl:2"):
        list(records_of(path))


def test_a_loaded_store_does_not_hide_another(tmp_path: Path) -> None:
    """Two logstores of one name are a mistake of whoever started the emulator."""
    write(tmp_path / "web-access.jsonl", json.dumps(ROWS[0]))
    with pytest.raises(UsageError, match="already"):
        world_of(load_path=str(tmp_path / "web-access.jsonl"), now_s=NOW_S)


def test_a_log_file_is_loaded_line_by_line(tmp_path: Path) -> None:
    """Lines that are no exported rows are records themselves, dated by what they say; no byte is lost."""
    path = tmp_path / "app.log"
    path.write_bytes(b"2026-01-14 00:00:01 na\xefve\n\n2026-01-14T00:00:02.5Z {\n{ more\n")
    store = loaded_store(path, NOW_S)
    found = store.source.matching(EVERYTHING, None, from_ms=0, visible_ms=int(NOW_S * 1000))
    records = found.rows(0, int(NOW_S * 1000), 10, Arrangement()).records(0, 10)
    assert [(record.at_ms, record.raw.encode("utf-8", "surrogateescape")) for record in records] == [
        (1_768_348_801_000, b"2026-01-14 00:00:01 na\xefve"),
        (1_768_348_801_000, b""),
        (1_768_348_802_500, b"2026-01-14T00:00:02.5Z {"),
        (1_768_348_802_500, b"{ more"),
    ]
    (tmp_path / "events.log").write_text('{"at": "2026-01-14T00:00:01Z", "text": "structured, but no row"}\n')
    assert loaded_store(tmp_path / "events.log", NOW_S).source.streams == ("file",)
