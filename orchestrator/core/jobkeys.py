"""Which keys does a job file have?

The one table: reading, complaining, the reference page, the JSON schema, the example file and the starter
file are all drawn from it (design.md 2.1). Section "" is the top level, "jobs" stands for ``[[jobs]]`` and,
without ``name``, for ``[defaults]``; "destinations" holds named tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.core.job import (
    MAX_LINES_PER_REMOTE_TASK,
    Align,
    Compression,
    Deliver,
    Order,
    Output,
    ServedFormat,
)

__all__ = ["COLUMN_TYPES", "KEYS", "REGIONS", "SECTIONS", "Form", "Key", "Kind", "Section", "keys_of"]

REGIONS = ("bj", "gz", "su", "bd", "fwh", "yq", "nj", "cd", "hkg")
"""bls-api.md 1."""
COLUMN_TYPES = ("string", "int64", "float64", "bool", "timestamp")

_MOST = 1_000_000


class Kind(StrEnum):
    """What a value is in TOML and what becomes of it."""

    TEXT = "text"
    PATH = "path"
    CHOICE = "choice"
    WHOLE = "whole number"
    NUMBER = "number"
    SWITCH = "true or false"
    DURATION = "duration"  # -> seconds
    SIZE = "size"  # -> bytes
    MOMENT = "moment"  # kept as written: it needs the job's time zone
    NAMES = "name or list of names"  # -> str or tuple of patterns
    QUERY = "search"
    SCHEDULE = "cron schedule"
    COMMAND = "list of words"
    COLUMNS = "table of types"


@dataclass(frozen=True, slots=True)
class Form:
    """A regular expression that the whole text must match, and the same in words."""

    pattern: str
    words: str


@dataclass(frozen=True, slots=True)
class Key:
    """One key. ``default`` is as written in TOML, None when the key is off unless given; ``needed`` says when
    it cannot be left out, "" for never; ``example`` is what the example file shows. Numbers have both
    ``least`` and ``most``."""

    section: str
    name: str
    kind: Kind
    meaning: str
    default: str | int | float | bool | None = None
    needed: str = ""
    example: object = None
    choices: tuple[str, ...] = ()
    form: Form | None = None
    least: int | float | None = None
    most: int | float | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """A table of keys: its header as written and what it is for."""

    name: str
    header: str
    meaning: str


SECTIONS = (
    Section("", "", "The file as a whole."),
    Section(
        "service", "[service]", "The default service; more as [services.NAME], chosen by `service` in a job."
    ),
    Section("limits", "[limits]", "Ceilings: the tool adapts below them and never exceeds them."),
    Section("data_plane", "[data_plane]", "Where files are fetched and converted."),
    Section("destinations", "[destinations.NAME]", "Named destinations, chosen by `destination` in a job."),
    Section("jobs", "[[jobs]]", "What to export. [defaults] takes every key of [[jobs]] but `name`."),
)

_NOT_BLANK = Form(r"(?=.*\S).+", "a name that is not empty")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PORT = (
    r"(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6(?:[0-4][0-9]{3}|5(?:[0-4][0-9]{2}|5(?:[0-2][0-9]|3[0-5])))))?"
)
_URL = Form(
    rf"https?://(?=[^/:]{{1,253}}(?:[/:]|$))(?:{_LABEL})(?:\.{_LABEL})*\.?{_PORT}/*"
    rf"|https?://\[[0-9A-Fa-f:.]+\]{_PORT}/*",
    "http(s)://HOST[:PORT]",
)
_CREDENTIALS = Form(
    r"auto|env|profile:.*\S.*|file:.*\S.*|exec:.*\S.*",
    '"auto", "env", "profile:NAME", "file:PATH", "exec:COMMAND"',
)
_REGION = Form(r"[a-z0-9][a-z0-9-]*", f"{', '.join(REGIONS)}; any other service by `endpoint`")
_JOB_NAME = Form(
    r"(?=.*\{logstore\}|[A-Za-z0-9_.-]{1,64}$)([A-Za-z0-9_.-]|\{logstore\})+",
    '1 to 64 of A to Z, a to z, 0 to 9 and _ . -; with "{logstore}" when logstore is a pattern',
)
_PLACE = Form(
    r"(s3|bos)://[^/\s]+(/.*)?|(?![A-Za-z][A-Za-z0-9+.-]*://)(?=.*\S).+",
    "a folder, s3://BUCKET/PREFIX or bos://BUCKET/PREFIX",
)
_SCHEDULER = Form(r"(tcp|tls|ws|wss|ucx)://\S+", "tcp://HOST:PORT")
_FILE_DIR = Form(r"[A-Za-z0-9][A-Za-z0-9.-]*[A-Za-z0-9](/[^/\s]+)*/?", "BUCKET/FOLDER")
_TIME_FIELD = Form(
    r"auto|#[1-9][0-9]{0,4}|[^#].*", '"auto", the name of a field or column, or "#3" for the third column'
)


def _service_keys(section: str) -> tuple[Key, ...]:
    return (
        Key(
            section,
            "region",
            Kind.TEXT,
            "Region: the endpoint is https://bls-log.REGION.baidubce.com.",
            needed="unless `endpoint` is given",
            example="bj",
            form=_REGION,
        ),
        Key(
            section,
            "endpoint",
            Kind.TEXT,
            "Base URL, instead of what the region says.",
            example="http://127.0.0.1:8700",
            form=_URL,
        ),
        Key(
            section,
            "credentials",
            Kind.TEXT,
            "Where credentials come from; a named source beats the environment, sources are never mixed.",
            default="auto",
            form=_CREDENTIALS,
        ),
        Key(
            section,
            "ca_file",
            Kind.PATH,
            "PEM file of certificates to trust; HTTP(S)_PROXY and NO_PROXY are honoured.",
            example="corp-ca.pem",
        ),
    )


KEYS: tuple[Key, ...] = (
    Key(
        "",
        "manifest",
        Kind.PATH,
        "SQLite file with the ledger; relative to the job file. Also --manifest and ORCHESTRATOR_MANIFEST.",
        default="orchestrator.db",
    ),
    Key(
        "",
        "mirror",
        Kind.TEXT,
        "Copy of the ledger after every run and every 5 minutes; never inside a destination.",
        example="s3://logs/_ledger",
        form=_PLACE,
    ),
    *_service_keys("service"),
    Key(
        "limits",
        "requests_per_second",
        Kind.NUMBER,
        "All signed calls together, retries included, over any one-second interval.",
        default=20.0,
        least=0.01,
        most=10_000,
    ),
    Key(
        "limits",
        "queries",
        Kind.WHOLE,
        "Count and histogram queries at once.",
        default=10,
        least=1,
        most=10_000,
    ),
    Key(
        "limits",
        "tasks",
        Kind.WHOLE,
        "Remote tasks waiting, running or in doubt at once.",
        default=20,
        least=1,
        most=10_000,
    ),
    Key("limits", "downloads", Kind.WHOLE, "Files fetched at once.", default=4, least=1, most=1_000),
    Key(
        "limits",
        "bandwidth",
        Kind.SIZE,
        "Bytes fetched per second, all downloads together; MB = 10^6, MiB = 2^20.",
        example="200MB",
        least=1,
    ),
    Key(
        "limits",
        "disk_reserve",
        Kind.SIZE,
        "Stop fetching, cleanly, before less than this is free.",
        default="1GB",
        least=0,
    ),
    Key(
        "data_plane",
        "engine",
        Kind.CHOICE,
        "Who fetches and converts.",
        default="inline",
        choices=("inline", "processes", "dask"),
    ),
    Key("data_plane", "workers", Kind.WHOLE, "How many processes.", example=2, least=1, most=1_024),
    Key(
        "data_plane",
        "scheduler",
        Kind.TEXT,
        "Address of the Dask scheduler.",
        needed='with engine = "dask"',
        example="tcp://10.0.0.5:8786",
        form=_SCHEDULER,
    ),
    Key(
        "destinations",
        "url",
        Kind.TEXT,
        "Where files go.",
        needed="always",
        example="archive/cold",
        form=_PLACE,
    ),
    Key("destinations", "endpoint", Kind.TEXT, "S3 endpoint.", example="https://s3.bj.bcebos.com", form=_URL),
    Key(
        "destinations",
        "region",
        Kind.TEXT,
        "S3 region.",
        example="bj",
        form=Form(_REGION.pattern, "a region's name"),
    ),
    Key(
        "destinations",
        "credentials",
        Kind.TEXT,
        "AWS_* variables for s3, or as in [service].",
        default="env",
        form=_CREDENTIALS,
    ),
    Key(
        "destinations",
        "addressing",
        Kind.CHOICE,
        "How the bucket stands in the URL.",
        default="virtual",
        choices=("virtual", "path"),
    ),
    Key(
        "jobs",
        "name",
        Kind.TEXT,
        'Name of the job, unique; contains "{logstore}" when logstore is a pattern.',
        needed="always",
        example="web-access",
        form=_JOB_NAME,
    ),
    Key(
        "jobs",
        "service",
        Kind.TEXT,
        "Name of a [services.NAME] table; left out: [service].",
        example="gz",
        form=Form(_NOT_BLANK.pattern, "the NAME of a [services.NAME] table"),
    ),
    Key("jobs", "project", Kind.TEXT, "Project of the logstore.", default="default", form=_NOT_BLANK),
    Key(
        "jobs",
        "logstore",
        Kind.NAMES,
        'Logstore, or a list with globs and exclusions: ["web-*", "!web-test"], one job per match.',
        needed="always",
        example="web-access",
        form=Form(r"[A-Za-z0-9_.-]{1,128}", "1 to 128 of A to Z, a to z, 0 to 9 and _ . -"),
    ),
    Key(
        "jobs",
        "logstream",
        Kind.NAMES,
        'Log stream; a list with globs: each that is listed, proven one by one; "": all together.',
        default="",
        form=Form(r".{0,256}", "at most 256 characters"),
    ),
    Key(
        "jobs",
        "query",
        Kind.QUERY,
        "Search: empty or a match search; a bare search gets `match ` in front.",
        default="match *",
    ),
    Key(
        "jobs",
        "from",
        Kind.MOMENT,
        'Start, inclusive: a TOML or ISO date or date-time, or relative: "now-6h", "today-7d", "yesterday".',
        needed="always",
        example="2026-01-01T00:00:00Z",
    ),
    Key(
        "jobs",
        "to",
        Kind.MOMENT,
        "End, exclusive; left out: now minus lag, moving with every run.",
        example="2026-02-01T00:00:00Z",
    ),
    Key(
        "jobs",
        "lag",
        Kind.DURATION,
        "Settling margin behind now; what is inside is not due: neither gap nor covered.",
        default="5m",
        least=0,
    ),
    Key(
        "jobs",
        "timezone",
        Kind.TEXT,
        "Zone of dates, naive times, today, layout, align and schedule.",
        default="UTC",
        form=Form(r"[A-Za-z0-9_+/-]+", 'a name of the time zone database, such as "Asia/Shanghai"'),
    ),
    Key(
        "jobs",
        "max_lines",
        Kind.WHOLE,
        "Lines per slice.",
        default=MAX_LINES_PER_REMOTE_TASK,
        least=1,
        most=MAX_LINES_PER_REMOTE_TASK,
    ),
    Key(
        "jobs", "align", Kind.CHOICE, "No slice crosses this boundary.", default="none", choices=tuple(Align)
    ),
    Key(
        "jobs", "format", Kind.CHOICE, "What the service writes.", default="json", choices=tuple(ServedFormat)
    ),
    Key("jobs", "order", Kind.CHOICE, "Order of rows by record time.", default="asc", choices=tuple(Order)),
    Key(
        "jobs",
        "deliver",
        Kind.CHOICE,
        '"files": fetch them; "bos": the service writes to file_dir/<task name>/ and nothing is fetched.',
        default="files",
        choices=tuple(Deliver),
    ),
    Key(
        "jobs",
        "file_dir",
        Kind.TEXT,
        "Bucket and folder the service writes to.",
        needed='with deliver = "bos"',
        example="bucket/dir",
        form=_FILE_DIR,
    ),
    Key(
        "jobs",
        "destination",
        Kind.TEXT,
        "A folder, s3://, bos://, or a name from [destinations].",
        needed='with deliver = "files"',
        example="archive",
        form=_PLACE,
    ),
    Key(
        "jobs",
        "layout",
        Kind.TEXT,
        "Path below the destination, with both ends to the second; ~stream slug and extension follow. "
        "Also {project} and {logstore}.",
        default="{job}/{start:%Y/%m/%d}/{start_utc:%Y%m%dT%H%M%SZ}_{end_utc:%Y%m%dT%H%M%SZ}",
        form=Form(
            _NOT_BLANK.pattern, "a relative path of fields, A to Z, a to z, 0 to 9 and _ . = @ + , - /"
        ),
    ),
    Key(
        "jobs",
        "output",
        Kind.CHOICE,
        '"raw": bytes as served, rewritten in the same form only when rows must be dropped.',
        default="raw",
        choices=tuple(Output),
    ),
    Key(
        "jobs",
        "compression",
        Kind.CHOICE,
        "Of jsonl and csv; parquet is zstd inside.",
        default="none",
        choices=tuple(Compression),
    ),
    Key(
        "jobs",
        "time_field",
        Kind.TEXT,
        'Field or column ("#3") that holds the record time.',
        default="auto",
        form=_TIME_FIELD,
    ),
    Key("jobs", "columns", Kind.COLUMNS, "Declared types for parquet.", example={"status": "int64"}),
    Key(
        "jobs",
        "recheck",
        Kind.DURATION,
        "Windows younger than this are counted again on later runs; changed ones are exported anew.",
        example="2d",
        least=1,
    ),
    Key("jobs", "attempts", Kind.WHOLE, "Attempts per slice and run.", default=5, least=1, most=1_000),
    Key(
        "jobs",
        "give_up_after",
        Kind.DURATION,
        "A remote task not finished by then is a gap.",
        default="24h",
        least=1,
    ),
    Key("jobs", "schedule", Kind.SCHEDULE, "Cron in `timezone`, used by `serve`.", example="0 2 * * *"),
    Key("jobs", "priority", Kind.WHOLE, "Higher goes first.", default=0, least=-_MOST, most=_MOST),
    Key("jobs", "enabled", Kind.SWITCH, "Whether `run` and `serve` see the job.", default=True),
    Key(
        "jobs",
        "on_complete",
        Kind.COMMAND,
        "Command run when the job is complete; the JSON report on stdin, time-limited.",
        example=["./notify.sh"],
    ),
    Key(
        "jobs",
        "on_incomplete",
        Kind.COMMAND,
        "Command run when the job is not complete.",
        example=["./notify.sh"],
    ),
)


def keys_of(section: str) -> Mapping[str, Key]:
    """The keys of a section by name; "defaults" has those of "jobs" but ``name``."""
    if section == "defaults":
        return {name: key for name, key in keys_of("jobs").items() if name != "name"}
    return {key.name: key for key in KEYS if key.section == section}
