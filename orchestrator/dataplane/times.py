"""When a row happened, to the second: values of one field, read without knowing their unit."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Final

__all__ = ["AUTO_FIELDS", "second_of"]

AUTO_FIELDS: Final = ("@timestamp", "timestamp")
"""``time_field = "auto"`` looks for these, in this order (bls-api.md 2.7: query results use the first, pulls
the second)."""

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
    if not 10 <= len(text) <= 64:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return math.floor(moment.timestamp())
    except (ValueError, OverflowError):
        return None
