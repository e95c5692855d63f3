"""The own machine at its worst: full disk, second run, signals, damage, no way to the service."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import shutil
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.errors import StorageError
from orchestrator.manifest.store import open_reader
from tests.e2e.conftest import Ended
from tests.e2e.proving import (
    Program,
    Rows,
    describe_world,
    desk_beside,
    each_slice_one_task,
    nothing_leaks,
    only_verified_files,
    program,
    same_rows,
    truth,
)

ROWS = 8_000


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Program, Rows]]:
    """An emulator for this file, and the truth of its logstore."""
    folder = tmp_path_factory.mktemp("served")
    world = describe_world(folder, ROWS)
    with program(folder, "--world", str(world)) as made:
        yield made, truth(world)


@pytest.fixture
def desk(served: tuple[Program, Rows], tmp_path: Path) -> Program:
    """A job of a few slices, not yet run."""
    made = desk_beside(served[0], tmp_path)
    made.write_job({"max_lines": 2000})
    return made


@pytest.fixture(scope="module")
def finished(served: tuple[Program, Rows], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a job that was run to its end; to be copied, not changed."""
    made = desk_beside(served[0], tmp_path_factory.mktemp("finished"))
    made.write_job({"max_lines": 2000})
    assert made.run().exit == 0
    for beside in made.folder.glob("orchestrator.db-*"):
        assert beside.stat().st_size == 0 or beside.suffix == ".db-shm"
        beside.unlink()
    return made.folder


@pytest.fixture
def expected(served: tuple[Program, Rows]) -> Rows:
    """Every row there is."""
    return served[1]


def until(holds: Callable[[], bool], patience_s: float = 60.0) -> None:
    """Wait for what must come; looked at often, given up at last."""
    give_up_at = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < give_up_at, "it did not come"
        time.sleep(0.02)


def told(ended: Ended, exit: int, code: str, *words: str) -> None:
    """The run ended so, said it on stderr and in the document, and said how to mend it."""
    assert ended.exit == exit, ended.err
    error = ended.document["error"]
    assert error["code"] == code
    assert error["hint"]
    assert f"error: {error['message']}" in ended.err
    assert "how to mend it: " in ended.err
    for word in words:
        assert word in error["message"], error["message"]


def completes(desk: Program, expected: Rows) -> None:
    """The next run ends complete: the truth, and one remote task a slice over all runs."""
    desk.preparation = None
    ended = desk.run()
    assert ended.exit == 0, ended.err
    same_rows(desk.archived(), expected)
    ledger = desk.ledger()
    only_verified_files(desk, ledger)
    each_slice_one_task(desk, ledger)
    nothing_leaks(desk, ended)


# --- no room


def test_less_room_than_the_reserve_ends_cleanly(desk: Program, expected: Rows) -> None:
    """Exit 6 before a file is stored, the reserve named; with room the next run completes."""
    desk.write_job({"max_lines": 2000}, limits='disk_reserve = "900TB"')
    ended = desk.run()
    told(ended, 6, "disk_full")
    assert "disk_reserve" in ended.document["error"]["hint"]
    assert desk.final_files() == []
    desk.write_job({"max_lines": 2000})
    completes(desk, expected)


@pytest.mark.parametrize("largest_bytes", [200_000, 20_000])
def test_a_disk_that_takes_no_more_ends_cleanly(desk: Program, expected: Rows, largest_bytes: int) -> None:
    """Neither a file nor the manifest can grow: exit 6, nothing half done, and the next run completes."""

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_bytes, largest_bytes))

    desk.preparation = small_files
    ended = desk.run()
    assert ended.exit == 6, ended.err
    assert ended.document["error"]["code"] in ("disk_full", "storage")
    desk.preparation = None
    only_verified_files(desk, desk.ledger())
    completes(desk, expected)


# --- one at a time, and the end by signals


