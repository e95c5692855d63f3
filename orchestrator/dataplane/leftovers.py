"""What did earlier calls, or earlier processes, leave of an attempt in the staging area?

One that was never begun by this process left nothing if no earlier one did, and what earlier ones left is
found by one look at each staging area. So hardly any transfer has to look for itself.
"""

from __future__ import annotations

import os
from dataclasses import replace

from orchestrator.core.model import Receipt, Ticket
from orchestrator.dataplane.inflow import Run, finished
from orchestrator.dataplane.staging import (
    Progress,
    StagingArea,
    fingerprint,
    receipt_from_record,
    size_of,
    storage_faults,
)

__all__ = ["Leftovers", "found"]


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


def found(area: StagingArea, ticket: Ticket) -> Receipt | Progress | None:
    """The receipt, when its artifact stands and is what ``ticket`` asks for; else how far the fetch came;
    None when there is nothing to go on with. Raises StorageError."""
    with storage_faults(area.sidecar):
        progress = area.load()
        if progress is None:
            return None
        receipt = _recorded(progress, ticket)
        if receipt is not None and _stands(receipt, area):
            return receipt
        taken_over = progress.sha256 and not os.path.exists(area.part)
        if taken_over and size_of(area.staged) == progress.offset_bytes:
            os.replace(area.staged, area.part)  # the part became the artifact; its digest will tell
    return replace(progress, receipt=None, fingerprint="")


def _recorded(progress: Progress, ticket: Ticket) -> Receipt | None:
    if progress.receipt is None or progress.fingerprint != fingerprint(ticket):
        return None
    try:
        return receipt_from_record(progress.receipt)
    except (TypeError, ValueError, KeyError):
        return None


def _stands(receipt: Receipt, area: StagingArea) -> bool:
    """Whether the artifact of a recorded receipt is there; it was made durable before the receipt was
    recorded."""
    return not receipt.staged_path or size_of(area.staged) == receipt.stored_bytes


def _keys(folder: str) -> set[str]:
    with storage_faults(folder):
        try:
            return {name.partition(".")[0] for name in os.listdir(folder)}
        except FileNotFoundError:
            return set()
