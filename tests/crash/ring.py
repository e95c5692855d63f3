"""An export in chapters that meets everything there is to meet, and dies wherever it is told to.

A *chapter* is played until one life ends by itself; then the world changes and the next one begins. Deaths
come at numbered boundaries of numbered lives: commits, creates, and every single change of a file.
"""

from __future__ import annotations

import gzip
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from orchestrator.core import events as ev
from orchestrator.core.job import Align, Compression, Job, Limits
from orchestrator.core.layout import render_layout
from orchestrator.core.model import RemoteState, Slice, SliceState
from orchestrator.core.report import Report
from orchestrator.core.window import Window
from orchestrator.dataplane.inline import InlineDataPlane
from orchestrator.emulator.inprocess import InProcessFiles
from orchestrator.engine.context import JobContext, Room
from orchestrator.ports.store import Changes
from orchestrator.testing.boundary import FaultPlan
from orchestrator.testing.disklog import DiskLog
from orchestrator.testing.episode import Episode, Life, Setting
from orchestrator.testing.loop import VirtualTime
from orchestrator.testing.oswatch import OsWatch
from tests.crash.reckoning import (
    Debt,
    Ledger,
    debts,
    left_behind,
    read_ledger,
    safe_bytes,
    unaccounted,
)
from tests.crash.scripted import (
    BASE,
    HOUR_S,
    HOURS,
    Deliveries,
    HourlyDensity,
    KeyedPlane,
    Script,
    ScriptedFiles,
    ScriptedService,
)

__all__ = ["CHAPTERS", "STORIES", "Death", "Met", "Ring", "deaths_of", "durable", "undisturbed"]

MAX_LINES = 40
MOST_LIVES = 6
LIMITS = Limits(tasks=5, downloads=2, disk_reserve_bytes=0)
BOUNDARIES = (
    "manifest.",
    "submit.",
    "settle.",
    "transfer.receipt",
    "transfer.staged",
    "transfer.offset_recorded",
    "disk.",
)
HARMLESS = ("disk.sync",)
"""For a death that leaves the system running, synced or not is the same: ``powerloss`` is about that."""


def durable(name: str) -> bool:
    """Boundaries around what outlives the process: commits, creates, every change of a file or its name."""
    return name.startswith(BOUNDARIES) and not name.startswith(HARMLESS)


@dataclass(frozen=True)
class Chapter:
    """One stretch of the story: how the job is asked for, and what is different in the world."""

    job: dict[str, Any] = field(default_factory=dict)
    stop_at_s: float | None = None
    without_last_hour: bool = False
    path_free: bool = True


CHAPTERS = (
    Chapter(stop_at_s=5.0, path_free=False),
    Chapter(without_last_hour=True, path_free=False),
    Chapter(),
    Chapter({"compression": Compression.GZIP, "max_lines": 20}),
)
"""Stopped by a signal; narrower, with a path occupied and rows forgotten; whole again; in another form."""

STORIES = {
    "doubts": ("reply lost, made", "reply lost, made late", "reply lost, not made", "twins"),
    "ends": ("expired", "vanished", "failed", "parts", "plain"),
    "sizes": ("split", "cut", "padded", "occupied"),
    "shortness": ("short, then the same path", "short, then another path", "short, then split"),
    "bursts": ("burst", "quiet at its edges", "larger burst", "plain"),
    "emptiness": (
        "empty, two witnesses",
        "parts",
        "empty, by the remote task",
        "cut",
        "empty, by failure",
        "padded",
        "empty file, uncounted",
        "quiet at its edges",
        "no file, uncounted",
        "failed and empty, uncounted",
        "plain",
    ),
}
"""The hours of each story; the last hour is not asked for in the second chapter."""

Death = tuple[int, int]
"""The how-manieth life, from 0, and the boundary in it, from 1."""
Met = tuple[str, str]
"""A boundary, and what the commit before it (or around it) was about."""


