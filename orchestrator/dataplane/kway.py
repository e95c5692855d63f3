"""How do several streams of rows in time order become one, a block at a time?

Each stream gives blocks of rows with ascending times. The block that ends first sets how far all can be
taken: what the others hold up to there is sorted together with it, in one call that finds the streams' own
order, and handed out. So the work per row is done by the sort, and no row waits for more than one block of
each stream.

Rows of equal times come in the order of the streams, and within a stream as they came.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator

__all__ = ["Block", "Stream", "drained", "sorted_block", "taken"]


class Block:
    """Whole rows in time order; ``first`` and ``last`` are their outermost times, UTC epoch milliseconds.

    ``opened`` gives the times and the rows, each ended by a newline, one by one; ``text`` all of them
    together. Either is made from the other only when it is asked for.
    """

    __slots__ = ("_open", "_opened", "_text", "count", "first", "last")

    def __init__(
        self,
        first: int,
        last: int,
        count: int,
        text: Callable[[], bytes],
        opened: Callable[[], tuple[list[int], list[bytes]]],
    ) -> None:
        self.first, self.last, self.count = first, last, count
        self._text = text
        self._open = opened
        self._opened: tuple[list[int], list[bytes]] | None = None

    @staticmethod
    def of(keys: list[int], rows: list[bytes]) -> Block:
        """A block of rows that are apart already; there is at least one."""
        return Block(keys[0], keys[-1], len(keys), lambda: b"".join(rows), lambda: (keys, rows))

    def text(self) -> bytes:
        return self._text()

    def opened(self) -> tuple[list[int], list[bytes]]:
        if self._opened is None:
            self._opened = self._open()
        return self._opened


class Stream:
    """Blocks of one file or run, read as they are needed; ``level`` is how often its rows were merged before,
    ``cost_bytes`` what it takes of memory while it is open."""

    def __init__(self, blocks: Iterator[Block], *, level: int = 0, cost_bytes: int = 0) -> None:
        self.level = level
        self.cost_bytes = cost_bytes
        self._blocks = blocks
        self._block: Block | None = None
        self._at = 0

    def begun(self) -> bool:
        """Whether there is another row; reads the next block when the one at hand is used up."""
        if self._block is None:
            self._block, self._at = next(self._blocks, None), 0
        return self._block is not None

    @property
    def next(self) -> int:
        """The time of the first row not handed out yet."""
        block = self._here()
        return block.opened()[0][self._at] if self._at else block.first

    @property
    def last(self) -> int:
        """The time of the last row of the block at hand."""
        return self._here().last

    def rest(self) -> Block:
        """All that is left of the block at hand."""
        block, at = self._here(), self._at
        self._block = None
        if not at:
            return block
        keys, rows = block.opened()
        return Block.of(keys[at:], rows[at:])

    def until(self, limit: int, *, inclusive: bool) -> tuple[list[int], list[bytes]]:
        """Rows of the block at hand before ``limit``, or up to it."""
        keys, rows = self._here().opened()
        end = (bisect_right if inclusive else bisect_left)(keys, limit, self._at)
        found = keys[self._at : end], rows[self._at : end]
        self._at = end
        if end == len(keys):
            self._block = None
        return found

    def _here(self) -> Block:
        assert self._block is not None  # noqa: S101  the caller has asked ``begun``
        return self._block


def sorted_block(keys: list[int], rows: list[bytes]) -> Block:
    """Rows by their times, at least one; those of equal times stay as they are."""
    order = sorted(range(len(keys)), key=keys.__getitem__)

    def text() -> bytes:
        return b"".join([rows[place] for place in order])

    def opened() -> tuple[list[int], list[bytes]]:
        return [keys[place] for place in order], [rows[place] for place in order]

    return Block(keys[order[0]], keys[order[-1]], len(keys), text, opened)


def taken(streams: list[Stream]) -> Block:
    """The next block of all ``streams`` together, which have all begun: rows up to the end of the block that
    ends first."""
    earliest = min(range(len(streams)), key=lambda place: streams[place].last)
    limit = streams[earliest].last
    # What ties with the end of that block comes before it in earlier streams, and after it in later ones.
    reaching = [
        (stream, place <= earliest)
        for place, stream in enumerate(streams)
        if place == earliest or stream.next < limit or (stream.next == limit and place < earliest)
    ]
    if len(reaching) == 1:
        return streams[earliest].rest()
    keys: list[int] = []
    rows: list[bytes] = []
    for stream, inclusive in reaching:
        found_keys, found_rows = stream.until(limit, inclusive=inclusive)
        keys += found_keys
        rows += found_rows
    return sorted_block(keys, rows)


def drained(streams: list[Stream]) -> Iterator[Block]:
    """All rows of ``streams``, to their ends."""
    while streams := [stream for stream in streams if stream.begun()]:
        yield taken(streams)
