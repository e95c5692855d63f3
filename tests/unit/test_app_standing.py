"""How a job stands, and how fast a run goes, as the manifest alone tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.app.reading import job_status
from orchestrator.app.standing import FEW_STREAMS, job_standing, pace
from orchestrator.core.job import Job, JobIdentity, ServiceSpec
from orchestrator.core.model import Receipt, Slice, SliceState
from orchestrator.core.standing import Mark, columns
from orchestrator.core.window import Window, iso_utc
from orchestrator.manifest.store import MemoryManifest, SqliteManifest, open_memory
from orchestrator.ports.store import Changes, Covered, JournalEntry

NOW = 10_000.0
IDENTITY = JobIdentity("bj", "default", "web", "", "match *")
JOB = Job("web", IDENTITY, ServiceSpec("", "http://127.0.0.1"), Window(0, 1000), 1000)
STREAMS = replace(
    JOB,
    identity=replace(IDENTITY, logstream="a b"),
    stream_patterns=("a", "b"),
    streams=("a", "b"),
)
SHORT = dict(zip(Mark, "SPGAWU-", strict=True))
Work = Callable[[SqliteManifest], Coroutine[Any, Any, None]]


@pytest.fixture
def memory() -> Iterator[MemoryManifest]:
    """An empty manifest."""
    made = open_memory(now=lambda: 1.0, new_id=lambda: "0123456789abcdef")
    yield made
    made.close()


def told(memory: MemoryManifest, work: Work) -> None:
    asyncio.run(work(memory.reopen()))


def piece(
    start: int, end: int, state: SliceState, stream: str = "", *, rows: int = 0, at: float = 0.0
) -> Slice:
    receipt = (
        Receipt("/s", "jsonl", ".jsonl", 9, "f", 8, "s", rows, 0, rows, Window(start, end)) if rows else None
    )
    made = Slice(f"{start:08d}-{end:08d}-{stream}", "web", stream, Window(start, end), state=state)
    return replace(
        made, reason="throttled" if state is SliceState.FAILED else "", receipt=receipt, updated_at=at
    )


def covered(start: int, end: int, stream: str = "*") -> Covered:
    return Covered("web", stream, Window(start, end))


async def bars(job: Job, manifest: SqliteManifest, width: int = 10) -> dict[str | None, str]:
    status = await job_status(job, manifest)
    found = await job_standing(status, manifest, width)
    return {item.logstream: "".join(SHORT[mark] for mark in columns(item.standing, width)) for item in found}


def test_a_job_is_told_from_coverage_gaps_and_unfinished_slices(memory: MemoryManifest) -> None:
    """Each part of the window as the manifest holds it, and what is not due up to the asked end."""

    async def work(manifest: SqliteManifest) -> None:
        assert await bars(JOB, manifest) == {None: "UUUUUUUUUU"}
        slices = (
            piece(200, 300, SliceState.FAILED),
            piece(300, 400, SliceState.FAILED),
            piece(400, 500, SliceState.RUNNING),
            piece(500, 600, SliceState.PLANNED),
            piece(0, 100, SliceState.PLANNED),  # a redo: what it replaces is still stored
        )
        await manifest.commit(Changes(slices=slices, covered=(covered(0, 200),)))
        await manifest.accept("web", Window(300, 400), "known", "me", NOW)
        due = replace(JOB, window=Window(0, 800), due_until_s=800, to_s=1000)
        assert await bars(due, manifest) == {None: "SSGAWWUU--"}
        assert await bars(replace(due, window=Window(300, 500), to_s=500, due_until_s=500), manifest) == {
            None: "AAAAAWWWWW"
        }

    told(memory, work)


def test_a_window_that_is_not_due_at_all_is_drawn_when_its_end_is_known(memory: MemoryManifest) -> None:
    """And not when it moves with every run."""

    async def work(manifest: SqliteManifest) -> None:
        ahead = replace(JOB, window=None, from_s=500, to_s=1000, due_until_s=400)
        assert await bars(ahead, manifest) == {None: "----------"}
        assert await bars(replace(ahead, to_s=None), manifest) == {}

    told(memory, work)


def test_unfinished_slices_are_found_wherever_their_ends_lie(memory: MemoryManifest) -> None:
    """One that begins before the window, one longer than many columns, several within one column, and none
    that ends before."""

    async def work(manifest: SqliteManifest) -> None:
        slices = (
            piece(0, 150, SliceState.PLANNED),
            piece(300, 310, SliceState.PLANNED),
            piece(320, 650, SliceState.WAITING),
            piece(330, 335, SliceState.PLANNED),
            piece(990, 1500, SliceState.READY),
            piece(700, 800, SliceState.DONE),
        )
        await manifest.commit(Changes(slices=slices))
        late = replace(JOB, window=Window(100, 1100), due_until_s=1100)
        assert await bars(late, manifest) == {None: "WUWWWWUUWW"}
        edges = range(100, 1101, 100)
        assert await manifest.unfinished_spans("web", edges) == (
            Window(100, 150),
            Window(300, 650),
            Window(990, 1100),
        )
        assert await manifest.unfinished_spans("web", edges, "a") == ()
        assert await manifest.unfinished_spans("other", edges) == ()

    told(memory, work)


def test_a_column_is_stored_only_when_all_streams_are(memory: MemoryManifest) -> None:
    """Of a job with log streams the first bar is the whole, and each stream has its own below."""

    async def work(manifest: SqliteManifest) -> None:
        slices = (piece(800, 1000, SliceState.FAILED, "a"), piece(500, 800, SliceState.PLANNED, "b"))
        ranges = (covered(0, 800, "a"), covered(0, 300, "b"))
        await manifest.commit(Changes(slices=slices, covered=ranges))
        assert await bars(STREAMS, manifest) == {
            None: "SSSPPPPPGG",
            "a": "SSSSSSSSGG",
            "b": "SSSUUWWWUU",
        }

    told(memory, work)


def test_many_streams_are_told_by_the_whole_alone(memory: MemoryManifest) -> None:
    """A page of bars is not read."""

    async def work(manifest: SqliteManifest) -> None:
        names = tuple(f"s{number}" for number in range(FEW_STREAMS + 1))
        many = replace(STREAMS, streams=names)
        await manifest.commit(Changes(covered=tuple(covered(0, 500, name) for name in names)))
        assert await bars(many, manifest) == {None: "SSSSSUUUUU"}
        assert len(await bars(replace(many, streams=names[1:]), manifest)) == FEW_STREAMS + 1

    told(memory, work)


def test_finished_slices_cost_nothing(memory: MemoryManifest) -> None:
    """However many slices are done, a bar takes a bounded number of database steps beyond the merged
    coverage."""

    async def work(manifest: SqliteManifest) -> None:
        done = tuple(piece(number, number + 1, SliceState.DONE) for number in range(20_000))
        await manifest.commit(Changes(slices=done, covered=(covered(0, 20_000),)))
        job = replace(JOB, window=Window(0, 30_000), due_until_s=30_000)
        status = await job_status(job, manifest)
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        memory._connection.set_progress_handler(count, 100)
        try:
            (found,) = await job_standing(status, manifest, 80)
            await manifest.ended_since(0.0)
        finally:
            memory._connection.set_progress_handler(None, 0)
        assert steps < 100, "a hundred instructions each"
        assert columns(found.standing, 3) == (Mark.STORED, Mark.STORED, Mark.UNTRIED)

    told(memory, work)


# --- the run in progress


def ends(start: int, end: int, rows: int, at: float, event: str = "published") -> Changes:
    made = piece(start, end, SliceState.DONE if rows else SliceState.EMPTY, rows=rows, at=at)
    entry = JournalEntry(at, "web", made.id, event, {"state": made.state.value})
    return Changes(slices=(made,), covered=(covered(start, end),), journal=(entry,))


async def pace_of(
    manifest: SqliteManifest, job: Job = JOB, since: float = NOW - 1000
) -> tuple[float, float, float | None] | None:
    status = await job_status(job, manifest)
    standing = await job_standing(status, manifest, 10)
    found = await pace(iso_utc(since), [(status, standing[0].standing)], manifest, NOW)
    return None if found is None else (found.over_s, found.lines_per_s, found.time_left_s)


def test_pace_is_that_of_the_last_five_minutes(memory: MemoryManifest) -> None:
    """Lines of slices that ended since, by time; what ended earlier and what was found empty in planning does
    not count, and the rest of the slices takes as long as these did."""

    async def work(manifest: SqliteManifest) -> None:
        await manifest.commit(ends(0, 100, 5_000, NOW - 400))
        assert await pace_of(manifest) == (300.0, 0.0, None)
        await manifest.commit(ends(100, 200, 1_000, NOW - 200))
        await manifest.commit(ends(200, 300, 2_000, NOW - 100))
        await manifest.commit(ends(300, 400, 0, NOW - 50, "proved_empty"))
        assert await pace_of(manifest) == (300.0, 10.0, None), "the rest is not planned yet"
        planned = tuple(piece(start, start + 100, SliceState.PLANNED) for start in range(400, 1000, 100))
        await manifest.commit(Changes(slices=planned))
        assert await pace_of(manifest) == (300.0, 10.0, 900.0)
        again = JournalEntry(NOW - 20, "web", "00000000-00000100-", "kept", {})
        await manifest.commit(Changes(journal=(again,)))
        assert await pace_of(manifest) == (300.0, 10.0, 900.0), "a word about an old slice ends none"

    told(memory, work)


def test_a_young_run_is_judged_by_its_own_time(memory: MemoryManifest) -> None:
    """What an earlier run stored a minute ago is not this one's, and a few seconds tell no time left."""

    async def work(manifest: SqliteManifest) -> None:
        await manifest.commit(ends(0, 500, 6_000, NOW - 60))
        await manifest.commit(ends(500, 700, 300, NOW - 2))
        await manifest.commit(ends(700, 1000, 300, NOW - 1))
        assert await pace_of(manifest, since=NOW - 30) == (30.0, 20.0, 0.0)
        assert await pace_of(manifest, since=NOW - 3) == (3.0, 200.0, None)
        assert await pace_of(manifest, since=NOW) is None

    told(memory, work)