class Ring(Episode):
    """The story over some hours of ``HOURS``; ``deaths`` says where it dies."""

    def __init__(self, hours: Sequence[str], folder: Path, deaths: Sequence[Death] = ()) -> None:
        self.hours = tuple(HOURS[name] for name in hours)
        window = Window(0, HOUR_S * len(self.hours))
        setting = Setting(
            seed=3,
            lines_per_slice=MAX_LINES,
            window_s=window.length_s,
            limits=LIMITS,
            attempts=2,
            behaviour=BASE,
        )
        density = HourlyDensity(setting.window.start_s, self.hours)
        folder.mkdir(parents=True)
        super().__init__(replace(setting, density=density), folder.resolve())
        self.script = Script(self.setting.window, self.hours)
        self.disk = self._log()
        self.met: Counter[str] = Counter()
        """What happened, in words."""
        self.boundaries: list[list[Met]] = []
        """The durable boundaries of each life."""
        self.broken: list[str] = []
        self.reports: list[Report] = []
        self.deliveries = Deliveries()
        self._deaths = deque(sorted(deaths))
        self._debts: list[Debt] = []
        self._chapter = CHAPTERS[0]
        self._plan = FaultPlan()
        self._about = ""
        self._foreign = self.folder / (
            self._path_of("occupied") if HOURS["occupied"] in self.hours else "none"
        )

    # --- the story ---

    def play(self) -> Ring:
        """All chapters, then what must hold at the end; ``broken`` says what does not."""
        for number, chapter in enumerate(CHAPTERS):
            self._enter(number, chapter)
            self._until_one_ends()
        self._judge_end()
        return self

    def _enter(self, number: int, chapter: Chapter) -> None:
        self._chapter = chapter
        self.script.enter(number)
        if self._foreign.name != "none":
            if not chapter.path_free:
                self._foreign.parent.mkdir(parents=True, exist_ok=True)
                self._foreign.write_bytes(b"somebody else's\n")
            elif self._foreign.read_bytes() == b"somebody else's\n":
                self._foreign.unlink()
        self.disk = self._log()

    def _log(self) -> DiskLog:
        """A log that takes what stands now for granted."""
        return DiskLog(str(self.folder))

    def _until_one_ends(self) -> None:
        for _ in range(MOST_LIVES):
            life = self._one_life()
            if life.report is not None:
                self.reports.append(life.report)
                return
            self._judge_death()
        self.broken.append(f"chapter {CHAPTERS.index(self._chapter)} did not end")

    def _one_life(self) -> Life:
        number = len(self.lives)
        crash_at = None
        if self._deaths and self._deaths[0][0] == number:
            crash_at = self._deaths.popleft()[1]
        self.boundaries.append([])
        return self._watched(crash_at)

    def _watched(self, crash_at: int | None) -> Life:
        with OsWatch(self.disk, self.reached):
            return self.live(crash_at, counts=durable)

    def reached(self, name: str) -> None:
        """The Boundary port: notes where the episode is, and dies if this is the place."""
        if durable(name) and not self._plan.dead:
            self.boundaries[-1].append((name, self._about))
        self._plan.reached(name)

    # --- how a life is furnished ---

    @property
    def job(self) -> Job:
        job = replace(super().job, align=Align.HOUR, **self._chapter.job)
        if self._chapter.without_last_hour:
            window = self.setting.window
            job = replace(job, window=Window(window.start_s, window.end_s - HOUR_S))
        return job

    def _furnish(self, time: VirtualTime, plan: FaultPlan, notes: Any) -> tuple[list[JobContext], Room]:
        self._plan = plan
        (context,), room = super()._furnish(time, self, notes)  # type: ignore[arg-type]  as a Boundary
        service = ScriptedService(context.tasks, self.script)  # type: ignore[arg-type]  it is in process
        files = ScriptedFiles(InProcessFiles(self.world, now=time.clock.now), self.deliveries)
        room = replace(
            room,
            manifest=_Told(room.manifest, self),
            data_plane=KeyedPlane(InlineDataPlane(files, boundary=self), self.deliveries),
            observer=_Tale(notes, self.met),
        )
        if self._chapter.stop_at_s is not None:
            time.loop.call_later(self._chapter.stop_at_s, room.stop.set, "SIGINT")
        return [replace(context, tasks=service, counts=service, meta=service)], room

    def _path_of(self, hour: str) -> str:
        window = self.script.window_of(hour)
        return _place(super().job, window)

    # --- judgement ---

    def ledger(self) -> Ledger:
        return read_ledger(self.manifest._connection)

    def visible(self) -> dict[str, bytes]:
        """Every file under a final name."""
        return {str(path): path.read_bytes() for path in self._published()}

    def _judge_death(self) -> None:
        ledger = self.ledger()
        self.broken += [
            f"after the death of life {len(self.lives) - 1}: {what}"
            for what in unaccounted(self.visible(), ledger, self._strangers())
        ]
        staging = self.folder / ".orchestrator" / "staging"
        served = Counter(self.deliveries.served)
        self._debts.append(Debt(safe_bytes(staging, ledger, served), served))

    def _strangers(self) -> list[str]:
        return [] if self._chapter.path_free else [str(self._foreign)]

    def _judge_end(self) -> None:
        report = self.reports[-1]
        if not report.complete or report.exit != 0:
            self.broken.append(f"not complete: exit {report.exit}, {report.jobs[0].gaps}")
        lost, extra = self.truth() - self.archived(), self.archived() - self.truth()
        if lost or extra:
            self.broken.append(f"{lost.total()} rows lost, {extra.total()} too many")
        ledger = self.ledger()
        self.broken += unaccounted(self.visible(), ledger)
        self.broken += left_behind(self.world, ledger)
        self.met["a surplus remote task deleted"] += ledger.deleted
        self.broken += debts(self.deliveries, self._debts)
        made = self.world.witness.tasks_made
        # That run belongs to no chapter: nobody dies in it, and nobody watches what it writes.
        self.boundaries.append([])
        self.disk = DiskLog(str(self.folder))
        again = self.live().report
        self.boundaries.pop()
        busy = again is None or sum(n for family, n in again.requests.items() if family != "list")
        if busy or self.world.witness.tasks_made != made:
            self.broken.append(f"a further run was not idle: {again}")

    def archived(self) -> Counter[bytes]:
        return Counter(_rows_of(self.visible()))

    def about(self, changes: Changes) -> None:
        """A commit begins."""
        self._about = " ".join(sorted({f"{e.event}>{e.detail.get('state', '')}" for e in changes.journal}))

    def committed(self) -> None:
        """The commit was acknowledged."""


