"""Wall time and chance: the only home of ``time.time`` and ``random``/``secrets``."""

from __future__ import annotations

import random
import secrets
import time

__all__ = ["SystemClock", "SystemRng"]


class SystemClock:
    """The machine's own clock. It may jump; nothing waits on it (waiting goes by ``loop.time()``)."""

    def now(self) -> float:
        return time.time()


class SystemRng:
    """Jitter from the ordinary generator, identifiers from the operating system."""

    def __init__(self) -> None:
        self._jitter = random.Random()

    def random(self) -> float:
        return self._jitter.random()

    def token_hex(self, n_bytes: int) -> str:
        return secrets.token_hex(n_bytes)
