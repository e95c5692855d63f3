"""The manifest's disk fills up at every commit in turn, and the clock jumps: nothing lost, nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.report import Report
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.engine.context import JobContext, Room
from orchestrator.errors import DiskFull, ExitCode
from orchestrator.ports.control import Observer
from orchestrator.testing.episode import Setting
from orchestrator.testing.loop import VirtualTime
from tests.simulation.rig import Rig, ceilings

FEW = Setting(
    seed=5, slices=4, lines_per_slice=40, limits=ceilings(tasks=3), behaviour=Behaviour(run_base_s=3.0)
)


class Disk:
    """The door to a manifest whose ``full_at``-th commit, or every one from it on, finds no room."""

    def __init__(self, behind: Any, full_at: int, *, stays: bool) -> None:
        self._behind = behind
        self._full_at = full_at
        self._stays = stays
        self.commits = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)

    async def commit(self, changes: Any) -> None:
        self.commits += 1
        if self.commits == self._full_at or (self._stays and self.commits > self._full_at):
            raise DiskFull("manifest orchestrator.db: database or disk is full")
        await self._behind.commit(changes)


class Told:
    """Passes on what is noted, and keeps the uuids said to be unsaved."""

    def __init__(self, behind: Observer) -> None:
        self._behind = behind
        self.unsaved: set[str] = set()

    def changed(self, before: Any, after: Any, event: Any) -> None:
        self._behind.changed(before, after, event)

    def noted(self, name: str, **detail: Any) -> None:
        if name == "manifest.unsaved":
            self.unsaved.add(str(detail["uuid"]))
        self._behind.noted(name, **detail)


def full_disk(rig: Rig, full_at: int, *, stays: bool) -> tuple[Report, Disk, Told]:
    """One life on a disk that is full from some commit on."""
    made: list[tuple[Disk, Told]] = []

    def disturb(contexts: list[JobContext], room: Room, time: VirtualTime) -> tuple[list[JobContext], Room]:
        made.append((Disk(room.manifest, full_at, stays=stays), Told(room.observer)))
        disk, told = made[0]
        return contexts, replace(room, manifest=disk, observer=told)

    rig.disturb = disturb
    report = rig.run()
    rig.disturb = None
    return report, *made[0]


@pytest.mark.parametrize("stays", [False, True])
def test_a_full_disk_at_any_commit_loses_nothing(tmp_path: Path, stays: bool) -> None:
    """Exit 6 with what and how to mend; no create without its committed intent; a uuid that could not be
    saved is said; with room the next run completes, one remote task a slice."""
    full_at = 0
    while True:
        full_at += 1
        rig = Rig(FEW, tmp_path / f"{full_at}")
        report, disk, told = full_disk(rig, full_at, stays=stays)
        if disk.commits < full_at:
            break
        where = f"full at commit {full_at}"
        assert report.exit == ExitCode.STORAGE, where
        assert report.error is not None, where
        assert report.error.code == "disk_full", where
        assert "orchestrator.db" in report.error.message, where
        assert report.error.hint, where
        intents = {name for (name,) in rig.ledger("select name from remote_tasks")}
        made = rig.world.tasks.tasks()
        assert {task.request.name for task in made} <= intents, f"{where}: a create without an intent"
        saved = {uuid for (uuid,) in rig.ledger("select uuid from remote_tasks where uuid <> ''")}
        known = saved | told.unsaved
        heard = {task.uuid for task in made}
        assert heard <= known, f"{where}: {heard - known} neither saved nor said"
        assert rig.complaints(rig.run()) == [], where
        assert len(rig.world.tasks.tasks()) == len(rig.files()), where
    assert full_at > 12, "the episode was too short to show anything"


# --- clocks


class Wrong:
    """A wall clock that is wrong by ``by_s``, from ``jump_at_s`` on by ``then_s``."""

    def __init__(self, behind: Any, by_s: float, jump_at_s: float, then_s: float) -> None:
        self._behind = behind
        self._by_s, self._then_s = by_s, then_s
        self._jump_at = behind.now() + jump_at_s

    def now(self) -> float:
        now: float = self._behind.now()
        return now + (self._by_s if now < self._jump_at else self._then_s)


class Corrected:
    """The service behind a session that has learned how wrong this machine's clock is."""

    def __init__(self, behind: Any, clock: Wrong, true: Callable[[], float]) -> None:
        self._behind, self._clock, self._true = behind, clock, true

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)

    @property
    def server_offset_s(self) -> float:
        return self._true() - self._clock.now()


