"""SIGINT, SIGTERM, SIGHUP and readers that go away: at every moment one answer, and nothing lost."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.conftest import PATIENCE_S, Ended
from tests.e2e.hostile_front import Answer, Front, quoting_front
from tests.e2e.proving import (
    PROGRAM,
    Program,
    Rows,
    describe_world,
    desk_beside,
    each_slice_one_task,
    manifest_is_intact,
    nothing_leaks,
    only_verified_files,
    program,
    same_rows,
    truth,
)

ROWS = 3_000
JOB = {"max_lines": 1000}
"""In four slices."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Program, Rows]]:
    """An emulator for this file, and the truth of its logstore."""
    folder = tmp_path_factory.mktemp("served")
    world = describe_world(folder, ROWS)
    with program(folder, "--world", str(world)) as made:
        yield made, truth(world)


@pytest.fixture
def desk(served: tuple[Program, Rows], tmp_path: Path) -> Iterator[Program]:
    """A job of a few slices, not yet run."""
    made = another_desk(served, tmp_path, "job")
    yield made
    for child in made.children:
        if child.poll() is None:
            child.kill()
            child.communicate()


def another_desk(served: tuple[Program, Rows], folder: Path, name: str) -> Program:
    (folder / name).mkdir()
    made = desk_beside(served[0], folder / name)
    made.children = []
    made.write_job(JOB)
    return made


@contextmanager
def behind_front(desk: Program) -> Iterator[Front]:
    """The desk talks to the emulator through a front that changes nothing yet."""
    with quoting_front(desk.emulated.endpoint, {}) as front:
        front.silent = True
        emulated = desk.emulated
        desk.emulated = replace(emulated, endpoint=front.endpoint)
        desk.write_job(JOB)
        desk.emulated = emulated
        yield front


