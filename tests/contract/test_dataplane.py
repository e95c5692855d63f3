"""What every data plane promises: the same rows in, the same rows out, whatever the file looks like."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.core.job import Compression, Order, Output, ServedFormat
from orchestrator.core.model import LinkExpired, Receipt, Ticket
from orchestrator.core.window import Window
from orchestrator.dataplane.inline import InlineDataPlane
from orchestrator.errors import BrokenBody, DiskFull, FileMissing, RowsOutsideWindow, Unreachable
from orchestrator.ports.files import DataPlane
from orchestrator.testing.loop import VirtualTime, run_virtual
from tests.unit.dataplane_kit import (
    PACKED,
    SERVED,
    START_S,
    WINDOW,
    Server,
    json_lines,
    lost,
    read_rows,
    refused,
    rows,
    ticket,
)

MakePlane = Callable[[Server], DataPlane]


@pytest.fixture(params=["inline"])
def make_plane(request: pytest.FixtureRequest) -> MakePlane:
    """Every implementation of the port."""
    makers: dict[str, MakePlane] = {"inline": InlineDataPlane}
    return makers[request.param]


def carried_out(
    make_plane: MakePlane, server: Server, asked: Ticket, *, patient: bool = False
) -> Receipt | LinkExpired:
    """One transfer on a loop with real threads; ``patient`` ones, which pause between retries, in virtual
    time."""

    async def once(_: VirtualTime | None = None) -> Receipt | LinkExpired:
        plane = make_plane(server)
        try:
            return await plane.transfer(asked)
        finally:
            await plane.close()

    return run_virtual(once) if patient else asyncio.run(once())


def texts(served: str, of: list[dict[str, object]]) -> list[dict[str, object]]:
    """Rows as they can be read back: CSV knows texts only."""
    return [{key: str(value) for key, value in row.items()} for row in of] if served == "csv" else of


@pytest.mark.parametrize("compression", list(Compression))
@pytest.mark.parametrize("output", [Output.RAW, Output.JSONL])
@pytest.mark.parametrize("packed", list(PACKED))
@pytest.mark.parametrize("served", list(SERVED))
@pytest.mark.parametrize("clipped", [False, True])
def test_rows_survive_every_form(
    tmp_path: Path,
    make_plane: MakePlane,
    served: str,
    packed: str,
    output: Output,
    compression: Compression,
    clipped: bool,
) -> None:
    """Each served form, compressed or not, clipped or not, gives the rows of the window in the stored form
    asked for."""
    some = rows(300)
    if clipped:
        some = [
            {**some[0], "@timestamp": START_S * 1000 - 1},
            *some,
            {**some[0], "@timestamp": WINDOW.end_s * 1000},
        ]
    body = PACKED[packed](SERVED[served](some))
    asked = ticket(
        tmp_path,
        output=output,
        compression=compression,
        format=ServedFormat.CSV if served == "csv" else ServedFormat.JSON,
    )
    receipt = carried_out(make_plane, Server(body), asked)
    assert isinstance(receipt, Receipt)
    stored = Path(receipt.staged_path).read_bytes()
    assert (receipt.stored_bytes, receipt.stored_sha256) == (len(stored), hashlib.sha256(stored).hexdigest())
    assert (receipt.fetched_bytes, receipt.fetched_sha256) == (len(body), hashlib.sha256(body).hexdigest())
    assert (receipt.served_rows, receipt.dropped_rows, receipt.stored_rows) == (len(some), 2 * clipped, 300)
    assert (receipt.kept, receipt.truncated, receipt.time_known) == (WINDOW, False, True)
    kept = some[1:-1] if clipped else some
    assert read_rows(stored, receipt.form) == texts(served, kept)
    if output is Output.RAW:
        assert receipt.form == "+".join(filter(None, (served, packed)))
        assert clipped or stored == body
    else:
        assert receipt.form == "jsonl" + ("" if compression is Compression.NONE else f"+{compression}")
    suffix = {"": "", "gzip": ".gz", "zstd": ".zst", "zip": ".zip"}[receipt.form.partition("+")[2]]
    shape = {"jsonl": ".jsonl", "json-array": ".json", "csv": ".csv"}[receipt.form.partition("+")[0]]
    assert receipt.extension == shape + suffix


@pytest.mark.parametrize("packed", list(PACKED))
def test_the_same_rows_give_the_same_converted_bytes(
    tmp_path: Path, make_plane: MakePlane, packed: str
) -> None:
    """Converted artifacts depend on the rows alone: not on how they were compressed in transit, nor on the
    clock."""
    for number, compression in enumerate(Compression):
        plain = Server(json_lines(rows(50)))
        other = Server(PACKED[packed](json_lines(rows(50))))
        asked = {"output": Output.JSONL, "compression": compression}
        one = carried_out(make_plane, plain, ticket(tmp_path, attempt_key=f"a-{number}", **asked))
        two = carried_out(make_plane, other, ticket(tmp_path, attempt_key=f"b-{number}", **asked))
        assert isinstance(one, Receipt)
        assert isinstance(two, Receipt)
        assert one.stored_sha256 == two.stored_sha256


@pytest.mark.parametrize(
    "body", [b"", b"\xef\xbb\xbf", b"\n\n", b"[]", b"[ ]\n", b"@timestamp,@raw\r\n", b"{}"[:0]]
)
@pytest.mark.parametrize("packed", list(PACKED))
@pytest.mark.parametrize("output", [Output.RAW, Output.JSONL])
def test_a_file_without_rows_stages_nothing(
    tmp_path: Path, make_plane: MakePlane, body: bytes, packed: str, output: Output
) -> None:
    """An empty file, an empty array, a header alone: no rows, nothing staged, the whole window is held."""
    receipt = carried_out(make_plane, Server(PACKED[packed](body)), ticket(tmp_path, output=output))
    assert isinstance(receipt, Receipt)
    assert (receipt.staged_path, receipt.served_rows, receipt.stored_rows) == ("", 0, 0)
    assert (receipt.kept, receipt.stored_bytes, receipt.truncated) == (WINDOW, 0, False)
    assert list((tmp_path / ".orchestrator" / "staging").iterdir()) == []


def test_a_file_that_is_not_all_there_is_refused(tmp_path: Path, make_plane: MakePlane) -> None:
    """A compressed file that ends early raises BrokenBody and leaves nothing that a later call could resume
    on."""
    body = PACKED["gzip"](json_lines(rows(500)))
    with pytest.raises(BrokenBody):
        carried_out(make_plane, Server(body[:-9]), ticket(tmp_path))
    assert list((tmp_path / ".orchestrator" / "staging").iterdir()) == []


def test_an_expired_link_is_a_value_and_the_next_call_goes_on(tmp_path: Path, make_plane: MakePlane) -> None:
    """A link refused in the middle gives LinkExpired with the safe offset; a renewed ticket fetches only the
    rest."""
    body = json_lines(rows(20_000))
    server = Server(body)
    server.mishaps = [(400_000, lost()), (0, refused())]
    expired = carried_out(make_plane, server, ticket(tmp_path), patient=True)
    assert isinstance(expired, LinkExpired)
    assert (expired.offset_bytes, "expired" in expired.why) == (400_000, True)
    receipt = carried_out(make_plane, server, ticket(tmp_path))
    assert isinstance(receipt, Receipt)
    assert server.opens[-1] == (400_000, '"v1"')
    assert server.sent == receipt.wire_bytes == len(body)
    assert Path(receipt.staged_path).read_bytes() == body


def test_a_receipt_is_given_twice_for_one_fetch(tmp_path: Path, make_plane: MakePlane) -> None:
    """Asked again under the same attempt key, a finished transfer answers from its record and fetches
    nothing."""
    for number, output in enumerate((Output.RAW, Output.JSONL)):
        server = Server(json_lines(rows(100)))
        asked = ticket(tmp_path, attempt_key=f"k-{number}", output=output, compression=Compression.ZSTD)
        assert carried_out(make_plane, server, asked) == carried_out(make_plane, server, asked)
        assert len(server.opens) == 1


def test_faults_of_the_source_pass_through(tmp_path: Path, make_plane: MakePlane) -> None:
    """A missing file is the caller's to judge; lost connections are retried three times, resuming, and then
    passed on."""
    missing = Server(b"")
    missing.mishaps = [(0, FileMissing("no such key", status=404))]
    with pytest.raises(FileMissing):
        carried_out(make_plane, missing, ticket(tmp_path))
    body = json_lines(rows(1000))
    flaky = Server(body, chunk_bytes=100)
    flaky.mishaps = [(1000, lost()), (1000, lost()), (1000, lost()), (1000, lost())]
    with pytest.raises(Unreachable):
        carried_out(make_plane, flaky, ticket(tmp_path), patient=True)
    assert [offset for offset, _ in flaky.opens] == [0, 1000, 2000, 3000]
    receipt = carried_out(make_plane, flaky, ticket(tmp_path), patient=True)
    assert isinstance(receipt, Receipt)
    assert Path(receipt.staged_path).read_bytes() == body
    assert flaky.sent == len(body)


def test_rows_far_outside_publish_nothing(tmp_path: Path, make_plane: MakePlane) -> None:
    """A row two seconds before the requested window is a fault, not something to drop quietly."""
    some = rows(100)
    some[0]["@timestamp"] = START_S * 1000 - 1001
    with pytest.raises(RowsOutsideWindow):
        carried_out(make_plane, Server(json_lines(some)), ticket(tmp_path))
    assert list((tmp_path / ".orchestrator" / "staging").iterdir()) == []


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (Order.ASC, Window(START_S, START_S + 9)),
        (Order.DESC, Window(START_S + 1, WINDOW.end_s)),
    ],
)
@pytest.mark.parametrize("served", list(SERVED))
def test_a_truncated_file_is_cut_before_its_last_second(
    tmp_path: Path, make_plane: MakePlane, served: str, order: Order, expected: Window
) -> None:
    """A file of `limit` rows in time order keeps every second but the last one met, in the order asked
    for."""
    some = rows(1000)
    if order is Order.DESC:
        some.reverse()
    receipt = carried_out(make_plane, Server(SERVED[served](some)), ticket(tmp_path, limit=1000, order=order))
    assert isinstance(receipt, Receipt)
    assert (receipt.truncated, receipt.kept) == (True, expected)
    assert (receipt.served_rows, receipt.stored_rows, receipt.dropped_rows) == (1000, 900, 100)
    stored = read_rows(Path(receipt.staged_path).read_bytes(), receipt.form)
    kept = [row for row in some if expected.start_s <= row["@timestamp"] // 1000 < expected.end_s]
    assert stored == texts(served, kept)


def test_a_disk_that_would_fall_below_its_reserve_is_not_written_to(tmp_path: Path) -> None:
    """The announced length is reserved first: DiskFull comes before a single byte is on disk."""
    server = Server(json_lines(rows(1000)))
    plane = InlineDataPlane(server, disk_free=lambda path: 10_000 + len(server.body) - 1)

    async def once() -> None:
        try:
            await plane.transfer(ticket(tmp_path, disk_reserve_bytes=10_000))
        finally:
            await plane.close()

    with pytest.raises(DiskFull):
        asyncio.run(once())
    assert list(tmp_path.iterdir()) == []
