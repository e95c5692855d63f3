"""The own machine at its worst: full disk, second run, signals, damage, no way to the service."""

from __future__ import annotations

import hashlib
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

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
    desk.emulated.behave(run_base_s=2.0)
    first = desk.start("run", "--json", "--no-progress")
    until(lambda: desk.emulated.stats()["tasks_made"] > desk.made_before)
    begun = time.monotonic()
    second = desk.run()
    assert time.monotonic() - begun < 10.0
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
    assert all("move that file away" in gap["mend"] for gap in gaps)
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
