"""An episode that a test may disturb: another job from one life to the next, doors that answer otherwise,
two jobs side by side, a stop signal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.core.job import Job, Limits
from orchestrator.core.report import Report
from orchestrator.dataplane.destination import FolderDestination
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.engine.context import JobContext, Room
from orchestrator.testing.boundary import FaultPlan
from orchestrator.testing.episode import Episode, Setting
from orchestrator.testing.loop import VirtualTime

__all__ = ["DAY_S", "Disturbance", "Door", "Rig", "ceilings", "failing", "only_first", "reasons", "with_door"]

DAY_S = 86_400

Method = Callable[..., Awaitable[Any]]
Disturbance = Callable[[list[JobContext], Room, VirtualTime], tuple[list[JobContext], Room]]

SURPLUS = "select count(*) from remote_tasks where surplus and not deleted"


def ceilings(*, tasks: int = 4, downloads: int = 2, requests_per_s: float = 20.0) -> Limits:
    """Limits without a disk reserve."""
    return Limits(tasks=tasks, downloads=downloads, requests_per_s=requests_per_s, disk_reserve_bytes=0)


def reasons(report: Report, job: int = 0) -> set[str]:
    """The words in which a job's gaps are explained."""
    return {str(gap.reason) for gap in report.jobs[job].gaps}


class Door:
    """A port with some methods replaced; a replacement gets the port behind it as its first argument."""

    def __init__(self, behind: Any, **instead: Method) -> None:
        self._behind = behind
        self._instead = instead

    def __getattr__(self, name: str) -> Any:
        method = self._instead.get(name)
        if method is None:
            return getattr(self._behind, name)

        async def called(*args: Any, **words: Any) -> Any:
            return await method(self._behind, *args, **words)

        return called


def with_door(context: JobContext, port: str, **instead: Method) -> JobContext:
    """The context with methods of one of its ports replaced."""
    doors: dict[str, Any] = {port: Door(getattr(context, port), **instead)}
    return replace(context, **doors)


def only_first(port: str, **instead: Any) -> Disturbance:
    """Replace methods of one port of the first job."""

    def disturb(contexts: list[JobContext], room: Room, time: VirtualTime) -> tuple[list[JobContext], Room]:
        return [with_door(contexts[0], port, **instead), *contexts[1:]], room

    return disturb


def failing(error: Exception) -> Any:
    """A method that raises."""

    async def method(behind: Any, *args: Any, **words: Any) -> Any:
        raise error

    return method


class Rig(Episode):
    """An episode whose attributes a test changes between lives.

    ``changed`` replaces fields of the job, ``disturb`` what a life is given; with ``second_job`` the same
    window is exported as job ``b`` too; ``stop_at_s`` is the virtual second of a stop signal.
    """

    def __init__(self, setting: Setting, folder: Path) -> None:
        self.second_folder = folder / "second"
        for made in (folder / "first", self.second_folder):
            made.mkdir(parents=True)
        super().__init__(setting, folder / "first")
        self.changed: dict[str, Any] = {}
        self.disturb: Disturbance | None = None
        self.second_job = False
        self.stop_at_s: float | None = None

    @property
    def job(self) -> Job:
        return replace(super().job, **self.changed)

    def _furnish(self, time: VirtualTime, plan: FaultPlan, notes: Any) -> tuple[list[JobContext], Room]:
        contexts, room = super()._furnish(time, plan, notes)
        if self.second_job:
            contexts.append(self._second(contexts[0]))
        if self.stop_at_s is not None:
            time.loop.call_later(self.stop_at_s, room.stop.set, "SIGINT")
        return self.disturb(contexts, room, time) if self.disturb else (contexts, room)

    def _second(self, first: JobContext) -> JobContext:
        url = str(self.second_folder)
        assert first.job.destination is not None
        job = replace(first.job, name="b", destination=replace(first.job.destination, url=url))
        return replace(first, job=job, destination=FolderDestination(url))

    def run(self) -> Report:
        """One life that must end by itself."""
        report = self.live().report
        assert report is not None
        return report

    def behave(self, **switches: Any) -> None:
        """From now on the service behaves, but for the named switches."""
        self.world.behave(Behaviour(**switches), self.now_s)

    def complaints(self, report: Report) -> list[str]:
        """Every promise about rows, names and ceilings that does not hold at the end of a complete run."""
        found = [] if report.complete and report.exit == 0 else [f"not complete: {report.exit} {report.jobs}"]
        for name, archived in (("first", self.archived()), ("second", self.archived_by_second())):
            if name == "first" or self.second_job:
                lost, extra = (self.truth() - archived).total(), (archived - self.truth()).total()
                found += [f"{name}: {lost} rows lost, {extra} too many"] if lost or extra else []
        witness = self.world.witness
        if twins := witness.live_duplicate_names():
            found.append(f"twins alive: {twins}")
        if witness.max_outstanding > self.setting.limits.tasks:
            found.append(f"{witness.max_outstanding} outstanding")
        return found

    def archived_by_second(self) -> Counter[bytes]:
        """Every row that job ``b`` stored."""
        first, self.folder = self.folder, self.second_folder
        try:
            return self.archived()
        finally:
            self.folder = first

    def ledger(self, statement: str) -> list[tuple[Any, ...]]:
        """What the manifest holds, read as anybody with SQLite would."""
        return [tuple(row) for row in self.manifest._connection.execute(statement)]

    def surplus(self) -> int:
        """Remote tasks of ours that were let go and are not known to be deleted."""
        return int(self.ledger(SURPLUS)[0][0])

    def left_at_service(self) -> int:
        """Remote tasks at the service that no slice of the manifest calls its own."""
        own = {uuid for (uuid,) in self.ledger("select task_uuid from slices where task_uuid <> ''")}
        return sum(task.uuid not in own for task in self.world.tasks.tasks())

    def files(self) -> list[Path]:
        """Every file under a final name."""
        return self._published()
