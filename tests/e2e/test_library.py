"""The library: the same runs without a command line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import orchestrator
from tests.e2e.conftest import DAY_ROWS, Desk, Emulated


class Watching:
    """An observer that sets an event once a remote task exists."""

    def __init__(self) -> None:
        self.created = asyncio.Event()
        self.seen = 0

    def changed(self, before: object, after: object, event: object) -> None:
        self.seen += 1
        if type(event).__name__ == "Created":
            self.created.set()

    def noted(self, name: str, **detail: object) -> None:
        """Not asked about."""


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


def test_cancelling_drains_and_then_cancels(
    desk: Desk, emulator: Emulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled run leaves no lock, no half-known remote task, and can be run again."""
    emulator.behave(run_base_s=3.0)
    before = emulator.stats()["tasks_made"]
    job_file = loaded(desk, monkeypatch)

    async def cancelled() -> None:
        watching = Watching()
        running = asyncio.create_task(orchestrator.run(job_file, observer=watching))
        await watching.created.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cancelled())
    report = orchestrator.run_sync(job_file)
    assert report.complete
    assert emulator.stats()["tasks_made"] - before == report.jobs[0].files
    assert len(desk.rows()) == DAY_ROWS
