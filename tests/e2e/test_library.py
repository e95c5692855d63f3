"""The library: the same runs without a command line."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from tests.e2e.conftest import DAY_ROWS, Desk, Emulated


class Watching(orchestrator.Observer):
    """An observer that sets events once a remote task is asked for and exists, and knows where every slice
    stands."""

    def __init__(self) -> None:
        self.admitted = asyncio.Event()
        self.created = asyncio.Event()
        self.states: dict[str, orchestrator.SliceState] = {}
        self.drained = False

    def changed(self, before: object, after: orchestrator.Slice, event: object) -> None:
        self.states[after.id] = after.state
        if type(event).__name__ == "Admitted":
            self.admitted.set()
        if type(event).__name__ == "Created":
            self.created.set()

    def noted(self, name: str, **detail: object) -> None:
        self.drained = self.drained or name == "run.draining"


def loaded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> orchestrator.JobFile:
    for name, value in desk.emulated.credentials.items():
        monkeypatch.setenv(name, value)
    return orchestrator.load(desk.folder / "jobs.toml")


def test_plan_and_run_give_values(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command prints, a program gets as frozen values; the window can be narrowed the same way."""
    job_file = loaded(desk, monkeypatch)
    (plan,) = asyncio.run(orchestrator.plan(job_file, to="2026-01-14 12:00"))
    assert plan.lines == DAY_ROWS // 2
    assert not Path(job_file.manifest).exists()
    report = orchestrator.run_sync(job_file)
    assert (report.exit, report.complete, report.jobs[0].lines) == (0, True, DAY_ROWS)
    with pytest.raises(orchestrator.UsageError):
        orchestrator.run_sync(job_file, jobs=("absent",))


