"""What reaches the driver besides events of slices."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from orchestrator.core.columns import Column
from orchestrator.core.job import Job
from orchestrator.core.model import RemoteTask, Slice
from orchestrator.ports.store import JournalEntry

__all__ = ["Arrival", "ColumnsTold", "Deleted", "Noted", "PlannedBatch", "Stray"]


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """New slices, planned, proven empty or ruled out, and a job to remember with them; ``committed`` is set
    once they are on disk."""

    slices: tuple[Slice, ...]
    committed: asyncio.Event
    job: Job | None = None


@dataclass(frozen=True, slots=True)
class ColumnsTold:
    """The tables of a job shall have these columns; ``committed`` is set once that is on disk."""

    job: str
    columns: tuple[Column, ...]
    committed: asyncio.Event


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


Arrival = PlannedBatch | ColumnsTold | Stray | Deleted | Noted
