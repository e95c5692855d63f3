"""How many records a generated logstore holds before a given second, in closed form and exact integers.

Every density answers ``before(second)``: the number of records dated earlier than that UTC second, counted
from an origin of its own. It never decreases, so the records of a second are the difference of two answers, a
window of any length costs the same as a second, and nothing is ever materialised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Protocol

from orchestrator.emulator.chance import fraction

__all__ = ["Bursty", "Density", "Diurnal", "Empty", "GiantSecond", "Uniform", "density_from_dict", "sparse"]

DAY_S = 86_400
HOUR_S = 3_600
_FASTEST_PER_S = 1e12
_DIURNAL = tuple(round(1000 * (1 - 0.8 * math.cos(2 * math.pi * (hour - 3) / 24))) for hour in range(24))
_DIURNAL_BEFORE = tuple(accumulate(_DIURNAL, initial=0))


class Density(Protocol):
    """Records over time."""

    def before(self, second: int) -> int:
        """How many records are dated earlier than this UTC second."""
        ...


@dataclass(frozen=True, slots=True)
class Empty:
    """No records at all."""

    def before(self, second: int) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class Uniform:
    """The same rate always."""

    rows_per_day: int

    def before(self, second: int) -> int:
        return second * self.rows_per_day // DAY_S


@dataclass(frozen=True, slots=True)
class Diurnal:
    """Nine times as much at 15:00 UTC as at 03:00 UTC, every day alike."""

    rows_per_day: int

    def before(self, second: int) -> int:
        day, second_of_day = divmod(second, DAY_S)
        hour, second_of_hour = divmod(second_of_day, HOUR_S)
        weight = _DIURNAL_BEFORE[hour] * HOUR_S + _DIURNAL[hour] * second_of_hour
        return day * self.rows_per_day + self.rows_per_day * weight // (_DIURNAL_BEFORE[24] * HOUR_S)


@lru_cache(maxsize=4096)
def _weights(seed: int, quiet: float, level: str, number: int, pieces: int) -> tuple[int, ...]:
    """Running totals of ``pieces`` uneven weights; a share ``quiet`` of them is zero, never all."""
    weights = []
    for piece in range(pieces):
        draw = fraction(seed, level, number, piece)
        weights.append(0 if draw < quiet else 1 + int(200 * ((draw - quiet) / (1 - quiet)) ** 6))
    if not any(weights):
        weights[int(fraction(seed, level, number, "one") * pieces)] = 1
    return tuple(accumulate(weights, initial=0))


@dataclass(frozen=True, slots=True)
class Bursty:
    """A fixed number a day, spread over its hours and their minutes with heavy tails.

    ``quiet`` is the share of hours, and of minutes within an hour, that stay empty.
    """

    rows_per_day: int
    seed: int = 0
    quiet: float = 0.0

    def before(self, second: int) -> int:
        day, second_of_day = divmod(second, DAY_S)
        hour, second_of_hour = divmod(second_of_day, HOUR_S)
        minute, second_of_minute = divmod(second_of_hour, 60)
        hours = _weights(self.seed, self.quiet, "day", day, 24)
        low = self.rows_per_day * hours[hour] // hours[24]
        in_hour = self.rows_per_day * hours[hour + 1] // hours[24] - low
        minutes = _weights(self.seed, self.quiet, "hour", day * 24 + hour, 60)
        low_minute = in_hour * minutes[minute] // minutes[60]
        in_minute = in_hour * minutes[minute + 1] // minutes[60] - low_minute
        return day * self.rows_per_day + low + low_minute + in_minute * second_of_minute // 60


def sparse(rows_per_day: int, seed: int = 0) -> Bursty:
    """Few records, in few minutes of few hours, with long silence between."""
    return Bursty(rows_per_day, seed, quiet=0.8)


@dataclass(frozen=True, slots=True)
class GiantSecond:
    """Another density, with ``rows`` records more in the one second ``at_s``."""

    base: Density
    at_s: int
    rows: int

    def before(self, second: int) -> int:
        return self.base.before(second) + (self.rows if second > self.at_s else 0)


def density_from_dict(spec: Mapping[str, object]) -> Density:
    """Reads ``{"kind", "rows_per_day" or "rows_per_s", "seed", "at_s", "rows"}``.

    Kinds: uniform, diurnal, bursty, sparse, giant-second (over uniform), empty. Raises ValueError naming what
    is wrong.
    """
    known = {"kind", "rows_per_day", "rows_per_s", "seed", "at_s", "rows"}
    if strange := sorted(set(spec) - known):
        raise ValueError(f"density: unknown {', '.join(strange)}; known are {', '.join(sorted(known))}")

    def number(key: str, default: int) -> int:
        value = spec.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"density: {key} must be a whole number of at least 0, not {value!r}")
        return value

    rows_per_day = number("rows_per_day", 1_000_000)
    if "rows_per_s" in spec:
        rate = spec["rows_per_s"]
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= _FASTEST_PER_S:
            raise ValueError(
                f"density: rows_per_s must be a number from 0 to {_FASTEST_PER_S:g}, not {rate!r}"
            )
        rows_per_day = round(rate * DAY_S)
    seed = number("seed", 0)
    match spec.get("kind", "uniform"):
        case "uniform":
            return Uniform(rows_per_day)
        case "diurnal":
            return Diurnal(rows_per_day)
        case "bursty":
            return Bursty(rows_per_day, seed)
        case "sparse":
            return sparse(rows_per_day, seed)
        case "giant-second":
            if "at_s" not in spec:
                raise ValueError("density: giant-second needs at_s, the UTC epoch second of the giant")
            return GiantSecond(Uniform(rows_per_day), number("at_s", 0), number("rows", 1_500_000))
        case "empty":
            return Empty()
        case other:
            raise ValueError(
                f"density: kind {other!r} is none of uniform, diurnal, bursty, sparse, giant-second, empty"
            )