def test_a_stop_signal_drains(desk: Desk, emulator: Emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that wants to end asks, and gets a report of how far it came."""
    emulator.behave(run_base_s=3.0)
    job_file = loaded(desk, monkeypatch)

    async def stopped() -> orchestrator.Report:
        watching, stop = Watching(), orchestrator.StopSignal()
        running = asyncio.create_task(orchestrator.run(job_file, observer=watching, stop=stop))
        await watching.created.wait()
        stop.set("enough for today", interrupted=False)
        return await running

    report = asyncio.run(stopped())
    assert (report.exit, report.complete) == (3, False)


def test_a_stop_signal_reaches_a_run_in_another_thread(
    desk: Desk, emulator: Emulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that waits for the service for hours is drained at once by a thread that has no loop."""
    emulator.behave(run_base_s=3600.0)
    job_file = loaded(desk, monkeypatch)
    stop, created = orchestrator.StopSignal(), threading.Event()

    class Telling(Watching):
        def changed(self, before: object, after: object, event: object) -> None:
            if type(event).__name__ == "Created":
                created.set()

    def asks() -> None:
        if created.wait(60):
            stop.set("not today")

    asking = threading.Thread(target=asks)
    asking.start()
    report = orchestrator.run_sync(job_file, observer=Telling(), stop=stop)
    asking.join()
    assert (report.exit, report.complete) == (orchestrator.ExitCode.INTERRUPTED, False)


async def cancel(running: asyncio.Task[orchestrator.Report]) -> None:
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def cancel_twice(running: asyncio.Task[orchestrator.Report]) -> None:
    running.cancel()
    await asyncio.sleep(0)
    await cancel(running)


async def time_out(running: asyncio.Task[orchestrator.Report]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await running


@pytest.mark.parametrize("way", [cancel, cancel_twice, time_out])
def test_cancelling_drains_and_then_cancels(
    desk: Desk,
    emulator: Emulated,
    monkeypatch: pytest.MonkeyPatch,
    way: Callable[[asyncio.Task[orchestrator.Report]], Awaitable[None]],
) -> None:
    """A cancelled run waits for the creates under way, leaves no lock, no half-known remote task and nothing
    that goes on, and can be run again; so does one that is cancelled once more while it drains, and one whose
    time is up."""
    emulator.behave(run_base_s=3.0, latency_s=0.4)
    before = emulator.stats()["tasks_made"]
    job_file = loaded(desk, monkeypatch)
    watching = Watching()

    async def cancelled() -> None:
        running = asyncio.create_task(orchestrator.run(job_file, observer=watching))
        await watching.admitted.wait()
        assert orchestrator.SliceState.SUBMITTING in watching.states.values()
        await way(running)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(cancelled())
    assert watching.drained
    unknown = {orchestrator.SliceState.SUBMITTING, orchestrator.SliceState.IN_DOUBT}
    assert not unknown & set(watching.states.values())
    assert emulator.stats()["tasks_made"] == before + 1
    emulator.behave(latency_s=0.0)
    report = orchestrator.run_sync(job_file)
    assert report.complete
    assert emulator.stats()["tasks_made"] - before == report.jobs[0].files
    assert len(desk.rows()) == DAY_ROWS


INTERRUPTED = """
import orchestrator

class Telling:
    def changed(self, before, after, event):
        if type(event).__name__ == "Created":
            print("created", flush=True)
    def noted(self, name, **detail):
        if name == "run.draining":
            print(name, flush=True)

try:
    orchestrator.run_sync(orchestrator.load("jobs.toml"), observer=Telling())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_in_run_sync_drains(desk: Desk, emulator: Emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that waits in run_sync is interrupted as any other, once the run is drained; nothing is made
    twice by the next one."""
    emulator.behave(run_base_s=3.0)
    before = emulator.stats()["tasks_made"]
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        cwd=desk.folder,
        env=desk.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    desk.children.append(child)
    assert child.stdout is not None
    assert child.stdout.readline() == "created\n"
    child.send_signal(signal.SIGINT)
    said, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert said.split()[-1] == "interrupted"
    assert "run.draining" in said
    report = orchestrator.run_sync(loaded(desk, monkeypatch))
    assert report.complete
    assert emulator.stats()["tasks_made"] - before == report.jobs[0].files


def made_here(desk: Desk) -> orchestrator.JobFile:
    """The desk's job from tables, with values as a program has them."""
    job = {
        "name": "web",
        "logstore": "web",
        "from": date(2026, 1, 14),
        "to": datetime(2026, 1, 15, tzinfo=UTC),
        "max_lines": 5000,
        "destination": "archive",
    }
    tables = {"service": {"endpoint": "${PLACE}"}, "limits": {"disk_reserve": "1MB"}, "jobs": [job]}
    place = {"PLACE": desk.emulated.endpoint}
    return orchestrator.JobFile.from_dict(tables, folder=desk.folder, environment=place)


def test_tables_dates_and_credentials_come_as_values(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program needs no file, no text of times, and no secret in its own environment."""
    for name in desk.emulated.credentials:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(desk.folder))
    job_file, keys = made_here(desk), desk.emulated.credentials
    noon, midnight = datetime(2026, 1, 14, 12, tzinfo=UTC), date(2026, 1, 15)
    with pytest.raises(orchestrator.CredentialsError):
        orchestrator.run_sync(job_file, from_=noon, to=midnight)
    report = orchestrator.run_sync(job_file, from_=noon, to=midnight, environment=keys)
    assert (report.complete, report.jobs[0].lines) == (True, DAY_ROWS // 2)
    (plan,) = asyncio.run(orchestrator.plan(job_file, jobs="web", environment=keys))
    assert plan.lines == DAY_ROWS // 2
    assert max(piece.window.end_s for piece in plan.slices) == noon.timestamp()


def test_it_leaves_the_process_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is printed or logged, and no signal handler, variable, folder or filter is another one after a
    plan, a run and a verification."""
    job_file = loaded(desk, monkeypatch)

    def state() -> tuple[object, ...]:
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        root = logging.getLogger()
        logged = (root.level, tuple(root.handlers), tuple(root.filters))
        return (
            handlers,
            logged,
            dict(os.environ),
            Path.cwd(),
            list(warnings.filters),
            threading.active_count(),
        )

    before = state()
    asyncio.run(orchestrator.plan(job_file))
    assert orchestrator.run_sync(job_file).complete
    asyncio.run(orchestrator.verify(job_file))
    assert state() == before
    assert capfd.readouterr() == ("", "")


def test_a_second_run_of_one_manifest_is_refused_or_waits(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs of one program cannot write one manifest at once; one that may wait has its turn."""
    job_file = loaded(desk, monkeypatch)

    async def together(wait_s: float) -> list[orchestrator.Report | BaseException]:
        runs = (orchestrator.run(job_file, wait_s=wait_s) for _ in range(2))
        return await asyncio.gather(*runs, return_exceptions=True)

    first, second = asyncio.run(together(0.0))
    assert isinstance(first, orchestrator.Report)
    assert isinstance(second, orchestrator.ManifestLocked)
    reports = asyncio.run(together(60.0))
    assert [isinstance(each, orchestrator.Report) and each.complete for each in reports] == [True, True]


def test_what_an_observer_raises_reaches_the_caller(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An observer with a defect ends the run with it; nothing is lost by that."""
    job_file = loaded(desk, monkeypatch)

    class Failing(Watching):
        def changed(self, before: object, after: object, event: object) -> None:
            if isinstance(after, orchestrator.Slice) and after.state is orchestrator.SliceState.DONE:
                raise LookupError(after.id)

    with pytest.raises(LookupError):
        orchestrator.run_sync(job_file, observer=Failing())
    assert orchestrator.run_sync(job_file).complete
    assert len(desk.rows()) == DAY_ROWS


def test_a_file_that_may_not_be_read_is_told_and_the_rest_is_looked_at(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost permissions say nothing about a file: it is named, never marked, and the exit is 6; what is wrong
    with other files is found and marked all the same."""
    job_file = loaded(desk, monkeypatch)
    assert orchestrator.run_sync(job_file).complete
    locked, lost = desk.files()[1], desk.files()[3]
    lost.unlink()
    found = os.stat

    def refused(path: str, **how: Any) -> os.stat_result:
        if str(path) == str(locked):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return found(path, **how)

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", refused)
        told = asyncio.run(orchestrator.verify(job_file))
    findings = {finding.path: finding for finding in told.findings}
    assert (told.exit, told.files_checked, told.files_read) == (6, 5, 3)
    unreadable = findings.pop(str(locked))
    assert (unreadable.problem, unreadable.marked, unreadable.mend) == ("cannot be read", False, "")
    assert "let this user read" in unreadable.advice
    assert [(item.problem, item.marked) for item in findings.values()] == [("missing", True)]
    assert orchestrator.run_sync(job_file).jobs[0].remote_tasks_created == 1
    assert asyncio.run(orchestrator.verify(job_file)).exit == 0


def test_verify_gives_values_and_marks_only_when_asked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged file is a finding with its mend; the next run exports it anew once it is marked, and the
    service is asked only for a recount."""
    job_file = loaded(desk, monkeypatch)
    assert orchestrator.run_sync(job_file).complete
    victim = desk.files()[2]
    victim.unlink()
    for name in desk.emulated.credentials:
        monkeypatch.delenv(name)
    looked = asyncio.run(orchestrator.verify(job_file, share=0.0, mark=False))
    assert (looked.exit, looked.files_read, looked.files_looked_at) == (4, 0, 5)
    (finding,) = looked.findings
    assert (finding.problem, finding.path, finding.marked) == ("missing", str(victim), False)
    (finding,) = asyncio.run(orchestrator.verify(job_file)).findings
    assert finding.marked
    assert finding.mend == f"orchestrator run {job_file.path} --job web"
    job_file = loaded(desk, monkeypatch)
    assert orchestrator.run_sync(job_file).jobs[0].remote_tasks_created == 1
    checked = asyncio.run(orchestrator.verify(job_file, share=0.2, recount=True))
    assert (checked.exit, checked.files_read, checked.recounted, checked.uncounted) == (0, 1, 5, 0)
