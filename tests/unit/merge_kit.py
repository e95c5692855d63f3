"""Stored files in every form the ledger can name, and a merge of them; shared by the merge's tests."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.core.job import DestinationSpec, Job, JobIdentity, ServiceSpec
from orchestrator.core.model import Evidence, Receipt, Slice, SliceState
from orchestrator.core.window import Window, WindowSet
from orchestrator.dataplane.encode import Encoder
from orchestrator.dataplane.merge import Merge, form_of
from orchestrator.dataplane.rowform import Merged, framed
from orchestrator.dataplane.sniff import Packing, Shape
from orchestrator.dataplane.spill import Spill
from orchestrator.dataplane.stored import Source
from orchestrator.manifest.store import open_writer
from orchestrator.ports.store import Changes, Covered
from tests.unit.dataplane_kit import START_S

START_MS = START_S * 1000
HOUR = Window(START_S, START_S + 3600)


@dataclass(frozen=True)
class Row:
    """One record; ``number`` tells it from all others."""

    ms: int
    number: int
    text: str = ""

    @property
    def fields(self) -> dict[str, object]:
        return {"@timestamp": self.ms, "n": self.number, "@raw": self.text}

    @property
    def line(self) -> bytes:
        return json.dumps(self.fields, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"

    @property
    def cells(self) -> bytes:
        return table([[str(value) for value in self.fields.values()]])


def table(rows: Sequence[Sequence[str]]) -> bytes:
    sheet = io.StringIO(newline="")
    csv.writer(sheet, lineterminator="\n").writerows(rows)
    return sheet.getvalue().encode("utf-8", "surrogateescape")


HEADER = table([list(Row(0, 0).fields)])


def body(rows: Sequence[Row], shape: Shape, *, header: bool = True) -> bytes:
    """The plain bytes of a file of these rows."""
    if shape is Shape.JSON_ARRAY:
        return b"[" + b",\n".join(row.line.rstrip() for row in rows) + b"]\n"
    if shape is Shape.CSV:
        return (HEADER if header else b"") + b"".join(row.cells for row in rows)
    return b"".join(row.line for row in rows)


def packed(plain: bytes, packing: Packing | None) -> bytes:
    pieces: list[bytes] = []
    encoder = Encoder(pieces.append, packing)
    encoder.write(plain)
    encoder.close()
    return b"".join(pieces)


def stored(
    path: Path,
    plain: bytes,
    rows: int,
    shape: Shape = Shape.JSON_LINES,
    *,
    packing: Packing | None = None,
    window: Window = HOUR,
    keep: WindowSet | None = None,
) -> Source:
    """The file, as the ledger would name it."""
    content = packed(plain, packing)
    path.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    kept = (window,) if keep is None else keep
    return Source(path.stem, str(path), len(content), sha256, rows, shape, window, kept)


def lines(path: Path, rows: Sequence[Row], window: Window = HOUR, packing: Packing | None = None) -> Source:
    """A stored file of JSON lines."""
    return stored(path, body(rows, Shape.JSON_LINES), len(rows), packing=packing, window=window)


def kept(source: Source, *windows: Window) -> Source:
    return replace(source, keep=windows)


def merged(
    folder: Path,
    sources: Sequence[Source],
    asked: Merged = Merged.RAW,
    *,
    follow: bool = False,
    time_field: str = "auto",
    open_bytes: int = 48 << 20,
) -> bytes:
    """All that a merge writes."""
    return b"".join(pieces(folder, sources, asked, follow, time_field, open_bytes))


def pieces(
    folder: Path,
    sources: Sequence[Source],
    asked: Merged = Merged.RAW,
    follow: bool = False,
    time_field: str = "auto",
    open_bytes: int = 48 << 20,
) -> Iterator[bytes]:
    form = form_of(lambda: sources, asked, time_field)
    merge = Merge(
        iter(sources),
        form,
        Spill(str(folder)),
        time_field=time_field,
        follow=follow,
        open_bytes=open_bytes,
    )
    return framed(merge.pieces(), form)


JOB = Job(
    name="web",
    identity=JobIdentity("bj", "default", "web", "", "match *"),
    service=ServiceSpec("", "http://127.0.0.1"),
    window=HOUR,
    due_until_s=HOUR.end_s,
)


def job_at(folder: Path, **changes: object) -> Job:
    """The job ``web`` over one hour, stored in ``folder``."""
    return replace(JOB, destination=DestinationSpec(str(folder)), **changes)


def slice_of(source: Source, *, form: str = "", **changes: object) -> Slice:
    """The slice that has this file, done unless ``changes`` say otherwise."""
    receipt = Receipt(
        staged_path="",
        form=form or source.shape,
        extension=source.shape.suffix,
        fetched_bytes=source.size_bytes,
        fetched_sha256=source.sha256,
        stored_bytes=source.size_bytes,
        stored_sha256=source.sha256,
        served_rows=source.rows,
        dropped_rows=0,
        stored_rows=source.rows,
        kept=source.window,
    )
    made = Slice(
        id=hashlib.sha256(source.slice.encode()).hexdigest()[:16],
        job=JOB.name,
        logstream="",
        window=source.window,
        state=SliceState.DONE,
        evidence=Evidence.COUNT,
        path=source.path,
        published_path=source.path,
        published_sha256=source.sha256,
        published_rows=source.rows,
        receipt=receipt,
    )
    return replace(made, **changes)


def ledger(folder: Path, slices: Sequence[Slice], covered: WindowSet, job: Job = JOB) -> str:
    """A manifest that holds just this; its path."""
    path = folder / "m.db"
    marks = tuple(Covered(job.name, "*", window) for window in covered)

    async def written() -> None:
        async with open_writer(path, now=lambda: 1.0, new_id=lambda: "0123456789abcdef") as manifest:
            await manifest.commit(Changes(slices=tuple(slices), covered=marks, jobs=(job,)))

    asyncio.run(written())
    return str(path)
