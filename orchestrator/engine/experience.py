"""What does the manifest tell of earlier slices that helps with the next ones?"""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.core.estimating import Past, excess, typical_s
from orchestrator.core.job import Job
from orchestrator.core.lanes import first_length_s
from orchestrator.core.model import SliceState
from orchestrator.ports.store import ManifestReader

__all__ = ["Experience", "blind_length_s", "experience_of", "observed_excess"]

_NEWEST = 300
"""So many slices or remote tasks are looked at: enough to know, and as cheap with a million as with these."""


@dataclass(frozen=True, slots=True)
class Experience:
    """``stored`` are the newest done slices; ``run_s`` is how long a remote task takes, None when none ever
    ran."""

    stored: tuple[Past, ...]
    run_s: float | None


async def observed_excess(job: Job, manifest: ManifestReader) -> float:
    """The largest share by which the newest files of the job exceeded their counts. Of a slice that was cut
    nobody saw the end: it counts as if twice the room it was given had been too little."""
    stored = await manifest.lately(job.name, SliceState.DONE, _NEWEST)
    cut = await manifest.lately(job.name, SliceState.CUT, _NEWEST)
    ends = [
        replace(item, came_lines=2 * job.max_lines - item.expected_lines)
        for item in cut
        if item.expected_lines is not None
    ]
    return excess([*stored, *ends], job.max_lines)


async def blind_length_s(job: Job, manifest: ManifestReader) -> int:
    """How many seconds the next slice of the job should have where nothing can be counted."""
    stored = await manifest.lately(job.name, SliceState.DONE, _NEWEST)
    return first_length_s(stored or await manifest.lately(job.name, SliceState.EMPTY, _NEWEST), job.max_lines)


async def experience_of(job: Job, manifest: ManifestReader) -> Experience:
    """Of a job that never ran a remote task, others at the same service tell how long one takes."""
    stored = await manifest.lately(job.name, SliceState.DONE, _NEWEST)
    run_s = typical_s(item.ran_s for item in stored if item.ran_s is not None)
    if run_s is None:
        run_s = typical_s(await manifest.run_times_s(job.identity.service, _NEWEST))
    return Experience(stored, run_s)