def until(holds: Callable[[], bool]) -> None:
    """Wait for what must come; looked at often, given up at last."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_at, "it did not come"
        time.sleep(0.002)


def handles_signals(child: subprocess.Popen[str]) -> bool:
    """Whether the program has begun: Python itself leaves SIGTERM alone."""
    try:
        lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
    except OSError:
        return True
    caught = next((int(line.split()[1], 16) for line in lines if line.startswith("SigCgt")), 0)
    return bool(caught >> (signal.SIGTERM - 1) & 1) or child.poll() is not None


def drained(desk: Program, ended: Ended, *exits: int) -> None:
    """It ended as it should, in one document, without a traceback; what it left is in order."""
    assert ended.exit in exits, ended.err
    assert ended.document["complete"] is (ended.exit == 0)
    nothing_leaks(desk, ended)
    if (desk.folder / "orchestrator.db").exists():
        manifest_is_intact(desk)
        only_verified_files(desk, desk.ledger())


def completes(desk: Program, expected: Rows) -> None:
    """The next run ends complete: the truth, and one remote task a slice over all runs."""
    ended = desk.run()
    assert ended.exit == 0, ended.err
    same_rows(desk.archived(), expected)
    ledger = desk.ledger()
    only_verified_files(desk, ledger)
    each_slice_one_task(desk, ledger)


# --- the first signal, at every moment


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_anything_has_begun_ends_at_once(desk: Program, number: signal.Signals) -> None:
    """While the program still gathers itself: 130 with a document, and nothing was made."""
    child = desk.start("run", "--json", "--no-progress")
    until(lambda: handles_signals(child))
    child.send_signal(number)
    ended = desk.end(child)
    drained(desk, ended, 130, 0)
    if ended.exit == 130:  # and not all done before a busy machine brought the signal
        assert desk.emulated.stats()["tasks_made"] == desk.made_before
        assert desk.final_files() == []


class Watched:
    """A desk, and what the service has seen since the watch began."""

    def __init__(self, desk: Program) -> None:
        self.folder = desk.folder
        self._desk = desk
        self._before = desk.emulated.stats()

    def requested(self, *kinds: str) -> int:
        before, now = self._before["requests"], self._desk.emulated.stats()["requests"]
        return sum(now.get(kind, 0) - before.get(kind, 0) for kind in kinds)

    def made(self) -> int:
        return int(self._desk.emulated.stats()["tasks_made"] - self._before["tasks_made"])

    def served_bytes(self) -> int:
        before, now = self._before["bytes_served"], self._desk.emulated.stats()["bytes_served"]
        return sum(now.values()) - sum(before.values())

    def files(self) -> int:
        return len(self._desk.final_files())


MOMENTS: dict[str, Callable[[Watched], bool]] = {
    "the manifest is opened": lambda now: (now.folder / "orchestrator.db").exists(),
    "planning goes on": lambda now: now.requested("query", "histogram") >= 4,
    "the first create is there": lambda now: now.made() >= 1,
    "remote tasks are watched": lambda now: now.requested("describe", "list") >= 2,
    "bytes come": lambda now: now.served_bytes() > 40_000,
    "the first file is staged": lambda now: any((now.folder / "archive").rglob("*.staged*")),
    "all files are there": lambda now: now.files() >= 3,
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_drains_at_any_moment(served: tuple[Program, Rows], tmp_path: Path, moment: str) -> None:
    """130, or the true code if all was done: no traceback, a sound manifest; the next run completes with one
    remote task a slice."""
    desk = another_desk(served, tmp_path, "job")
    desk.emulated.behave(run_base_s=0.1, latency_s=0.05, file_bytes_per_s=300_000.0)
    number = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)[list(MOMENTS).index(moment) % 3]
    now = Watched(desk)
    child = desk.start("run", "--json", "--no-progress")
    until(lambda: MOMENTS[moment](now) or child.poll() is not None)
    child.send_signal(number)
    sent_at = time.monotonic()
    ended = desk.end(child)
    assert time.monotonic() - sent_at < 20.0
    assert ended.exit in (130, 0), ended.err
    assert ended.document["complete"] is (ended.exit == 0)
    nothing_leaks(desk, ended)
    manifest_is_intact(desk)
    desk.emulated.behave(latency_s=0.0, file_bytes_per_s=0.0)
    completes(desk, served[1])


def test_a_signal_while_the_answer_is_written_changes_nothing(
    served: tuple[Program, Rows], tmp_path: Path
) -> None:
    """All is done: the exit code says so, and the document is whole."""
    desk = another_desk(served, tmp_path, "job")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        child = desk.start("run", "--json", "--no-progress")
        assert child.stderr is not None
        while "run.complete" not in (line := child.stderr.readline()):
            assert line, "it ended before it was complete"
        child.send_signal(number)
        ended = desk.end(child)
        assert ended.exit == 0, ended.err
        assert ended.document["complete"] is True


# --- creates under way


def held_creates(front: Front, hold_s: float) -> None:
    """Creates are carried out at once, and answered so much later."""

    def interfere(kind: str, body: bytes, answer: Answer) -> Answer:
        if kind == "create":
            time.sleep(hold_s)
        return answer

    front.interfere = interfere


def test_a_drain_waits_for_the_answer_to_a_create(desk: Program, served: tuple[Program, Rows]) -> None:
    """The uuid that comes seconds after the signal is in the ledger; the next run creates no second one."""
    with behind_front(desk) as front:
        held_creates(front, 2.0)
        child = desk.start("run", "--json", "--no-progress")
        until(lambda: desk.emulated.stats()["tasks_made"] > desk.made_before)
        child.send_signal(signal.SIGTERM)
        drained(desk, desk.end(child), 130)
        made = desk.emulated.stats()["tasks_made"] - desk.made_before
        assert len({row["uuid"] for row in desk.ledger() if row["uuid"]}) == made
        front.interfere = None
        completes(desk, served[1])


@pytest.mark.slow
def test_a_create_without_an_answer_stays_in_doubt(desk: Program, served: tuple[Program, Rows]) -> None:
    """The drain gives up on it after ten seconds; its intent stands in the manifest, and the next run finds
    what it made."""
    with behind_front(desk) as front:
        held_creates(front, 25.0)
        child = desk.start("run", "--json", "--no-progress")
        until(lambda: desk.emulated.stats()["tasks_made"] > desk.made_before)
        child.send_signal(signal.SIGTERM)
        sent_at = time.monotonic()
        ended = desk.end(child)
        assert 8.0 < time.monotonic() - sent_at < 18.0
        drained(desk, ended, 130)
        doubtful = [row for row in desk.ledger() if row["task_name"] and not row["uuid"]]
        assert {row["state"] for row in doubtful} <= {"in_doubt", "submitting"}
        assert doubtful
        front.interfere = None
        completes(desk, served[1])


# --- the second signal


def test_a_second_signal_ends_at_once_even_when_nobody_reads(
    desk: Program, served: tuple[Program, Rows]
) -> None:
    """A terminal that takes no more output holds the run up; two signals end it all the same, safely."""
    with behind_front(desk) as front:
        held_creates(front, 5.0)
        reading, writing = os.pipe()
        room_bytes = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        os.write(writing, b"x" * room_bytes)
        child = subprocess.Popen(
            [*PROGRAM, "run", "--json", "--verbose", "--report", "report.json"],
            cwd=desk.folder,
            env=desk.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=writing,
            text=True,
        )
        desk.children.append(child)
        os.close(writing)
        until(lambda: child.poll() is not None or "pipe" in waits_in(child.pid))
        child.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        sent_at = time.monotonic()
        assert child.wait(PATIENCE_S) == 130
        assert time.monotonic() - sent_at < 5.0
        os.close(reading)
        front.interfere = None
        completes(desk, served[1])


def waits_in(pid: int) -> str:
    """What the kernel does for the process's main thread."""
    try:
        return Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return ""


