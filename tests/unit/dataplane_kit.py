"""A file server without HTTP and the tickets to fetch from it; shared by the data plane's tests."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import zipfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import zstandard

from orchestrator.core.job import Compression, DestinationSpec, Order, Output, ServedFormat
from orchestrator.core.model import LinkExpired, Receipt, Ticket
from orchestrator.core.redact import PresignedLink
from orchestrator.core.window import Window
from orchestrator.dataplane.inline import InlineDataPlane
from orchestrator.errors import LinkRefused, Unreachable
from orchestrator.ports.service import FileAnswer
from orchestrator.testing.loop import VirtualTime, run_virtual

START_S = 1_768_348_800
WINDOW = Window(START_S, START_S + 600)


class Server:
    """One file behind a link, with the habits bls-api.md 10 item 11 warns of. ``opens`` records (offset,
    etag) of every request, ``sent`` the bytes handed out."""

    def __init__(
        self,
        body: bytes,
        *,
        etag: str = '"v1"',
        ranges: bool = True,
        says_length: bool = True,
        chunk_bytes: int = 64 * 1024,
        encoding: str = "",
    ) -> None:
        self.body = body
        self.etag = etag
        self.ranges = ranges
        self.says_length = says_length
        self.chunk_bytes = chunk_bytes
        self.encoding = encoding
        self.opens: list[tuple[int, str]] = []
        self.sent = 0
        self.mishaps: list[tuple[int, Exception | None]] = []
        """For each request in turn: after how many bytes of its body what is raised, or with None that it
        ends there as if it were whole; no entry, no mishap."""
        self.pause_at: int | None = None
        """Stop sending at this offset until ``go`` is set."""
        self.paused = asyncio.Event()
        self.go = asyncio.Event()
        self.announced: int | None = None
        """A length to announce in place of the true one."""
        self.shift = 0
        """Answer from so many bytes beyond what was asked for."""

    @asynccontextmanager
    async def open(
        self, link: PresignedLink, *, offset_bytes: int = 0, etag: str = ""
    ) -> AsyncIterator[FileAnswer]:
        self.opens.append((offset_bytes, etag))
        number = len(self.opens) - 1
        limit, error = self.mishaps[number] if number < len(self.mishaps) else (None, None)
        if limit == 0 and error is not None:
            raise error
        whole = not self.ranges or (bool(etag) and etag != self.etag)
        start = 0 if whole else offset_bytes + self.shift
        yield FileAnswer(
            offset_bytes=start,
            total_bytes=(self.announced or len(self.body)) if self.says_length else None,
            etag=self.etag,
            content_encoding=self.encoding,
            chunks=self._chunks(self.body, start, limit, error),
        )

    async def _chunks(
        self, body: bytes, start: int, limit: int | None, error: Exception | None
    ) -> AsyncIterator[bytes]:
        end = len(body) if limit is None else min(len(body), start + limit)
        at = start
        while at < end:
            if self.pause_at is not None and at >= self.pause_at and not self.go.is_set():
                self.paused.set()
                await self.go.wait()
            chunk = body[at : min(at + self.chunk_bytes, end)]
            at += len(chunk)
            self.sent += len(chunk)
            yield chunk
            await asyncio.sleep(0)
        if error is not None:
            raise error


def lost(message: str = "connection reset") -> Unreachable:
    return Unreachable(message)


def refused() -> LinkRefused:
    return LinkRefused("expired", status=403)


def ticket(folder: Path, **changes: Any) -> Ticket:
    """A ticket for ten minutes into ``folder``; ``changes`` by field name."""
    window = changes.get("window", WINDOW)
    values: dict[str, Any] = {
        "slice_id": "s",
        "job": "web",
        "attempt_key": "a-1",
        "window": window,
        "requested": window,
        "limit": 1_000_000,
        "order": Order.ASC,
        "format": ServedFormat.JSON,
        "output": Output.RAW,
        "compression": Compression.NONE,
        "time_field": "auto",
        "destination": DestinationSpec(str(folder)),
        "link": PresignedLink("https://bucket.example/file?authorization=secret"),
    }
    return Ticket(**{**values, **changes})


def transfer(server: Server, asked: Ticket, **options: Any) -> Receipt | LinkExpired:
    """One transfer by a data plane of its own, in virtual time: pauses between retries cost nothing."""

    async def once(_: VirtualTime) -> Receipt | LinkExpired:
        plane = InlineDataPlane(server, **options)
        try:
            return await plane.transfer(asked)
        finally:
            await plane.close()

    return run_virtual(once)


def fetched(server: Server, asked: Ticket, **options: Any) -> Receipt:
    """As ``transfer``, for links that hold."""
    receipt = transfer(server, asked, **options)
    assert isinstance(receipt, Receipt)
    assert receipt.served_rows - receipt.dropped_rows == receipt.stored_rows
    return receipt


def staging_names(folder: Path) -> set[str]:
    area = folder / ".orchestrator" / "staging"
    return {path.name for path in area.iterdir()} if area.exists() else set()


# --- rows and the forms they are served in ---

Row = dict[str, Any]


def rows(
    count: int, *, first_ms: int = START_S * 1000, step_ms: int = 10, text: str = "GET /cart 200"
) -> list[Row]:
    return [
        {"@timestamp": first_ms + n * step_ms, "@seq": n, "@raw": f'{text} "{n}", ünï\tcode'}
        for n in range(count)
    ]


def json_lines(of: Iterable[Row]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for row in of)


def json_array(of: Iterable[Row]) -> bytes:
    return json.dumps(list(of), ensure_ascii=False, indent=1).encode()


def csv_text(of: Iterable[Row], *, header: bool = True, end: str = "\r\n") -> bytes:
    listed = list(of)
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=end)
    if header and listed:
        writer.writerow(listed[0])
    writer.writerows(row.values() for row in listed)
    return out.getvalue().encode()


def zipped(*members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("folder/"), b"")
        for number, member in enumerate(members):
            archive.writestr(zipfile.ZipInfo(f"../{number}.log"), member, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def gzipped(body: bytes) -> bytes:
    return gzip.compress(body, 1, mtime=0)


def zstandarded(body: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(body)


SERVED: dict[str, Callable[[Iterable[Row]], bytes]] = {
    "jsonl": json_lines,
    "json-array": json_array,
    "csv": csv_text,
}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzipped,
    "zstd": zstandarded,
    "zip": lambda body: zipped(body),
}


def unpacked(body: bytes, form: str) -> bytes:
    """Takes off the compressions a receipt's form names, by the libraries' own means."""
    for packing in form.split("+")[:0:-1]:
        if packing == "gzip":
            body = gzip.decompress(body)
        elif packing == "zstd":
            body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
        else:
            with zipfile.ZipFile(io.BytesIO(body)) as archive:
                body = b"".join(archive.read(name) for name in archive.namelist() if not name.endswith("/"))
    return body


def read_rows(body: bytes, form: str) -> list[Row]:
    """The rows of a stored file, by the libraries' own means; CSV cells stay texts."""
    plain = unpacked(body, form)
    shape = form.split("+", maxsplit=1)[0]
    if shape == "jsonl":
        return [json.loads(line) for line in plain.decode("utf-8-sig").split("\n") if line.strip()]
    if shape == "json-array":
        found: list[Row] = json.loads(plain)
        return found
    return list(csv.DictReader(io.StringIO(plain.decode("utf-8-sig"), newline="")))
