"""Several runs of one account side by side under one virtual clock, and what the service saw of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.core import events as ev
from orchestrator.core.report import Report
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.world import World
from orchestrator.engine.run import run
from orchestrator.testing.boundary import FaultPlan
from orchestrator.testing.episode import HORIZON_S, Episode, Setting
from orchestrator.testing.loop import VirtualTime, run_virtual

__all__ = ["Shared", "jain", "played"]


@dataclass
class Seen:
    """The Observer of one run: when what happened, in seconds since the beginning of all."""

    time: VirtualTime
    created_at: list[float] = field(default_factory=list)
    stored_at: list[float] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def changed(self, before: object, after: object, event: object) -> None:
        if isinstance(event, ev.Created):
            self.created_at.append(self.time.elapsed_s)
        if isinstance(event, ev.Published):
            self.stored_at.append(self.time.elapsed_s)

    def noted(self, name: str, **detail: str | float | None) -> None:
        self.notes[name] += 1


@dataclass(frozen=True)
class Shared:
    """How it went: one report and one record for each run, and the world they met in."""

    reports: tuple[Report, ...]
    seen: tuple[Seen, ...]
    world: World
    elapsed_s: float

    @property
    def requests(self) -> int:
        """All signed requests the service saw."""
        return sum(count for name, count in self.world.witness.requests.items() if name != "file")

    def refused(self, *statuses: int) -> int:
        """How many requests it answered with one of ``statuses``."""
        return sum(
            count
            for name, count in self.world.witness.statuses.items()
            if int(name.rpartition(" ")[2]) in statuses
        )

    def watching_per_slice(self) -> float:
        """List pages and descriptions for each remote task made."""
        asked = self.world.witness.requests
        return (asked["list"] + asked["describe"]) / self.world.witness.tasks_made

    def stored_between(self, start_s: float, end_s: float) -> list[int]:
        """Files each run published in that time."""
        return [sum(start_s <= at < end_s for at in seen.stored_at) for seen in self.seen]


def jain(shares: Sequence[float]) -> float:
    """Jain's fairness index: 1.0 when all have the same, 1/n when one has all."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def played(
    setting: Setting,
    folder: Path,
    *,
    starts_s: Sequence[float] = (0.0,),
    later: Mapping[float, Behaviour] | None = None,
    changed: Mapping[str, Any] | None = None,
    watched: Callable[[VirtualTime, World], Any] | None = None,
) -> Shared:
    """Run the same export once for each of ``starts_s``, every one with a manifest and a folder of its own,
    while the service changes its behaviour ``later``."""
    episodes = []
    for number, _ in enumerate(starts_s):
        (folder / str(number)).mkdir(parents=True)
        episodes.append(Episode(replace(setting, seed=setting.seed + number), folder / str(number)))
    world = episodes[0].world
    seen: list[Seen] = []

    async def main(time: VirtualTime) -> tuple[Report, ...]:
        async def one(episode: Episode, start_s: float, record: Seen) -> Report:
            await asyncio.sleep(start_s)
            contexts, room = episode._furnish(time, FaultPlan(None), record)
            jobs = [replace(context, job=replace(context.job, **(changed or {}))) for context in contexts]
            return await run(jobs, room, jobs_path="jobs.toml")

        for at_s, behaviour in (later or {}).items():
            time.loop.call_later(at_s, lambda b=behaviour: world.behave(b, time.clock.now()))
        if watched is not None:
            watched(time, world)
        for episode in episodes:
            episode.world = world
            seen.append(Seen(time))
        runs = zip(episodes, starts_s, seen, strict=True)
        return tuple(await asyncio.gather(*(one(*each) for each in runs)))

    elapsed: list[float] = []

    async def timed(time: VirtualTime) -> tuple[Report, ...]:
        try:
            return await main(time)
        finally:
            elapsed.append(time.elapsed_s)

    reports = run_virtual(
        timed, seed=f"shared {setting.seed}", start_at=episodes[0].now_s, horizon_s=HORIZON_S
    )
    return Shared(reports, tuple(seen), world, elapsed[0])
