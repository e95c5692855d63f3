"""Several connections for one file: used where they are faster, let go where not, and never at the price of a
byte."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.model import LinkExpired, Receipt
from orchestrator.core.redact import PresignedLink
from orchestrator.dataplane import fetch, inflow, pieces
from orchestrator.dataplane.inline import InlineDataPlane
from orchestrator.errors import ServiceError, ServiceFault
from orchestrator.ports.files import PieceSource
from orchestrator.ports.service import FileAnswer
from orchestrator.remote.files import HttpFileSource
from orchestrator.testing.boundary import FaultPlan, SimulatedCrash
from orchestrator.testing.loop import VirtualTime, run_virtual
from tests.unit.dataplane_kit import Server, json_lines, lost, refused, rows, ticket
from tests.unit.loopback import Reply, Seen, loopback

BODY = json_lines(rows(20_000))
RATE = 100_000.0
ALONE_S = len(BODY) / RATE
PIECE_BYTES = 64 * 1024
AREA = Path(".orchestrator") / "staging"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces, blocks and recordings small enough that a small file has many of them."""
    monkeypatch.setattr(fetch, "WORTH_BYTES", 4 * PIECE_BYTES)
    monkeypatch.setattr(pieces, "PIECE_BYTES", PIECE_BYTES)
    monkeypatch.setattr(inflow, "BLOCK_BYTES", 16 * 1024)
    monkeypatch.setattr(inflow, "RECORD_BYTES", 128 * 1024)
    monkeypatch.setattr(fetch, "RECORD_BYTES", 128 * 1024)


Spoil = Callable[[int, FileAnswer], FileAnswer]


class Slow(Server):
    """A server that gives each connection ``RATE``; with ``line`` all of them together no more than that.
    ``spoils`` makes something else of the answer to the n-th piece (from 0)."""

    def __init__(
        self, body: bytes = BODY, *, rate: float = RATE, line: float | None = None, **habits: Any
    ) -> None:
        super().__init__(body, chunk_bytes=4096, **habits)
        self.rate = rate
        self.line = line
        self.pieces: list[tuple[int, int]] = []
        self.spoils: Spoil | None = None
        self.piece_mishaps: dict[int, tuple[int, ServiceError]] = {}
        """For the n-th piece: after how many bytes of its body what is raised."""
        self.stalls: set[int] = set()
        self.open_now = self.open_most = 0
        self.times: list[tuple[float, int]] = []
        """When each chunk came, and its size."""
        self.widths: list[int] = []
        """How many connections were open when it came."""
        self._line_free_at = 0.0

    async def _chunks(
        self, body: bytes, start: int, limit: int | None, error: Exception | None
    ) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        async for chunk in super()._chunks(body, start, limit, error):
            ready_at = loop.time() + len(chunk) / self.rate
            if self.line is not None:
                self._line_free_at = max(self._line_free_at, loop.time()) + len(chunk) / self.line
                ready_at = max(ready_at, self._line_free_at)
            await asyncio.sleep(ready_at - loop.time())
            self.times.append((loop.time(), len(chunk)))
            self.widths.append(self.open_now)
            yield chunk

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.open_now += 1
        self.open_most = max(self.open_most, self.open_now)
        try:
            yield
        finally:
            self.open_now -= 1

    @asynccontextmanager
    async def open(
        self, link: PresignedLink, *, offset_bytes: int = 0, etag: str = ""
    ) -> AsyncIterator[FileAnswer]:
        with self._counted():
            async with super().open(link, offset_bytes=offset_bytes, etag=etag) as answer:
                yield answer

    @asynccontextmanager
    async def piece(
        self, link: PresignedLink, *, start_bytes: int, end_bytes: int, etag: str
    ) -> AsyncIterator[FileAnswer]:
        assert etag == self.etag
        number = len(self.pieces)
        self.pieces.append((start_bytes, end_bytes))
        limit, error = self.piece_mishaps.get(number, (None, None))
        if limit == 0 and error is not None:
            raise error
        if number in self.stalls:
            await asyncio.sleep(1000)
        chunks = self._chunks(self.body[:end_bytes], start_bytes, limit, error)
        answer = FileAnswer(start_bytes, len(self.body), self.etag, "", chunks)
        with self._counted():
            yield self.spoils(number, answer) if self.spoils else answer


