"""Do all rows of a block lie inside a window? Asked of the whole block at once, by looking for a row that
does not.

How the first row is written says where a row of this file has its time: behind so many cells, behind these
keys, or at its end. A pattern of that finds a line end beside which no time of the window stands, in one pass
over the block and without an object per row. Where it finds none, every row is like the first and in the
window. Where it finds one, nothing is known, and rows are dated one by one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import accumulate
from typing import Final

from orchestrator.core.window import Window

__all__ = ["cells_inside", "objects_inside", "seconds_pattern"]

_FIRST: Final = 10**9
_LAST: Final = 10**10 - 1
"""Times are read here as ten digits of seconds and up to nine more."""
_TIME: Final = rb"[1-9]\d{9}(?P<more>(?:\d{3}){0,3}+)"
_TEXT: Final = rb'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"'
_BARE: Final = rb'[^\s",\[\]{}:]++'
_COLON: Final = rb"[ \t]*+:[ \t]*+"
_PAIR: Final = re.compile(
    rb"(" + _TEXT + _COLON + rb")(?:(" + _TEXT + rb")|" + _BARE + rb")([ \t]*+,[ \t]*+)"
)
_OPENING: Final = re.compile(rb"[ \t]*+\{[ \t]*+")
_MOST_PAIRS: Final = 12
"""Behind more of them the walk to the time costs more than it saves."""


def objects_inside(region: bytes, key: bytes, window: Window) -> int | None:
    """The number of rows in lines of JSON, when each of them says at ``key``, as it is spelled with its
    quotes, a time inside ``window`` (epoch seconds); else None. Also None where that is not quickly seen."""
    first = region[: region.find(b"\n") + 1]
    if at_end := _at_end(first, key):
        name, more, after = at_end
        good = rb"[^\\]" + re.escape(name) + _seconds(window) + rb"\d{%d}" % more + re.escape(after)
        # A line that ends like this ends its object, and of equal keys the last counts: this one.
        return region.count(b"\n") if _compiled(rb"\n(?<!" + good + rb")").search(region) is None else None
    opening = _opening(first, key)
    if opening is None:
        return None
    before, pattern = opening
    rows = _rows_like(region, before, pattern, window)
    return rows if rows is not None and region.count(key) == rows else None


def cells_inside(region: bytes, index: int, window: Window) -> int | None:
    """The same for rows of CSV whose time is in column ``index`` (from 0)."""
    if b'"' in region:
        return None
    before = rb"(?:[^,\n]*+,){%d}" % index if index else b""
    found = re.match(before + _TIME + rb"(?=[,\r\n])", region)
    if found is None:
        return None
    pattern = before, rb"\d{%d}(?![^,\r\n])" % len(found["more"])
    return _rows_like(region, b"" if not index else None, pattern, window)


def _rows_like(
    region: bytes, literally: bytes | None, pattern: tuple[bytes, bytes], window: Window
) -> int | None:
    """The number of rows that begin as ``pattern`` says, its second part behind the seconds, when all do.
    ``literally`` is its first part, where that is no pattern."""
    before, after = pattern
    good = before + _seconds(window) + after
    if _compiled(good).match(region) is None:
        return None
    if _compiled(rb"\n(?!" + good + rb")").search(region, 0, len(region) - 1) is not None:
        return None
    if literally is None:
        return region.count(b"\n")
    # As many as line ends, and found sooner, since more must stand there.
    return 1 + region.count(b"\n" + literally + _shared(window))


def _at_end(first: bytes, key: bytes) -> tuple[bytes, int, bytes] | None:
    """How a row that ends with its time goes on from the key to the seconds, with how many digits behind
    them, and what then."""
    at = first.rfind(key)
    if at <= 0:
        return None
    found = _named(key, rb"\}[ \t\r]*+\n").match(first, at)
    return (found["before"] + found["open"], len(found["more"]), found["end"]) if found else None


def _opening(first: bytes, key: bytes) -> tuple[bytes | None, tuple[bytes, bytes]] | None:
    """How a row begins up to its time, literally if nothing but the time comes first, and as a pattern around
    the seconds: the same keys before it, and values of the same kinds."""
    opened = _OPENING.match(first)
    if opened is None:
        return None
    pattern, at, pairs = re.escape(opened.group()), opened.end(), 0
    while not first.startswith(key, at):
        pair = _PAIR.match(first, at)
        pairs += 1
        if pair is None or pairs > _MOST_PAIRS:
            return None
        value = _TEXT if pair[2] is not None else _BARE
        pattern += re.escape(pair[1]) + value + re.escape(pair[3])
        at = pair.end()
    found = _named(key, rb"[,}]").match(first, at)
    if found is None:
        return None
    named = found["before"] + found["open"]
    after = rb"\d{%d}" % len(found["more"]) + re.escape(found["end"])
    return (opened.group() + named if not pairs else None), (pattern + re.escape(named), after)


def _named(key: bytes, end: bytes) -> re.Pattern[bytes]:
    """The key with its time, and what stands behind it."""
    value = rb'(?P<open>"?+)' + _TIME + rb"(?P<end>(?P=open)[ \t]*+" + end + rb")"
    return _compiled(rb"(?P<before>" + re.escape(key) + _COLON + rb")" + value)


@lru_cache(maxsize=64)
def _seconds(window: Window) -> bytes:
    return seconds_pattern(window.start_s, window.end_s)


@lru_cache(maxsize=64)
def _shared(window: Window) -> bytes:
    """The digits that all seconds of the window begin with."""
    first, last = str(max(window.start_s, _FIRST)), str(min(window.end_s - 1, _LAST))
    shared = [start for start in accumulate(first) if last.startswith(start)]
    return shared[-1].encode() if shared else b""


def seconds_pattern(start_s: int, end_s: int) -> bytes:
    """Matches the ten digits of each second from ``start_s`` on and before ``end_s``, and no other text;
    seconds of fewer or more digits it leaves out."""
    first, last = max(start_s, _FIRST), min(end_s - 1, _LAST)
    return _between(str(first), str(last)).encode() if first <= last else rb"(?!)"


def _between(low: str, high: str) -> str:
    """A pattern of the numbers from ``low`` to ``high``, which have equally many digits."""
    size = len(low)
    if low == high:
        return low
    if low == "0" * size and high == "9" * size:
        return rf"\d{{{size}}}"
    if low[0] == high[0]:
        return low[0] + _between(low[1:], high[1:])
    branches = []
    from_digit, to_digit = int(low[0]), int(high[0])
    if low[1:] != "0" * (size - 1):
        branches.append(low[0] + _between(low[1:], "9" * (size - 1)))
        from_digit += 1
    if high[1:] != "9" * (size - 1):
        branches.append(high[0] + _between("0" * (size - 1), high[1:]))
        to_digit -= 1
    if from_digit <= to_digit:
        rest = rf"\d{{{size - 1}}}" if size > 1 else ""
        digits = f"[{from_digit}-{to_digit}]" if from_digit < to_digit else str(from_digit)
        branches.insert(0, digits + rest)
    return branches[0] if len(branches) == 1 else "(?:" + "|".join(branches) + ")"


@lru_cache(maxsize=256)
def _compiled(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern)
