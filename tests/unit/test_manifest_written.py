"""What stands in the manifest already is not written again, and a commit that failed counts for nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby

import pytest

from orchestrator.core.job import Order, ServedFormat
from orchestrator.core.model import Receipt, RemoteTask, Slice, SliceState
from orchestrator.core.window import Window
from orchestrator.errors import OrchestratorError
from orchestrator.manifest.named import places, sql
from orchestrator.manifest.store import SqliteManifest, open_memory
from orchestrator.ports.store import Changes, JournalEntry

WINDOW = Window(1_700_000_000, 1_700_000_060)


def task_of(number: int, **changed: object) -> RemoteTask:
    plain = RemoteTask(
        number, f"o-{number}", "s1", "web", 1, WINDOW, 1000, Order.ASC, ServedFormat.JSON, 5.0, uuid="u1"
    )
    return replace(plain, **changed)  # type: ignore[arg-type]  # fields by name


def running(task: RemoteTask) -> Slice:
    return Slice("s1", "web", "", WINDOW, state=SliceState.RUNNING, task=task)


def opened() -> SqliteManifest:
    return open_memory(now=lambda: 1.0, new_id=lambda: "0123456789abcdef").reopen()


def statements_of(manifest: SqliteManifest, changes: Changes) -> list[str]:
    """What SQLite was asked to run for one commit."""
    said: list[str] = []
    connection = manifest._source.connection  # type: ignore[attr-defined]  # the writer's own
    connection.set_trace_callback(said.append)
    asyncio.run(manifest.commit(changes))
    connection.set_trace_callback(None)
    return [text for text, _ in groupby(said)]  # a trigger shows as the statement that fired it


def test_a_step_that_leaves_the_remote_task_alone_does_not_write_it() -> None:
    """From the second commit with the same remote task on, one slice, one journal line and the two ends of
    the transaction are all that is run."""
    manifest, task = opened(), task_of(1)
    entry = JournalEntry(6.0, "web", "s1", "observed")
    asyncio.run(manifest.commit(Changes(slices=(running(task),))))
    said = statements_of(
        manifest, Changes(slices=(replace(running(task), state=SliceState.READY),), journal=(entry,))
    )
    assert [re.split(r"\s", text)[0] for text in said] == ["BEGIN", "UPDATE", "INSERT", "COMMIT"]
    found = asyncio.run(manifest.slice("s1"))
    assert found is not None
    assert (found.state, found.task) == (SliceState.READY, task)


def test_a_remote_task_that_changed_is_written() -> None:
    """Another value under the same number and uuid, also an equal one, is not taken for known."""
    manifest = opened()
    asyncio.run(manifest.commit(Changes(slices=(running(task_of(1)),))))
    asyncio.run(manifest.commit(Changes(slices=(running(task_of(1, state="RUNNING", written_rows=7)),))))
    found = asyncio.run(manifest.slice("s1"))
    assert found is not None
    assert found.task == task_of(1, state="RUNNING", written_rows=7)


def failing(manifest: SqliteManifest, changed: Slice) -> None:
    broken = Receipt("", "jsonl", ".jsonl", 1, "", 1, "", 5, 1, 5, WINDOW)  # 5 - 1 is not 5
    other = Slice("s2", "web", "", WINDOW, state=SliceState.SETTLING, receipt=broken)
    with pytest.raises(OrchestratorError):
        asyncio.run(manifest.commit(Changes(slices=(changed, other))))


def letting_go(manifest: SqliteManifest, changed: Slice) -> None:
    asyncio.run(manifest.commit(Changes(slices=(changed,))))
    asyncio.run(manifest.forget("web", None, 9.0))


@pytest.mark.parametrize("before", [failing, letting_go])
def test_what_a_failed_or_forgotten_commit_wrote_is_written_again(
    before: Callable[[SqliteManifest, Slice], None],
) -> None:
    """After a commit that failed, or a ``forget``, the same values are not believed to be on disk."""
    manifest = opened()
    asyncio.run(manifest.commit(Changes(slices=(running(task_of(1)),))))
    changed = running(task_of(2, uuid="u2"))
    before(manifest, changed)
    asyncio.run(manifest.commit(Changes(slices=(changed,))))
    found = asyncio.run(manifest.slice("s1"))
    assert found is not None
    assert found.task is not None
    assert (found.task.number, found.task.uuid) == (2, "u2")
    assert [task.number for task in asyncio.run(manifest.tasks_of_slice("s1"))][-1] == 2


def test_a_remote_task_that_was_noted_by_itself_is_written_again_with_its_slice() -> None:
    """A row that another change touched is no longer the one the slice wrote."""
    manifest, task = opened(), task_of(1)
    asyncio.run(manifest.commit(Changes(slices=(running(task),))))
    asyncio.run(manifest.commit(Changes(tasks=(replace(task, state="odd"),))))
    asyncio.run(manifest.commit(Changes(slices=(running(task),))))
    found = asyncio.run(manifest.slice("s1"))
    assert found is not None
    assert found.task == task


def test_a_slice_that_came_to_be_about_something_else_is_written_whole() -> None:
    """Where the window, the whole or what is replaced differs from the row, all of the row is written."""
    manifest, task = opened(), task_of(1)
    asyncio.run(manifest.commit(Changes(slices=(replace(running(task), replaces="old"),))))
    other = replace(running(task), window=Window(WINDOW.start_s, WINDOW.end_s - 5), replaces="", whole="w")
    asyncio.run(manifest.commit(Changes(slices=(other,))))
    found = asyncio.run(manifest.slice("s1"))
    assert found is not None
    assert (found.window, found.replaces, found.whole) == (other.window, "", "w")


def test_files_of_known_slices_are_found_together() -> None:
    """Path and digest of each slice that the manifest knows, and nothing of the others."""
    manifest = opened()
    stored = replace(running(task_of(1)), published_path="/a/b", published_sha256="ab")
    asyncio.run(manifest.commit(Changes(slices=(stored, Slice("s3", "web", "", WINDOW)))))
    assert asyncio.run(manifest.published(["s1", "s2", "s3"])) == {"s1": ("/a/b", "ab"), "s3": ("", "")}


def test_places_are_in_the_order_of_the_statement() -> None:
    """Every parameter has its place, as often as it stands in the statement."""
    statement, in_place = places("put_task")
    assert statement.count("?") == len(re.findall(r":[a-z_0-9]+", sql("put_task")))
    assert ":" not in statement
    values = {name: name for name in re.findall(r":([a-z_0-9]+)", sql("put_task"))}
    assert in_place(values)[:3] == ("number", "uuid", "name")
    assert in_place(values)[-1] == "number"


def test_the_writer_remembers_no_more_than_live_slices() -> None:
    """A slice that is done leaves nothing behind in memory."""
    manifest, task = opened(), task_of(1)
    asyncio.run(manifest.commit(Changes(slices=(running(task),))))
    assert len(manifest._written._tasks) == 1
    asyncio.run(manifest.commit(Changes(slices=(replace(running(task), state=SliceState.FAILED),))))
    assert len(manifest._written._tasks) == 0


def test_whatever_a_service_says_can_be_written_down() -> None:
    """Half a character and a number beyond all counting reach the journal in a form that can be read back."""
    manifest = opened()
    entry = JournalEntry(
        6.0, "web", "s1", "observed", {"message": "ab\ud800c", "count": 10**30, "plain": "x"}
    )
    asyncio.run(manifest.commit(Changes(slices=(running(task_of(1)),), journal=(entry,))))

    found = asyncio.run(manifest.story("s1"))
    assert [line.entry.detail for line in found] == [{"message": "ab?c", "count": 2**63 - 1, "plain": "x"}]
