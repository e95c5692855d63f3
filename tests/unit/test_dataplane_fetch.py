"""Which bytes cross the wire, and that what was recorded never does so again."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import tracemalloc
from pathlib import Path

import pytest

from orchestrator.core.job import Compression, Output
from orchestrator.core.model import LinkExpired, Receipt
from orchestrator.dataplane import fetch, inflow, secondpass, staging
from orchestrator.dataplane import transfer as transfer_module
from orchestrator.dataplane.inline import InlineDataPlane
from orchestrator.errors import BrokenBody, DiskFull, ServiceFault, StorageError, Unreachable, UsageError
from orchestrator.testing.boundary import FaultPlan, SimulatedCrash
from orchestrator.testing.loop import VirtualTime, run_virtual
from tests.unit.dataplane_kit import (
    START_S,
    Server,
    fetched,
    gzipped,
    json_lines,
    lost,
    refused,
    rows,
    staging_names,
    ticket,
    transfer,
)

BODY = json_lines(rows(5_000))
AREA = Path(".orchestrator") / "staging"


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and recordings small enough that a small file has many of them."""
    monkeypatch.setattr(inflow, "BLOCK_BYTES", 16 * 1024)
    monkeypatch.setattr(inflow, "RECORD_BYTES", 64 * 1024)


def server(body: bytes = BODY, **habits: object) -> Server:
    return Server(body, chunk_bytes=4096, **habits)


def cancelled_at(source: Server, folder: Path, offset: int) -> int:
    """Cancel a transfer once ``offset`` bytes were sent; returns what its sidecar records."""

    async def once(_: VirtualTime) -> None:
        source.pause_at = offset
        plane = InlineDataPlane(source)
        task = asyncio.ensure_future(plane.transfer(ticket(folder)))
        await source.paused.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        source.go.set()
        await plane.close()

    run_virtual(once)
    recorded: int = json.loads((folder / AREA / "a-1.part.json").read_bytes())["offset_bytes"]
    return recorded


@pytest.mark.parametrize("offset", [4096, 16 * 1024, 100_000, 300_000])
def test_a_cancelled_transfer_goes_on_where_it_stopped(tmp_path: Path, offset: int) -> None:
    """Cancelling records every byte received; the next call asks for the first one missing and for no
    recorded one."""
    source = server()
    recorded = cancelled_at(source, tmp_path, offset)
    assert recorded == source.sent
    receipt = fetched(source, ticket(tmp_path))
    assert source.opens == [(0, ""), (recorded, '"v1"')]
    assert source.sent == len(BODY) == receipt.wire_bytes
    assert Path(receipt.staged_path).read_bytes() == BODY


def test_offsets_are_recorded_while_fetching(tmp_path: Path) -> None:
    """After a crash at a recorded offset the transfer resumes there; what lay behind the record is fetched
    again."""
    source = server()
    plan = FaultPlan(2, counts="transfer.offset_recorded".__eq__)
    with pytest.raises(SimulatedCrash):
        transfer(source, ticket(tmp_path), boundary=plan)
    recorded = json.loads((tmp_path / AREA / "a-1.part.json").read_bytes())["offset_bytes"]
    assert recorded >= 128 * 1024
    receipt = fetched(source, ticket(tmp_path))
    assert source.opens[1] == (recorded, '"v1"')
    assert Path(receipt.staged_path).read_bytes() == BODY


@pytest.mark.parametrize("output", [Output.RAW, Output.JSONL])
def test_a_crash_at_any_point_changes_nothing_in_the_end(tmp_path: Path, output: Output) -> None:
    """Die at each fault point of a transfer, call again: the artifact and the receipt's digests are the same
    every time."""
    asked = {
        "output": output,
        "compression": Compression.GZIP if output is Output.JSONL else Compression.NONE,
    }
    plan = FaultPlan()
    whole = fetched(server(), ticket(tmp_path / "whole", **asked), boundary=plan)
    assert {"transfer.chunk", "transfer.offset_recorded", "transfer.staged"} <= set(plan.met)
    for number in range(1, plan.points + 1):
        source, folder = server(), tmp_path / str(number)
        with pytest.raises(SimulatedCrash):
            transfer(source, ticket(folder, **asked), boundary=FaultPlan(number))
        receipt = fetched(source, ticket(folder, **asked))
        assert (receipt.stored_sha256, receipt.fetched_sha256) == (whole.stored_sha256, whole.fetched_sha256)
        assert Path(receipt.staged_path).read_bytes() == Path(whole.staged_path).read_bytes()
        assert staging_names(folder) == {"a-1.staged", "a-1.part.json"}
        if plan.met[number - 1] == "transfer.staged":
            assert len(source.opens) == 1


