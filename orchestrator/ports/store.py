"""The manifest as its one writer and its many readers see it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.core.columns import Column
from orchestrator.core.estimating import Past
from orchestrator.core.job import Job, JobIdentity
from orchestrator.core.model import RemoteTask, Slice, SliceState
from orchestrator.core.window import Window, WindowSet

__all__ = [
    "Acceptance",
    "Changes",
    "Covered",
    "Ended",
    "Forgotten",
    "JobCounts",
    "JournalEntry",
    "JournalLine",
    "LedgerRow",
    "ManifestReader",
    "ManifestWriter",
    "Outlived",
    "SliceIds",
]


class SliceIds(Protocol):
    """Knows which slices are in it."""

    def __contains__(self, slice_id: str, /) -> bool: ...


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One line of a slice's story. ``detail`` is short, structured and free of secrets and links."""

    at: float
    job: str
    slice_id: str
    event: str
    detail: dict[str, str | int | float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JournalLine:
    """A journal entry as read back; ``number`` counts all entries of the manifest."""

    number: int
    entry: JournalEntry


@dataclass(frozen=True, slots=True)
class Covered:
    """A window of one job (and stream, ``*`` for all) proven stored, or no longer so."""

    job: str
    logstream: str
    window: Window


@dataclass(frozen=True, slots=True)
class Outlived:
    """The redo of one slice has ended. Unless it is ``kept``, newer slices hold its window from this commit
    on: it ends as superseded, without a file."""

    job: str
    slice_id: str
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A gap somebody signed off: it stays listed, but no longer makes a run incomplete. ``at`` is UTC epoch
    seconds; ``logstream`` the one that is meant, ``*`` for every one, "" for what is missing of all of them
    together."""

    job: str
    window: Window
    reason: str
    by: str
    at: float
    logstream: str = "*"

    def speaks_of(self, logstream: str) -> bool:
        """Whether it is about what is missing of this log stream, "" for what is of all together."""
        return self.logstream in ("*", logstream)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What ``forget`` drops, or would drop. ``paths`` are the stored files, which stay; ``let_go`` counts the
    remote tasks that are surplus from then on."""

    slices: int
    paths: tuple[str, ...]
    uncovered: WindowSet
    let_go: int


@dataclass(frozen=True, slots=True)
class Changes:
    """All that one transaction writes. ``slices`` are upserts with their current ``task``, ``receipt`` and
    ``best``; ``tasks`` are further remote-task rows to upsert (keyed by number and uuid: twins share a
    number)."""

    slices: tuple[Slice, ...] = ()
    tasks: tuple[RemoteTask, ...] = ()
    covered: tuple[Covered, ...] = ()
    uncovered: tuple[Covered, ...] = ()
    journal: tuple[JournalEntry, ...] = ()
    jobs: tuple[Job, ...] = ()
    """Jobs to remember with their identity."""
    outlived: tuple[Outlived, ...] = ()
    """Older generations whose redo has ended."""
    columns: tuple[tuple[str, tuple[Column, ...]], ...] = ()
    """By job, what its tables hold; of a job that has columns already they stay."""

    def __bool__(self) -> bool:
        slices = self.slices or self.tasks or self.outlived
        return bool(slices or self.covered or self.uncovered or self.journal or self.jobs or self.columns)


@dataclass(frozen=True, slots=True)
class JobCounts:
    """Counter rows of one job, kept by the store on every write: reading them scans nothing."""

    slices: dict[SliceState, int]
    lines: int = 0
    """Stored rows of done slices."""
    stored_bytes: int = 0
    fetched_bytes: int = 0
    files: int = 0
    remote_tasks: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """By job, how many slices were exported to the end since ``since_at``, and how many lines these hold."""

    since_at: float
    slices: dict[str, int]
    lines: dict[str, int]


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One row of ``manifest`` (design 2.2): one per remote task, and one per slice that never had one. Times
    are UTC epoch seconds here; the printer writes ISO 8601."""

    job: str
    region: str
    project: str
    logstore: str
    logstream: str
    query: str
    slice: str
    slice_start: int
    slice_end: int
    state: str
    attempt: int
    task_name: str | None
    uuid: str | None
    task_state: str | None
    limit: int | None
    order: str | None
    format: str | None
    evidence: str
    counted_at: float | None
    expected_lines: int | None
    written_rows: int | None
    served_rows: int | None
    dropped_rows: int | None
    stored_rows: int | None
    path: str | None
    form: str | None
    fetched_bytes: int | None
    fetched_sha256: str | None
    stored_bytes: int | None
    stored_sha256: str | None
    request_id: str | None
    created_at: float | None
    finished_at: float | None
    reason: str | None
    accepted_by: str | None


class ManifestReader(Protocol):
    """Present truth. Never creates or changes a manifest. Raises ManifestDamaged, ManifestTooNew,
    StorageError."""

    @property
    def manifest_id(self) -> str:
        """16 random hex digits, drawn when the manifest was made."""
        ...

    async def next_number(self) -> int:
        """The first intent number never used, also after ``forget``."""
        ...

    async def job_identity(self, job: str) -> JobIdentity | None: ...

    async def columns(self, job: str) -> tuple[Column, ...] | None:
        """What the first file of the job was found to hold; None while none became a table."""
        ...

    async def slice(self, slice_id: str) -> Slice | None: ...

    async def published(self, slice_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Of those of these slices that the manifest knows: the path and the SHA-256 of the file that stands
        for it, "" when none does."""
        ...

    async def live(self, job: str) -> tuple[Slice, ...]:
        """Slices in LIVE_STATES: what a run holds in memory. Bounded by the ceilings of the run that left
        them."""
        ...

    async def unfinished(
        self, job: str, window: Window | None = None, logstream: str | None = None
    ) -> WindowSet:
        """Windows of all slices of ``job`` that are planned or live (and meet ``window``, and are of
        ``logstream``)."""
        ...

    async def unfinished_spans(
        self, job: str, edges: Sequence[int], logstream: str | None = None
    ) -> WindowSet:
        """The same between the first and the last of ``edges``, for a picture: of the slices that begin
        between two neighbouring edges only the first start and the last end are asked for."""
        ...

    async def slices(
        self,
        job: str,
        states: Sequence[SliceState],
        *,
        window: Window | None = None,
        limit: int = 1000,
        after: str = "",
    ) -> tuple[Slice, ...]:
        """Slices in ``states``, by (start, id); page on with ``after`` = the last id."""
        ...

    async def admissible(
        self, job: str, now: float, limit: int, *, without: SliceIds = (), whole_end: int = 0
    ) -> tuple[Slice, ...]:
        """At most ``limit`` planned slices whose ``not_before_at`` has come, oldest window first, but for
        those with an id in ``without``, which must not change meanwhile; all there are, once they are no more
        than ``whole_end``."""
        ...

    async def surplus(self, job: str) -> tuple[RemoteTask, ...]:
        """Remote tasks of ours that were let go and are not known to be deleted at the service."""
        ...

    async def waited(self, job: str) -> tuple[Slice, ...]:
        """Planned slices that an earlier run put off: tried at least once, or throttled."""
        ...

    async def parts(self, whole: str) -> tuple[Slice, ...]:
        """The slices into which the overfull second of slice ``whole`` was divided."""
        ...

    async def divided(self, job: str, window: Window) -> tuple[Slice, ...]:
        """The slices of overfull seconds that meet ``window`` and were divided."""
        ...

    async def holding(self, job: str) -> tuple[Slice, ...]:
        """Divided slices for which a file of their own still stands."""
        ...

    async def next_due_at(self, job: str) -> float | None:
        """The earliest ``not_before_at`` among planned slices."""
        ...

    async def coverage(self, job: str, logstream: str = "*") -> WindowSet: ...

    async def counts(self, job: str) -> JobCounts: ...

    async def totals(self, job: str, window: Window) -> JobCounts:
        """The same figures for the slices that lie inside ``window``: one indexed scan, for the end of a
        run."""
        ...

    async def lately(self, job: str, state: SliceState, limit: int) -> tuple[Past, ...]:
        """What the ``limit`` slices in ``state`` with the newest windows came to, newest first."""
        ...

    async def run_times_s(self, service: str, limit: int) -> tuple[float, ...]:
        """How long those of the newest ``limit`` remote tasks of the manifest ran that were made at
        ``service`` and succeeded."""
        ...

    async def jobs(self) -> tuple[str, ...]: ...

    async def by_uuid(self, uuid: str) -> Slice | None: ...

    async def story(self, slice_id: str) -> tuple[JournalLine, ...]: ...

    async def tasks_ever(self, slice_id: str) -> tuple[RemoteTask, ...]:
        """Every remote task a slice ever had, by number; those from before it was forgotten too."""
        ...

    async def tasks_of_uuid(self, uuid: str) -> tuple[RemoteTask, ...]:
        """Rows with this uuid, those of forgotten slices too: is this remote task ours?"""
        ...

    async def tasks_of_number(self, number: int) -> tuple[RemoteTask, ...]:
        """Every row under one intent number, which twins share; those of forgotten slices too."""
        ...

    async def children(self, slice_id: str) -> tuple[Slice, ...]:
        """Slices that were made of this one, by window."""
        ...

    async def orphans(self, job: str, window: Window) -> tuple[RemoteTask, ...]:
        """Remote tasks that asked for rows of ``window`` for slices the manifest does not know any more,
        though nobody forgot them, by number."""
        ...

    async def like(self, text: str, limit: int) -> tuple[str, ...]:
        """At most ``limit`` ids of slices and uuids that begin with ``text``, or else those that come next to
        it in the alphabet."""
        ...

    async def replaced(self, job: str) -> tuple[str, ...]:
        """Ids of slices that newer ones, not all of them verified yet, are to replace."""
        ...

    async def replacing(self, job: str, slice_id: str) -> tuple[Slice, ...]:
        """The slices that are to replace this one, with what they were divided into, by window."""
        ...

    async def told_of(self, slice_id: str) -> str | None:
        """The job of a slice of which only the journal is left; None when that knows nothing either."""
        ...

    async def listings(self, job: str) -> tuple[JournalLine, ...]:
        """When the service's lists began and ceased to name the job's logstore and its log streams, oldest
        first: ``logstore_listed``, ``logstore_vanished``, ``stream_listed``, ``stream_vanished``, the latter
        with ``logstream`` in their detail."""
        ...

    async def strays_sought_at(self, job: str) -> float | None:
        """When strays of the job were last looked for through all of the list (``strays_sought`` in the
        journal), UTC epoch seconds; None when they never were."""
        ...

    async def ended_since(self, at: float) -> Ended:
        """What was exported to the end since ``at``, UTC epoch seconds, or since a later moment when the
        journal has very much to tell."""
        ...

    async def acceptances(self, job: str) -> tuple[Acceptance, ...]:
        """What was signed off, by start."""
        ...

    async def forgettable(self, job: str, window: Window | None) -> Forgotten:
        """What ``forget`` would drop."""
        ...

    async def created_at(self) -> float:
        """When the manifest was made: no remote task of it is older."""
        ...

    def ledger(self, jobs: Sequence[str] = ()) -> AsyncIterator[LedgerRow]:
        """All rows (of ``jobs``, or of all), by job, start, number; streamed."""
        ...

    async def in_doubt_since(self, at: float) -> tuple[RemoteTask, ...]:
        """Remote tasks that were in doubt at some time since ``at``: strays of theirs are still looked
        for."""
        ...


class ManifestWriter(ManifestReader, Protocol):
    """The one writer. A commit that returned is on disk (SQLite ``synchronous=FULL``)."""

    async def commit(self, changes: Changes) -> None:
        """All or nothing. Raises DiskFull, StorageError, ManifestDamaged."""
        ...

    async def accept(
        self, job: str, window: Window, reason: str, by: str, at: float, logstream: str = "*"
    ) -> None:
        """Signs a window off, as ``Acceptance`` says. What is covered later is signed off no more."""
        ...

    async def forget(self, job: str, window: Window | None, at: float) -> WindowSet:
        """Drops coverage, slices, receipts and acceptances that meet ``window`` (None: all, and the job's
        identity). A slice goes whole, with its coverage. Remote tasks stay known, those of unfinished slices
        become surplus, and numbers are never used again. Returns what was covered and no longer is."""
        ...
