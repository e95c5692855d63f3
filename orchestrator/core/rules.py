"""What a transition must know besides the slice and the event."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.core.job import Job
from orchestrator.core.model import RemoteTask, Slice

__all__ = ["IllegalEvent", "Rules", "task_of"]


class IllegalEvent(ValueError):
    """An event that has no meaning in the slice's state: a defect of the caller."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a transition must know besides slice and event: the job, and how many remote tasks of it are
    outstanding."""

    job: Job
    hopeless: bool = False
    """Creates were refused in unknown words again and again, with nothing else outstanding."""
    padded: bool = False
    """This run has met a reason to ask for a second more at both ends from the first: an exclusive start, or
    low counts."""
    dated: bool = False
    """Rows of this run could be dated, so that a wider request can be clipped."""
    start_inclusive: bool = False
    """Some file of this run held a row dated exactly at its requested start."""


def task_of(slice_: Slice) -> RemoteTask:
    """The slice's remote task. Raises IllegalEvent when it has none."""
    if slice_.task is None:
        raise IllegalEvent(f"slice {slice_.id} has no remote task")
    return slice_.task
