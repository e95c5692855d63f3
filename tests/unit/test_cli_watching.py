"""Who watches a run: several at once, a budget that drains, progress in the log when there is no terminal."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from orchestrator.cli.asked import Asked
from orchestrator.cli.ending import Stage
from orchestrator.cli.watching import LineBudget, Observers, logged, progress_shown
from orchestrator.core.model import Receipt, Slice, SliceState
from orchestrator.core.window import Window
from orchestrator.dashboard.progress import Progress
from orchestrator.engine.context import StopSignal

PIECE = Slice("0" * 16, "web", "", Window(0, 60), state=SliceState.SETTLING)
DONE = replace(
    PIECE,
    state=SliceState.DONE,
    receipt=Receipt("", "jsonl", ".jsonl", 10, "", 10, "", 50, 0, 50, None),
)


def test_a_budget_drains_when_it_is_used_up() -> None:
    """Lines count when they are stored and proved, each slice once; a planned drain is no interruption."""
    stop = StopSignal()
    budget = LineBudget(80, stop)
    budget.changed(PIECE, DONE, None)
    budget.changed(DONE, DONE, None)
    assert not stop.is_set()
    budget.changed(PIECE, DONE, None)
    assert (stop.is_set(), stop.interrupted, stop.reason) == (True, False, "--max-lines")


def test_observers_are_told_alike() -> None:
    """Who joins later is told from then on."""
    told: list[str] = []

    class Listener:
        def __init__(self, name: str) -> None:
            self.name = name

        def changed(self, before: object, after: object, event: object) -> None:
            told.append(f"{self.name} changed")

        def noted(self, name: str, **detail: object) -> None:
            told.append(f"{self.name} {name}")

    observers = Observers(Listener("a"))
    observers.noted("x")
    observers.join(Listener("b"))
    observers.changed(None, PIECE, None)
    assert told == ["a x", "a changed", "b changed"]


def shown(asked: Asked, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.2) -> None:
    monkeypatch.setattr("orchestrator.cli.watching.REPORT_S", 0.02)

    async def watch() -> None:
        stage = Stage(asked)
        with logged(stage):
            progress = Progress(asyncio.get_running_loop().time, dict)
            progress.changed(None, DONE, None)
            async with progress_shown(stage, progress):
                await asyncio.sleep(seconds)

    asyncio.run(watch())


def test_progress_is_logged_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cron mail shows how far the run was, with every figure of the live view."""
    shown(Asked("run", log_format="json"), monkeypatch)
    captured = capsys.readouterr()
    events = [json.loads(line) for line in captured.err.splitlines()]
    assert len(events) > 1
    assert {event["event"] for event in events} == {"run.progress"}
    assert (events[0]["slices_done"], events[0]["lines"]) == (1, 50)
    assert {"lines_per_s", "bytes_per_s", "requests_per_s", "throttled", "time_left_s"} <= set(events[0])
    assert captured.out == ""


def test_progress_can_be_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--no-progress and -q silence it."""
    shown(Asked("run", progress=False), monkeypatch, seconds=0.1)
    assert capsys.readouterr().err == ""