def carried_out(
    source: Server, folder: Path, *, boundary: Any = None, **changes: Any
) -> tuple[Receipt | LinkExpired, float]:
    """One transfer in virtual time, and how long it took; nothing of it is left running."""

    async def once(virtual: VirtualTime) -> tuple[Receipt | LinkExpired, float]:
        plane = InlineDataPlane(source, boundary=boundary)
        try:
            began = virtual.loop.time()
            found = await plane.transfer(ticket(folder, **changes))
            return found, virtual.loop.time() - began
        finally:
            await plane.close()
            assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    return run_virtual(once)


def stored(receipt: Receipt | LinkExpired) -> bytes:
    assert isinstance(receipt, Receipt)
    assert receipt.stored_rows == 20_000
    return Path(receipt.staged_path).read_bytes()


def test_a_source_that_gives_pieces_is_known_as_one() -> None:
    """Others bring every file over one connection."""
    assert isinstance(Slow(), PieceSource)
    assert not isinstance(Server(BODY), PieceSource)


def test_slow_connections_are_joined(tmp_path: Path) -> None:
    """Where each connection is held back, four bring the file in less than half the time, byte for byte; what
    they ask for twice is only the overlap of the pieces."""
    source = Slow()
    receipt, took_s = carried_out(source, tmp_path)
    assert stored(receipt) == BODY
    assert took_s < 0.45 * ALONE_S
    assert source.open_most == pieces.MOST_CONNECTIONS
    assert isinstance(receipt, Receipt)
    assert receipt.wire_bytes <= len(BODY) + 4096 + len(source.pieces) * pieces.OVERLAP_BYTES
    assert source.opens == [(0, "")]


def test_a_line_that_is_full_keeps_its_one_connection(tmp_path: Path) -> None:
    """Where more connections share what one had, they are let go, and one answer brings the whole file."""
    source = Slow(rate=10 * RATE, line=RATE)
    receipt, took_s = carried_out(source, tmp_path)
    assert stored(receipt) == BODY
    assert source.opens == [(0, "")]
    assert 1 <= len(source.pieces) <= 2
    assert took_s < 1.05 * ALONE_S


def test_two_connections_stay_two_where_four_are_no_faster(tmp_path: Path) -> None:
    """A line twice as wide as a connection gets two of them."""
    source = Slow(line=2 * RATE)
    receipt, took_s = carried_out(source, tmp_path)
    assert stored(receipt) == BODY
    assert took_s < 0.7 * ALONE_S
    assert source.open_most == 4
    assert max(source.widths[-100:]) == 2


@pytest.mark.parametrize("why", ["fast", "ceiling", "no etag", "no length", "small", "no pieces"])
def test_one_connection_is_left_alone_where_more_cannot_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """A fast one, one that uses the ceiling up, a file that cannot be told from another one, and a small one:
    no piece is asked for."""
    changes: dict[str, Any] = {}
    source = Slow(etag="" if why == "no etag" else '"v1"', says_length=why != "no length")
    if why == "fast":
        monkeypatch.setattr(pieces, "_FAST_BYTES_PER_S", RATE * 0.9)
    if why == "ceiling":
        changes["bandwidth_bytes_per_s"] = RATE * 1.1
    if why == "small":
        monkeypatch.setattr(fetch, "WORTH_BYTES", len(BODY) + 1)
    if why == "no pieces":
        monkeypatch.delattr(Slow, "piece")
    receipt, _ = carried_out(source, tmp_path, **changes)
    assert stored(receipt) == BODY
    assert source.pieces == []