def wrong_clock(rig: Rig, by_s: float, jump_at_s: float = 1e9, then_s: float = 0.0) -> None:
    """From now on this machine's clock is wrong; the service's is not."""

    def disturb(contexts: list[JobContext], room: Room, time: VirtualTime) -> tuple[list[JobContext], Room]:
        clock = Wrong(room.clock, by_s, jump_at_s, then_s)
        corrected = Corrected(contexts[0].tasks, clock, time.clock.now)
        return [replace(contexts[0], tasks=corrected)], replace(room, clock=clock)

    rig.disturb = disturb


HOUR_S = 3600.0
JUMPS = [
    pytest.param(0.0, 4.0, 6 * HOUR_S, id="six hours forward amid the run"),
    pytest.param(0.0, 4.0, -6 * HOUR_S, id="six hours back amid the run"),
    pytest.param(40 * HOUR_S, 4.0, 0.0, id="put right after being days ahead"),
    pytest.param(-40 * HOUR_S, 4.0, 0.0, id="put right after being days behind"),
]


@pytest.mark.parametrize(("by_s", "jump_at_s", "then_s"), JUMPS)
def test_a_clock_that_jumps_amid_a_run_disturbs_nothing(
    tmp_path: Path, by_s: float, jump_at_s: float, then_s: float
) -> None:
    """Creates are lost, tasks fail and pauses run while the clock is set: as complete, and about as soon, as
    without the jump."""
    troubled = replace(
        FEW,
        behaviour=Behaviour(run_base_s=5.0, fail_probability=0.2, lost_reply_made=0.3, lost_reply_unmade=0.2),
    )
    calm = Rig(troubled, tmp_path / "calm")
    assert calm.complaints(calm.run()) == []
    rig = Rig(troubled, tmp_path / "jumped")
    wrong_clock(rig, by_s, jump_at_s, then_s)
    assert rig.complaints(rig.run()) == []
    assert rig.lives[0].virtual_s < calm.lives[0].virtual_s + 300.0


@pytest.mark.parametrize("first_s", [-30 * HOUR_S, -0.5 * HOUR_S, 0.5 * HOUR_S, 30 * HOUR_S])
@pytest.mark.parametrize("point", ["submit.before", "submit.after", "driver.commit.after"])
def test_a_clock_put_right_between_runs_disturbs_nothing(tmp_path: Path, first_s: float, point: str) -> None:
    """A run under a wrong clock dies amid its creates, whose tasks show late; the next one, under the right
    clock, takes no absence for proved too early and waits no hours: one remote task a slice."""
    slow_list = replace(FEW, behaviour=Behaviour(run_base_s=3.0, list_lag_s=4.0, lost_reply_made=0.3))
    for number in (2, 4):
        rig = Rig(slow_list, tmp_path / f"{number}")
        wrong_clock(rig, first_s)
        life = rig.live(number, counts=lambda name: name == point)
        rig.disturb = None
        assert rig.complaints(rig.run()) == []
        assert len(rig.world.tasks.tasks()) == len(rig.files())
        assert rig.lives[-1].virtual_s < 900.0
        assert life.crash is not None, "it was to die"


def test_a_pause_never_lasts_longer_for_a_clock_that_was_ahead(tmp_path: Path) -> None:
    """A slice whose pause was dated by a clock days ahead is taken up by the next run at once."""
    rig = Rig(replace(FEW, behaviour=Behaviour(run_base_s=1.0, throttle_probability=0.6)), tmp_path)
    wrong_clock(rig, 72 * HOUR_S)
    rig.stop_at_s = 3.0
    rig.run()
    rig.stop_at_s = None
    rig.disturb = None
    rig.behave(run_base_s=1.0)
    assert rig.complaints(rig.run()) == []
    assert rig.lives[-1].virtual_s < 900.0