def test_a_second_run_names_the_first(desk: Program, expected: Rows) -> None:
    """Exit 8 at once, naming process and machine of the owner, who is not disturbed."""
    first = desk.start("run", "--json", "--no-progress")
    until(lambda: desk.emulated.stats()["tasks_made"] > desk.made_before)
    first.send_signal(signal.SIGSTOP)  # it holds the manifest for as long as this takes
    begun = time.monotonic()
    second = desk.run()
    assert time.monotonic() - begun < 30.0
    first.send_signal(signal.SIGCONT)
    told(second, 8, "manifest_locked", str(first.pid), socket.gethostname())
    assert desk.end(first).exit == 0
    completes(desk, expected)


def test_a_drained_fetch_goes_on_where_it_stopped(desk: Program, expected: Rows) -> None:
    """SIGTERM amid the fetches: 130 within seconds, and what was fetched is not fetched again."""
    desk.emulated.behave(file_bytes_per_s=150_000.0)
    before = sum(desk.emulated.stats()["bytes_served"].values())
    child = desk.start("run", "--json", "--no-progress")
    until(lambda: sum(desk.emulated.stats()["bytes_served"].values()) > before + 200_000)
    child.send_signal(signal.SIGTERM)
    sent_at = time.monotonic()
    ended = desk.end(child)
    assert time.monotonic() - sent_at < 15.0
    assert ended.exit == 130, ended.err
    assert ended.document["complete"] is False
    nothing_leaks(desk, ended)
    only_verified_files(desk, desk.ledger())
    desk.emulated.behave(file_bytes_per_s=0.0)
    completes(desk, expected)
    served = desk.emulated.stats()["bytes_served"]
    sizes = {row["uuid"]: row["fetched_bytes"] for row in desk.ledger()}
    lost = {uuid: served[uuid] - size for uuid, size in sizes.items()}
    # What was on its way through the sockets when the fetch was let go: two pieces of the trickle at most.
    assert all(0 <= surplus <= 40_000 for surplus in lost.values()), lost


def test_a_second_signal_ends_at_once(desk: Program, expected: Rows) -> None:
    """The drain is cut short amid a create; the next run finds the remote task and makes no second one."""
    desk.write_job({"max_lines": 2000}, limits="tasks = 1")
    desk.emulated.behave(run_base_s=3.0, latency_s=1.5, latency_jitter=0.0)
    child = desk.start("run", "--json", "--no-progress")
    until(lambda: desk.emulated.stats()["tasks_made"] > desk.made_before)
    child.send_signal(signal.SIGINT)
    assert child.stderr is not None
    while "run.draining" not in (line := child.stderr.readline()):
        assert line, "it ended before it drained"
    child.send_signal(signal.SIGINT)
    sent_at = time.monotonic()
    ended = desk.end(child)
    assert time.monotonic() - sent_at < 4.0
    assert ended.exit == 130
    desk.write_job({"max_lines": 2000})
    desk.emulated.behave(run_base_s=0.1, latency_s=0.0)
    completes(desk, expected)


# --- damage


def test_a_file_in_place_of_the_archive_is_named(desk: Program, expected: Rows) -> None:
    """Where the archive cannot be made: exit 6 with the path; the file stays; without it the next run
    completes."""
    path = desk.folder / "archive"
    path.write_text("mine")
    ended = desk.run()
    told(ended, 6, "storage", str(path))
    assert path.read_text() == "mine"
    path.unlink()
    completes(desk, expected)


def test_a_file_in_place_of_a_folder_inside_is_a_gap(desk: Program, expected: Rows) -> None:
    """Where a folder of the layout cannot be made: gaps that say so and how to mend them, the exit that goes
    with them; the file stays; without it the next run completes."""
    path = desk.folder / "archive" / "web"
    path.parent.mkdir()
    path.write_text("mine")
    ended = desk.run()
    gaps = ended.document["jobs"][0]["gaps"]
    assert gaps
    assert {gap["reason"] for gap in gaps} == {"path occupied"}
    assert all(gap["mend"].startswith(f"mv -n {path} {path}.foreign && orchestrator run ") for gap in gaps)
    assert ended.exit == (3 if any(gap["mendable"] for gap in gaps) else 7)
    assert f"{path}/" in ended.err
    assert "web is no folder" in ended.err
    assert path.read_text() == "mine"
    path.unlink()
    assert desk.run().exit == 0
    same_rows(desk.archived(), expected)
    only_verified_files(desk, desk.ledger())


