"""Dates and chance. Waiting is ``asyncio.sleep`` and ``asyncio.timeout``: virtual under the virtual-time
loop."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Clock", "Rng"]


class Clock(Protocol):
    """Wall time, for dating only."""

    def now(self) -> float:
        """UTC epoch seconds."""
        ...


class Rng(Protocol):
    """Chance: for jitter and for names nobody can guess."""

    def random(self) -> float:
        """Uniform in ``[0, 1)``: jitter."""
        ...

    def token_hex(self, n_bytes: int) -> str:
        """Unpredictable lower-case hex, twice ``n_bytes`` long: manifest ids, request ids."""
        ...
