"""How fast may bytes come in? One ceiling for all that share it, kept by waiting after each chunk."""

from __future__ import annotations

import asyncio

__all__ = ["Bandwidth"]


class Bandwidth:
    """The line that transfers of one data plane share.

    Each chunk takes its time on the line after the chunk before it, whoever fetched that; so over any stretch
    the sum stays below the ceiling, and a transfer that is alone has all of it.
    """

    def __init__(self) -> None:
        self._free_at = 0.0

    async def after(self, size_bytes: int, bytes_per_s: float | None) -> None:
        """Wait until the chunk that just came has had its time. None means no ceiling."""
        if not bytes_per_s:
            return
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + size_bytes / bytes_per_s
        await asyncio.sleep(self._free_at - now)
