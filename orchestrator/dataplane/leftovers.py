"""Which attempts may have left something in the staging area?

One that was never begun by this process left nothing if no earlier one did, and what earlier ones left is
found by one look at each staging area. So hardly any transfer has to look for itself.
"""

from __future__ import annotations

import os

from orchestrator.dataplane.inflow import Run, finished
from orchestrator.dataplane.staging import StagingArea, storage_faults

__all__ = ["Leftovers"]


class Leftovers:
    """What one data plane knows of the staging areas it writes to; no other process writes under its attempt
    keys meanwhile, since it holds the manifest they come from."""

    def __init__(self) -> None:
        self.certain: set[str] = set()
        """Staging areas that are known to be durable."""
        self._found: dict[str, set[str]] = {}
        """By folder: keys of which something was there at the first look, or which were begun and not
        concluded."""

    async def begin(self, area: StagingArea, run: Run) -> bool:
        """Whether something may be there of the attempt that begins now. Raises StorageError."""
        found = self._found.get(area.folder)
        if found is None:
            seen = await finished(run(lambda: _keys(area.folder)))
            found = self._found.setdefault(area.folder, seen)
        known = area.key in found
        found.add(area.key)
        return known

    def concluded(self, area: StagingArea) -> None:
        """Its artifact stands: nobody fetches it again unless that one is lost."""
        self._found[area.folder].discard(area.key)


def _keys(folder: str) -> set[str]:
    with storage_faults(folder):
        try:
            return {name.partition(".")[0] for name in os.listdir(folder)}
        except FileNotFoundError:
            return set()
