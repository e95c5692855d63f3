"""Durations, sizes and shares as people write them: ``"1h30m"``, ``"200MB"``, ``"0.5%"``."""

from __future__ import annotations

import re

from orchestrator.core.complaint import Wrong

__all__ = [
    "DURATION_ALLOWED",
    "SHARE_ALLOWED",
    "SIZE_ALLOWED",
    "UNIT_S",
    "duration_text",
    "parse_duration",
    "parse_share",
    "parse_size",
]

UNIT_S = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
"""Seconds per unit, largest first."""

DURATION_ALLOWED = 'a duration in whole s, m, h, d or w, such as "90s", "5m" or "1h30m"'
SIZE_ALLOWED = 'a size such as "200MB" (10^6), "64MiB" (2^20) or "1.5GB"'
SHARE_ALLOWED = 'a percentage above 0 and up to 100, such as "1%" or "0.5%"'

_DURATION = re.compile(r"(?:[0-9]{1,9}[wdhms])+")
_SIZE = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,9}))? ?([kKMGT]i?)?B?")
_SHARE = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,9})? ?%")
_POWER = {"k": 1, "m": 2, "g": 3, "t": 4}


def parse_duration(text: str) -> int:
    """Seconds in ``"90s"``, ``"5m"``, ``"1h30m"``; ``"0"`` needs no unit. Raises Wrong."""
    stripped = text.strip()
    if stripped == "0":
        return 0
    if not _DURATION.fullmatch(stripped):
        raise Wrong("not a duration", DURATION_ALLOWED)
    return sum(int(amount) * UNIT_S[unit] for amount, unit in re.findall(r"([0-9]+)([wdhms])", stripped))


def duration_text(duration_s: int) -> str:
    """The shortest spelling of a duration: ``parse_duration(duration_text(x)) == x`` for every x ≥ 0."""
    parts = []
    for unit, unit_s in UNIT_S.items():
        amount, duration_s = divmod(duration_s, unit_s)
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0s"


def parse_size(text: str) -> int:
    """Bytes in ``"200MB"`` (10^6), ``"64MiB"`` (2^20), ``"1.5GB"``, ``"512"``. Raises Wrong, also for half a
    byte."""
    matched = _SIZE.fullmatch(text.strip())
    if not matched:
        raise Wrong("not a size", SIZE_ALLOWED)
    whole, fraction, unit = matched[1], matched[2] or "", matched[3] or ""
    scale: int = (1024 if unit.endswith("i") else 1000) ** _POWER.get(unit[:1].lower(), 0)
    parts: int = 10 ** len(fraction)
    size_bytes, rest = divmod(int(whole + fraction) * scale, parts)
    if rest:
        raise Wrong("not a whole number of bytes", SIZE_ALLOWED)
    return size_bytes


def parse_share(text: str) -> float:
    """``"0.5%"`` as 0.005; above 0 and up to 1. Raises Wrong, also without the ``%``."""
    stripped = text.strip()
    if not _SHARE.fullmatch(stripped):
        raise Wrong("not a percentage", SHARE_ALLOWED)
    percent = float(stripped.removesuffix("%"))
    if not 0 < percent <= 100:
        raise Wrong("out of range", SHARE_ALLOWED)
    return percent / 100
