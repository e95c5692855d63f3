"""When the lines of a real log file were written: timestamps in the common forms, or a guess where there are
none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, timezone

from orchestrator.emulator.record import Record

__all__ = ["records_of_lines"]

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1
    )
}
_SPACING_MS = 10
"""Between lines of a file without any timestamp."""
_LOOK_AT = 400
"""Characters of a line that are searched."""

_ISO = re.compile(
    r"(?<!\d)(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?\s?(Z|[+-]\d\d:?\d\d)?"
)
_APACHE = re.compile(
    r"(?<!\d)(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?\s?([+-]\d{4})?"
)
_SYSLOG = re.compile(r"^(?:<\d+>)?([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?")
_EPOCH = re.compile(r"(?<![\d.])(1\d{9})(?:\.(\d{1,9})|(\d{3}))?(?!\d)")


def records_of_lines(
    lines: Iterable[bytes], *, modified_at_s: float, stream: str = "file", first_seq: int = 0
) -> list[Record]:
    """One record per line. A line without a timestamp belongs to the moment of the line before it.

    Known forms: ISO 8601 and its relatives, Apache, syslog (in the year that puts it before
    ``modified_at_s``), epoch seconds or milliseconds. Times without an offset are taken as UTC. When no line
    has one, lines are spaced evenly, the last at ``modified_at_s``.
    """
    texts = [line.rstrip(b"\r\n").decode("utf-8", "surrogateescape") for line in lines]
    found = [_moment_ms(text[:_LOOK_AT], modified_at_s) for text in texts]
    first = next((at_ms for at_ms in found if at_ms is not None), None)
    if first is None:
        last_ms = int(modified_at_s * 1000)
        times = [last_ms - (len(texts) - 1 - place) * _SPACING_MS for place in range(len(texts))]
    else:
        times, at_ms = [], first
        for moment in found:
            at_ms = at_ms if moment is None else moment
            times.append(at_ms)
    return [
        Record(max(at_ms, 0), first_seq + place, stream, text, (), max(at_ms, 0))
        for place, (at_ms, text) in enumerate(zip(times, texts, strict=True))
    ]


def _moment_ms(text: str, modified_at_s: float) -> int | None:
    for read in _READERS:
        try:
            if (at_ms := read(text, modified_at_s)) is not None:
                return at_ms
        except (ValueError, KeyError):
            continue  # looked like a time and is none: the 32nd, or the month of Foo
    return None


def _ms(fraction: str | None) -> int:
    return int((fraction or "").ljust(3, "0")[:3])


def _zone(offset: str | None) -> timezone:
    if not offset or offset == "Z":
        return UTC
    minutes = int(offset[1:3]) * 60 + int(offset[-2:])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))


def _iso(text: str, modified_at_s: float) -> int | None:
    if (match := _ISO.search(text)) is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    at = datetime(year, month, day, hour, minute, second, tzinfo=_zone(match[8]))
    return int(at.timestamp()) * 1000 + _ms(match[7])


def _apache(text: str, modified_at_s: float) -> int | None:
    if (match := _APACHE.search(text)) is None:
        return None
    day, month, year = int(match[1]), _MONTHS[match[2]], int(match[3])
    at = datetime(year, month, day, int(match[4]), int(match[5]), int(match[6]), tzinfo=_zone(match[8]))
    return int(at.timestamp()) * 1000 + _ms(match[7])


def _syslog(text: str, modified_at_s: float) -> int | None:
    if (match := _SYSLOG.search(text)) is None:
        return None
    year = datetime.fromtimestamp(modified_at_s, UTC).year
    clock = int(match[3]), int(match[4]), int(match[5])
    at = datetime(year, _MONTHS[match[1]], int(match[2]), *clock, tzinfo=UTC)
    if at.timestamp() > modified_at_s + 86_400:
        at = at.replace(year=year - 1)
    return int(at.timestamp()) * 1000 + _ms(match[6])


def _epoch(text: str, modified_at_s: float) -> int | None:
    if (match := _EPOCH.search(text)) is None:
        return None
    return int(match[1]) * 1000 + (int(match[3]) if match[3] else _ms(match[2]))


_READERS: tuple[Callable[[str, float], int | None], ...] = (_iso, _apache, _syslog, _epoch)
