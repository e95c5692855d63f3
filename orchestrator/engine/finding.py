"""What can an audit find, and what does it tell of itself?"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.core.job import Job
from orchestrator.core.model import Fault
from orchestrator.core.reasons import shell_word
from orchestrator.core.window import Window

__all__ = [
    "ALLOW_READING",
    "UNREADABLE",
    "Finding",
    "VerifyReport",
    "look_again_line",
    "redo_line",
    "run_line",
]


UNREADABLE = "cannot be read"
ALLOW_READING = (
    "nothing is known of it and nothing is marked: let this user read the file and enter its folders, "
    "see that the disk or share is well, then verify again"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement. ``problem`` is, of a file, ``missing``, ``not a file``, ``size differs``, ``digest
    differs``, ``rows differ`` or ``cannot be read``, which says nothing about it; of the ledger, ``rows do
    not add up``, ``ledger row altered``, ``no remote task``, ``parts do not add up``, ``stored twice``,
    ``covered without a slice`` or ``stored but not covered``; of the service, ``the service has n more
    lines`` or ``the service has n fewer lines``.

    ``marked``: it lost its coverage, and the next run exports it anew. ``mend`` is the command that mends it,
    "" where none can or none is needed; ``advice`` then says so.
    """

    job: str
    window: Window
    slice: str
    path: str
    problem: str
    marked: bool = False
    mend: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What an audit looked at and what it found; ``exit`` is 4 with any finding, 6 with a file that cannot be
    read. Of ``files_checked`` files ``files_read`` were read whole, ``bytes_read`` together; of the others
    only presence and size were looked at. ``recounted`` slices were counted anew, ``uncounted`` ones the
    service could not count."""

    exit: int
    files_checked: int
    files_read: int
    bytes_read: int
    findings: tuple[Finding, ...]
    recounted: int = 0
    uncounted: int = 0
    not_checked: tuple[tuple[str, Fault], ...] = ()
    """Jobs that the manifest holds another one of under their name: nothing of them was looked at."""

    @property
    def files_looked_at(self) -> int:
        """Files whose content this audit says nothing about: of a sample those not picked, and those that
        are missing or have another size, which there is no point in reading."""
        return self.files_checked - self.files_read

    @property
    def counted_nothing(self) -> bool:
        """Whether the service was asked to count and could not count a single slice: such an audit says
        nothing about lines that came late."""
        return self.uncounted > 0 and not self.recounted


def run_line(jobs_path: str, job: Job) -> str:
    """Exports what is not covered."""
    return f"orchestrator run {jobs_path} --job {shell_word(job.name)}"


def redo_line(jobs_path: str, job: Job, slice_id: str) -> str:
    """Exports one slice anew."""
    return f"orchestrator redo {jobs_path} --job {shell_word(job.name)} --slice {slice_id}"


def look_again_line(jobs_path: str, job: Job) -> str:
    """Audits once more, this time writing down what disagrees, and mends that. The audit exits 4, so nothing
    may hang on its success."""
    words = f"{jobs_path} --job {shell_word(job.name)}"
    return f"orchestrator verify {words}; orchestrator run {words}"
