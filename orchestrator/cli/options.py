"""Which options do several commands share, and how is what was typed read?"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from orchestrator.core.complaint import Wrong
from orchestrator.core.measures import parse_duration, parse_share

__all__ = [
    "From",
    "JobNames",
    "Jobs",
    "Json",
    "LedgerFormat",
    "LogFile",
    "LogFormat",
    "LogStyle",
    "Manifest",
    "NoProgress",
    "Quiet",
    "To",
    "Verbose",
    "Wait",
    "duration",
    "line_count",
    "share",
]


class LogFormat(StrEnum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"


class LedgerFormat(StrEnum):
    """How the ledger looks."""

    TABLE = "table"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    SHA256SUMS = "sha256sums"


def duration(text: str | int) -> int:
    """Seconds; typer leads defaults through here too. Raises BadParameter."""
    if isinstance(text, int):
        return text
    try:
        return parse_duration(text)
    except Wrong as wrong:
        raise typer.BadParameter(f"{wrong.objection.problem}; allowed: {wrong.objection.allowed}") from None


def line_count(text: str | int) -> int:
    """A number of lines above 0, underscores and commas allowed. Raises BadParameter."""
    if isinstance(text, int):
        return text
    digits = text.replace("_", "").replace(",", "")
    if not digits.isdecimal() or int(digits) < 1:
        raise typer.BadParameter("allowed: a whole number above 0, such as 5000000 or 5_000_000")
    return int(digits)


def share(text: str | float) -> float:
    """A percentage as a number up to 1. Raises BadParameter."""
    if isinstance(text, float):
        return text
    try:
        return parse_share(text)
    except Wrong as wrong:
        raise typer.BadParameter(f"{wrong.objection.problem}; allowed: {wrong.objection.allowed}") from None


Jobs = Annotated[
    str,
    typer.Argument(
        metavar="JOBS", envvar="ORCHESTRATOR_JOBS", show_default="./jobs.toml", help="The job file (TOML)."
    ),
]
JobNames = Annotated[
    list[str] | None,
    typer.Option("--job", metavar="NAME", help="Only this job; may be repeated; * and ? are wildcards."),
]
From = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="TIME",
        help="Only from here: a date, a date-time, or now-6h, today-7d, yesterday. Must lie in the job's "
        "window; without an offset it is read in the job's timezone.",
    ),
]
To = Annotated[str, typer.Option("--to", metavar="TIME", help="Only up to here, exclusive; as --from.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, also on failure.")]
Manifest = Annotated[
    str,
    typer.Option(
        "--manifest",
        metavar="FILE",
        envvar="ORCHESTRATOR_MANIFEST",
        help="The manifest to use instead of the job file's.",
    ),
]
LogStyle = Annotated[LogFormat, typer.Option("--log-format", help="How log lines on stderr are written.")]
LogFile = Annotated[
    str,
    typer.Option(
        "--log-file",
        metavar="FILE",
        help="Where the log file goes; left out: beside the manifest. Rotated; tracebacks go there only.",
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log every step of every slice.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings and errors only; no progress.")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No progress, neither live nor logged.")]
Wait = Annotated[
    int,
    typer.Option(
        "--wait",
        metavar="DURATION",
        parser=duration,
        show_default="do not wait",
        help="Wait this long for another run that holds the manifest, such as 30m.",
    ),
]
