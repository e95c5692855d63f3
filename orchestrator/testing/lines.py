"""Which records does an episode's logstore hold? Few enough to be listed, shaped so that edges, ties, dense
seconds and silence all occur.

Every record of the window is listed with the moment at which the service can first show it, so that what
ought to be in a file is a question to this list and to nothing of the product.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from orchestrator.core.window import Window
from orchestrator.emulator.record import Lateness, Record, RecordTime, iso_millis
from orchestrator.emulator.records import RecordMatching
from orchestrator.emulator.search import EVERYTHING, Search
from orchestrator.testing.loop import SeededRng

__all__ = ["FIRST_SEQ", "Lines", "Shape", "cells_of", "draw_lines"]

FIRST_SEQ = 10**15
MARGIN_S = 5
"""So many seconds before and after the window hold records too: neighbours of its edges."""

Shape = Literal["even", "bursts", "dense seconds", "overfull seconds", "silent hours"]

_PATHS = ("/cart", "/orders/77", "/search?q=a,b", "/健康", "/static/app.js")
_WORDS = ("ok", "slow", "retry", 'said "no"', "naïve", "tab\there", "Größe", "null", "-1", "{}")


class Lines:
    """The records of a logstore in time order: the service serves from them (``emulator.account.Source``),
    and they tell what ought to be in a file. ``late`` tells whether some can be seen only later;
    ``spelling`` is that of times in ``cells``."""

    def __init__(self, records: Sequence[Record], spelling: RecordTime) -> None:
        self.records = tuple(records)
        self.late = any(record.arrived_at_ms for record in records)
        self.streams = tuple(dict.fromkeys(record.stream for record in records))
        self.tag_names = ("level", "status")
        self._times_ms = [record.at_ms for record in records]
        self._cells = [cells_of(record, spelling) for record in records]
        self._matching: dict[tuple[Search, str | None], RecordMatching] = {}

    def matching(
        self,
        search: Search,
        stream: str | None,
        *,
        from_ms: int,
        visible_ms: int,
        late: Lateness | None = None,
    ) -> RecordMatching:
        """What a search means at one moment. Retention plays no part in an episode."""
        if self.late:
            chosen = [record for record in self.records if record.arrived_at_ms <= visible_ms]
            return _matching(chosen, search, stream)
        key = (search, stream)
        if key not in self._matching:
            self._matching[key] = _matching(self.records, search, stream)
        return self._matching[key]

    def cells(
        self, start_ms: int, end_ms: int, stream: str = "", visible_ms: float = float("inf")
    ) -> Counter[str]:
        """The rows of ``[start_ms, end_ms)`` (and ``stream``, "" for all) that could be seen at a moment,
        each as ``cells_of`` has it."""
        low, high = bisect_left(self._times_ms, start_ms), bisect_left(self._times_ms, end_ms)
        if not stream and not self.late:
            return Counter(self._cells[low:high])
        return Counter(
            self._cells[place]
            for place in range(low, high)
            if stream in ("", self.records[place].stream) and self.records[place].arrived_at_ms <= visible_ms
        )


def _matching(records: Iterable[Record], search: Search, stream: str | None) -> RecordMatching:
    found = [
        record
        for record in records
        if (stream is None or record.stream == stream) and (search is EVERYTHING or search.matches(record))
    ]
    return RecordMatching(found, [record.at_ms for record in found])


def cells_of(record: Record, spelling: RecordTime) -> str:
    """What a record says, whatever the columns are called and in whatever order they come: the one form in
    which rows of every file format can be compared."""
    at = {
        "ms": str(record.at_ms),
        "s": str(record.at_ms // 1000),
        "us": str(record.at_ms * 1000),
        "iso": iso_millis(record.at_ms),
    }
    tags = [str(value) for _, value in record.tags]
    return "\x1f".join(sorted([at[spelling], str(record.seq), record.stream, record.raw, *tags]))


def draw_lines(
    rng: SeededRng,
    window: Window,
    *,
    rows: int,
    limit: int,
    shape: Shape,
    streams: int,
    ties: bool,
    late_from_s: float | None,
    spelling: RecordTime,
) -> Lines:
    """About ``rows`` records in ``window``, no second with more than ``limit`` unless seconds are overfull.
    ``late_from_s``: a fifth of them can be seen only up to two minutes after that moment."""
    counts = _counts(rng.fork("seconds"), window, rows, limit, shape)
    edge = rng.fork("edge")
    for second in range(window.start_s - MARGIN_S, window.end_s + MARGIN_S):
        if not window.start_s + 1 < second < window.end_s - 2:
            counts[second] = max(counts[second], 1 + int(edge.random() * min(3, limit)))
    text, place, arrival = rng.fork("text"), rng.fork("place"), rng.fork("arrival")
    names = [f"app/pod-{number}" for number in range(streams)]
    records: list[Record] = []
    raw = ""
    for second in sorted(counts):
        for at_ms in sorted(_places(place, counts[second], ties=ties)):
            number = len(records)
            if not raw or text.random() > 0.03:  # else the same line once more
                raw = _raw(text, number)
            level = ("INFO", "WARN", "ERROR")[min(2, int(text.random() * 4))]
            arrived_ms = 0
            if late_from_s is not None and arrival.random() < 0.2:
                arrived_ms = int((late_from_s + 120.0 * arrival.random()) * 1000)
            records.append(
                Record(
                    second * 1000 + at_ms,
                    FIRST_SEQ + number,
                    names[int(text.random() * streams)],
                    raw,
                    (("level", level), ("status", 200 + int(text.random() * 300))),
                    arrived_ms,
                )
            )
    return Lines(records, spelling)


def _counts(rng: SeededRng, window: Window, rows: int, limit: int, shape: Shape) -> Counter[int]:
    """How many records each second holds."""
    counts: Counter[int] = Counter()
    if shape in ("dense seconds", "overfull seconds"):
        shares = (1.0, 1.0 - 1.0 / limit, 0.8, 0.5) if shape == "dense seconds" else (1.1, 1.4, 1.8, 0.9)
        for _ in range(5):
            at = window.start_s + int(rng.random() * (window.length_s - 6))
            for second in range(at, at + 1 + int(rng.random() * 5)):
                counts[second] = round(limit * shares[int(rng.random() * 4)])
    if shape == "bursts":
        minutes = -(-window.length_s // 60)
        weights = [0.0 if rng.random() < 0.4 else 0.02 + rng.random() ** 5 for _ in range(minutes)]
        weights[int(rng.random() * minutes)] += 0.5
        scale = rows / sum(weights)
        wanted = [int(weight * scale) for weight in weights]
    else:
        wanted = [max(0, rows - counts.total())]
    width_s = 60 if shape == "bursts" else window.length_s
    if shape == "silent hours":
        width_s = 600
        busy = [part % 12 == 0 for part in range(-(-window.length_s // width_s))]
        wanted = [rows // sum(busy) if here else 0 for here in busy]
    for part, share in enumerate(wanted):
        start_s = window.start_s + part * width_s
        length_s = min(width_s, window.end_s - start_s)
        for _ in range(share):
            second = start_s + int(rng.random() * length_s)
            counts[second] += counts[second] < limit
    return counts


def _places(rng: SeededRng, count: int, *, ties: bool) -> list[int]:
    """Milliseconds within a second; its very first and last are taken as soon as there are two."""
    choices = [0, 999] + [int(rng.random() * 1000) for _ in range(2)]
    found = [choices[int(rng.random() * 4)] if ties else int(rng.random() * 1000) for _ in range(count)]
    if count > 1:
        found[:2] = [0, 999]
    elif count and rng.random() < 0.5:
        found[0] = 0
    return found


def _raw(rng: SeededRng, number: int) -> str:
    luck = rng.random()
    word = _WORDS[int(rng.random() * len(_WORDS))]
    raw = f"10.0.{number % 256}.{int(luck * 256)} GET {_PATHS[int(rng.random() * len(_PATHS))]} {word}"
    if luck < 0.05:
        raw += "\nTraceback (most recent call last):\n\tKeyError: 'user, unknown'"
    elif luck < 0.08:
        raw += " x" * 900
    return raw
