"""What a job is: its identity (what is exported) and its form (how), as plain values the whole house
shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.core.window import Window

__all__ = [
    "Align",
    "Compression",
    "Deliver",
    "DestinationSpec",
    "Fleet",
    "Job",
    "JobFile",
    "JobIdentity",
    "Limits",
    "Order",
    "Output",
    "ServedFormat",
    "ServiceSpec",
]

MAX_LINES_PER_REMOTE_TASK = 1_000_000
"""The service's own limit (bls-api.md 2.1, 6)."""


class Order(StrEnum):
    """Which rows come first, and which a limit keeps (bls-api.md 2.1)."""

    ASC = "asc"
    DESC = "desc"


class ServedFormat(StrEnum):
    """What the service writes (bls-api.md 2.1)."""

    JSON = "json"
    CSV = "csv"


class Deliver(StrEnum):
    """Who puts the file where it belongs."""

    FILES = "files"
    BOS = "bos"


class Output(StrEnum):
    """What the stored file is."""

    RAW = "raw"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class Compression(StrEnum):
    """How the stored file is packed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


class Align(StrEnum):
    """Local boundaries that no slice crosses."""

    NONE = "none"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One endpoint. ``endpoint`` is a base URL without trailing slash; ``name`` is "" for the default
    service.

    ``credentials`` is the source as written ("auto", "env", "profile:NAME", "file:PATH", "exec:COMMAND"),
    never a secret. ``ca_file`` is an absolute path or "".
    """

    name: str
    endpoint: str
    region: str = ""
    credentials: str = "auto"
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Ceilings (design.md 2.1): the tool adapts below them and never exceeds them."""

    requests_per_s: float = 20.0
    queries: int = 10
    tasks: int = 20
    downloads: int = 4
    bandwidth_bytes_per_s: int | None = None
    disk_reserve_bytes: int = 1_000_000_000


@dataclass(frozen=True, slots=True)
class DestinationSpec:
    """A named or inline destination. ``url`` is an absolute folder, ``s3://bucket/prefix`` or
    ``bos://bucket/prefix``."""

    url: str
    endpoint: str = ""
    region: str = ""
    credentials: str = "env"
    addressing: str = "virtual"


@dataclass(frozen=True, slots=True)
class JobIdentity:
    """What is exported. A manifest refuses a job whose identity changed under the same name (design.md
    2.1)."""

    service: str
    """Region or endpoint host."""
    project: str
    logstore: str
    logstream: str
    query: str


@dataclass(frozen=True, slots=True)
class Job:
    """One job, ready to run: times are absolute, defaults filled in.

    ``window`` is what this run is asked to make true; None when nothing is due yet (``to`` lies before
    ``from`` because of ``lag``). ``due_until_s`` is where "not due" begins: the end of the window after lag.
    """

    name: str
    identity: JobIdentity
    service: ServiceSpec
    window: Window | None
    due_until_s: int
    timezone: str = "UTC"
    lag_s: int = 300
    max_lines: int = MAX_LINES_PER_REMOTE_TASK
    align: Align = Align.NONE
    format: ServedFormat = ServedFormat.JSON
    order: Order = Order.ASC
    deliver: Deliver = Deliver.FILES
    file_dir: str = ""
    destination: DestinationSpec | None = None
    layout: str = "{job}/{start:%Y/%m/%d}/{start_utc:%Y%m%dT%H%M%SZ}_{end_utc:%Y%m%dT%H%M%SZ}"
    output: Output = Output.RAW
    compression: Compression = Compression.NONE
    time_field: str = "auto"
    columns: tuple[tuple[str, str], ...] = ()
    recheck_s: int | None = None
    attempts: int = 5
    give_up_after_s: int = 86_400
    schedule: str = ""
    priority: int = 0
    enabled: bool = True
    on_complete: tuple[str, ...] = ()
    on_incomplete: tuple[str, ...] = ()
    from_s: int = 0
    """The asked start, also when ``window`` is None."""
    to_s: int | None = None
    """The asked end, which may lie beyond ``due_until_s``; None when the job has no end of its own."""
    stream_patterns: tuple[str, ...] = ()
    """Which log streams are exported one by one; () when ``identity.logstream`` names one, or means all
    together. Otherwise that is these patterns as one text, and names no stream."""
    streams: tuple[str, ...] = ()
    """The streams that fit ``stream_patterns``, as far as they are known."""
    gone_streams: tuple[str, ...] = ()
    """Streams that fit and were exported by earlier runs, but are no longer listed."""
    one_stream: bool = False
    """Whether this is a view of such a job (``core.streams``), about ``identity.logstream`` alone."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """One table of the job file whose logstores are patterns: a job per logstore that fits, found anew by
    each run (``core.fleets``).

    ``template`` is the job as it will be, but for the logstore: its name holds ``{logstore}``, and as
    logstore it has the patterns as one text. ``place`` is how complaints call the table. ``only`` are the
    names a call asked for, () for all."""

    template: Job
    logstores: tuple[str, ...]
    place: str
    only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobFile:
    """A valid job file with every default filled in. Paths are absolute."""

    path: str
    manifest: str
    mirror: str
    limits: Limits
    engine: str = "inline"
    workers: int | None = None
    scheduler: str = ""
    jobs: tuple[Job, ...] = ()
    fleets: tuple[Fleet, ...] = ()
    """Tables whose jobs are not known yet."""
    others: tuple[Job, ...] = ()
    """Jobs of the same file that a call leaves out."""
    manifest_named: bool = False
    """Whether ``manifest`` was named besides the file, so that a command has to name it too."""
    redactions: tuple[str, ...] = field(default=(), repr=False)
    """Values that came from ``${NAME}``: hidden in every output."""
