"""The nouns of the house: slices, remote tasks, tickets, receipts. Frozen values; a change is a new value.

Facts about the service's own fields: bls-api.md 2. Times are UTC epoch seconds; ``None`` means "not known".
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.core.columns import Column
from orchestrator.core.job import Compression, DestinationSpec, Job, JobIdentity, Order, Output, ServedFormat
from orchestrator.core.redact import PresignedLink
from orchestrator.core.window import Window, iso_utc

__all__ = [
    "LIVE_STATES",
    "OUTSTANDING_STATES",
    "Accepted",
    "ColumnsFound",
    "CreateRequest",
    "Evidence",
    "Fault",
    "LinkExpired",
    "Part",
    "Receipt",
    "RemoteState",
    "RemoteTask",
    "RemoteTaskStatus",
    "Slice",
    "SliceState",
    "TaskPage",
    "Ticket",
    "remote_name",
    "slice_id",
]


class Part(StrEnum):
    """Which rows of one second a slice is about, when a single remote task cannot carry them all."""

    WHOLE = ""
    EARLY = "early"
    """Those before a millisecond of that second; asked for in ascending order."""
    LATE = "late"
    """Those from that millisecond on; asked for in descending order."""


class SliceState(StrEnum):
    """Where a slice stands (design: one corridor, walked forward); public words."""

    PLANNED = "planned"
    SUBMITTING = "submitting"
    IN_DOUBT = "in_doubt"
    WAITING = "waiting"
    RUNNING = "running"
    READY = "ready"
    TRANSFERRING = "transferring"
    SETTLING = "settling"
    DONE = "done"
    EMPTY = "empty"
    DELIVERED = "delivered"
    CUT = "cut"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    ABANDONED = "abandoned"


LIVE_STATES = frozenset(
    {
        SliceState.SUBMITTING,
        SliceState.IN_DOUBT,
        SliceState.WAITING,
        SliceState.RUNNING,
        SliceState.READY,
        SliceState.TRANSFERRING,
        SliceState.SETTLING,
    }
)
"""A run holds these in memory; everything else stays in the manifest."""

OUTSTANDING_STATES = frozenset(
    {SliceState.SUBMITTING, SliceState.IN_DOUBT, SliceState.WAITING, SliceState.RUNNING}
)
"""Counted against the ceiling ``tasks``."""


class RemoteState(StrEnum):
    """The states the service documents (bls-api.md 2.6); any other word is kept verbatim and is not
    terminal."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"


class Evidence(StrEnum):
    """What proves that a window is complete, strongest first."""

    COUNT = "count"
    """The stored rows are at least as many as the service counted."""
    BELOW_LIMIT = "below limit"
    """The service wrote the file elsewhere and states fewer rows than the limit; no count was to be had."""
    ROWS_ONLY = "rows only"
    """Nothing but the rows themselves, asked for with a margin of one second at both ends."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Fault:
    """An error as a value: what events and the manifest carry. Never holds a secret or a presigned link."""

    code: str
    message: str
    disposition: str
    status: int = 0
    service_code: str = ""
    request_id: str = ""
    retry_after_s: float | None = None
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a create."""

    uuid: str
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """The body of CreateDownloadTask (bls-api.md 2.1), in our types."""

    name: str
    identity: JobIdentity
    logstream: str
    window: Window
    format: ServedFormat
    limit: int
    order: Order
    file_dir: str = ""

    def body(self) -> dict[str, str | int]:
        """The fields as they are sent. What is "" is left out: absent means all streams and the service's own
        folder, while an empty text might mean a stream without a name (bls-api.md 10.26)."""
        fields: dict[str, str | int] = {
            "name": self.name,
            "project": self.identity.project,
            "logStoreName": self.identity.logstore,
            "logStreamName": self.logstream,
            "query": self.identity.query,
            "queryStartTime": iso_utc(self.window.start_s),
            "queryEndTime": iso_utc(self.window.end_s),
            "format": self.format.value,
            "limit": self.limit,
            "order": self.order.value,
            "fileDir": self.file_dir,
        }
        return {key: value for key, value in fields.items() if value != ""}


@dataclass(frozen=True, slots=True)
class RemoteTaskStatus:
    """What the service says about one remote task (bls-api.md 2.2). ``state`` is verbatim."""

    uuid: str
    name: str = ""
    state: str = ""
    project: str = ""
    logstore: str = ""
    logstream: str | None = None
    query: str = ""
    start_s: int | None = None
    end_s: int | None = None
    format: str = ""
    limit: int | None = None
    order: str = ""
    written_rows: int | None = None
    failed_code: str = ""
    failed_message: str = ""
    file_dir: str = ""
    file_name: str = ""
    created_at: float | None = None
    updated_at: float | None = None
    exec_start_at: float | None = None
    exec_end_at: float | None = None


@dataclass(frozen=True, slots=True)
class TaskPage:
    """One page of ListDownloadTask (bls-api.md 2.3). ``page_size`` and ``total`` are the service's words,
    None when absent; ``server_at`` is the answer's Date."""

    tasks: tuple[RemoteTaskStatus, ...]
    page_size: int | None = None
    total: int | None = None
    server_at: float | None = None


