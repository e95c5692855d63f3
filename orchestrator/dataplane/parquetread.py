"""How are the records of a stored Parquet file read again?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.dataplane.arrow import lines_of
from orchestrator.errors import BrokenBody

__all__ = ["lines_in", "rows_of"]

_BATCH_ROWS: Final = 8_192


def rows_of(path: str) -> int:
    """How many rows the file says it has. Raises BrokenBody for what is no Parquet, OSError."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except pa.ArrowInvalid as error:
        raise BrokenBody(f"no Parquet file: {error}") from error


def lines_in(path: str) -> Iterator[bytes]:
    """Its records as lines of JSON, some thousands at a time, each with its line end. Raises BrokenBody for
    what is no Parquet or damaged, OSError."""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                yield b"".join(line + b"\n" for line in lines_of(pa.Table.from_batches([batch])))
    except pa.ArrowInvalid as error:
        raise BrokenBody(f"no Parquet file, or a damaged one: {error}") from error
