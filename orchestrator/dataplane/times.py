"""When did a row happen, to the second or the millisecond? One value, read without knowing its unit."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Final

__all__ = [
    "AUTO_FIELDS",
    "exact_millisecond_of",
    "finer_than_seconds",
    "millisecond_of",
    "second_of",
    "within_calendar",
]

AUTO_FIELDS: Final = ("@timestamp", "timestamp")
"""``time_field = "auto"`` looks for these, in this order (bls-api.md 2.7: query results use the first, pulls
the second)."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
_MILLISECOND: Final = timedelta(milliseconds=1)
_FIRST_MS: Final = -62_135_596_800_000
_LAST_MS: Final = 253_402_300_799_999
_FINER = re.compile(r"[.,]\d{3}\d*[1-9]")
_NUMBER = re.compile(r"[+-]?\d{1,30}(?:\.\d{0,30})?")


def second_of(value: object) -> int | None:
    """UTC epoch seconds, rounded down; None when ``value`` is no time.

    A number, or a text of digits, is seconds, milliseconds, microseconds or nanoseconds by its magnitude:
    below 10^11 it is seconds (the year 5138), below 10^14 milliseconds, below 10^17 microseconds. Other texts
    are ISO 8601, UTC unless they name an offset.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value // _unit(value)
    if isinstance(value, float):
        return math.floor(value / _unit(value)) if math.isfinite(value) else None
    return _second_of_text(value.strip()) if isinstance(value, str) else None


def millisecond_of(value: object) -> int | None:
    """UTC epoch milliseconds, rounded down; None when ``value`` is no time. Reads what ``second_of`` reads; a
    time that is given in whole seconds is their first millisecond."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        unit = _unit(value)
        return value * 1_000 if unit == 1 else value // (unit // 1_000)
    if isinstance(value, float):
        return math.floor(value * 1_000 / _unit(value)) if math.isfinite(value) else None
    if not isinstance(value, str):
        return None
    text = value.strip()
    if _NUMBER.fullmatch(text):
        return millisecond_of(float(text) if "." in text or text.startswith("-") else int(text))
    moment = _moment_of(text)
    if moment is None:
        return None
    return (moment - _EPOCH) // _MILLISECOND


def exact_millisecond_of(text: str) -> int | None:
    """As ``millisecond_of``, of a time that is no finer than that and lies in the years 1 to 9999; None for
    any other."""
    text = text.strip()
    if len(text) == 13 and text.isdecimal() and text.isascii():
        return int(text) if _unit(int(text)) == 1_000 else int(text) * 1_000
    if _NUMBER.fullmatch(text):
        moment_ms = Fraction(text.removesuffix(".")) * 1_000 / _unit(int(text.partition(".")[0]))
        return int(moment_ms) if moment_ms.denominator == 1 and within_calendar(int(moment_ms)) else None
    if _FINER.search(text):
        return None
    moment = _moment_of(text)
    return None if moment is None or moment.microsecond % 1_000 else (moment - _EPOCH) // _MILLISECOND


def within_calendar(moment_ms: int) -> bool:
    """Whether UTC epoch milliseconds lie in the years 1 to 9999, which is what readers of tables can show."""
    return _FIRST_MS <= moment_ms <= _LAST_MS


def finer_than_seconds(value: object) -> bool:
    """Whether a time, as it is written, says which part of its second it means."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return _unit(value) > 1
    if not isinstance(value, str):
        return False
    text = value.strip()
    return "." in text or "," in text or (_NUMBER.fullmatch(text) is not None and _unit(int(text)) > 1)


def _unit(value: float) -> int:
    magnitude = abs(value)
    if magnitude < 1e11:
        return 1
    if magnitude < 1e14:
        return 1_000
    return 1_000_000 if magnitude < 1e17 else 1_000_000_000


def _second_of_text(text: str) -> int | None:
    if _NUMBER.fullmatch(text):
        whole = int(text.partition(".")[0])
        return second_of(whole if whole >= 0 and not text.startswith("-") else float(text))
    moment = _moment_of(text)
    return None if moment is None else (moment - _EPOCH) // _SECOND


def _moment_of(text: str) -> datetime | None:
    if not 10 <= len(text) <= 64:
        return None
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
