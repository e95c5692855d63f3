"""A logstore of real records: pushed through the API, or read from a log file."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby

from orchestrator.emulator.chance import whole
from orchestrator.emulator.record import Arrangement, Lateness, Record, RowStyle, row_bytes
from orchestrator.emulator.search import EVERYTHING, Search

__all__ = ["RecordMatching", "RecordRows", "RecordStore"]

BLOCK_ROWS = 2048
_STIRRED_ROWS = 64


class RecordStore:
    """Records kept in memory, ordered by time and, within a millisecond, by arrival."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._records: list[Record] = []
        self._sorted = True
        self._streams: dict[str, int] = {}
        self._arrived = 0
        self.tag_names: tuple[str, ...] = ()
        self.push(records)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the log streams, in order of first arrival."""
        return tuple(self._streams)

    @property
    def next_seq(self) -> int:
        """The number the next record to arrive should carry."""
        return self._arrived

    def push(self, records: Iterable[Record]) -> int:
        """Takes more records; returns how many."""
        before = self._arrived
        for record in records:
            self._records.append(record)
            self._streams.setdefault(record.stream, record.at_ms)
            self._arrived += 1
            if record.tags:
                new = tuple(key for key, _ in record.tags if key not in self.tag_names)
                self.tag_names += new
        if self._arrived > before:
            self._sorted = False
        return self._arrived - before

    def matching(
        self,
        search: Search,
        stream: str | None,
        *,
        from_ms: int,
        visible_ms: int,
        late: Lateness | None = None,
    ) -> RecordMatching:
        """What a search means at one moment: records before ``from_ms`` have left retention, those that
        arrived after ``visible_ms`` cannot be seen yet."""
        if not self._sorted:
            self._records.sort(key=lambda record: (record.at_ms, record.seq))
            self._sorted = True
        found = [
            record
            for record in self._records
            if record.at_ms >= from_ms
            and _arrival_ms(record, late) <= visible_ms
            and (stream is None or record.stream == stream)
            and (search is EVERYTHING or search.matches(record))
        ]
        return RecordMatching(found, [record.at_ms for record in found])


def _arrival_ms(record: Record, late: Lateness | None) -> int:
    """When a record can first be seen."""
    if late is None or whole(0, "late", record.seq) % 1000 >= late.per_mille:
        return record.arrived_at_ms
    return max(record.arrived_at_ms, record.at_ms + int(late.by_s * 1000))


@dataclass(frozen=True, slots=True)
class RecordMatching:
    """The records a search means at one moment, ascending, and their times."""

    found: list[Record]
    times_ms: list[int]

    def count(self, start_ms: int, end_ms: int) -> int:
        """How many there are in ``[start_ms, end_ms)``."""
        return max(0, bisect_left(self.times_ms, end_ms) - bisect_left(self.times_ms, start_ms))

    def rows(self, start_ms: int, end_ms: int, limit: int, arrangement: Arrangement) -> RecordRows:
        """At most ``limit`` of them: the newest when descending, else the oldest."""
        low, high = bisect_left(self.times_ms, start_ms), bisect_left(self.times_ms, end_ms)
        chosen = self.found[low:high]
        if arrangement.descending:
            chosen.reverse()
        return RecordRows(_stirred(chosen[:limit], arrangement))


def _stirred(records: list[Record], arrangement: Arrangement) -> list[Record]:
    """The records as the arrangement wants them; they come in time order, up or down."""
    if arrangement.jumble == "none":
        return records
    if arrangement.jumble == "ties":
        groups = [list(group) for _, group in groupby(records, key=lambda record: record.at_ms)]
    else:
        groups = [records[at : at + _STIRRED_ROWS] for at in range(0, len(records), _STIRRED_ROWS)]
    return [
        record
        for group in groups
        for record in sorted(group, key=lambda record: whole(arrangement.salt, "stir", record.seq))
    ]


class RecordRows:
    """Chosen records as rows. A block index per style is all that is kept beside the records themselves."""

    def __init__(self, chosen: list[Record]) -> None:
        self._chosen = chosen
        self._block_starts: dict[RowStyle, list[int]] = {}

    @property
    def count(self) -> int:
        return len(self._chosen)

    def records(self, first: int, last: int) -> list[Record]:
        return self._chosen[max(first, 0) : max(last, 0)]

    def size_bytes(self, style: RowStyle) -> int:
        return self._starts(style)[-1]

    def read(self, style: RowStyle, start: int, end: int) -> Iterator[bytes]:
        starts = self._starts(style)
        block = bisect_right(starts, start) - 1
        while block < len(starts) - 1 and starts[block] < end:
            at = starts[block]
            yield self._block(style, block)[max(start - at, 0) : end - at]
            block += 1

    def _block(self, style: RowStyle, block: int) -> bytes:
        rows = self._chosen[block * BLOCK_ROWS : (block + 1) * BLOCK_ROWS]
        return b"".join(row_bytes(record, style) for record in rows)

    def _starts(self, style: RowStyle) -> list[int]:
        """Where each block begins, and at last where the rows end."""
        if style not in self._block_starts:
            blocks = -(-len(self._chosen) // BLOCK_ROWS)
            sizes = (len(self._block(style, block)) for block in range(blocks))
            self._block_starts[style] = list(accumulate(sizes, initial=0))
        return self._block_starts[style]
