"""How much may still be written: free space less what running transfers were promised, and the reserve."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable

from orchestrator.errors import DiskFull

__all__ = ["DiskBudget", "free_bytes"]


def free_bytes(path: str) -> int:
    """Bytes an ordinary user may still write to the file system of ``path``."""
    return shutil.disk_usage(path).free


class DiskBudget:
    """Promises of room to transfers that run side by side. ``free`` is asked for a folder that exists."""

    def __init__(self, free: Callable[[str], int] = free_bytes) -> None:
        self._free = free
        self._promised: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def promise(self, key: str, folder: str, size_bytes: int, reserve_bytes: int) -> None:
        """Sets ``size_bytes`` aside for ``key`` in place of what it had. Raises DiskFull when less than
        ``reserve_bytes`` would stay free; ``key`` then has nothing."""
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        device = os.stat(folder).st_dev
        with self._lock:
            self._promised.pop(key, None)
            others = sum(size for at, size in self._promised.values() if at == device)
            free = self._free(folder)
            if free - others - size_bytes < reserve_bytes:
                raise DiskFull(
                    f"{folder}: {free} bytes are free, {size_bytes} more are needed beside {others} already"
                    f" promised, and {reserve_bytes} shall stay free"
                )
            self._promised[key] = (device, size_bytes)

    def release(self, key: str) -> None:
        with self._lock:
            self._promised.pop(key, None)