@pytest.mark.parametrize("files", [1, 3])
def test_a_ceiling_holds_over_any_two_seconds(tmp_path: Path, files: int) -> None:
    """However many connections and transfers there are, no two seconds bring more than 1.05 of what they may,
    and all together use at least 0.95 of it."""
    ceiling = 2.5 * RATE
    source = Slow()

    async def together(virtual: VirtualTime) -> float:
        plane = InlineDataPlane(source)
        try:
            asked = (
                ticket(tmp_path, attempt_key=f"a-{n}", bandwidth_bytes_per_s=ceiling) for n in range(files)
            )
            await asyncio.gather(*map(plane.transfer, asked))
            return virtual.loop.time()
        finally:
            await plane.close()

    run_virtual(together)
    times = sorted(source.times)
    for begin, _ in times[::10]:
        came = sum(size for at, size in times if begin <= at < begin + 2)
        # A connection holds one chunk that has come and not yet had its time.
        assert came <= 1.05 * 2 * ceiling + source.open_most * source.chunk_bytes
    middle = [size for at, size in times if 3 <= at < times[-1][0] - 1]
    assert sum(middle) >= 0.95 * ceiling * (times[-1][0] - 4)


def other_place(number: int, answer: FileAnswer) -> FileAnswer:
    return FileAnswer(0, answer.total_bytes, answer.etag, "", answer.chunks)


def other_length(number: int, answer: FileAnswer) -> FileAnswer:
    return FileAnswer(answer.offset_bytes, len(BODY) + 1, answer.etag, "", answer.chunks)


def other_etag(number: int, answer: FileAnswer) -> FileAnswer:
    return FileAnswer(answer.offset_bytes, answer.total_bytes, '"v2"', "", answer.chunks)


def other_bytes(number: int, answer: FileAnswer) -> FileAnswer:
    async def shifted() -> AsyncIterator[bytes]:
        async for chunk in answer.chunks:
            yield chunk[1:] + chunk[:1]

    return FileAnswer(answer.offset_bytes, answer.total_bytes, answer.etag, "", shifted())


def too_many(number: int, answer: FileAnswer) -> FileAnswer:
    async def doubled() -> AsyncIterator[bytes]:
        async for chunk in answer.chunks:
            yield chunk * 2

    return FileAnswer(answer.offset_bytes, answer.total_bytes, answer.etag, "", doubled())


