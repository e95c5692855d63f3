"""Where does the service have other lines now than are stored?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from orchestrator.core.job import Job
from orchestrator.engine.counting import Counting
from orchestrator.engine.finding import Finding, redo_line
from orchestrator.engine.recounting import Held, Recount, held, recounted
from orchestrator.ports.store import ManifestReader

__all__ = ["CountAudit"]

FEWER = (
    "nothing to mend: what is stored stays; either the service has dropped lines since, or its counts are off"
)


@dataclass(slots=True)
class CountAudit:
    """Asks about the stored slices of one job or stream whose files are what the ledger says: those
    ``damaged`` are left out. Afterwards ``counted`` tells how many the service has counted, ``uncounted`` how
    many it could not."""

    job: Job
    manifest: ManifestReader
    jobs_path: str
    damaged: set[str]
    counted: int = 0
    uncounted: int = 0

    async def findings(self, counting: Counting) -> list[Finding]:
        """One for each slice the service counts otherwise. Raises CredentialsError."""
        found: list[Finding] = []
        async for item in recounted(self._held(), self.job.identity.logstream, counting):
            if item.lines is None:
                self.uncounted += 1
            else:
                found.append(self._disagreement(item, item.lines))
        self.counted -= self.uncounted
        return found

    async def _held(self) -> AsyncIterator[Held]:
        if self.job.window is not None:
            async for one in held(self.job, self.manifest, self.job.window, without=self.damaged):
                self.counted += 1
                yield one

    def _disagreement(self, found: Recount, lines: int) -> Finding:
        slice_, more = found.slice, lines - found.rows
        problem = f"the service has {abs(more)} {'more' if more > 0 else 'fewer'} lines"
        mend = redo_line(self.jobs_path, self.job, slice_.id) if more > 0 else ""
        advice = "" if more > 0 else FEWER
        return Finding(
            self.job.name, slice_.window, slice_.id, slice_.path, problem, mend=mend, advice=advice
        )