def test_a_fetched_file_is_not_fetched_again_for_a_crash_while_converting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once all bytes are safe that is recorded, so a death during conversion costs no second fetch."""
    monkeypatch.setattr(transfer_module, "_WORTH_MARKING_BYTES", 1)
    source = server(gzipped(BODY))
    plan = FaultPlan()
    fetched(source, ticket(tmp_path / "count"), boundary=plan)
    last_record = max(n for n, name in enumerate(plan.met, 1) if name == "transfer.offset_recorded")
    with pytest.raises(SimulatedCrash):
        transfer(source, ticket(tmp_path), boundary=FaultPlan(last_record))
    before = len(source.opens)
    receipt = fetched(source, ticket(tmp_path))
    assert len(source.opens) == before
    assert receipt.fetched_bytes == len(source.body)


def test_a_range_that_is_ignored_is_passed_over_when_the_etag_agrees(tmp_path: Path) -> None:
    """The bytes cross the wire again and are counted, but nothing is written twice."""
    source = server()
    recorded = cancelled_at(source, tmp_path, 100_000)
    source.ranges = False
    receipt = fetched(source, ticket(tmp_path))
    assert receipt.wire_bytes == recorded + len(BODY)
    assert Path(receipt.staged_path).read_bytes() == BODY


@pytest.mark.parametrize("etag", ["", '"v1"', '"v2"'])
def test_a_range_that_is_ignored_is_held_against_what_is_there(tmp_path: Path, etag: str) -> None:
    """An answer from the first byte on, from another file of that length, replaces everything, whatever its
    ETag says."""
    source = server()
    cancelled_at(source, tmp_path, 100_000)
    other = json_lines(rows(5_000, text="PUT /cart 201"))
    changed = server(other, etag=etag, ranges=False)
    receipt = fetched(changed, ticket(tmp_path))
    assert [offset for offset, _ in changed.opens[1:]] == [0]
    assert Path(receipt.staged_path).read_bytes() == other


def test_a_changed_etag_starts_over(tmp_path: Path) -> None:
    """If-Range fails on another ETag, and the whole new file is taken from the same answer."""
    source = server()
    recorded = cancelled_at(source, tmp_path, 100_000)
    source.body, source.etag = BODY[::-1].replace(b"\n", b"") + b"\n", '"v2"'
    source.body = json_lines(rows(4_000))
    receipt = fetched(source, ticket(tmp_path))
    assert source.opens[1:] == [(recorded, '"v1"')]
    assert Path(receipt.staged_path).read_bytes() == source.body


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("says_length", [True, False])
def test_without_an_etag_the_last_bytes_are_compared(tmp_path: Path, same: bool, says_length: bool) -> None:
    """Up to 64 KiB before the offset are asked for again; equal bytes prove the file, other ones start it
    over."""
    source = server(etag="", says_length=says_length)
    recorded = cancelled_at(source, tmp_path, 200_000)
    if not same:
        source.body = json_lines(rows(5_000, text="PUT /cart 201"))
        assert len(source.body) == len(BODY)
    receipt = fetched(source, ticket(tmp_path))
    assert source.opens[1] == (recorded - fetch.OVERLAP_BYTES, "")
    anew = [] if same else [0]
    looks = [] if says_length else [len(BODY) - fetch.OVERLAP_BYTES]  # whether anything follows the end
    assert [offset for offset, _ in source.opens[2:]] == [*anew, *looks]
    assert Path(receipt.staged_path).read_bytes() == source.body
    if same:
        assert receipt.wire_bytes == len(BODY) + (1 + len(looks)) * fetch.OVERLAP_BYTES


@pytest.mark.parametrize("ranges", [True, False])
def test_a_body_of_no_announced_length_is_asked_whether_it_goes_on(tmp_path: Path, ranges: bool) -> None:
    """One that was cut off and looked finished is fetched to its end; where ranges are ignored, the whole is
    not fetched twice to learn nothing."""
    source = server(says_length=False, etag="", ranges=ranges)
    if ranges:
        source.mishaps = [(100_000, None)]
    receipt = fetched(source, ticket(tmp_path))
    assert Path(receipt.staged_path).read_bytes() == BODY
    assert len(source.opens) == (3 if ranges else 2)
    assert receipt.wire_bytes <= len(BODY) + 2 * fetch.OVERLAP_BYTES


@pytest.mark.parametrize("same", [True, False])
def test_less_than_an_overlap_is_compared_from_the_first_byte(tmp_path: Path, same: bool) -> None:
    """With less than 64 KiB in hand the whole file is asked for again and held against what is there; nothing
    is glued together."""
    source = server(etag="", says_length=False)
    recorded = cancelled_at(source, tmp_path, 20_000)
    assert 0 < recorded < fetch.OVERLAP_BYTES
    if not same:
        source.body = json_lines(rows(5_000, text="PUT /cart 201"))
    receipt = fetched(source, ticket(tmp_path))
    assert source.opens[1] == (0, "")
    assert Path(receipt.staged_path).read_bytes() == source.body


def test_a_file_of_another_length_starts_over(tmp_path: Path) -> None:
    """A rest that belongs to a file of another length is not glued to what we have."""
    source = server(etag="")
    cancelled_at(source, tmp_path, 200_000)
    source.body = json_lines(rows(6_000))
    receipt = fetched(source, ticket(tmp_path))
    assert receipt.served_rows == 6_000


def test_connections_are_given_three_more_chances(tmp_path: Path) -> None:
    """Each retry pauses longer and asks for the rest only; the fourth loss in a row is the caller's."""
    source = server()
    source.mishaps = [(50_000, lost())] * 4

    async def once(virtual: VirtualTime) -> float:
        plane = InlineDataPlane(source)
        with pytest.raises(Unreachable):
            await plane.transfer(ticket(tmp_path))
        await plane.close()
        return virtual.loop.time()

    waited_s = run_virtual(once)
    assert [offset for offset, _ in source.opens] == [0, 50_000, 100_000, 150_000]
    assert 5.25 <= waited_s <= 10.5
    assert fetched(source, ticket(tmp_path)).wire_bytes == len(BODY)