def _header(content: bytes) -> bytes:
    return b"\xa5" * 100 + content[100:]


def _pages(content: bytes) -> bytes:
    return content[:4096] + b"\xa5" * (len(content) - 4096)


def _half(content: bytes) -> bytes:
    return content[: len(content) // 8192 * 4096]


@pytest.mark.parametrize("damage", [_header, _pages, _half])
def test_a_damaged_manifest_is_refused_and_nothing_is_touched(
    desk: Program, expected: Rows, damage: Callable[[bytes], bytes]
) -> None:
    """Exit 6 with a hint, for runs and for readers; files, manifest and service stay as they are."""
    assert desk.run().exit == 0
    manifest = desk.folder / "orchestrator.db"
    intact = manifest.read_bytes()
    for beside in desk.folder.glob("orchestrator.db-*"):
        assert beside.stat().st_size == 0 or beside.suffix == ".db-shm", (
            f"{beside} holds what the manifest lacks"
        )
        beside.unlink()
    manifest.write_bytes(damage(intact))
    damaged, files = manifest.read_bytes(), _fingerprints(desk)
    made = desk.emulated.stats()["tasks_made"]
    ended = desk.run()
    told(ended, 6, "manifest_damaged", "orchestrator.db")
    assert "backup" in ended.document["error"]["hint"]
    assert desk.call("status", "--json").exit == 6
    assert manifest.read_bytes() == damaged
    assert _fingerprints(desk) == files
    assert desk.emulated.stats()["tasks_made"] == made
    manifest.write_bytes(intact)
    completes(desk, expected)


def _fingerprints(desk: Program) -> dict[str, tuple[int, int, str]]:
    return {
        str(path): (
            path.stat().st_ino,
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in desk.final_files()
    }


def _not_sqlite(folder: Path, manifest: Path, content: bytes) -> None:
    manifest.write_bytes(b"dear diary, " * 1000)


def _nothing(folder: Path, manifest: Path, content: bytes) -> None:
    manifest.write_bytes(b"")


def _folder(folder: Path, manifest: Path, content: bytes) -> None:
    manifest.unlink()
    manifest.mkdir()


def _newer(folder: Path, manifest: Path, content: bytes) -> None:
    _sql(manifest, "PRAGMA user_version = 99")


def _foreign(folder: Path, manifest: Path, content: bytes) -> None:
    manifest.unlink()
    _sql(manifest, "CREATE TABLE bookmarks (address TEXT)")


def _no_tables(folder: Path, manifest: Path, content: bytes) -> None:
    _sql(manifest, "DROP TABLE coverage")


def _sql(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (_not_sqlite, "manifest_damaged"),
        (_nothing, "manifest_damaged"),
        (_folder, "storage"),
        (_newer, "manifest_too_new"),
        (_foreign, "manifest_damaged"),
        (_no_tables, "manifest_damaged"),
    ],
)
def test_what_is_no_manifest_of_ours_is_left_alone(
    desk: Program, finished: Path, harm: Callable[[Path, Path, bytes], None], code: str
) -> None:
    """Exit 6, saying what stands there and what to do; not a byte of it changes, nobody is contacted."""
    manifest = desk.folder / "orchestrator.db"
    shutil.copy(finished / "orchestrator.db", manifest)
    harm(desk.folder, manifest, manifest.read_bytes())
    content = manifest.read_bytes() if manifest.is_file() else None
    requests = desk.emulated.stats()["requests"]
    told(desk.run(), 6, code, "orchestrator.db")
    assert (manifest.read_bytes() if manifest.is_file() else None) == content
    assert desk.emulated.stats()["requests"] == requests


def test_a_page_of_the_manifest_that_turned_bad_is_never_a_defect_of_ours(
    finished: Path, tmp_path: Path
) -> None:
    """Whichever page it is: every reader answers, or says that the manifest is damaged."""
    content = (finished / "orchestrator.db").read_bytes()
    manifest = tmp_path / "orchestrator.db"
    damaged = 0
    for at in range(4096, len(content), 4096):
        for filling in (b"\xa5" * 4096, bytes(4096)):
            manifest.write_bytes(content[:at] + filling + content[at + 4096 :])
            damaged += _read_whole(manifest)
    assert damaged > 10


def _read_whole(manifest: Path) -> bool:
    """Everything a reader may be asked; whether it said that the manifest is damaged."""

    async def asked() -> None:
        async with open_reader(manifest) as reader:
            assert reader is not None
            await reader.counts("web")
            await reader.coverage("web")
            await reader.next_number()
            async for row in reader.ledger():
                await reader.story(row.slice)

    try:
        asyncio.run(asked())
    except StorageError as error:
        return bool(error.hint)
    return False


def test_garbage_in_the_log_of_the_manifest_is_not_taken_for_truth(desk: Program, expected: Rows) -> None:
    """SQLite knows its own frames: what else stands there is let be, and nothing is exported twice."""
    assert desk.run().exit == 0
    (desk.folder / "orchestrator.db-shm").unlink(missing_ok=True)
    (desk.folder / "orchestrator.db-wal").write_bytes(b"\x5a" * 50_000)
    made = desk.emulated.stats()["tasks_made"]
    completes(desk, expected)
    assert desk.emulated.stats()["tasks_made"] == made


# --- taken away while it is in use


@pytest.mark.parametrize("name", ["orchestrator.db", "orchestrator.db.lock"])
def test_a_manifest_that_goes_amid_a_run_ends_it(desk: Program, expected: Rows, name: str) -> None:
    """Writing on into a file without a name would lose every uuid, and without the lock a second run could
    join in: exit 6 and a word on it; with the file back, the next run completes with one remote task a
    slice."""
    desk.write_job({"max_lines": 2000}, limits="tasks = 2")
    desk.emulated.behave(run_base_s=1.0)
    child = desk.start("run", "--json", "--no-progress")
    until(lambda: desk.emulated.stats()["tasks_made"] >= desk.made_before + 2)
    file, kept = desk.folder / name, desk.folder / "kept"
    os.link(file, kept)
    file.unlink()
    if name.endswith(".lock"):
        file.write_bytes(b"")
    ended = desk.end(child)
    told(ended, 6, "storage", f"{name} was removed or replaced")
    file.unlink(missing_ok=True)
    kept.rename(file)
    desk.emulated.behave(run_base_s=0.1)
    completes(desk, expected)


def test_a_destination_that_goes_amid_a_run_is_made_anew(desk: Program, expected: Rows) -> None:
    """Files that were stored are missed and named by ``verify``, and the run after it completes the archive
    again; nothing crashes."""
    desk.emulated.behave(run_base_s=0.5, file_bytes_per_s=300_000.0)
    child = desk.start("run", "--json", "--no-progress")
    until(lambda: bool(desk.final_files()) or child.poll() is not None)
    (desk.folder / "archive").rename(desk.folder / "gone")
    ended = desk.end(child)
    assert ended.exit in (0, 3, 6), ended.err
    assert "Traceback" not in ended.err
    desk.emulated.behave(run_base_s=0.1, file_bytes_per_s=0.0)
    assert desk.call("verify", "--json").exit in (0, 4)
    again = desk.run()
    assert again.exit == 0, again.err
    same_rows(desk.archived(), expected)


# --- places that cannot be written, means that are short

PLACES = {
    "below a file": ("jobs.toml/x/m.db", 6, "storage"),
    "in /proc": ("/proc/orchestrator.db", 6, "storage"),
    "a folder that is missing": ("not/there/m.db", 0, ""),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_place_for_the_manifest_that_cannot_be_written_is_named(desk: Program, place: str) -> None:
    """Whoever runs it, root too: exit 6 with the path and a mend, before anybody is contacted; a missing
    folder is made."""
    path, code, word = PLACES[place]
    ended = desk.run("--manifest", path)
    if code == 0:
        assert ended.exit == 0, ended.err
        assert (desk.folder / path).exists()
    else:
        told(ended, code, word, Path(path).name if place != "below a file" else "jobs.toml")
        assert desk.emulated.stats()["tasks_made"] == desk.made_before


@pytest.mark.parametrize("path", ["/proc/self/mem", "archive.d", "/dev/null"])
def test_a_job_file_that_cannot_be_read_is_a_complaint(desk: Program, path: str) -> None:
    """An unreadable file, a folder, nothing at all: exit 2 and what is wrong with it."""
    (desk.folder / "archive.d").mkdir()
    ended = desk.end(desk.start("run", path, "--json"))
    assert ended.exit == 2
    assert path in ended.document["error"]["message"] + ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("descriptors", [12, 22])
def test_too_few_file_descriptors_end_without_a_defect(
    desk: Program, expected: Rows, descriptors: int
) -> None:
    """Sockets, files and the manifest run out of them: an exit that says what happened, and with more of them
    the next run completes."""
    desk.preparation = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    ended = desk.end(desk.start("run", "--json", "--no-progress", "--max-duration", "20s"))
    assert ended.exit in (0, 3, 6), ended.err
    assert "Traceback" not in ended.err
    desk.preparation = None
    completes(desk, expected)


SURROUNDINGS: dict[str, dict[str, str]] = {
    "bare": {"HOME": "", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TZ": "Nowhere/Land"},
    "far away": {"TZ": "Pacific/Kiritimati", "TERM": "dumb", "COLUMNS": "1", "LINES": "0"},
}


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_odd_surroundings_change_nothing(desk: Program, expected: Rows, name: str) -> None:
    """Windows are UTC, names are UTF-8, and the home folder is not needed."""
    ended = desk.run(**SURROUNDINGS[name])
    assert ended.exit == 0, ended.err
    same_rows(desk.archived(), expected)
    assert min(path.name for path in desk.final_files()).startswith("20260114T000000Z_")


# --- the lock


def test_a_lock_that_a_dead_process_left_holds_nobody_up(desk: Program) -> None:
    """The kernel's lock went with its owner; the words in the file are for people, whatever they say."""
    lock = desk.folder / "orchestrator.db.lock"
    for words in (b'{"host":"elsewhere","pid":1,"since":"2020-01-01T00:00:00Z"}', b"\xff\x00[1]"):
        lock.write_bytes(words)
        assert desk.run("--to", "2026-01-14T01:00:00Z").exit == 0


# --- no way there


def test_a_service_that_cannot_be_reached_asks_for_another_run(desk: Program, expected: Rows) -> None:
    """Nobody listens, or the name means nothing: exit 3 within 90 s, saying so; nothing is made up."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoints = [f"http://127.0.0.1:{taken.getsockname()[1]}", "http://bls-log.nowhere.invalid"]
        begun = time.monotonic()
        with ThreadPoolExecutor() as together:
            every = list(together.map(lambda endpoint: _tried(desk, endpoint), endpoints))
        assert time.monotonic() - begun < 90.0
    for endpoint, ended in zip(endpoints, every, strict=True):
        told(ended, 3, "unreachable", endpoint.removeprefix("http://"))
        (job,) = ended.document["jobs"]
        assert (job["complete"], job["lines"], job["files"]) == (False, 0, 0)
        (gap,) = job["gaps"]
        assert (gap["reason"], gap["mendable"]) == ("not exported yet", True)
    completes(desk, expected)


def _tried(desk: Program, endpoint: str) -> Ended:
    folder = desk.folder.parent / hashlib.sha256(endpoint.encode()).hexdigest()[:8]
    folder.mkdir()
    text = (desk.folder / "jobs.toml").read_text()
    (folder / "jobs.toml").write_text(text.replace(desk.emulated.endpoint, endpoint))
    return Program(folder, desk.emulated, desk.environment, desk.children).run()