@dataclass(frozen=True, slots=True)
class RemoteTask:
    """One intent to have a remote task, and what became of it. Its ``number`` is never used again."""

    number: int
    name: str
    slice_id: str
    job: str
    attempt: int
    window: Window
    """As requested: the slice's window, or padded by a second at both ends."""
    limit: int
    order: Order
    format: ServedFormat
    intent_at: float
    uuid: str = ""
    state: str = ""
    """The service's last word, verbatim; "" before any."""
    request_id: str = ""
    answered_at: float | None = None
    """When the create's reply came, whatever it said; None when none came."""
    expires_at: float | None = None
    """Until when an unanswered create could still be executed (signature expiry, server time)."""
    created_at: float | None = None
    finished_at: float | None = None
    written_rows: int | None = None
    failed_code: str = ""
    failed_message: str = ""
    surplus: bool = False
    """Let go: to be deleted at the service, by this run or a later one."""
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Ticket:
    """All a data plane needs to turn one finished remote task into one staged file. Picklable."""

    slice_id: str
    job: str
    attempt_key: str
    """Unique per remote task and fetch: names the staged file; ``[a-z0-9-]`` only."""
    window: Window
    requested: Window
    limit: int
    order: Order
    format: ServedFormat
    output: Output
    compression: Compression
    time_field: str
    destination: DestinationSpec
    link: PresignedLink
    written_rows: int | None = None
    disk_reserve_bytes: int = 0
    bandwidth_bytes_per_s: float | None = None
    part: Part = Part.WHOLE
    edge_ms: int = 0
    """Where the parts of a divided second meet, in milliseconds from its start; meaningless for the whole."""
    columns: tuple[Column, ...] | None = None
    """Of a table (``core.columns.table_columns``); None when the job's are not known yet, and for outputs
    that are none."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a transfer left behind. Law: ``served_rows - dropped_rows == stored_rows``.

    ``staged_path`` is the staged artifact, "" when no row was kept and nothing was staged. ``kept`` is the
    part of the slice's window whose rows it holds: the whole window, or, for a truncated file that is in time
    order over more than one second, the part before (asc) or after (desc) the last second met; None when a
    truncated file cannot be cut.
    """

    staged_path: str
    form: str
    """What the stored file is, e.g. ``jsonl``, ``jsonl+gzip``, ``csv``, ``json-array+zstd``."""
    extension: str
    """With leading dot, e.g. ``.jsonl.gz``; chosen by us, never by the service."""
    fetched_bytes: int
    fetched_sha256: str
    stored_bytes: int
    stored_sha256: str
    served_rows: int
    dropped_rows: int
    stored_rows: int
    kept: Window | None
    truncated: bool = False
    time_known: bool = True
    """Whether rows could be dated; without it nothing is clipped or cut."""
    wire_bytes: int = 0
    """Bytes that really crossed the wire for this receipt, renewals and re-reads included."""
    turn_ms: int | None = None
    """For a truncated file of one second in time order: the millisecond of that second at which early and
    late rows can be parted, so that this file surely holds one of the two parts whole. None when it cannot
    be told."""
    start_met: bool = field(default=False, compare=False)
    """A row dated exactly at the requested start was served: the service counts a task's start in. Learned
    while the run lasts and not kept in the manifest; without it one more count settles the same question."""
    inside_rows: int | None = field(default=None, compare=False)
    """Rows served that lie in the window, whether they were kept or not; None when not known. Not kept in the
    manifest: it only says why a file is full."""


@dataclass(frozen=True, slots=True)
class LinkExpired:
    """A transfer stopped because its link no longer opens; ``offset_bytes`` are safe in the staging area.
    ``why`` is for people."""

    offset_bytes: int
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ColumnsFound:
    """A transfer stopped because its output is a table and its ticket names no columns: these are what the
    file suggests. All of it is in the staging area."""

    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """A window sent as one remote task: the unit of work, retry and resume."""

    id: str
    job: str
    logstream: str
    window: Window
    state: SliceState = SliceState.PLANNED
    generation: int = 0
    attempt: int = 0
    """Remote tasks asked for in this run."""
    throttled: int = 0
    """Refusals and doubts in a row that were not the slice's fault."""
    refetched: int = 0
    fetch_round: int = 0
    """Files begun from nothing: names the staged file together with the remote task."""
    expiries: int = 0
    padded: bool = False
    """The next create asks for one more second at both ends (design 5, Completeness)."""
    not_before_at: float = 0.0
    expected_lines: int | None = None
    counted_at: float | None = None
    recount: int | None = None
    recounted_at: float | None = None
    evidence: Evidence = Evidence.NONE
    reason: str = ""
    """Why it is a gap or no longer counts; a word of ``core.reasons``."""
    path: str = ""
    """Where the published file stands, or shall stand."""
    published_path: str = ""
    """Where a file of this slice stands already, from this attempt or an earlier run; "" when none does."""
    published_sha256: str = ""
    published_rows: int = 0
    parent: str = ""
    replaces: str = ""
    """The slice of an older generation that keeps its file and its coverage until this one and its siblings
    are verified; "" for all that hold their window by themselves. Of such a group only the first has no
    ``parent``."""
    whole: str = ""
    """The slice of one overfull second whose count this one's rows must add up to, together with its
    siblings'; "" for all that are proven by themselves."""
    part: Part = Part.WHOLE
    edge_ms: int = 0
    task: RemoteTask | None = None
    receipt: Receipt | None = None
    best: Receipt | None = field(default=None)
    """The fullest short file so far, kept while a further attempt runs."""
    updated_at: float = 0.0


def slice_id(job: Job, logstream: str, window: Window, generation: int = 0, part: Part = Part.WHOLE) -> str:
    """Content-derived: the same job, stream, window, generation and part give the same id on every machine
    (16 hex digits)."""
    identity = job.identity
    text = "\x1f".join(
        (
            job.name,
            identity.service,
            identity.project,
            identity.logstore,
            identity.query,
            logstream,
            str(window.start_s),
            str(window.end_s),
            str(generation),
            *([part.value] if part else []),
        )
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def remote_name(manifest_id: str, number: int) -> str:
    """The name a remote task carries at the service: at most 40 of ``[a-z0-9-]``. ``manifest_id`` is 16 hex
    digits."""
    return f"o-{manifest_id}-{number}"
