"""Which gaps of a job with log streams an acceptance speaks of."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from orchestrator.core.job import Job, JobIdentity, ServiceSpec
from orchestrator.core.model import Slice, SliceState
from orchestrator.core.window import Window
from orchestrator.engine.audit import gaps_of
from orchestrator.engine.takeup import leftovers
from orchestrator.manifest.store import MemoryManifest, open_memory
from orchestrator.ports.store import Changes, Covered

WINDOW = Window(0, 100)
PLAIN = Job(
    "web", JobIdentity("bj", "default", "web", "", "match *"), ServiceSpec("", "http://h"), WINDOW, 100
)
STREAMS = replace(
    PLAIN,
    identity=replace(PLAIN.identity, logstream="*"),
    stream_patterns=("*",),
    streams=("a", "b"),
)
WHOLE = Window(60, 100)


@pytest.fixture
def memory() -> MemoryManifest:
    """Both streams failed in the first minute; after it both are stored, and less than all there is."""
    made = open_memory(now=lambda: 1.0, new_id=lambda: "0123456789abcdef")
    first = Window(0, 60)
    failed = [
        Slice(f"s-{stream}", "web", stream, first, state=SliceState.FAILED, reason="throttled")
        for stream in ("a", "b")
    ]
    short = Slice("s-all", "web", "", WHOLE, state=SliceState.FAILED, reason="streams fall short")
    covered = tuple(Covered("web", stream, WHOLE) for stream in ("a", "b"))
    asyncio.run(made.reopen().commit(Changes(slices=(*failed, short), covered=covered)))
    return made


def signed(memory: MemoryManifest, job: Job, *streams: str) -> tuple[dict[str, bool], set[str]]:
    """Of each gap whether it counts as accepted, and what the next run takes up again, once the whole window
    is signed off for ``streams``."""

    async def work() -> tuple[dict[str, bool], set[str]]:
        manifest = memory.reopen()
        for stream in streams:
            await manifest.accept("web", WINDOW, "known", "ann", 1.0, stream)
        gaps = await gaps_of(job, manifest, WINDOW, "jobs.toml")
        again = await leftovers(job, WINDOW, manifest)
        return (
            {gap.logstream: gap.accepted is not None for gap in gaps},
            {slice_.logstream for slice_, _ in again.events},
        )

    return asyncio.run(work())


@pytest.mark.parametrize(
    ("streams", "accepted", "again"),
    [
        ((), set(), {"a", "b"}),
        (("a",), {"a"}, {"b"}),
        (("",), {"*"}, {"a", "b"}),
        (("a", ""), {"a", "*"}, {"b"}),
        (("c",), set(), {"a", "b"}),
        (("*",), {"a", "b", "*"}, set()),
    ],
)
def test_an_acceptance_speaks_of_its_own_stream(
    memory: MemoryManifest, streams: tuple[str, ...], accepted: set[str], again: set[str]
) -> None:
    """Or of what is missing of all together, or, as those of earlier versions do, of every gap there is; a
    run leaves alone what it speaks of, and nothing else."""
    told, taken_up = signed(memory, STREAMS, *streams)
    assert {stream for stream, is_accepted in told.items() if is_accepted} == accepted
    assert set(told) == {"a", "b", "*"}
    assert taken_up == again


def test_a_job_without_streams_has_one_kind_of_acceptance(memory: MemoryManifest) -> None:
    """Whatever a slice of it was divided into, its gaps are those of the job."""
    told, taken_up = signed(memory, PLAIN, "*")
    assert all(told.values())
    assert taken_up == set()
