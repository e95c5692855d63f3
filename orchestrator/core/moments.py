"""Which second does a date, a date-time or "now-6h" mean?

Naive times are read in a time zone. One that the zone's clocks skip or show twice is refused, because a guess
would move the edge of an export by an hour. A *date* means the first instant of that day, which every day
has, so ``today`` works on every day of the year in every zone."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum

from orchestrator.core.complaint import Wrong
from orchestrator.core.measures import UNIT_S, parse_duration
from orchestrator.core.window import EARLIEST_S, LATEST_S

__all__ = ["MOMENT_ALLOWED", "Anchor", "Moment", "day_start", "instants_of", "local_time", "read_moment"]

MOMENT_ALLOWED = (
    'a TOML or ISO date or date-time to the second, such as 2026-01-14 or "2026-01-14T08:00:00+08:00", '
    'or "now-6h", "today-7d", "yesterday"'
)

_ISO = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ]([0-9]{2}:[0-9]{2})(?:(:[0-9]{2})(?:[.,]([0-9]+))?)? ?(Z|z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_RELATIVE = re.compile(r"(now|today|yesterday)(?: ?([+-]) ?([0-9a-z]+))?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)
_MOST_DAYS = 100_000


class Anchor(StrEnum):
    """What a moment moves with."""

    FIXED = "fixed"
    NOW = "now"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Moment:
    """One second, UTC, and what it moves with from run to run."""

    at_s: int
    anchor: Anchor = Anchor.FIXED


def read_moment(value: object, zone: tzinfo, now_s: float) -> Moment:
    """What a TOML date, date-time or string means at ``now_s`` in ``zone``.

    Days and weeks after ``today`` and ``yesterday`` are calendar days; every other amount is elapsed time.
    Raises Wrong: no moment at all, a fraction of a second, a naive time that the zone skips or repeats,
    before 1970 or after 2100."""
    match value:
        case datetime():
            moment = Moment(_of_datetime(value, zone))
        case date():
            moment = Moment(_of_date(value, zone))
        case str():
            moment = _of_text(value.strip(), zone, now_s)
        case _:
            raise Wrong("not a moment", MOMENT_ALLOWED)
    if not EARLIEST_S <= moment.at_s <= LATEST_S:
        raise Wrong("out of range", "1970-01-01T00:00:00Z to 2100-01-01T00:00:00Z")
    return moment


def local_time(at_s: float, zone: tzinfo) -> datetime:
    """What the zone's clocks show, as a naive value."""
    return datetime.fromtimestamp(at_s, zone).replace(tzinfo=None)


def instants_of(naive: datetime, zone: tzinfo) -> tuple[int, ...]:
    """When the zone's clocks show ``naive``: no second in a skipped hour, two in a repeated one, else one;
    ascending."""
    return tuple(at_s for at_s in _candidates(naive, zone) if local_time(at_s, zone) == naive)


def day_start(day: date, zone: tzinfo) -> int:
    """The first second of a day, also where the clocks skip or repeat midnight; of the next day that exists
    when the zone skipped it whole."""
    midnight = datetime.combine(day, time())
    shown_at = instants_of(midnight, zone)
    if shown_at:
        return shown_at[0]
    before_s, after_s = _candidates(midnight, zone)  # around the jump, by the offsets after it and before it
    return before_s + bisect_left(range(before_s, after_s), midnight, key=lambda at_s: local_time(at_s, zone))


def _candidates(naive: datetime, zone: tzinfo) -> tuple[int, ...]:
    wall_s = (naive - _EPOCH) // timedelta(seconds=1)
    offsets = {naive.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta() for fold in (0, 1)}
    return tuple(sorted(wall_s - offset // timedelta(seconds=1) for offset in offsets))


def _of_datetime(value: datetime, zone: tzinfo) -> int:
    if value.microsecond:
        raise Wrong("a fraction of a second", MOMENT_ALLOWED)
    _refuse_far_years(value)
    offset = value.utcoffset()
    if offset is not None:
        return (value.replace(tzinfo=None) - _EPOCH - offset) // timedelta(seconds=1)
    shown_at = instants_of(value, zone)
    if not shown_at:
        raise Wrong(
            f"a time that does not exist in {zone}: the clocks skip it", "the time with its offset from UTC"
        )
    if len(shown_at) > 1:
        raise Wrong(f"a time that occurs twice in {zone}", "the time with its offset from UTC")
    return shown_at[0]


def _of_date(value: date, zone: tzinfo) -> int:
    _refuse_far_years(value)
    return day_start(value, zone)


def _refuse_far_years(value: date) -> None:
    """Years near 1 and 9999 overflow datetime's arithmetic; all of them are out of range anyway."""
    if not 1969 <= value.year <= 2101:
        raise Wrong("out of range", "1970-01-01T00:00:00Z to 2100-01-01T00:00:00Z")


def _of_text(text: str, zone: tzinfo, now_s: float) -> Moment:
    relative = _RELATIVE.fullmatch(text)
    if relative:
        return _of_relative(relative[1], relative[2] or "+", relative[3] or "0", zone, now_s)
    iso = _ISO.fullmatch(text)
    if not iso:
        raise Wrong("not a moment", MOMENT_ALLOWED)
    day, minutes, seconds, fraction, offset = iso.groups()
    if fraction and fraction.strip("0"):
        raise Wrong("a fraction of a second", MOMENT_ALLOWED)
    try:
        if minutes is None:
            return Moment(_of_date(date.fromisoformat(day), zone))
        written = f"{day}T{minutes}{seconds or ':00'}{(offset or '').upper()}"
        return Moment(_of_datetime(datetime.fromisoformat(written), zone))
    except Wrong:
        raise
    except ValueError:
        raise Wrong("not in the calendar or not on the clock", MOMENT_ALLOWED) from None


def _of_relative(word: str, sign: str, amount: str, zone: tzinfo, now_s: float) -> Moment:
    try:
        total_s = parse_duration(amount)
    except Wrong as wrong:
        raise Wrong(f'"{word}" with what is not a duration', wrong.objection.allowed) from None
    if total_s > _MOST_DAYS * UNIT_S["d"]:
        raise Wrong("out of range", "1970-01-01T00:00:00Z to 2100-01-01T00:00:00Z")
    direction = -1 if sign == "-" else 1
    if word == "now":
        return Moment(math.floor(now_s) + direction * total_s, Anchor.NOW)
    in_days = [int(n) * UNIT_S[unit] // UNIT_S["d"] for n, unit in re.findall(r"([0-9]+)([dw])", amount)]
    days = sum(in_days)
    today = local_time(now_s, zone).date() - timedelta(days=1 if word == "yesterday" else 0)
    start_s = day_start(today + timedelta(days=direction * days), zone)
    return Moment(start_s + direction * (total_s - days * UNIT_S["d"]), Anchor.DAY)