def test_pace_is_not_told_when_the_owner_left_no_date(memory: MemoryManifest) -> None:
    """The owner's text is for display; one that cannot be read breaks nothing."""

    async def work(manifest: SqliteManifest) -> None:
        assert await pace("", [], manifest, NOW) is None

    told(memory, work)


def test_a_long_journal_shortens_the_time_it_is_judged_by(memory: MemoryManifest) -> None:
    """Only the end of the journal is looked through: the rate is that of the time it spans."""

    async def work(manifest: SqliteManifest) -> None:
        await manifest.commit(ends(0, 100, 9_000, NOW - 250))
        noise = JournalEntry(NOW - 100, "web", "00000000-00000100-", "observed", {})
        await manifest.commit(Changes(journal=(noise,) * 20_000))
        await manifest.commit(ends(100, 1000, 500, NOW - 40))
        found = await pace_of(manifest)
        assert found is not None
        assert (found[0], found[1]) == (100.0, 5.0)

    told(memory, work)


def test_a_next_try_is_told_only_when_it_is_waited_for(memory: MemoryManifest) -> None:
    """A slice that may go at once has no date; the earliest one that waits has."""

    async def work(manifest: SqliteManifest) -> None:
        at_once, later = piece(0, 100, SliceState.PLANNED), piece(100, 200, SliceState.PLANNED)
        await manifest.commit(Changes(slices=(at_once,)))
        assert (await job_status(JOB, manifest)).next_due_at is None
        waits = replace(at_once, not_before_at=NOW + 60), replace(later, not_before_at=NOW + 50)
        await manifest.commit(Changes(slices=waits))
        assert (await job_status(JOB, manifest)).next_due_at == NOW + 50

    told(memory, work)
