"""How fast, and in how much memory, does a fetched file become the stored one?

A file of JSON lines (``CONVERT_BYTES``, a gigabyte by default; the promise of flat memory is for five) is
taken through the real transfer into zstandard JSON lines; what is timed is the second pass over the part
file, from the record that all is fetched to the staged artifact, durable and with its digest. Beside it: the
zstandard library alone on the same bytes, at the same level, in blocks of the same size, into a file, in a
process of its own. The row below has the first pass with it: received, digested, surveyed. The same file
becomes Parquet beside pyarrow alone, which reads JSON in blocks and writes row groups of the same size,
with as many threads as it likes. CSV becomes JSON lines with nothing beside it.

Everything in turn, ``CONVERT_ROUNDS`` times (3); the middle counts.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

import zstandard

from benchmarks.fetching import WINDOW, Spent, made, spent, ticket
from benchmarks.report import Row, print_table
from orchestrator.core.columns import Column, ColumnType, table_columns
from orchestrator.core.job import Compression, Output, ServedFormat
from orchestrator.core.model import Receipt
from orchestrator.core.redact import PresignedLink
from orchestrator.dataplane.decode import STEP_BYTES, read_blocks
from orchestrator.dataplane.inline import InlineDataPlane
from orchestrator.ports.service import FileAnswer

SIZE_BYTES: Final = int(os.environ.get("CONVERT_BYTES", "1000000000"))
ROUNDS: Final = int(os.environ.get("CONVERT_ROUNDS", "3"))
MOST_BYTES: Final = 300_000_000
_LEVEL: Final = 3
"""What the program compresses with, and so does the library beside it."""


class _Disk:
    """A FileSource that reads a file of this machine, so that no network is measured."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @asynccontextmanager
    async def open(
        self, link: PresignedLink, *, offset_bytes: int = 0, etag: str = ""
    ) -> AsyncIterator[FileAnswer]:
        yield FileAnswer(0, self._path.stat().st_size, '"one"', "", self._chunks())

    async def _chunks(self) -> AsyncIterator[bytes]:
        for block in read_blocks(str(self._path)):
            yield block


class _Marks:
    """When the transfer came to its boundaries."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}

    def reached(self, name: str) -> None:
        self.at[name] = time.monotonic()


async def _converted(path: Path, output: Output) -> dict[str, Any]:
    if output is Output.PARQUET:
        import orchestrator.dataplane.parquet  # noqa: F401  as the library beside it, before the clock runs

    marks = _Marks()
    plane = InlineDataPlane(_Disk(path), boundary=marks)
    csv = path.suffix == ".csv"
    asked = ticket(
        Path.cwd(),
        "http://127.0.0.1/file",
        output=output,
        compression=Compression.NONE if csv else Compression.ZSTD,
        format=ServedFormat.CSV if csv else ServedFormat.JSON,
        columns=table_columns([Column(name, ColumnType.STRING) for name in ("level", "trace")], ()),
    )
    began = time.monotonic()
    try:
        receipt = await plane.transfer(asked)
    finally:
        await plane.close()
    if not isinstance(receipt, Receipt) or not receipt.stored_rows:
        raise RuntimeError(f"nothing was converted: {receipt}")
    staged = marks.at["transfer.staged"]
    return {
        "wall_s": staged - marks.at["transfer.offset_recorded"],
        "whole_s": staged - began,
        "rows": receipt.stored_rows,
    }


def _library(path: Path) -> dict[str, Any]:
    began = time.monotonic()
    press = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()
    with open("file", "wb", buffering=0) as file:
        for block in read_blocks(str(path), STEP_BYTES):
            if packed := press.compress(block):
                file.write(packed)
        file.write(press.flush())
    return {"wall_s": time.monotonic() - began}


def _pyarrow(path: Path) -> dict[str, Any]:
    import pyarrow.json
    import pyarrow.parquet

    began = time.monotonic()
    options = pyarrow.json.ReadOptions(block_size=STEP_BYTES)
    with (
        pyarrow.json.open_json(path, read_options=options) as batches,
        pyarrow.parquet.ParquetWriter(
            "file", batches.schema, compression="zstd", compression_level=_LEVEL
        ) as file,
    ):
        for batch in batches:
            file.write_batch(batch)
    return {"wall_s": time.monotonic() - began}


def _csv(path: Path, size_bytes: int) -> Path:
    """A file of at least that many bytes of CSV, in order."""
    rows = size_bytes // 100
    with path.open("w", encoding="utf-8") as file:
        file.write("@timestamp,@stream,level,@raw\n")
        for row in range(rows):
            at = WINDOW.start_s * 1000 + row * (WINDOW.length_s * 1000 - 1) // rows
            text = f'"GET /api/v2/items/{row}?page={row % 50}, ""okhttp/4.12.0"" 200"'
            file.write(f"{at},host-{row % 40:02},INFO,{text}\n")
    return path


_PEERS: Final = {"library": _library, "pyarrow": _pyarrow}


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as place:
        lines = made(Path(place) / "rows.jsonl", SIZE_BYTES)
        cells = _csv(Path(place) / "rows.csv", SIZE_BYTES // 10)
        found: dict[str, list[Spent]] = defaultdict(list)
        for _ in range(ROUNDS):
            for what, path in (
                ("ours", lines),
                ("library", lines),
                ("parquet", lines),
                ("pyarrow", lines),
                ("csv", cells),
            ):
                command = [sys.executable, "-m", "benchmarks.converting", what, str(path)]
                with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
                    found[what].append(spent(command, Path(folder)))
                os.sync()
        size = lines.stat().st_size
        sizes = {"ours": size, "parquet": size, "csv": cells.stat().st_size}
    theirs, arrow = (
        size / 1e6 / median(one.wall_s for one in found[library]) for library in ("library", "pyarrow")
    )
    rates = {what: size / 1e6 / median(one.wall_s for one in found[what]) for what, size in sizes.items()}
    whole = sizes["ours"] / 1e6 / median(one.said["whole_s"] for one in found["ours"])
    rows = [
        Row("JSON lines to zstd JSON lines", rates["ours"], theirs, target=0.8, at_least=True),
        Row("the same, received, digested and surveyed before", whole, theirs, at_least=True),
        Row("CSV to JSON lines", rates["csv"], None, at_least=True),
    ]
    print_table(f"conversion of {SIZE_BYTES / 1e6:,.0f} MB", "MB/s", "zstandard alone", rows)
    tables = [Row("JSON lines to Parquet", rates["parquet"], arrow, target=0.8, at_least=True)]
    print_table(f"conversion of {SIZE_BYTES / 1e6:,.0f} MB to a table", "MB/s", "pyarrow alone", tables)
    memory = []
    for what, of in (("JSON lines to zstd JSON lines", "ours"), ("JSON lines to Parquet", "parquet")):
        most = max(one.memory_bytes for one in found[of])
        memory.append(Row(f"{what}, children included", most / 1e6, MOST_BYTES / 1e6, target=1.0))
    print_table(f"the most memory it took for {SIZE_BYTES / 1e6:,.0f} MB", "MB", "promised", memory)


if __name__ == "__main__":
    what, path = sys.argv[1], Path(sys.argv[2])
    if what in _PEERS:
        print(json.dumps(_PEERS[what](path)))
    else:
        asked = Output.PARQUET if what == "parquet" else Output.JSONL
        print(json.dumps(asyncio.run(_converted(path, asked))))