def test_progress_earns_new_chances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that breaks often but moves on in between is worth more than three retries."""
    monkeypatch.setattr(fetch, "RECORD_BYTES", 64 * 1024)
    source = server()
    source.mishaps = [(70_000, lost())] * 5
    assert fetched(source, ticket(tmp_path)).wire_bytes == len(BODY)


def test_a_body_that_stops_short_without_a_word_is_noticed(tmp_path: Path) -> None:
    """Fewer bytes than announced is a lost connection, even from a source that does not say so."""
    source = server(BODY[:100_000])
    source.announced = len(BODY)
    with pytest.raises(Unreachable):
        transfer(source, ticket(tmp_path))
    source.body = BODY
    receipt = fetched(source, ticket(tmp_path))
    assert Path(receipt.staged_path).read_bytes() == BODY
    assert [offset for offset, _ in source.opens] == [0, *[100_000] * 5]


def test_an_answer_from_another_place_is_a_fault_of_the_service(tmp_path: Path) -> None:
    """Bytes from where nobody asked for them are not stored."""
    source = server()
    cancelled_at(source, tmp_path, 100_000)
    source.shift = 1
    with pytest.raises(ServiceFault):
        transfer(source, ticket(tmp_path))


@pytest.mark.parametrize("at", [0, 4096, 150_000])
def test_an_expired_link_keeps_what_came(tmp_path: Path, at: int) -> None:
    """LinkExpired carries the safe offset, also when a later request of the same call is refused."""
    source = server()
    source.mishaps = [(at, lost() if at else refused()), (0, refused())]
    assert transfer(source, ticket(tmp_path)) == LinkExpired(at)
    source.mishaps = []
    assert fetched(source, ticket(tmp_path)).wire_bytes == len(BODY)


def test_a_link_that_is_refused_in_the_middle_of_a_body_keeps_what_came(tmp_path: Path) -> None:
    """Some gateways end a body with the expiry; its bytes are kept."""
    source = server()
    source.mishaps = [(90_000, refused())]
    assert transfer(source, ticket(tmp_path)) == LinkExpired(90_000)


def test_a_damaged_sidecar_or_part_only_costs_another_fetch(tmp_path: Path) -> None:
    """A sidecar that cannot be read, or that promises more than the part holds, means starting from the first
    byte."""
    for damage in (b"", b"{", b"[]", b'{"offset_bytes": -4}', b'{"offset_bytes": "x"}', b'{"surplus": 1}'):
        source = server()
        cancelled_at(source, tmp_path, 100_000)
        (tmp_path / AREA / "a-1.part.json").write_bytes(damage)
        assert fetched(source, ticket(tmp_path)).fetched_bytes == len(BODY)
        for path in (tmp_path / AREA).iterdir():
            path.unlink()
    source = server()
    cancelled_at(source, tmp_path, 100_000)
    os.truncate(tmp_path / AREA / "a-1.part", 50_000)
    receipt = fetched(source, ticket(tmp_path))
    assert Path(receipt.staged_path).read_bytes() == BODY


def test_rot_in_a_complete_part_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part recorded as complete is digested again before it is believed; a flipped bit means fetching
    anew."""
    monkeypatch.setattr(transfer_module, "_WORTH_MARKING_BYTES", 1)
    source = server(gzipped(BODY))
    plan = FaultPlan(1, counts="transfer.offset_recorded".__eq__)
    with pytest.raises(SimulatedCrash):
        transfer(source, ticket(tmp_path), boundary=plan)
    part = tmp_path / AREA / "a-1.part"
    damaged = bytearray(part.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    part.write_bytes(damaged)
    receipt = fetched(source, ticket(tmp_path))
    assert len(source.opens) == 2
    assert Path(receipt.staged_path).read_bytes() == source.body


def test_bandwidth_is_a_ceiling(tmp_path: Path) -> None:
    """Transfers side by side keep to one ceiling together, and one alone has all of it."""
    source = server()

    async def fetch_all(virtual: VirtualTime, keys: list[str]) -> float:
        plane = InlineDataPlane(source)
        slow = {"bandwidth_bytes_per_s": 100_000.0}
        await asyncio.gather(*(plane.transfer(ticket(tmp_path, attempt_key=key, **slow)) for key in keys))
        await plane.close()
        return virtual.loop.time()

    alone_s = run_virtual(lambda virtual: fetch_all(virtual, ["a-1"]))
    assert alone_s == pytest.approx(len(BODY) / 100_000, rel=0.01)
    three_s = run_virtual(lambda virtual: fetch_all(virtual, ["b-1", "b-2", "b-3"]))
    assert three_s == pytest.approx(3 * len(BODY) / 100_000, rel=0.01)


def test_a_transfer_cancelled_while_converting_goes_on_from_what_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With real threads: no thread is at work on the files once the cancellation is through, and nothing is
    fetched again."""
    monkeypatch.setattr(transfer_module, "_WORTH_MARKING_BYTES", 1)
    monkeypatch.setattr(secondpass, "_STEP_BYTES", 1)
    monkeypatch.setattr(inflow, "RECORD_BYTES", 64 << 20)  # the one record is that all was fetched
    source = server(gzipped(BODY * 20))
    asked = ticket(tmp_path, output=Output.JSONL, compression=Compression.GZIP, limit=10**9)

    class Cancels:
        def __init__(self) -> None:
            self.task: asyncio.Task[Receipt | LinkExpired] | None = None

        def reached(self, name: str) -> None:
            if name == "transfer.offset_recorded" and self.task is not None:
                asyncio.get_running_loop().call_later(0.02, self.task.cancel)

    async def once() -> None:
        boundary = Cancels()
        plane = InlineDataPlane(source, boundary=boundary)
        boundary.task = asyncio.ensure_future(plane.transfer(asked))
        with pytest.raises(asyncio.CancelledError):
            await boundary.task
        before = staging_names(tmp_path)
        await plane.close()
        assert staging_names(tmp_path) == before
        assert not any(name.endswith(".staged") for name in before)

    asyncio.run(once())
    receipt = fetched(source, asked)
    assert len(source.opens) == 1
    assert receipt.stored_rows == 100_000


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file many times the size of all blocks together passes in a few of them, also when it is
    rewritten."""
    monkeypatch.setattr(inflow, "BLOCK_BYTES", 2 << 20)
    monkeypatch.setattr(inflow, "RECORD_BYTES", 64 << 20)
    line = b'{"@timestamp":%d,"@raw":"%s"}\n' % (START_S * 1000, b"x" * 1000)
    body = line * (60 * 1024)
    for number, output in enumerate((Output.RAW, Output.JSONL)):
        asked = ticket(tmp_path, attempt_key=f"k-{number}", output=output, compression=Compression.ZSTD)
        tracemalloc.start()
        try:
            assert fetched(Server(body, chunk_bytes=1 << 18), asked).stored_rows == 60 * 1024
            assert tracemalloc.get_traced_memory()[1] < 24 << 20
        finally:
            tracemalloc.stop()


# --- disk ---


def test_transfers_side_by_side_do_not_promise_the_same_room_twice(tmp_path: Path) -> None:
    """While one transfer's announced length is still to come, another one cannot have that room."""
    first, second = server(), server()

    async def once(_: VirtualTime) -> None:
        first.pause_at = 8192
        answers = {"a-1": first, "a-2": second}

        class Both:
            def open(self, link: object, *, offset_bytes: int = 0, etag: str = "") -> object:
                return answers.pop("a-1", second).open(link, offset_bytes=offset_bytes, etag=etag)

        plane = InlineDataPlane(Both(), disk_free=lambda path: len(BODY) * 2 - 1)
        task = asyncio.ensure_future(plane.transfer(ticket(tmp_path)))
        await first.paused.wait()
        with pytest.raises(DiskFull):
            await plane.transfer(ticket(tmp_path, attempt_key="a-2"))
        first.go.set()
        await task
        assert isinstance(await plane.transfer(ticket(tmp_path, attempt_key="a-2")), Receipt)
        await plane.close()

    run_virtual(once)


def test_a_disk_that_others_fill_stops_the_fetch_at_the_next_record(tmp_path: Path) -> None:
    """The reserve is looked after while a file comes in, not only before; what was recorded is kept."""
    source = server()
    free = [10**9]
    source.pause_at = 100_000

    async def once(_: VirtualTime) -> None:
        plane = InlineDataPlane(source, disk_free=lambda path: free[0])
        task = asyncio.ensure_future(plane.transfer(ticket(tmp_path, disk_reserve_bytes=1000)))
        await source.paused.wait()
        free[0] = 999
        source.go.set()
        with pytest.raises(DiskFull):
            await task
        await plane.close()

    run_virtual(once)
    assert source.sent < len(BODY)
    assert fetched(source, ticket(tmp_path)).wire_bytes == len(BODY)


@pytest.mark.parametrize("after", [1, 3, 12])
@pytest.mark.parametrize("output", [Output.RAW, Output.JSONL])
def test_a_disk_that_fills_up_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, output: Output
) -> None:
    """ENOSPC in any write is DiskFull with the path, no artifact appears, and with room again the transfer
    goes on."""
    source = server()
    writes = 0
    real = os.write

    def full(descriptor: int, content: object) -> int:
        nonlocal writes
        writes += 1
        if writes > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, content)

    asked = ticket(tmp_path, output=output, compression=Compression.GZIP)
    with monkeypatch.context() as patch:
        patch.setattr(staging.os, "write", full)
        with pytest.raises(DiskFull, match="a-1"):
            transfer(source, asked)
    assert not any(name.endswith(".staged") for name in staging_names(tmp_path))
    receipt = fetched(source, asked)
    assert receipt.stored_rows == 5_000


