"""Whether the log streams of a job add up, and what is made of it when they do not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import Any

import pytest

from orchestrator.core import events as ev
from orchestrator.core.job import Job, JobIdentity, Limits
from orchestrator.core.model import Slice, SliceState, slice_id
from orchestrator.core.report import Gap
from orchestrator.core.streams import Streams, views, with_streams
from orchestrator.core.window import Window
from orchestrator.engine.audit import covered_of, gaps_of
from orchestrator.engine.context import JobContext, Room
from orchestrator.engine.takeup import leftovers
from orchestrator.engine.tally import DAY_S, MOST_QUESTIONS, add_up
from orchestrator.errors import Unreachable
from orchestrator.manifest.store import SqliteManifest, open_memory
from orchestrator.ports.service import CountUnavailable
from orchestrator.ports.store import Changes, Covered
from tests.unit.test_fleets import file_of

DAY = Window(1_768_348_800, 1_768_348_800 + DAY_S)


class Still:
    """Clock and observer: it is always the same second, and what was said is kept."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def now(self) -> float:
        return 1_768_500_000.0

    def changed(self, *_: object) -> None:
        """Nothing changes here."""

    def noted(self, name: str, **_: object) -> None:
        self.said.append(name)


@dataclass
class Service:
    """Lines by stream ("" for all) that lie at one second; ``listed`` is what a later listing names."""

    lines: Mapping[str, Mapping[int, int]]
    listed: tuple[str, ...] = ("a", "b")
    fails: bool = False
    uncounted: frozenset[str] = frozenset()
    asked: list[tuple[str, Window]] = field(default_factory=list)

    async def count(self, identity: JobIdentity, stream: str, window: Window) -> int | CountUnavailable:
        self.asked.append((stream, window))
        if self.fails:
            raise Unreachable("nobody answers")
        if stream in self.uncounted:
            return CountUnavailable("no index")
        held = self.lines[stream].items()
        return sum(lines for at_s, lines in held if window.start_s <= at_s < window.end_s)

    async def list_logstreams(self, project: str, logstore: str) -> tuple[str, ...]:
        return self.listed


def job_of(*, days: int = 1, gone: tuple[str, ...] = ()) -> Job:
    (job,) = file_of({"name": "x", "logstore": "web", "logstream": "*"}).jobs
    window = Window(DAY.start_s, DAY.start_s + days * DAY_S)
    return with_streams(replace(job, window=window), Streams(("a", "b"), gone))


def room_of(manifest: SqliteManifest, still: Still) -> Room:
    nobody: Any = None
    return Room(manifest, nobody, still, nobody, still, nobody, Limits(), dict)


def told(story: Callable[[SqliteManifest], Awaitable[None]]) -> None:
    """Tells a story with a manifest in memory."""
    memory = open_memory(now=lambda: 1.0, new_id=lambda: "0123456789abcdef")

    async def whole() -> None:
        async with asyncio.timeout(30):
            await story(memory.reopen())

    asyncio.run(whole())


async def cover(job: Job, manifest: SqliteManifest) -> None:
    """Every listed stream is stored."""
    assert job.window is not None
    covered = tuple(Covered(job.name, view.identity.logstream, job.window) for view in views(job))
    await manifest.commit(Changes(covered=covered, jobs=(job,)))


async def compare(job: Job, manifest: SqliteManifest, service: Service) -> Still:
    still = Still()
    nobody: Any = None
    context = JobContext(job, UTC, nobody, service, service, nobody)  # type: ignore[arg-type]  # ports that are never asked
    await add_up(context, room_of(manifest, still))
    return still


async def gaps_after(job: Job, manifest: SqliteManifest) -> list[tuple[str, str, bool]]:
    found: tuple[Gap, ...] = await gaps_of(job, manifest, None, "jobs.toml")
    return [(gap.logstream, gap.reason, gap.mendable) for gap in found]


def test_streams_that_add_up_are_covered_together() -> None:
    """Before the comparison the window is a gap that another run mends; after it, it is covered, and is not
    compared again."""

    async def story(manifest: SqliteManifest) -> None:
        job, at_s = job_of(), DAY.start_s
        await cover(job, manifest)
        assert await gaps_after(job, manifest) == [("*", "not compared yet", True)]
        assert await covered_of(job, manifest) == ()
        service = Service({"": {at_s: 5}, "a": {at_s: 2}, "b": {at_s: 3}})
        await compare(job, manifest, service)
        assert (await gaps_after(job, manifest), await covered_of(job, manifest)) == ([], (DAY,))
        before = len(service.asked)
        await compare(job, manifest, service)
        assert len(service.asked) == before

    told(story)


