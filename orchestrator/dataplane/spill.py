"""Where do rows wait that cannot be held in memory? In files without a name, gone with the process that made
them.

A *run* is rows in time order, in frames: how many rows and bytes, the times, the lengths, the rows.
"""

from __future__ import annotations

import struct
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, pairwise
from typing import IO, Final

from orchestrator.dataplane.disk import free_bytes
from orchestrator.dataplane.kway import Block, Stream, drained, sorted_block
from orchestrator.dataplane.staging import storage_faults
from orchestrator.errors import BrokenBody, DiskFull

__all__ = ["RUN_COST_BYTES", "Spill", "sorted_stream"]

FRAME_BYTES: Final = 128 << 10
"""What is read back of a run at a time."""
RUN_COST_BYTES: Final = 1 << 20
"""What an open run takes: a frame, and the rows of one."""
CHUNK_BYTES: Final = 6 << 20
"""What is sorted in memory at a time, by its rows' bytes; with what it takes to sort, some five times as
much."""
CHUNK_ROWS: Final = 60_000
KEPT_BYTES: Final = 512 << 10
"""Less than this needs no file."""
FAN_IN: Final = 32
"""So many runs are read at a time."""
_FRAME: Final = struct.Struct("<II")
_LOOK_AT_DISK_BYTES: Final = 64 << 20


class Spill:
    """Runs in ``folder``, which must exist; at least ``reserve_bytes`` of its disk stay free.
    ``written_bytes`` counts all that went there. Raises DiskFull, StorageError."""

    def __init__(self, folder: str, reserve_bytes: int = 0, free: Callable[[str], int] = free_bytes) -> None:
        self.folder = folder
        self.written_bytes = 0
        self._reserve_bytes = reserve_bytes
        self._free = free
        self._looked_at = 0

    def run(self, blocks: Iterable[Block], level: int) -> Stream:
        """Rows in time order, written down, to be read once."""
        with storage_faults(self.folder):
            file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115  open until the run is read
        try:
            for block in blocks:
                self._write(file, *block.opened())
            with storage_faults(self.folder):
                file.seek(0)
        except BaseException:
            file.close()
            raise
        return Stream(_frames(file, self.folder), level=level, cost_bytes=RUN_COST_BYTES)

    def _write(self, file: IO[bytes], keys: list[int], rows: list[bytes]) -> None:
        total = sum(map(len, rows))
        step = max(1, len(rows) * FRAME_BYTES // max(total, 1))
        for at in range(0, len(rows), step):
            text = b"".join(rows[at : at + step])
            lengths = array("I", map(len, rows[at : at + step]))
            times = array("q", keys[at : at + step])
            head = _FRAME.pack(len(lengths), len(text))
            with storage_faults(self.folder):
                file.write(b"".join((head, times.tobytes(), lengths.tobytes(), text)))
            self.written_bytes += len(head) + len(lengths) * 12 + len(text)
        if self.written_bytes - self._looked_at >= _LOOK_AT_DISK_BYTES:
            self._looked_at = self.written_bytes
            if self._free(self.folder) < self._reserve_bytes:
                raise DiskFull(
                    f"{self.folder}: rows that are not in time order wait here, and less than"
                    f" {self._reserve_bytes} bytes are free",
                    hint="free space, or set TMPDIR (for -o FILE: choose a folder) where there is more",
                )


def _frames(file: IO[bytes], place: str) -> Iterator[Block]:
    with file:
        while head := _read(file, _FRAME.size, place):
            count, size = _FRAME.unpack(head)
            times, lengths = array("q"), array("I")
            times.frombytes(_read(file, count * times.itemsize, place))
            lengths.frombytes(_read(file, count * lengths.itemsize, place))
            text = _read(file, size, place)
            yield _block(times, lengths, text)


def _block(times: array[int], lengths: array[int], text: bytes) -> Block:
    def opened() -> tuple[list[int], list[bytes]]:
        ends = pairwise(accumulate(lengths, initial=0))
        return times.tolist(), [text[start:end] for start, end in ends]

    return Block(times[0], times[-1], len(times), lambda: text, opened)


def _read(file: IO[bytes], size: int, place: str) -> bytes:
    with storage_faults(place):
        found = file.read(size)
    if found and len(found) != size:
        raise BrokenBody(f"{place}: a file of this program's own ended early")
    return found


def sorted_stream(rows: Iterable[tuple[list[int], list[bytes]]], spill: Spill) -> Stream:
    """Rows in any order, put in time order; those of equal times stay as they came. Memory is bounded: more
    than a chunk goes to disk, sorted, and comes back merged."""
    runs: list[Stream] = []
    chunk_keys: list[int] = []
    chunk_rows: list[bytes] = []
    size = 0
    for keys, texts in rows:
        for at in range(0, len(keys), CHUNK_ROWS):
            chunk_keys += keys[at : at + CHUNK_ROWS]
            chunk_rows += texts[at : at + CHUNK_ROWS]
            size += sum(map(len, texts[at : at + CHUNK_ROWS]))
            if size >= CHUNK_BYTES or len(chunk_keys) >= CHUNK_ROWS:
                _add(runs, [sorted_block(chunk_keys, chunk_rows)], spill)
                chunk_keys, chunk_rows, size = [], [], 0
    rest = [sorted_block(chunk_keys, chunk_rows)] if chunk_keys else []
    if not runs and size <= KEPT_BYTES:
        return Stream(iter(rest), cost_bytes=RUN_COST_BYTES)
    if rest:
        _add(runs, rest, spill)
    del chunk_keys, chunk_rows, rest
    return Stream(drained(runs), cost_bytes=RUN_COST_BYTES * len(runs))


def _add(runs: list[Stream], blocks: list[Block], spill: Spill) -> None:
    """One more run; as many as are of one level become one of the next, oldest first."""
    runs.append(spill.run(blocks, 0))
    while sum(run.level == runs[-1].level for run in runs) == FAN_IN:
        level = runs[-1].level
        merged = [run for run in runs if run.level == level]
        runs[-FAN_IN:] = [spill.run(drained(merged), level + 1)]
