"""How long to wait before a slice is tried again, and how often. Deterministic: the jitter comes from what is
retried."""

from __future__ import annotations

import hashlib

__all__ = ["MAX_LOST_CONNECTIONS", "MAX_REFETCHES", "MAX_THROTTLED", "backoff_s"]

MAX_REFETCHES = 2
"""Further fetches of one remote task's file before a new remote task is asked for."""
MAX_LOST_CONNECTIONS = 12
"""Fetches in a row that the way to the file disturbed, before a new remote task is asked for: about ten
minutes."""
MAX_THROTTLED = 60
"""Refusals for load in a row, of one slice, before it is given up for this run: about an hour at the longest
pauses."""

_BASE_S = 2.0
_CAP_S = 90.0


def backoff_s(key: str, round_no: int, *, at_least_s: float | None = None) -> float:
    """Seconds to wait before round ``round_no`` (1, 2, …) of what ``key`` names: full jitter over a doubling
    ceiling, at least half of it so that no round is immediate, and never less than what the service asked
    for."""
    ceiling_s = min(_CAP_S, _BASE_S * 2.0 ** min(max(round_no - 1, 0), 10))
    digest = hashlib.sha256(f"{key}:{round_no}".encode()).digest()
    share = int.from_bytes(digest[:4], "big") / 2**32
    return max(at_least_s or 0.0, ceiling_s * (0.5 + 0.5 * share))