def test_streams_that_fall_short_are_a_gap_until_they_do_not() -> None:
    """Lines of no listed stream cost the day they lie in, and no other; every comparison looks again."""

    async def story(manifest: SqliteManifest) -> None:
        job = job_of(days=4)
        assert job.window is not None
        await cover(job, manifest)
        at_s = DAY.start_s + 2 * DAY_S + 7
        short = Service({"": {at_s: 5}, "a": {at_s: 2}, "b": {at_s: 2}})
        for _ in range(2):
            await compare(job, manifest, short)
            (gap,) = await gaps_of(job, manifest, None, "jobs.toml")
            assert (gap.reason, gap.mendable, gap.logstream) == ("streams fall short", False, "*")
            third_day = Window(DAY.start_s + 2 * DAY_S, DAY.start_s + 3 * DAY_S)
            assert gap.window == third_day
        await compare(job, manifest, Service({"": {at_s: 5}, "a": {at_s: 2}, "b": {at_s: 3}}))
        assert (await gaps_after(job, manifest), await covered_of(job, manifest)) == ([], (job.window,))
        counts = await manifest.counts(job.name)
        assert SliceState.FAILED not in counts.slices

    told(story)


def test_a_stream_that_appeared_meanwhile_is_for_the_next_run() -> None:
    """The list has grown while the others were exported: what is missing another run mends."""

    async def story(manifest: SqliteManifest) -> None:
        job = job_of()
        await cover(job, manifest)
        at_s = DAY.start_s
        service = Service({"": {at_s: 5}, "a": {at_s: 2}, "b": {at_s: 2}}, listed=("a", "b", "c"))
        assert "streams.appeared_meanwhile" in (await compare(job, manifest, service)).said
        assert await gaps_after(job, manifest) == [("*", "not compared yet", True)]

    told(story)


@pytest.mark.parametrize("stream", ["", "b"])
def test_what_cannot_be_counted_is_said_and_is_no_gap(stream: str) -> None:
    """Without a count each listed stream is proven, and the log says that nobody knows whether these are
    all."""

    async def story(manifest: SqliteManifest) -> None:
        job = job_of()
        await cover(job, manifest)
        at_s = DAY.start_s
        service = Service({"": {at_s: 5}, "a": {}, "b": {}}, uncounted=frozenset({stream}))
        assert "streams.total_unknown" in (await compare(job, manifest, service)).said
        assert await gaps_after(job, manifest) == []

    told(story)


def test_an_outage_proves_nothing() -> None:
    """The gap stays one that another run mends."""

    async def story(manifest: SqliteManifest) -> None:
        job = job_of()
        await cover(job, manifest)
        await compare(job, manifest, Service({}, fails=True))
        assert await gaps_after(job, manifest) == [("*", "not compared yet", True)]

    told(story)


def test_a_long_window_costs_a_bounded_number_of_questions() -> None:
    """Where every day falls short, the finest pieces are not looked for to the end."""

    async def story(manifest: SqliteManifest) -> None:
        job = job_of(days=3650)
        await cover(job, manifest)
        every_day = {DAY.start_s + day * DAY_S: 3 for day in range(3650)}
        service = Service({"": every_day, "a": {}, "b": {}})
        await compare(job, manifest, service)
        assert len(service.asked) < 3 * MOST_QUESTIONS
        assert {reason for _, reason, _ in await gaps_after(job, manifest)} == {"streams fall short"}

    told(story)


def test_every_stream_has_its_own_gaps() -> None:
    """What one stream lacks is told of that one; a job without a known stream lacks everything."""

    async def story(manifest: SqliteManifest) -> None:
        job = job_of()
        await manifest.commit(Changes(covered=(Covered(job.name, "a", DAY),), jobs=(job,)))
        assert await gaps_after(job, manifest) == [("b", "not exported yet", True)]
        assert await covered_of(job, manifest) == ()
        failed = Slice(
            id=slice_id(job, "a", DAY),
            job=job.name,
            logstream="a",
            window=DAY,
            state=SliceState.FAILED,
            reason="throttled",
        )
        await manifest.commit(Changes(slices=(failed,), uncovered=(Covered(job.name, "a", DAY),)))
        assert await gaps_after(job, manifest) == [
            ("a", "throttled", True),
            ("b", "not exported yet", True),
        ]
        unknown = replace(job, streams=())
        assert await gaps_after(unknown, manifest) == [("*", "not exported yet", True)]

    told(story)


def test_planned_slices_of_a_vanished_stream_are_let_go() -> None:
    """Nothing is asked for in its name any more; what is planned for the others stays, and is taken of their
    own windows only."""

    async def story(manifest: SqliteManifest) -> None:
        job = replace(job_of(gone=("old",)), streams=("a", "b"))
        slices = [
            Slice(id=slice_id(job, stream, DAY), job=job.name, logstream=stream, window=DAY)
            for stream in ("a", "old")
        ]
        await manifest.commit(Changes(slices=tuple(slices), jobs=(job,)))
        left = await leftovers(job, DAY, manifest)
        assert [(slice_.logstream, type(event)) for slice_, event in left.events] == [("old", ev.Dropped)]
        first, second = views(job)
        assert (left.taken_of(first), left.taken_of(second)) == ((DAY,), ())

    told(story)
