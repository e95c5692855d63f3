"""What the manifest tells of earlier slices, and that asking it stays cheap."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from orchestrator.core.job import Job, JobIdentity, Order, ServedFormat, ServiceSpec
from orchestrator.core.model import Receipt, RemoteTask, Slice, SliceState
from orchestrator.core.window import Window
from orchestrator.engine.experience import experience_of, observed_excess
from orchestrator.manifest.store import MemoryManifest, SqliteManifest, open_memory
from orchestrator.ports.store import Changes

DONE, CUT = SliceState.DONE, SliceState.CUT


def job(name: str = "web", *, service: str = "bls-log.bj.baidubce.com", max_lines: int = 1000) -> Job:
    return Job(
        name=name,
        identity=JobIdentity(service, "default", name, "", "match *"),
        service=ServiceSpec("bj", f"https://{service}"),
        window=Window(0, 86_400),
        due_until_s=86_400,
        timezone="UTC",
        max_lines=max_lines,
    )


@pytest.fixture
def memory() -> Iterator[MemoryManifest]:
    opened = open_memory(now=lambda: 1.0, new_id=lambda: "0123456789abcdef")
    yield opened
    opened.close()


def receipt(served: int, stored: int | None = None) -> Receipt:
    kept = served if stored is None else stored
    return Receipt("", "jsonl", ".jsonl", 10, "", 100 * kept, "", served, served - kept, kept, Window(0, 1))


def piece(
    number: int, expected: int | None, served: int | None, *, name: str = "web", ran_s: float = 5.0
) -> Slice:
    window = Window(number * 10, number * 10 + 10)
    key = f"{name}{number}"
    task = RemoteTask(
        number=number,
        name=f"o-{number}",
        slice_id=key,
        job=name,
        attempt=1,
        window=window,
        limit=1000,
        order=Order.ASC,
        format=ServedFormat.JSON,
        intent_at=100.0,
        uuid=f"uuid-{number}",
        state="SUCCESS",
        created_at=100.0,
        finished_at=100.0 + ran_s,
    )
    got = None if served is None else receipt(served)
    return Slice(key, name, "", window, state=DONE, expected_lines=expected, task=task, receipt=got)


def filled(memory: MemoryManifest, *slices: Slice, jobs: tuple[Job, ...] = ()) -> SqliteManifest:
    manifest = memory.reopen()
    asyncio.run(manifest.commit(Changes(slices=slices, jobs=jobs or (job(),))))
    return manifest


def test_a_job_without_a_past_tells_nothing(memory: MemoryManifest) -> None:
    """Neither one the manifest never heard of, nor one with slices that are not done."""
    manifest = filled(memory, replace(piece(1, 900, 990), state=SliceState.PLANNED))
    for asked in (job(), job("other", service="elsewhere")):
        assert asyncio.run(observed_excess(asked, manifest)) == 0.0
        assert asyncio.run(experience_of(asked, manifest)).stored == ()


def test_the_excess_is_what_the_remote_task_had_to_carry(memory: MemoryManifest) -> None:
    """Rows that were dropped at the edges took room too, unless they were asked for as a margin."""
    dropped = replace(piece(1, 900, None), receipt=receipt(927, 900))
    padded = replace(piece(2, 900, None), receipt=receipt(990, 909), padded=True)
    manifest = filled(memory, dropped, padded)
    assert asyncio.run(observed_excess(job(), manifest)) == pytest.approx(0.03)


def test_a_cut_asks_for_twice_the_room_that_was_too_little(memory: MemoryManifest) -> None:
    """Nobody saw how much more there was; a slice that was cut without a count says nothing."""
    cut = replace(piece(1, 980, None), state=CUT, task=None)
    blind = replace(piece(2, None, None), state=CUT, task=None)
    manifest = filled(memory, cut, blind)
    assert asyncio.run(observed_excess(job(), manifest)) == pytest.approx(40 / 980)


def test_only_the_newest_slices_are_asked(memory: MemoryManifest) -> None:
    """What happened three hundred slices ago is forgiven, and a million slices cost no more than three
    hundred."""
    old = piece(1, 900, 990)
    manifest = filled(memory, old, *(piece(number, 900, 909) for number in range(2, 303)))
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    assert asyncio.run(observed_excess(job(), manifest)) == pytest.approx(0.01)
    asyncio.run(
        manifest.commit(Changes(slices=tuple(piece(number, 900, 909) for number in range(303, 9000))))
    )
    memory._connection.set_progress_handler(count, 100)
    try:
        asyncio.run(observed_excess(job(), manifest))
        asyncio.run(experience_of(job(), manifest))
    finally:
        memory._connection.set_progress_handler(None, 0)
    assert 0 < steps < 500, "a hundred instructions each"


def test_a_job_that_never_ran_goes_by_its_neighbours_at_the_same_service(memory: MemoryManifest) -> None:
    """Its own remote tasks count first; those of another service never do."""
    here, there = job("app"), job("far", service="bls-log.gz.baidubce.com")
    manifest = filled(
        memory,
        *(piece(number, 900, 900, ran_s=7.0) for number in range(1, 4)),
        piece(10, 900, 900, name="far", ran_s=70.0),
        jobs=(job(), here, there),
    )
    assert asyncio.run(experience_of(job(), manifest)).run_s == 7.0
    assert asyncio.run(experience_of(there, manifest)).run_s == 70.0
    assert asyncio.run(experience_of(here, manifest)).run_s == 7.0
    nowhere = job("su", service="bls-log.su.baidubce.com")
    assert asyncio.run(experience_of(nowhere, manifest)).run_s is None


def test_a_remote_task_that_failed_tells_no_neighbour_how_long_one_takes(memory: MemoryManifest) -> None:
    """Failing is quick."""
    failed = piece(1, 900, 900, ran_s=0.1)
    assert failed.task is not None
    failed = replace(failed, task=replace(failed.task, state="FAILED"))
    manifest = filled(memory, failed, jobs=(job(), job("app")))
    assert asyncio.run(experience_of(job("app"), manifest)).run_s is None
