"""What reaches the driver besides events of slices."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from orchestrator.core.job import Job
from orchestrator.core.model import RemoteTask, Slice
from orchestrator.ports.store import JournalEntry

__all__ = ["Arrival", "Deleted", "Noted", "PlannedBatch", "Stray"]


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """New slices, planned, proven empty or ruled out, and a job to remember with them; ``committed`` is set
    once they are on disk."""

    slices: tuple[Slice, ...]
    committed: asyncio.Event
    job: Job | None = None


@dataclass(frozen=True, slots=True)
class Stray:
    """A remote task of ours that nothing is waiting for."""

    task: RemoteTask


@dataclass(frozen=True, slots=True)
class Deleted:
    """A remote task of ours was deleted at the service."""

    task: RemoteTask


@dataclass(frozen=True, slots=True)
class Noted:
    """Something to be kept in the journal that changes no slice."""

    entry: JournalEntry


Arrival = PlannedBatch | Stray | Deleted | Noted
