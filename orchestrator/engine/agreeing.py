"""Which columns do all tables of a job have?

The first file to become a table tells what it holds, that is committed, and holds from then on, also in later
runs. Files that were fetched at the same time tell too and are not heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from orchestrator.core.columns import Column, table_columns
from orchestrator.core.job import Job
from orchestrator.engine.arrivals import ColumnsTold
from orchestrator.ports.store import ManifestReader

__all__ = ["Agreement"]


class Agreement:
    """Of one job in one run."""

    def __init__(self, job: Job, manifest: ManifestReader, post: Callable[[ColumnsTold], None]) -> None:
        self._job = job
        self._manifest = manifest
        self._post = post
        self._asked = False
        self._found: tuple[Column, ...] | None = None
        self._told: ColumnsTold | None = None

    async def columns(self) -> tuple[Column, ...] | None:
        """The columns of a table, with what the job file declares; None as long as no file has told."""
        if not self._asked:
            self._found = await self._manifest.columns(self._job.name)
            self._asked = True
        return None if self._found is None else table_columns(self._found, self._job.columns)

    async def told(self, found: tuple[Column, ...]) -> None:
        """A file suggests these; returns once it is on disk what holds."""
        if self._told is None:
            self._told = ColumnsTold(self._job.name, found, asyncio.Event())
            self._post(self._told)
        await self._told.committed.wait()
        self._found = self._told.columns
