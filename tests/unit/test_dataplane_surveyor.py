"""A survey by another process tells what one in this process tells, and nothing is lost with that process."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.job import Order, Output
from orchestrator.core.model import Receipt, Ticket
from orchestrator.core.window import Window
from orchestrator.dataplane import inflow, surveyor
from orchestrator.dataplane import inline as inline_module
from orchestrator.dataplane.inline import InlineDataPlane
from orchestrator.dataplane.survey import Survey
from orchestrator.dataplane.surveyor import Surveyor, Surveyors
from orchestrator.errors import BrokenBody
from orchestrator.testing.loop import VirtualTime, run_virtual
from tests.unit.dataplane_kit import (
    SERVED,
    START_S,
    WINDOW,
    Server,
    fetched,
    gzipped,
    json_lines,
    rows,
    ticket,
)

BODY = json_lines(rows(5_000))
STATE = ["rows", "undated", "inside", "near", "far", "far_second", "ascending", "descending"]
STATE += ["earliest", "latest", "plain_lines", "fine", "start_met"]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is worth a child, and comes in many blocks."""
    monkeypatch.setattr(surveyor, "WORTH_BYTES", 1)
    monkeypatch.setattr(inflow, "BLOCK_BYTES", 16 * 1024)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Surveyor]]:
    """The children that were started; none may be left in the end."""
    started: list[Surveyor] = []

    class Kept(Surveyor):
        def __init__(self) -> None:
            super().__init__()
            started.append(self)

    monkeypatch.setattr(surveyor, "Surveyor", Kept)
    monkeypatch.setattr(inline_module, "Surveyors", lambda: Surveyors(1))
    yield started
    assert all(child._child.poll() is not None for child in started)


def state(survey: Survey) -> dict[str, Any]:
    return {name: getattr(survey, name) for name in STATE} | {"shape": survey.stream.shape}


@pytest.mark.parametrize("served", sorted(SERVED))
@pytest.mark.parametrize("output", [Output.RAW, Output.JSONL])
def test_a_child_tells_what_is_told_here(tmp_path: Path, served: str, output: Output) -> None:
    """Of a file that grows step by step, in each form, with rows inside and outside of the window."""
    body = SERVED[served](rows(3_000))
    asked = ticket(tmp_path, window=Window(START_S + 1, START_S + 20), output=output)
    here = Survey(asked)
    here.feed(body)
    here.finish()
    path = tmp_path / "part"
    child = Surveyor()
    try:
        for _ in range(2):
            path.write_bytes(b"")
            child.begin(str(path), asked)
            for at in range(0, len(body), 50_000):
                with path.open("ab") as file:
                    file.write(body[at : at + 50_000])
                child.goes_on(min(at + 50_000, len(body)))
            there = child.finish()
            assert there is not None
            assert state(there) == state(here)
    finally:
        child.end()


def test_a_finished_survey_travels(tmp_path: Path) -> None:
    """What was found survives being pickled, whatever the file was taken apart with."""
    for served in SERVED.values():
        survey = Survey(ticket(tmp_path))
        survey.feed(served(rows(100)))
        survey.finish()
        assert state(pickle.loads(pickle.dumps(survey))) == state(survey)


def test_a_transfer_is_the_same_with_a_child(tmp_path: Path, children: list[Surveyor]) -> None:
    """The receipt says the same, file after file, and one child does them all."""
    asked = {"window": Window(START_S, START_S + 30), "requested": WINDOW}

    async def two() -> list[Receipt | object]:
        plane = InlineDataPlane(Server(BODY))
        try:
            return [await plane.transfer(ticket(tmp_path, attempt_key=f"a-{n}", **asked)) for n in range(2)]
        finally:
            await plane.close()

    beside = asyncio.run(two())
    assert len(children) == 1
    here = Survey(ticket(tmp_path, **asked))
    here.feed(BODY)
    here.finish()
    for receipt in beside:
        assert isinstance(receipt, Receipt)
        assert (receipt.served_rows, receipt.stored_rows) == (5_000, here.inside)
        assert here.inside < 5_000


