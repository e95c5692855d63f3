"""What may be typed to pull rows without a job file?"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from orchestrator.cli.asked import Asked
from orchestrator.cli.entry import app, end
from orchestrator.cli.options import (
    LogFormat,
    LogStyle,
    NoProgress,
    Quiet,
    Verbose,
    Wait,
    duration,
    line_count,
)

LONGEST_S = 30 * 365 * 86_400


def _back_from_now(text: str | int) -> int:
    """Seconds, more than none. Raises BadParameter."""
    seconds = duration(text)
    if isinstance(text, str) and not seconds:
        raise typer.BadParameter("no time at all; allowed: more than 0 s, such as 30m")
    if seconds > LONGEST_S:
        raise typer.BadParameter("before all logs; allowed: up to 30 years")
    return seconds


class RowsAs(StrEnum):
    """What is written of each row."""

    RAW = "raw"
    TEXT = "text"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


LogStore = Annotated[str, typer.Argument(metavar="LOGSTORE", help="The logstore to read.")]
Since = Annotated[
    int,
    typer.Option(
        "--since",
        metavar="DURATION",
        parser=_back_from_now,
        show_default=False,
        help="From so long before now, such as 6h or 30m; instead of --from.",
    ),
]
PullFrom = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="TIME",
        help="From here: a date, a date-time, or now-6h, today-7d, yesterday; UTC unless it has an offset.",
    ),
]
PullTo = Annotated[
    str, typer.Option("--to", metavar="TIME", help="Up to here, exclusive; left out: now. As --from.")
]
Project = Annotated[str, typer.Option(help="Project of the logstore.")]
Region = Annotated[str, typer.Option(help="Region of the logstore, such as bj or gz; left out: $BCE_REGION.")]
Endpoint = Annotated[str, typer.Option(metavar="URL", help="Instead of a region; left out: $BLS_ENDPOINT.")]
Keys = Annotated[
    str,
    typer.Option(
        "--credentials",
        metavar="SOURCE",
        help="Where the keys are, never the keys: auto, env, profile:NAME, file:PATH or exec:COMMAND.",
    ),
]
LogStream = Annotated[str, typer.Option(metavar="NAME", show_default="all", help="Only this log stream.")]
Query = Annotated[
    str, typer.Option(metavar="SEARCH", show_default="everything", help="A search, such as 'level:ERROR'.")
]
OutputFile = Annotated[
    str,
    typer.Option(
        "-o",
        "--output-file",
        metavar="FILE",
        help="Write the rows to this file, which appears only complete; - is stdout.",
    ),
]
Output = Annotated[
    RowsAs,
    typer.Option(
        "--output",
        help="Rows as the service writes them (raw), as one JSON object a line (jsonl), as a table (csv), or "
        "only the raw line of each record (text).",
    ),
]
Limit = Annotated[
    int,
    typer.Option(
        "--limit",
        metavar="N",
        parser=line_count,
        show_default="no limit",
        help="Only the first N rows of the window: up to 1,000 by one query, without a remote task; more by "
        "the remote tasks that hold them.",
    ),
]
SliceLines = Annotated[
    int,
    typer.Option(
        "--slice-lines",
        metavar="LINES",
        parser=line_count,
        show_default="250,000",
        help="Lines per remote task, at most 1,000,000: with fewer the first rows come sooner, with more "
        "there are fewer requests.",
    ),
]
AllowGaps = Annotated[
    bool,
    typer.Option(
        "--allow-gaps",
        help="Go on behind a part that cannot be had; each one is named on stderr. The exit code stays that "
        "of an incomplete window.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")]
ReportFile = Annotated[
    str, typer.Option("--report", metavar="FILE", help="Write the JSON document to this file.")
]
PullJson = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout, also on failure; with -o FILE.")
]
PullLog = Annotated[
    str,
    typer.Option(
        "--log-file",
        metavar="FILE",
        help="Where the log file goes; left out: into the state folder. Rotated; tracebacks go there only.",
    ),
]


@app.command(short_help="Rows of one logstore, now; no job file.")
def pull(
    logstore: LogStore,
    *,
    since: Since = 0,
    from_: PullFrom = "",
    to: PullTo = "",
    project: Project = "default",
    region: Region = "",
    endpoint: Endpoint = "",
    credentials: Keys = "auto",
    logstream: LogStream = "",
    query: Query = "",
    output_file: OutputFile = "-",
    output: Output = RowsAs.RAW,
    limit: Limit = 0,
    slice_lines: SliceLines = 250_000,
    allow_gaps: AllowGaps = False,
    force: Force = False,
    report: ReportFile = "",
    wait: Wait = 0,
    json: PullJson = False,
    no_progress: NoProgress = False,
    log_format: LogStyle = LogFormat.CONSOLE,
    log_file: PullLog = "",
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Rows of one logstore, now: no job file, no set-up. Credentials come from the environment or a profile.

    Rows come in time order on stdout while later parts of the window are still being exported, or as a file
    that appears only complete. Every part is counted as with `run`; where one cannot be had the rows end, and
    the exit is 3 or 7. Rows of the last five minutes may not be all there yet: stderr says from when on.

    Whatever stops it, the same line goes on, and nothing is fetched twice: what was fetched stays in
    $XDG_STATE_HOME/orchestrator/pulls (~/.local/state/orchestrator/pulls) until all rows are delivered; they
    begin again with the first. A line relative to now goes on with the window of the one that was stopped, as
    long as that is younger than the window is long. What no line took up for 14 days is removed by the next
    pull that makes remote tasks, after those it still had at the service; where these cannot be deleted it
    stays, and stderr says so.

    With -o a FILE that exists is refused without --force; only what the same line has put there with
    --allow-gaps is replaced by what it brings when it goes on.

    The first Ctrl-C drains and exits 130, a second one stops at once. A reader that leaves (`| head`) ends it
    with exit 0, and the state stays.

    \b
    Examples:
      orchestrator pull web-access --region bj --since 6h --query 'level:ERROR' --output text | less
      orchestrator pull web-access --since 15m --limit 100
      orchestrator pull web-access --from 2026-01-14T08:00:00+08:00 --to 2026-01-14T09:00:00+08:00 -o a.jsonl
    """
    from orchestrator.cli import pulling

    place = {"project": project, "region": region, "endpoint": endpoint, "credentials": credentials}
    rows = {"logstore": logstore, "logstream": logstream, "query": query, "output": output.value}
    times = {"since_s": since, "from_": from_, "to": to}
    asked = Asked(
        "pull",
        json=json,
        log_format=log_format.value,
        log_file=log_file,
        verbose=verbose,
        quiet=quiet,
        report=report,
        progress=not (no_progress or quiet),
        wait_s=wait,
    )
    how = pulling.How(output_file, limit, allow_gaps=allow_gaps, force=force)
    end(asked, lambda stage: pulling.pull(stage, {**place, **rows, **times, "slice_lines": slice_lines}, how))