def test_a_second_signal_leaves_a_document_and_a_report(desk: Program, served: tuple[Program, Rows]) -> None:
    """Even the hurried end tells both readers that it was interrupted, and leaves no half report behind."""
    with behind_front(desk) as front:
        held_creates(front, 6.0)
        child = desk.start("run", "--json", "--no-progress", "--report", "report.json")
        until(lambda: desk.emulated.stats()["tasks_made"] > desk.made_before)
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
            child.send_signal(number)
            time.sleep(0.3)
            if number == signal.SIGHUP:
                assert child.poll() is None
        until(lambda: child.poll() is not None)
        ended = desk.end(child)
        drained(desk, ended, 130)
        assert json.loads((desk.folder / "report.json").read_text()) == ended.document
        assert not list(desk.folder.glob(".report*"))
        front.interfere = None
        completes(desk, served[1])


# --- commands that only read, and readers that leave


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_plan_is_interrupted_with_a_document(desk: Program, number: signal.Signals) -> None:
    """A command that waits for the service ends at once, told in one document, without a traceback."""
    with behind_front(desk) as front:
        waiting, over = threading.Event(), threading.Event()

        def interfere(kind: str, body: bytes, answer: Answer) -> Answer:
            waiting.set()
            over.wait(PATIENCE_S)
            return answer

        front.interfere = interfere
        child = desk.start("plan", "--json")
        until(lambda: waiting.is_set() or child.poll() is not None)
        child.send_signal(number)
        sent_at = time.monotonic()
        ended = desk.end(child)
        assert time.monotonic() - sent_at < 10.0
        over.set()
        drained(desk, ended, 130)
        assert ended.document["error"]["code"] == "interrupted"


STREAMS = {
    "stdout closed": ">&-",
    "stderr closed": "2>&-",
    "all closed": "<&- >&- 2>&-",
    "stdout full": ">/dev/full",
    "stderr full": "2>/dev/full",
    "nobody reads stdout": "| true",
    "nobody reads either": "2>&1 | true",
}


@pytest.mark.parametrize("streams", STREAMS)
def test_a_run_does_its_work_whoever_listens(
    desk: Program, served: tuple[Program, Rows], streams: str
) -> None:
    """Closed, full or abandoned streams cost their words and nothing else; none of them ends up in a file of
    ours."""
    command = " ".join(PROGRAM)
    line = f"{command} run --json --verbose {STREAMS[streams]}"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        cwd=desk.folder,
        env=desk.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == (6 if streams == "stdout full" else 0), done.stderr
    assert "Traceback" not in done.stderr
    manifest_is_intact(desk)
    same_rows(desk.archived(), served[1])
    only_verified_files(desk, desk.ledger())