class _Told:
    """The manifest, whose commits say what they are about."""

    def __init__(self, behind: Any, ring: Ring) -> None:
        self._behind = behind
        self._ring = ring

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)

    async def commit(self, changes: Changes) -> None:
        self._ring.about(changes)
        await self._behind.commit(changes)
        self._ring.committed()


class _Tale:
    """The Observer that tells what happened in words, and passes everything on."""

    def __init__(self, behind: Any, met: Counter[str]) -> None:
        self._behind = behind
        self._met = met

    def changed(self, before: Slice | None, after: Slice, event: ev.Event | None) -> None:
        self._behind.changed(before, after, event)
        for word in _words(before, after, event):
            self._met[word] += 1

    def noted(self, name: str, **detail: str | float | None) -> None:
        self._behind.noted(name, **detail)
        self._met[name] += 1


def _words(before: Slice | None, after: Slice, event: ev.Event | None) -> list[str]:
    """What a change is called, if it is worth a name."""
    if before is None:
        return ["empty by two witnesses"] if event is None and after.state is SliceState.EMPTY else []
    became = (before.state, after.state)
    match event:
        case ev.Observed(status=status) if status.state != RemoteState.SUCCESS:
            ends = {RemoteState.FAILED: "a failed remote task", RemoteState.EXPIRED: "an expired remote task"}
            empty = ["empty by failure"] if after.state is SliceState.EMPTY else []
            return empty or [ends[RemoteState(status.state)]] if status.state in ends else []
        case ev.Observed() if after.state is SliceState.EMPTY:
            return ["empty by the remote task"]
        case ev.Vanished():
            return ["a vanished remote task"]
        case ev.Adopted(twins=twins):
            return ["adopted", *(["twins"] if twins else [])]
        case ev.ProvedAbsent():
            return ["proved absent"]
        case ev.CreateDoubted():
            return ["in doubt"]
        case ev.Resumed() if became == (SliceState.SUBMITTING, SliceState.IN_DOUBT):
            return ["in doubt by a death"]
        case ev.Dropped():
            return ["dropped"]
        case ev.PublishFailed() if after.reason == "path occupied":
            return ["path occupied"]
        case ev.Resumed() if became == (SliceState.FAILED, SliceState.SETTLING):
            return ["path freed"]
        case ev.Divided():
            return ["a second divided"]
        case ev.Gathered():
            return ["a second gathered"]
        case ev.Relieved():
            return ["the old file of a divided slice retired"]
        case ev.Published():
            return _words_of_publishing(before, after)
        case ev.Staged() | ev.Recounted():
            return _words_of_weighing(before, after)
        case _:
            return []


def _words_of_publishing(before: Slice, after: Slice) -> list[str]:
    if after.state is SliceState.FAILED:
        return ["a short file published"]
    if not before.published_path:
        return ["published"]
    if after.state is SliceState.EMPTY:
        return ["an old file retired by emptiness"]
    return ["the same path replaced" if before.published_path == after.path else "another path replaced"]


def _words_of_weighing(before: Slice, after: Slice) -> list[str]:
    match after.state:
        case SliceState.CUT:
            return ["cut"]
        case SliceState.SUPERSEDED:
            return ["split"]
        case SliceState.EMPTY:
            return ["empty by its file" if before.receipt is not None else "empty without a file"]
        case SliceState.PLANNED if after.best is not None:
            return ["asked again, padded", "a short file kept"]
        case SliceState.SETTLING if before.best is not None and after.receipt == before.best:
            return ["the fuller file wins"]
        case _:
            return []


def _place(job: Job, window: Window) -> str:
    return (
        render_layout(job.layout, job.name, job.identity.project, job.identity.logstore, window, UTC)
        + ".jsonl"
    )


def _rows_of(files: dict[str, bytes]) -> Iterator[bytes]:
    for path, content in files.items():
        plain = gzip.decompress(content) if path.endswith(".gz") else content
        for line in plain.splitlines():
            yield orjson.dumps(orjson.loads(line), option=orjson.OPT_SORT_KEYS)


@cache
def undisturbed(story: str) -> Ring:
    """A story without a death, played once per process."""
    with TemporaryDirectory() as folder:
        return Ring(STORIES[story], Path(folder) / "undisturbed").play()


@cache
def deaths_of(story: str, *, whole: bool) -> tuple[Death, ...]:
    """Where to die in a story: at every boundary, or once for each kind of boundary around each kind of
    commit that no story before this one has."""
    chosen: list[Death] = []
    known: set[Met] = set()
    for name in STORIES:
        chosen.clear()
        for life, boundaries in enumerate(undisturbed(name).boundaries):
            for number, met in enumerate(boundaries, 1):
                if whole or met not in known:
                    chosen.append((life, number))
                    known.add(met)
        if name == story:
            break
    return tuple(chosen)
