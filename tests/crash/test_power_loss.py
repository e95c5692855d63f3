"""The power goes at any moment, and everything that was not synced may be gone, torn or there: the manifest
opens with every acknowledged commit, and every file it speaks of stands."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any

import pytest

from orchestrator.core.window import Window
from orchestrator.dataplane import destination, staging
from orchestrator.manifest import connection
from orchestrator.manifest.migrate import backup_path
from orchestrator.manifest.named import Migration, migrations
from orchestrator.manifest.store import open_writer
from orchestrator.testing import sqlitewatch
from orchestrator.testing.disklog import DiskLog, FolderSynced, Synced, Wrote
from orchestrator.testing.oswatch import OsWatch
from orchestrator.testing.powerloss import WORST, random_fates, walk
from orchestrator.testing.sqlitewatch import SqliteWatch, SymbolsHidden, sqlite_library
from tests.crash.conftest import WHOLE
from tests.crash.power import Outage, PowerRing, Tally, file_complaints, last, manifest_complaints
from tests.crash.ring import CHAPTERS, STORIES

CHOSEN = tuple(STORIES) if WHOLE else ("ends", "shortness")
EVERY = 5 if WHOLE else 37
"""One of so many rebuilt manifests is opened: each costs some milliseconds."""
FATES = WORST + random_fates(1, 10 if WHOLE else 6)
OUTAGES = 40 if WHOLE else 3
KILLS = 10 if WHOLE else 1


@pytest.fixture(scope="module", autouse=True)
def _scratch() -> Iterator[Path]:
    folder = Path(mkdtemp())
    _Made.folder = folder
    yield folder
    _recorded.cache_clear()
    shutil.rmtree(folder)


class _Made:
    folder: Path
    count = 0

    @classmethod
    def new(cls) -> Path:
        cls.count += 1
        return cls.folder / str(cls.count)


@cache
def _recorded(story: str) -> PowerRing:
    """A story with its manifest on disk, every step of the disk logged; played once."""
    return PowerRing(story, _Made.new()).play()


def _opened(ring: PowerRing, tally: Tally, *, every: int) -> Tally:
    with SqliteWatch(None, lazy=True):
        for chapter in range(len(CHAPTERS)):
            work = manifest_complaints(ring, chapter, FATES, _Made.new(), tally, every=every)
            asyncio.run(asyncio.wait_for(work, 600))
    return tally


def _compared(ring: PowerRing, tally: Tally) -> Tally:
    for chapter in range(len(CHAPTERS)):
        file_complaints(ring, chapter, FATES, tally)
    return tally


# --- what is there after an outage ---


@pytest.mark.parametrize("story", CHOSEN)
def test_the_manifest_opens_with_every_acknowledged_commit(story: str) -> None:
    """Whatever is left of what SQLite wrote and had not synced, whole, half or in single sectors: the
    product's own opener finds the acknowledged state, or the one commit under way as well, never a part."""
    ring = _recorded(story)
    assert ring.broken == []
    tally = _opened(ring, Tally(), every=EVERY)
    assert tally.broken == []
    assert tally.states > 100
    cut_short = [op for log in ring.logs for op in log.ops if isinstance(op, Wrote) and op.at_bytes == 0]
    assert len(cut_short) > len(CHAPTERS), "the log was never copied into the database"


@pytest.mark.parametrize("story", STORIES)
def test_every_file_the_manifest_speaks_of_stands(story: str) -> None:
    """At every step of the disk, with the manifest of that moment: published files whole under their names,
    staged ones where settling needs them, no name with other bytes, no recorded prefix that is none."""
    ring = _recorded(story)
    assert ring.broken == []
    tally = _compared(ring, Tally())
    assert tally.broken == []
    assert tally.states > 1000


@pytest.mark.parametrize("story", STORIES)
def test_an_export_goes_on_from_whatever_an_outage_left(story: str) -> None:
    """Rebuilt as an outage left it, manifest and files together, the disk is enough for the next life: same
    rows, nothing fetched twice that was safe, no remote task left over."""
    logs = _recorded(story).logs
    random = Random(f"outages {story}")
    for number in range(OUTAGES):
        chapter = random.choices(range(len(CHAPTERS)), weights=[len(log.ops) for log in logs])[0]
        outage = Outage(chapter, random.randrange(len(logs[chapter].ops)), random.choice(FATES))
        root = _Made.new()
        ring = PowerRing(story, root, [outage]).play()
        assert ring.broken == [], f"{number}: {outage}"
        shutil.rmtree(root)


@pytest.mark.parametrize("story", CHOSEN)
def test_a_kill_before_a_sync_makes_a_later_outage_no_worse(story: str) -> None:
    """What a killed process left unsynced is believed by the next one only once it is synced: after an outage
    in that life, too, commits and files stand."""
    logs = _recorded(story).logs
    syncs = [
        (chapter, step)
        for chapter, log in enumerate(logs)
        for step, op in enumerate(log.ops)
        if isinstance(op, Synced | FolderSynced)
    ]
    for chapter, step in Random(f"kills {story}").sample(syncs, KILLS):
        root = _Made.new()
        ring = PowerRing(story, root, [Outage(chapter, step)]).play()
        assert ring.broken == []
        assert _compared(ring, Tally()).broken == [], f"killed at step {step} of chapter {chapter}"
        assert _opened(ring, Tally(), every=10 * EVERY).broken == []
        shutil.rmtree(root)


