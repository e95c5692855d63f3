"""How fast may bytes come in? One ceiling for all that share it, kept by waiting after each chunk."""

from __future__ import annotations

import asyncio
from typing import Final

__all__ = ["Bandwidth"]

_CREDIT_S: Final = 0.05
"""So much of a line that nobody used may be used later: the moment between one chunk and the next is not
lost. Over two seconds it is 2.5 percent."""


class Bandwidth:
    """The line that transfers of one data plane share.

    Each chunk takes its time on the line after the chunk before it, whoever fetched that; so over any few
    seconds the sum stays below the ceiling, and a transfer that is alone has all of it.
    """

    def __init__(self) -> None:
        self._free_at = 0.0

    async def after(self, size_bytes: int, bytes_per_s: float | None) -> None:
        """Wait until the chunk that just came has had its time. None means no ceiling."""
        if not bytes_per_s:
            return
        now = asyncio.get_running_loop().time()
        self._free_at = max(now - _CREDIT_S, self._free_at) + size_bytes / bytes_per_s
        await asyncio.sleep(max(0.0, self._free_at - now))
