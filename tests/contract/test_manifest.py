"""What every manifest promises its engine, on disk and in memory alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.core.job import Job, JobIdentity, Order, ServedFormat, ServiceSpec
from orchestrator.core.model import Receipt, RemoteTask, Slice, SliceState
from orchestrator.core.window import Window
from orchestrator.errors import StorageError, UsageError
from orchestrator.manifest.store import SqliteManifest, open_memory, open_writer
from orchestrator.ports.store import Changes, Covered, JobCounts, JournalEntry, ManifestReader, ManifestWriter

ID = "0123456789abcdef"
IDENTITY = JobIdentity("bj", "default", "web-access", "", "match *")
JOB = Job("web", IDENTITY, ServiceSpec("", "http://127.0.0.1"), Window(0, 100), 100)
RECEIPT = Receipt("/staged", "jsonl", ".jsonl", 90, "f", 80, "s", 12, 2, 10, Window(0, 10))

Work = Callable[[ManifestWriter], Awaitable[None]]
Suite = Callable[[Work], None]


def piece(slice_id: str = "s1", start_s: int = 0, **parts: object) -> Slice:
    return replace(Slice(slice_id, "web", "", Window(start_s, start_s + 10)), **parts)


def remote(number: int = 1, slice_id: str = "s1", **parts: object) -> RemoteTask:
    task = RemoteTask(
        number=number,
        name=f"o-{ID}-{number}",
        slice_id=slice_id,
        job="web",
        attempt=1,
        window=Window(0, 10),
        limit=1000,
        order=Order.ASC,
        format=ServedFormat.JSON,
        intent_at=5.0,
    )
    return replace(task, **parts)


@asynccontextmanager
async def on_disk(folder: Path) -> AsyncIterator[SqliteManifest]:
    async with open_writer(folder / "m.db", now=lambda: 1.0, new_id=lambda: ID) as manifest:
        yield manifest


@asynccontextmanager
async def in_memory(folder: Path) -> AsyncIterator[SqliteManifest]:
    memory = open_memory(now=lambda: 1.0, new_id=lambda: ID)
    try:
        yield memory.reopen()
    finally:
        memory.close()


@pytest.fixture(params=[on_disk, in_memory], ids=["disk", "memory"])
def on_a_manifest(request: pytest.FixtureRequest, tmp_path: Path) -> Suite:
    """Runs an async test body on an empty manifest of each kind."""

    def run(work: Work) -> None:
        async def opened() -> None:
            async with request.param(tmp_path) as manifest:
                await work(manifest)

        asyncio.run(opened())

    return run


def test_a_new_manifest_is_empty(on_a_manifest: Suite) -> None:
    """A new manifest has its id, starts numbering at one, and answers every question about an unknown job
    with nothing."""

    async def work(manifest: ManifestWriter) -> None:
        reader: ManifestReader = manifest
        assert reader.manifest_id == ID
        assert await reader.next_number() == 1
        assert await reader.jobs() == ()
        assert await reader.job_identity("web") is None
        assert await reader.slice("s1") is None
        assert await reader.live("web") == ()
        assert await reader.unfinished("web") == ()
        assert await reader.slices("web", tuple(SliceState)) == ()
        assert await reader.admissible("web", 1e9, 5) == ()
        assert await reader.next_due_at("web") is None
        assert await reader.coverage("web") == ()
        assert await reader.counts("web") == JobCounts({})
        assert await reader.totals("web", Window(0, 10)) == JobCounts({})
        assert await reader.by_uuid("u") is None
        assert await reader.by_uuid("") is None
        assert await reader.story("s1") == ()
        assert await reader.in_doubt_since(0.0) == ()
        assert [row async for row in reader.ledger()] == []

    on_a_manifest(work)


def test_a_job_is_remembered_with_its_identity(on_a_manifest: Suite) -> None:
    """A declared job is listed with its identity, and a later declaration under the same name replaces it."""

    async def work(manifest: ManifestWriter) -> None:
        await manifest.commit(Changes(jobs=(JOB,)))
        assert await manifest.jobs() == ("web",)
        assert await manifest.job_identity("web") == IDENTITY
        await manifest.commit(Changes(jobs=(replace(JOB, identity=replace(IDENTITY, query="match x")),)))
        assert (await manifest.job_identity("web") or IDENTITY).query == "match x"

    on_a_manifest(work)


def test_a_commit_is_all_or_nothing(on_a_manifest: Suite) -> None:
    """When one part of a commit cannot be written, none of it is, and the manifest goes on working."""

    async def work(manifest: ManifestWriter) -> None:
        lawless = replace(RECEIPT, stored_rows=11)
        broken = Changes(
            slices=(piece("s1"), piece("s2", 10, receipt=lawless)),
            tasks=(remote(7),),
            covered=(Covered("web", "*", Window(0, 10)),),
            journal=(JournalEntry(1.0, "web", "s1", "planned"),),
            jobs=(JOB,),
        )
        with pytest.raises(StorageError):
            await manifest.commit(broken)
        assert await manifest.jobs() == ()
        assert await manifest.slice("s1") is None
        assert await manifest.coverage("web") == ()
        assert await manifest.story("s1") == ()
        assert await manifest.next_number() == 1
        await manifest.commit(replace(broken, slices=(piece("s1"),)))
        assert await manifest.slice("s1") == piece("s1")
        assert await manifest.next_number() == 8

    on_a_manifest(work)


def test_a_slice_cannot_carry_the_remote_task_of_another(on_a_manifest: Suite) -> None:
    """A commit that would let two slices own one remote task is a defect and writes nothing."""

    async def work(manifest: ManifestWriter) -> None:
        with pytest.raises(ValueError, match="carries remote task 1 of slice s2"):
            await manifest.commit(Changes(slices=(piece("s1", task=remote(1, "s2")),)))
        assert await manifest.slice("s1") is None

    on_a_manifest(work)


def test_numbers_are_never_used_again(on_a_manifest: Suite) -> None:
    """The next number lies beyond every number ever committed, also after the job was forgotten."""

    async def work(manifest: SqliteManifest) -> None:
        await manifest.commit(Changes(slices=(piece(task=remote(41)),), tasks=(remote(12),)))
        assert await manifest.next_number() == 42
        await manifest.forget("web", None, 9.0)
        assert await manifest.next_number() == 42

    on_a_manifest(work)


def test_an_intent_becomes_the_remote_task_with_its_uuid(on_a_manifest: Suite) -> None:
    """The uuid takes the place of the bare intent: one row, one remote task, found by its uuid."""

    async def work(manifest: SqliteManifest) -> None:
        await manifest.commit(Changes(slices=(piece(state=SliceState.SUBMITTING, task=remote()),)))
        assert (await manifest.counts("web")).remote_tasks == 0
        accepted = piece(state=SliceState.WAITING, task=remote(uuid="u1", state="WAITING"))
        await manifest.commit(Changes(slices=(accepted,)))
        assert await manifest.slice("s1") == accepted
        assert await manifest.by_uuid("u1") == accepted
        assert await manifest.tasks_of_slice("s1") == (accepted.task,)
        assert (await manifest.counts("web")).remote_tasks == 1

    on_a_manifest(work)


def test_twins_share_a_number_and_lead_to_the_same_slice(on_a_manifest: Suite) -> None:
    """A second uuid under one name enters the manifest beside the first; the slice keeps its current one."""

    async def work(manifest: SqliteManifest) -> None:
        first, second = remote(uuid="u1"), remote(uuid="u2")
        await manifest.commit(Changes(slices=(piece(state=SliceState.IN_DOUBT, task=remote()),)))
        adopted = piece(state=SliceState.WAITING, task=first)
        await manifest.commit(Changes(slices=(adopted,), tasks=(second,)))
        assert await manifest.tasks_of_slice("s1") == (first, second)
        assert await manifest.by_uuid("u2") == adopted
        await manifest.commit(Changes(tasks=(replace(second, deleted=True),)))
        assert await manifest.slice("s1") == adopted
        swapped = replace(adopted, task=replace(second, deleted=True))
        await manifest.commit(Changes(slices=(swapped,)))
        assert await manifest.slice("s1") == swapped
        assert len(await manifest.tasks_of_slice("s1")) == 2

    on_a_manifest(work)


def test_a_twin_seen_first_does_not_take_the_intent_away(on_a_manifest: Suite) -> None:
    """While a slice still points at its bare intent, a uuid committed beside it leaves that intent alone."""

    async def work(manifest: SqliteManifest) -> None:
        doubtful = piece(state=SliceState.IN_DOUBT, task=remote())
        await manifest.commit(Changes(slices=(doubtful,)))
        await manifest.commit(Changes(tasks=(remote(uuid="u2"),)))
        assert await manifest.slice("s1") == doubtful
        adopted = piece(state=SliceState.WAITING, task=remote(uuid="u2"))
        await manifest.commit(Changes(slices=(adopted,)))
        assert await manifest.tasks_of_slice("s1") == (adopted.task,)

    on_a_manifest(work)


@pytest.mark.parametrize("child_first", [True, False])
def test_a_kept_child_takes_over_its_parents_remote_task(on_a_manifest: Suite, child_first: bool) -> None:
    """After a cut the remote task belongs to the kept child, in whatever order both stand in the commit."""

    async def work(manifest: SqliteManifest) -> None:
        task = remote(uuid="u1")
        parent = piece("s1", state=SliceState.TRANSFERRING, task=task)
        await manifest.commit(Changes(slices=(parent,)))
        child = piece("s2", state=SliceState.SETTLING, parent="s1", task=replace(task, slice_id="s2"))
        cut = replace(parent, state=SliceState.CUT)
        both = (child, cut) if child_first else (cut, child)
        await manifest.commit(Changes(slices=both))
        assert await manifest.slice("s2") == child
        assert await manifest.slice("s1") == replace(cut, task=None)
        assert await manifest.by_uuid("u1") == child
        assert await manifest.live("web") == (child,)

    on_a_manifest(work)


def test_the_last_look_for_strays_is_remembered(on_a_manifest: Suite) -> None:
    """By job, and only the latest one."""

    async def work(manifest: ManifestWriter) -> None:
        await manifest.commit(Changes(slices=(piece(),)))
        assert await manifest.strays_sought_at("web") is None
        for at in (100.0, 300.0):
            await manifest.commit(Changes(journal=(JournalEntry(at, "web", "", "strays_sought", {}),)))
        assert await manifest.strays_sought_at("web") == 300.0
        assert await manifest.strays_sought_at("other") is None

    on_a_manifest(work)


def test_strays_of_doubtful_intents_are_looked_for_while_and_after_they_are_in_doubt(
    on_a_manifest: Suite,
) -> None:
    """A remote task counts as doubtful from when it became so, however long, until it no longer is; and under
    the uuid it got, too."""

    async def work(manifest: ManifestWriter) -> None:
        sure = piece("s2", 10, state=SliceState.WAITING, task=remote(2, "s2", uuid="u9"), updated_at=500.0)
        doubtful = piece(state=SliceState.IN_DOUBT, task=remote(), updated_at=100.0)
        await manifest.commit(Changes(slices=(doubtful, sure)))
        assert [task.number for task in await manifest.in_doubt_since(900.0)] == [1], (
            "in doubt for as long as it is"
        )
        resolved = piece(state=SliceState.WAITING, task=remote(uuid="u1"), updated_at=300.0)
        await manifest.commit(Changes(slices=(resolved,)))
        assert await manifest.in_doubt_since(300.0) == (resolved.task,)
        assert await manifest.in_doubt_since(300.5) == ()
        planned = piece(attempt=1, updated_at=400.0)
        await manifest.commit(Changes(slices=(planned,)))
        assert await manifest.in_doubt_since(300.0) == (resolved.task,)

    on_a_manifest(work)


def test_doubt_that_ends_with_the_slice_is_still_dated(on_a_manifest: Suite) -> None:
    """An intent in doubt that is given up, or forgotten, stays among those whose strays are looked for."""

    async def work(manifest: SqliteManifest) -> None:
        await manifest.commit(
            Changes(slices=(piece(state=SliceState.IN_DOUBT, task=remote(), updated_at=100.0),))
        )
        await manifest.commit(Changes(slices=(piece(state=SliceState.ABANDONED, updated_at=200.0),)))
        assert [task.number for task in await manifest.in_doubt_since(200.0)] == [1]
        other = piece("s2", 50, state=SliceState.IN_DOUBT, task=remote(2, "s2"), updated_at=250.0)
        await manifest.commit(Changes(slices=(other,)))
        await manifest.forget("web", None, 300.0)
        assert [task.number for task in await manifest.in_doubt_since(250.0)] == [2]

    on_a_manifest(work)


def test_admission_takes_the_oldest_window_whose_time_has_come(on_a_manifest: Suite) -> None:
    """Slices that wait for a later moment are passed over until then; the earliest such moment is known."""

    async def work(manifest: ManifestWriter) -> None:
        waiting = piece("s1", 0, not_before_at=50.0)
        ready = piece("s2", 10)
        later = piece("s3", 20, not_before_at=70.0)
        await manifest.commit(Changes(slices=(later, ready, waiting, piece("s4", 30, state=SliceState.DONE))))
        assert await manifest.admissible("web", 49.9, 9) == (ready,)
        assert await manifest.admissible("web", 50.0, 9) == (waiting, ready)
        assert await manifest.admissible("web", 99.0, 2) == (waiting, ready)
        assert await manifest.admissible("web", 99.0, 0) == ()
        assert await manifest.next_due_at("web") == 0.0
        await manifest.commit(Changes(slices=(replace(ready, state=SliceState.SUBMITTING),)))
        assert await manifest.next_due_at("web") == 50.0

    on_a_manifest(work)


def test_a_listing_goes_on_behind_the_last_slice_seen(on_a_manifest: Suite) -> None:
    """Pages follow each other by start and id; a page behind a slice that is gone is refused, not silently
    empty."""

    async def work(manifest: SqliteManifest) -> None:
        done = [
            piece(f"s{number}", start, state=SliceState.DONE) for number, start in ((3, 0), (1, 0), (2, 5))
        ]
        await manifest.commit(Changes(slices=tuple(done)))
        states = (SliceState.DONE, SliceState.FAILED, SliceState.DONE)
        assert [item.id for item in await manifest.slices("web", states, limit=2)] == ["s1", "s3"]
        assert [item.id for item in await manifest.slices("web", states, limit=2, after="s3")] == ["s2"]
        assert await manifest.slices("web", states, after="s2") == ()
        with pytest.raises(UsageError):
            await manifest.slices("web", states, after="gone")

    on_a_manifest(work)


def test_counters_speak_of_what_is_stored(on_a_manifest: Suite) -> None:
    """Only done slices count rows and files, empty ones only what was fetched for them, and a slice that is
    exported anew no longer counts."""

    async def work(manifest: ManifestWriter) -> None:
        done = piece("s1", state=SliceState.DONE, path="/a", receipt=RECEIPT, task=remote(1, uuid="u1"))
        empty_receipt = replace(
            RECEIPT, staged_path="", served_rows=1, dropped_rows=1, stored_rows=0, stored_bytes=0
        )
        empty = piece("s2", 10, state=SliceState.EMPTY, receipt=empty_receipt)
        under_way = piece("s3", 20, state=SliceState.SETTLING, path="/c", receipt=RECEIPT)
        await manifest.commit(Changes(slices=(done, empty, under_way)))
        counts = await manifest.counts("web")
        states = {SliceState.DONE: 1, SliceState.EMPTY: 1, SliceState.SETTLING: 1}
        assert counts == JobCounts(
            states, lines=10, stored_bytes=80, fetched_bytes=180, files=1, remote_tasks=1
        )
        assert await manifest.totals("web", Window(0, 30)) == counts
        assert await manifest.totals("web", Window(0, 9)) == JobCounts({})
        await manifest.commit(Changes(slices=(replace(done, state=SliceState.SUPERSEDED),)))
        assert (await manifest.counts("web")).lines == 0

    on_a_manifest(work)


def test_coverage_is_merged_per_stream(on_a_manifest: Suite) -> None:
    """Touching windows become one range, each stream has its own, and "" means all streams."""

    async def work(manifest: ManifestWriter) -> None:
        items = [("", 0, 10), ("*", 20, 30), ("", 10, 20), ("a", 5, 8)]
        covered = tuple(Covered("web", stream, Window(start, end)) for stream, start, end in items)
        await manifest.commit(Changes(covered=covered))
        assert await manifest.coverage("web") == (Window(0, 30),)
        assert await manifest.coverage("web", "") == (Window(0, 30),)
        assert await manifest.coverage("web", "a") == (Window(5, 8),)
        await manifest.commit(Changes(uncovered=(Covered("web", "*", Window(12, 15)),)))
        assert await manifest.coverage("web") == (Window(0, 12), Window(15, 30))

    on_a_manifest(work)


def test_a_forgotten_slice_may_be_exported_again_under_the_same_id(on_a_manifest: Suite) -> None:
    """Old remote tasks stay known as ours but neither belong to the new slice nor appear in its ledger
    rows."""

    async def work(manifest: SqliteManifest) -> None:
        old = piece(state=SliceState.DONE, path="/a", receipt=RECEIPT, task=remote(1, uuid="u1"))
        await manifest.commit(Changes(slices=(old,), covered=(Covered("web", "*", old.window),), jobs=(JOB,)))
        assert await manifest.forget("web", Window(3, 4), 9.0) == (Window(0, 10),)
        assert await manifest.job_identity("web") == IDENTITY
        new = piece(state=SliceState.WAITING, task=remote(2, uuid="u2"))
        await manifest.commit(Changes(slices=(new,)))
        assert await manifest.by_uuid("u1") is None
        assert await manifest.tasks_of_uuid("u1") == (old.task,)
        assert await manifest.tasks_of_slice("s1") == (new.task,)
        assert [row.uuid async for row in manifest.ledger()] == ["u2"]
        await manifest.commit(Changes(tasks=(replace(remote(1, uuid="u1"), deleted=True),)))
        assert await manifest.by_uuid("u1") is None, "noting the deletion does not bring it back"

    on_a_manifest(work)


def test_what_unfinished_slices_had_at_the_service_is_let_go_when_they_are_forgotten(
    on_a_manifest: Suite,
) -> None:
    """Remote tasks under way become surplus, a create under way is looked for; what a stored slice had stays.
    A parent that handed its window on takes no coverage of its children along."""

    async def work(manifest: SqliteManifest) -> None:
        waiting = piece("s1", 0, state=SliceState.WAITING, task=remote(1, "s1", uuid="u1"))
        sent = piece("s2", 10, state=SliceState.SUBMITTING, task=remote(2, "s2"))
        done = piece(
            "s3", 20, state=SliceState.DONE, path="/a", receipt=RECEIPT, task=remote(3, "s3", uuid="u3")
        )
        cut = replace(piece("s4", 20, state=SliceState.CUT), window=Window(20, 40))
        covered = Covered("web", "*", Window(20, 40))
        await manifest.commit(Changes(slices=(waiting, sent, done, cut), covered=(covered,), jobs=(JOB,)))
        told = await manifest.forgettable("web", Window(0, 25))
        assert (told.slices, told.paths, told.uncovered, told.let_go) == (4, ("/a",), (Window(20, 30),), 1)
        assert await manifest.forget("web", Window(0, 25), 9.0) == (Window(20, 30),)
        assert [task.uuid for task in await manifest.surplus("web")] == ["u1"]
        assert [task.number for task in await manifest.in_doubt_since(8.0)] == [2]
        assert [task.uuid for task in await manifest.tasks_ever("s3")] == ["u3"]
        assert await manifest.told_of("s3") == "web"
        assert await manifest.coverage("web") == (Window(30, 40),)

    on_a_manifest(work)


def test_forgetting_a_whole_job_lets_its_name_take_another_identity(on_a_manifest: Suite) -> None:
    """After `forget` without a window the name is free: no identity, no slices, no acceptances."""

    async def work(manifest: SqliteManifest) -> None:
        await manifest.commit(Changes(slices=(piece(),), jobs=(JOB,)))
        await manifest.accept("web", Window(0, 10), "known outage", "ann", 5.0)
        await manifest.forget("web", None, 9.0)
        assert await manifest.job_identity("web") is None
        assert await manifest.jobs() == ()
        assert await manifest.acceptances("web") == ()

    on_a_manifest(work)


def test_an_acceptance_is_kept_and_shrinks_with_what_is_forgotten(on_a_manifest: Suite) -> None:
    """A signed-off window is listed with who, why and when; forgetting its middle leaves both ends signed."""

    async def work(manifest: SqliteManifest) -> None:
        await manifest.accept("web", Window(0, 100), "known outage", "ann", 5.0)
        (acceptance,) = await manifest.acceptances("web")
        assert (acceptance.reason, acceptance.by, acceptance.at) == ("known outage", "ann", 5.0)
        await manifest.forget("web", Window(40, 60), 9.0)
        assert [item.window for item in await manifest.acceptances("web")] == [Window(0, 40), Window(60, 100)]
        assert [line.entry.event for line in await manifest.story("")] == ["accepted", "forgotten"]

    on_a_manifest(work)


def test_an_acceptance_of_one_log_stream_ends_with_what_is_stored_of_that_stream(
    on_a_manifest: Suite,
) -> None:
    """Coverage of another stream leaves it; one of every stream ends with any, and one of all together only
    when these are found to add up."""

    async def work(manifest: SqliteManifest) -> None:
        async def signed() -> list[tuple[str, Window]]:
            return [(item.logstream, item.window) for item in await manifest.acceptances("web")]

        for at, stream in enumerate(("", "a", "b")):
            await manifest.accept("web", Window(0, 10), "known", "ann", float(at), stream)
        await manifest.accept("web", Window(20, 30), "known", "ann", 3.0)
        await manifest.commit(Changes(covered=(Covered("web", "a", Window(4, 25)),)))
        left = [("", Window(0, 10)), ("*", Window(25, 30)), ("a", Window(0, 4)), ("b", Window(0, 10))]
        assert sorted(await signed()) == left
        await manifest.commit(Changes(covered=(Covered("web", "*", Window(0, 40)),)))
        assert sorted(await signed()) == [("a", Window(0, 4)), ("b", Window(0, 10))]
        await manifest.forget("web", Window(0, 2), 9.0)
        assert sorted(await signed()) == [("a", Window(2, 4)), ("b", Window(2, 10))]
        told = [line.entry.detail.get("logstream") for line in await manifest.story("")]
        assert told[:4] == ["", "a", "b", "*"]

    on_a_manifest(work)


def test_the_ledger_names_who_signed_for_the_log_stream(on_a_manifest: Suite) -> None:
    """Nobody signed for the other stream of the same window."""

    async def work(manifest: SqliteManifest) -> None:
        failed = [
            piece(f"s{stream}", state=SliceState.FAILED, reason="throttled", logstream=stream)
            for stream in ("a", "b", "")
        ]
        await manifest.commit(Changes(slices=tuple(failed), jobs=(JOB,)))
        await manifest.accept("web", Window(0, 10), "outage", "ann", 1.0, "a")
        await manifest.accept("web", Window(0, 10), "outage", "bob", 2.0, "")
        rows = [row async for row in manifest.ledger()]
        assert {row.logstream: row.accepted_by for row in rows} == {"a": "ann", "b": None, "": "bob"}

    on_a_manifest(work)


def test_totals_are_those_of_the_window_whether_it_holds_every_slice_or_not(on_a_manifest: Suite) -> None:
    """Counters tell where nothing lies outside, also after part was forgotten; slices that stick out do not
    count, whichever end they stick out of."""

    async def work(manifest: SqliteManifest) -> None:
        done = [
            piece(
                f"s{number}",
                10 * number,
                state=SliceState.DONE,
                path=f"/{number}",
                receipt=replace(RECEIPT, kept=Window(10 * number, 10 * number + 10)),
                task=remote(number + 1, f"s{number}", uuid=f"u{number}"),
            )
            for number in range(4)
        ]
        await manifest.commit(Changes(slices=tuple(done)))

        async def told(start_s: int, end_s: int) -> tuple[int, int, int]:
            found = await manifest.totals("web", Window(start_s, end_s))
            return sum(found.slices.values()), found.lines, found.remote_tasks

        assert await told(0, 40) == await told(-5, 100) == (4, 40, 4)
        assert await told(0, 39) == await told(1, 40) == (3, 30, 3)
        await manifest.forget("web", Window(10, 20), 9.0)
        assert await told(0, 40) == (3, 30, 3)
        stray = remote(9, "", uuid="u9", surplus=True)
        await manifest.commit(Changes(tasks=(stray,)))
        assert await told(0, 40) == (3, 30, 3)

    on_a_manifest(work)


def test_the_ledger_has_a_row_per_remote_task_and_counts_each_file_once(on_a_manifest: Suite) -> None:
    """Rows come by job, start and number; the file stands beside the remote task it came from, and nowhere
    else."""

    async def work(manifest: SqliteManifest) -> None:
        failed = remote(1, uuid="u1", state="FAILED")
        current = remote(2, uuid="u2", state="SUCCESS", attempt=2, written_rows=12)
        done = piece(state=SliceState.DONE, path="/a", receipt=RECEIPT, task=current, expected_lines=10)
        never = piece("s2", 0, reason="throttled", state=SliceState.FAILED)
        later = piece("s0", 5, state=SliceState.SUBMITTING, task=remote(3, "s0"))
        other = Slice("z1", "api", "", Window(0, 1))
        await manifest.commit(Changes(slices=(later, never, done, other), tasks=(failed,), jobs=(JOB,)))
        await manifest.accept("web", Window(0, 5), "outage", "ann", 1.0)
        await manifest.accept("web", Window(5, 10), "outage", "bob", 2.0)
        rows = [row async for row in manifest.ledger()]
        assert [(row.job, row.slice, row.uuid) for row in rows] == [
            ("api", "z1", None),
            ("web", "s2", None),
            ("web", "s1", "u1"),
            ("web", "s1", "u2"),
            ("web", "s0", None),
        ]
        assert [row.stored_rows for row in rows] == [None, None, None, 10, None]
        assert [row.path for row in rows] == [None, None, None, "/a", None]
        assert [row.accepted_by for row in rows] == [None, "bob", None, None, None]
        assert [row.task_name for row in rows] == [None, None, f"o-{ID}-1", f"o-{ID}-2", f"o-{ID}-3"]
        assert rows[1].reason == "throttled"
        assert rows[3].region == "bj"
        assert rows[3].served_rows == 12
        assert rows[3].attempt == 2
        assert [row.slice async for row in manifest.ledger(["api", "unknown"])] == ["z1"]

    on_a_manifest(work)


def test_the_ledger_crosses_page_ends_in_order(on_a_manifest: Suite) -> None:
    """Many slices that start in the same second at the end of a page are neither lost nor repeated nor out of
    order."""

    async def work(manifest: ManifestWriter) -> None:
        starts = [0] * 499 + [7] * 700 + [8] * 3
        tasks = [remote(5000 - place, f"s{place:05d}", uuid=f"u{place}") for place in range(len(starts))]
        pieces = [piece(f"s{place:05d}", start, task=tasks[place]) for place, start in enumerate(starts)]
        await manifest.commit(Changes(slices=tuple(pieces)))
        rows = [row async for row in manifest.ledger()]
        keys = [(row.slice_start, int(str(row.task_name).rsplit("-", 1)[1])) for row in rows]
        assert keys == sorted(keys)
        assert {row.slice for row in rows} == {item.id for item in pieces}
        assert len(rows) == len(pieces)

    on_a_manifest(work)


def test_the_ledger_of_a_forgotten_identity_is_still_readable(on_a_manifest: Suite) -> None:
    """A slice of a job without identity is listed with empty identity columns."""

    async def work(manifest: ManifestWriter) -> None:
        await manifest.commit(Changes(slices=(piece(),)))
        assert [(row.region, row.query) async for row in manifest.ledger()] == [("", "")]

    on_a_manifest(work)


def test_foreign_words_and_numbers_do_not_break_a_commit(on_a_manifest: Suite) -> None:
    """Lone surrogates become question marks and numbers beyond 64 bits the greatest one; the rest is kept."""

    async def work(manifest: ManifestWriter) -> None:
        odd = remote(uuid="u1", state="\ud800", failed_message="a\udfffb\0", written_rows=10**40)
        entry = JournalEntry(1.0, "web", "s1", "seen", {"said": "\ud800", "n": -(10**40)})
        await manifest.commit(Changes(slices=(piece(task=odd, expected_lines=10**40),), journal=(entry,)))
        read = await manifest.slice("s1")
        assert read is not None
        assert read.task == replace(odd, state="?", failed_message="a?b\0", written_rows=2**63 - 1)
        assert (await manifest.story("s1"))[0].entry.detail["said"] == "?"

    on_a_manifest(work)


def test_a_closed_manifest_says_so(on_a_manifest: Suite) -> None:
    """A question to a manifest that was closed is a StorageError, not a crash inside the database."""

    async def work(manifest: SqliteManifest) -> None:
        await manifest.close()
        await manifest.close()
        with pytest.raises(StorageError, match="closed"):
            await manifest.jobs()

    on_a_manifest(work)