def test_a_file_size_limit_is_a_full_disk(tmp_path: Path) -> None:
    """EFBIG, as under a file size limit, stops the transfer like a full disk."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DiskFull):
            transfer(server(), ticket(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not any(name.endswith(".staged") for name in staging_names(tmp_path))


def test_a_staging_area_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    """A file where the folder should be says so, with its path."""
    (tmp_path / ".orchestrator").write_text("a file")
    with pytest.raises(StorageError, match="orchestrator"):
        transfer(server(), ticket(tmp_path))


def test_a_symbolic_link_in_place_of_the_part_is_not_followed(tmp_path: Path) -> None:
    """Nothing outside the staging area is written through a planted link."""
    target = tmp_path / "precious"
    target.write_text("precious")
    (tmp_path / AREA).mkdir(parents=True)
    (tmp_path / AREA / "a-1.part").symlink_to(target)
    with pytest.raises(StorageError):
        transfer(server(), ticket(tmp_path))
    assert target.read_text() == "precious"


def test_tickets_that_cannot_be_staged_are_refused(tmp_path: Path) -> None:
    """A relative destination or a key that is no plain name never reaches the disk."""
    for changes in ({"attempt_key": "../x"}, {"attempt_key": ""}, {"attempt_key": "A"}):
        with pytest.raises(UsageError):
            transfer(server(), ticket(tmp_path, **changes))
    with pytest.raises(UsageError):
        transfer(server(), ticket(Path("relative")))


def test_more_than_announced_is_refused(tmp_path: Path) -> None:
    """A body longer than its announced length is no file to believe in, and nothing of it is kept."""
    source = server()
    source.announced = 100_000
    with pytest.raises(BrokenBody):
        transfer(source, ticket(tmp_path))
    assert staging_names(tmp_path) == set()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_link_that_opens_once_is_renewed_once_to_see_the_end(tmp_path: Path, ranges: bool) -> None:
    """Where nobody says how long the file is and every link opens one time only, the second link settles
    it."""
    source = server(says_length=False, etag="", ranges=ranges)
    source.mishaps = [(10**9, None), (0, refused()), (10**9, None), (0, refused())]
    expired = transfer(source, ticket(tmp_path))
    assert isinstance(expired, LinkExpired)
    receipt = fetched(source, ticket(tmp_path))
    assert Path(receipt.staged_path).read_bytes() == BODY
    assert len(source.opens) == 3