@pytest.mark.parametrize("dies", ["begin", "goes_on", "finish"])
def test_a_child_that_dies_costs_its_work_and_nothing_else(
    tmp_path: Path, children: list[Surveyor], monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    """Killed at any point of a transfer: the file is surveyed here, and the receipt is whole."""
    does = getattr(Surveyor, dies)

    def killed(self: Surveyor, *arguments: Any) -> Any:
        self._child.kill()
        self._child.wait()
        return does(self, *arguments)

    monkeypatch.setattr(Surveyor, dies, killed)
    receipt = fetched(Server(BODY, chunk_bytes=4096), ticket(tmp_path))
    assert children
    assert receipt.stored_rows == 5_000
    assert Path(receipt.staged_path).read_bytes() == BODY


def test_a_file_that_begins_anew_is_surveyed_anew(tmp_path: Path, children: list[Surveyor]) -> None:
    """Rows of a file that changed while it was fetched are not counted."""
    source = Server(BODY, etag="", chunk_bytes=4096)
    source.mishaps = [(200_000, None)]
    other = json_lines(rows(4_000, text="PUT /cart 201 and some words more than before"))
    changed = Server(other, etag="", chunk_bytes=4096)
    sources = [source, changed]

    class Both:
        def open(self, *arguments: Any, **options: Any) -> Any:
            return (sources.pop(0) if len(sources) > 1 else changed).open(*arguments, **options)

    receipt = fetched(Both(), ticket(tmp_path))
    assert len(children) == 2
    assert receipt.served_rows == 4_000
    assert Path(receipt.staged_path).read_bytes() == other


def test_a_cancelled_transfer_leaves_no_child(tmp_path: Path, children: list[Surveyor]) -> None:
    """Who surveyed a file that is not fetched to its end is gone before the transfer is."""
    source = Server(BODY, chunk_bytes=4096)
    source.pause_at = 200_000

    async def once(_: VirtualTime) -> None:
        plane = InlineDataPlane(source)
        task = asyncio.ensure_future(plane.transfer(ticket(tmp_path)))
        await source.paused.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [child._child.poll() is not None for child in children] == [True]
        await plane.close()

    run_virtual(once)


def test_a_child_does_not_believe_in_bytes_that_are_not_there(tmp_path: Path) -> None:
    """A file that is shorter than was said is another one: no survey is better than a part of one."""
    path = tmp_path / "part"
    path.write_bytes(BODY)
    child = Surveyor()
    try:
        child.begin(str(path), ticket(tmp_path))
        child.goes_on(len(BODY) + 1)
        assert child.finish() is None
    finally:
        child.end()


def test_what_is_wrong_with_a_file_is_said_here(tmp_path: Path, children: list[Surveyor]) -> None:
    """A file that ends inside a row is refused in the same words, child or not."""
    with pytest.raises(BrokenBody, match="ends inside a row"):
        fetched(Server(BODY[:-20]), ticket(tmp_path))
    assert children


def test_packed_and_small_files_get_no_child(
    tmp_path: Path, children: list[Surveyor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What must be decoded first, what says no length, and what is not worth it, is surveyed here."""
    assert fetched(Server(gzipped(BODY)), ticket(tmp_path, attempt_key="a-1")).stored_rows == 5_000
    assert fetched(Server(BODY, says_length=False), ticket(tmp_path, attempt_key="a-2")).stored_rows == 5_000
    monkeypatch.setattr(surveyor, "WORTH_BYTES", len(BODY) + 1)
    assert fetched(Server(BODY), ticket(tmp_path, attempt_key="a-3")).stored_rows == 5_000
    assert not children


def test_no_more_children_than_processors_to_spare(tmp_path: Path) -> None:
    """Who gets none surveys by himself, and one that is given back is lent again."""
    some = Surveyors(1)
    first = some.lend(1)
    assert first is not None
    assert some.lend(1) is None
    some.take_back(first, sound=True)
    assert some.lend(1) is first
    some.take_back(first, sound=False)
    some.close()
    assert Surveyors(0).lend(10**9) is None


def test_a_truncated_file_is_still_put_in_order(tmp_path: Path, children: list[Surveyor]) -> None:
    """A child counts the rows; that the file is cut where its order allows is found as before."""
    asked: Ticket = ticket(tmp_path, limit=5_000, order=Order.ASC)
    receipt = fetched(Server(BODY), asked)
    assert receipt.truncated
    assert receipt.kept == Window(START_S, START_S + 49)