def too_few(number: int, answer: FileAnswer) -> FileAnswer:
    async def halved() -> AsyncIterator[bytes]:
        async for chunk in answer.chunks:
            yield chunk[: len(chunk) // 2]

    return FileAnswer(answer.offset_bytes, answer.total_bytes, answer.etag, "", halved())


def cut_off(number: int, answer: FileAnswer) -> FileAnswer:
    async def begun() -> AsyncIterator[bytes]:
        left = PIECE_BYTES // 2
        async for chunk in answer.chunks:
            if left <= 0:
                return
            left -= len(chunk)
            yield chunk

    return FileAnswer(answer.offset_bytes, answer.total_bytes, answer.etag, "", begun())


def refuses(number: int, answer: FileAnswer) -> FileAnswer:
    raise ServiceFault("200 where a piece was asked for", status=200)


LIES = [other_place, other_length, other_etag, other_bytes, too_many, too_few, cut_off, refuses]


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("since", [0, 1, 7])
def test_a_server_that_lies_about_pieces_gives_the_right_file_all_the_same(
    tmp_path: Path, lie: Spoil, since: int
) -> None:
    """From another place, another file, with other bytes, more or fewer: from the first piece on or later,
    what is stored is the file that one connection brings."""
    source = Slow()
    source.spoils = lambda number, answer: lie(number, answer) if number >= since else answer
    receipt, _ = carried_out(source, tmp_path)
    assert stored(receipt) == BODY


def test_a_last_piece_that_is_cut_off_is_noticed(tmp_path: Path) -> None:
    """No piece follows it whose overlap would not fit; the file is whole all the same."""
    source = Slow()
    end = len(BODY)
    source.spoils = lambda number, answer: (
        cut_off(number, answer) if source.pieces[number][1] == end else answer
    )
    receipt, _ = carried_out(source, tmp_path)
    assert stored(receipt) == BODY


@pytest.mark.parametrize("lie", [other_bytes, refuses])
def test_a_server_that_lied_is_not_asked_for_pieces_again(tmp_path: Path, lie: Spoil) -> None:
    """Not even by a later call that resumes the file."""
    source = Slow()
    source.spoils = lambda number, answer: lie(number, answer) if number >= 3 else answer

    async def once(_: VirtualTime) -> None:
        plane = InlineDataPlane(source)
        task = asyncio.ensure_future(plane.transfer(ticket(tmp_path)))
        while len(source.opens) < 2:
            await asyncio.sleep(0.1)
        asked = len(source.pieces)
        await asyncio.sleep(2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len(source.pieces) == asked
        await plane.close()

    run_virtual(once)
    asked = len(source.pieces)
    receipt, _ = carried_out(source, tmp_path)
    assert stored(receipt) == BODY
    assert len(source.pieces) == asked


def test_a_link_that_opens_once_is_not_used_up_by_the_trial(tmp_path: Path) -> None:
    """A piece that is refused while one connection brings the file takes nothing from it: no renewal is asked
    for."""
    source = Slow()
    source.piece_mishaps = dict.fromkeys(range(9), (0, refused()))
    receipt, _ = carried_out(source, tmp_path)
    assert stored(receipt) == BODY
    assert source.opens == [(0, "")]
    assert len(source.pieces) == 1


def test_a_link_that_expires_between_pieces_keeps_what_was_in_order(tmp_path: Path) -> None:
    """The safe offset is the end of what came in order; with a new link the rest is fetched from there, again
    by several connections, and nothing before it."""
    source = Slow()
    source.piece_mishaps = dict.fromkeys(range(6, 40), (0, refused()))
    expired, _ = carried_out(source, tmp_path)
    assert isinstance(expired, LinkExpired)
    recorded = json.loads((tmp_path / AREA / "a-1.part.json").read_bytes())
    assert 0 < expired.offset_bytes == recorded["offset_bytes"] < len(BODY)
    before, source.piece_mishaps = len(source.pieces), {}
    receipt, _ = carried_out(source, tmp_path)
    assert stored(receipt) == BODY
    assert source.opens[1:] == [(expired.offset_bytes, '"v1"')]
    assert all(start >= expired.offset_bytes - pieces.OVERLAP_BYTES for start, _ in source.pieces[before:])


@pytest.mark.parametrize("after", [0, 1000, 40_000])
def test_a_lost_piece_is_fetched_again_from_where_it_broke(tmp_path: Path, after: int) -> None:
    """What came of it in order stays, and the file goes on from there."""
    source = Slow()
    source.piece_mishaps = {number: (after, lost()) for number in (5, 11)}
    receipt, _ = carried_out(source, tmp_path)
    assert stored(receipt) == BODY
    assert all(etag == '"v1"' for _, etag in source.opens[1:])


@pytest.mark.parametrize("seconds", [0.4, 0.9, 1.3, 2.5, 4.0])
def test_a_cancelled_transfer_goes_on_from_what_was_in_order(tmp_path: Path, seconds: float) -> None:
    """At any moment of the trial or after it; no connection is left open, and no byte that was recorded is
    asked for again."""
    source = Slow()

    async def once(_: VirtualTime) -> None:
        plane = InlineDataPlane(source)
        task = asyncio.ensure_future(plane.transfer(ticket(tmp_path)))
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await plane.close()

    run_virtual(once)
    recorded = json.loads((tmp_path / AREA / "a-1.part.json").read_bytes())["offset_bytes"]
    assert (tmp_path / AREA / "a-1.part").read_bytes()[:recorded] == BODY[:recorded]
    assert recorded >= 0.9 * RATE * seconds - PIECE_BYTES
    before = len(source.pieces)
    receipt, _ = carried_out(source, tmp_path)
    assert stored(receipt) == BODY
    assert source.opens[1] == (recorded, '"v1"')
    assert all(start >= recorded - pieces.OVERLAP_BYTES for start, _ in source.pieces[before:])


def test_a_death_at_any_point_changes_nothing_in_the_end(tmp_path: Path) -> None:
    """Killed at each fault point, with several connections at work: the next call resumes at the recorded
    offset and stores the same bytes."""
    plan = FaultPlan()
    whole, _ = carried_out(Slow(), tmp_path / "whole", boundary=plan)
    assert isinstance(whole, Receipt)
    for number in range(1, plan.points + 1, 7):
        source, folder = Slow(), tmp_path / str(number)
        with pytest.raises(SimulatedCrash):
            carried_out(source, folder, boundary=FaultPlan(number))
        sidecar = folder / AREA / "a-1.part.json"
        recorded = json.loads(sidecar.read_bytes())["offset_bytes"] if sidecar.exists() else 0
        before = len(source.pieces)
        receipt, _ = carried_out(source, folder)
        assert stored(receipt) == BODY
        assert isinstance(receipt, Receipt)
        assert receipt.fetched_sha256 == whole.fetched_sha256
        assert all(offset >= recorded for offset, _ in source.opens[1:])
        assert all(start >= recorded - pieces.OVERLAP_BYTES for start, _ in source.pieces[before:])


def test_pieces_wait_in_bounded_memory(tmp_path: Path) -> None:
    """While the first of them stalls, the others stop when a few pieces are there."""
    source = Slow()
    source.stalls = {6}

    async def once(_: VirtualTime) -> int:
        plane = InlineDataPlane(source)
        task = asyncio.ensure_future(plane.transfer(ticket(tmp_path)))
        await asyncio.sleep(500)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await plane.close()
        in_order: int = json.loads((tmp_path / AREA / "a-1.part.json").read_bytes())["offset_bytes"]
        return max(end for _, end in source.pieces) - in_order

    assert run_virtual(once) <= (pieces.MOST_CONNECTIONS + 1) * PIECE_BYTES


def test_pieces_over_http_make_the_file(tmp_path: Path) -> None:
    """A real server that gives each connection a megabyte a second: pieces are asked for with both their
    ends, and what is stored is the file."""

    def reply(seen: Seen) -> Reply:
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", seen.headers.get("range", ""))
        start = int(found[1]) if found else 0
        end = int(found[2]) + 1 if found and found[2] else len(BODY)
        status = (
            f"206 Partial Content\r\nContent-Range: bytes {start}-{end - 1}/{len(BODY)}"
            if found
            else "200 OK"
        )
        head = f'HTTP/1.1 {status}\r\nContent-Length: {end - start}\r\nETag: "v1"\r\n\r\n'

        async def slowly(writer: asyncio.StreamWriter) -> None:
            writer.write(head.encode())
            for at in range(start, end, 16 * 1024):
                writer.write(BODY[at : min(at + 16 * 1024, end)])
                await writer.drain()
                await asyncio.sleep(0.016)

        return slowly

    async def once() -> tuple[Receipt | LinkExpired, list[str]]:
        async with asyncio.timeout(60), loopback(reply) as here:
            source = HttpFileSource()
            plane = InlineDataPlane(source)
            try:
                link = PresignedLink(f"{here.origin}/file")
                receipt = await plane.transfer(ticket(tmp_path, link=link))
            finally:
                await plane.close()
                await source.close()
            return receipt, [seen.headers.get("range", "") for seen in here.seen]

    receipt, ranges = asyncio.run(once())
    assert stored(receipt) == BODY
    assert ranges[0] == ""
    assert re.fullmatch(r"bytes=\d+-\d+", ranges[1])