def test_a_migration_is_never_without_its_copy(tmp_path: Path) -> None:
    """Whenever the power goes: either the manifest is still the old one, or it is the new one, whole, and the
    copy of the old one stands, whole, under its name."""
    path = tmp_path / "manifest.db"
    asyncio.run(_left_by_a_kill(path))
    later = (*migrations(), Migration(migrations()[-1].number + 1, "CREATE TABLE later (x)"))
    log = DiskLog(str(tmp_path))
    with SqliteWatch(log), OsWatch(log):
        asyncio.run(_visited(path, later))
    assert last(log).disk(WORST[1]).files == DiskLog(str(tmp_path)).first_files
    copy = str(backup_path(Path(log.root, path.name), migrations()[-1].number))
    seen: set[tuple[int, int]] = set()
    for steps, unsure in walk(log):
        for fate in FATES if steps % 3 == 0 or isinstance(log.ops[steps - 1], Synced) else WORST[:2]:
            files = unsure.disk(fate).files
            kept = {Path(name).name: content for name, content in files.items() if name != copy}
            found = _version(_Made.new(), kept)
            saved = _version(_Made.new(), {"manifest.db": files[copy]}) if copy in files else 0
            seen.add((found, saved))
    old, new = migrations()[-1].number, later[-1].number
    assert seen == {(old, 0), (old, old), (new, old)}


async def _left_by_a_kill(path: Path) -> None:
    """A manifest and its log as a process leaves them that dies after a commit."""
    alive = path.parent.with_name("alive") / path.name
    alive.parent.mkdir()
    async with open_writer(alive, now=lambda: 0.0, new_id=lambda: "ab" * 8) as opened:
        await opened.accept("web", Window(0, 60), "quiet", "me", 0.0)
        for ending in ("", "-wal"):
            shutil.copy(f"{alive}{ending}", f"{path}{ending}")


async def _visited(path: Path, steps: Sequence[Migration]) -> None:
    async with open_writer(path, now=lambda: 0.0, new_id=lambda: "ab" * 8, steps=steps):
        pass


def _version(folder: Path, files: dict[str, bytes]) -> int:
    """Of a rebuilt manifest that SQLite finds whole."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    opened = sqlite3.connect(folder / "manifest.db")
    try:
        assert opened.execute("pragma quick_check").fetchall() == [("ok",)]
        return int(opened.execute("pragma user_version").fetchone()[0])
    finally:
        opened.close()


# --- the test can fail ---


@pytest.mark.parametrize("mode", ["NORMAL", "OFF"])
def test_a_manifest_that_is_not_synced_turns_it_red(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With less than ``synchronous=FULL`` acknowledged commits are lost, and that is seen."""
    prepare = connection._prepare_writing

    def careless(opened: sqlite3.Connection) -> None:
        prepare(opened)
        opened.execute(f"PRAGMA synchronous = {mode}")

    monkeypatch.setattr(connection, "_prepare_writing", careless)
    assert _opened(PowerRing("doubts", _Made.new()).play(), Tally(), every=37).broken


@pytest.mark.parametrize(
    ("module", "function"),
    [(destination, "sync_folder"), (staging, "sync_folder"), (staging, "fdatasync")],
    ids=["folders of files", "folder of staging", "bytes"],
)
def test_a_sync_left_out_turns_it_red(module: Any, function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the sync of a published file's folder, of the staging folder, or of the bytes themselves, some
    outage takes a file the manifest relies on, and that is seen."""
    monkeypatch.setattr(module, function, lambda what: None)
    assert _compared(PowerRing("doubts", _Made.new()).play(), Tally()).broken


def test_a_process_that_writes_unseen_is_noticed(tmp_path: Path) -> None:
    """The log is compared with the disk: a step that passes it by fails the test instead of weakening it."""
    log = DiskLog(str(tmp_path))
    with OsWatch(log):
        (tmp_path / "seen").mkdir()
    (tmp_path / "unseen").write_bytes(b"x")
    assert last(log).disk(WORST[1]).files != DiskLog(str(tmp_path)).first_files


def test_a_library_that_cannot_be_watched_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python whose SQLite shows no functions makes these tests fail and say why, not pass."""
    assert sqlite_library().sqlite3_libversion().decode() == sqlite3.sqlite_version

    class Hidden:
        def __init__(self, path: str | None) -> None:
            """Loads, and shows nothing."""

    monkeypatch.setattr(sqlitewatch.ctypes, "CDLL", Hidden)
    with pytest.raises(SymbolsHidden, match="linked statically"):
        sqlite_library()
