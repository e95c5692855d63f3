"""What may be typed to read the archive back?"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from orchestrator.cli.asked import Asked
from orchestrator.cli.entry import app, end
from orchestrator.cli.options import From, JobNames, Jobs, Json, Manifest, To


class MergedAs(StrEnum):
    """What merged rows look like."""

    RAW = "raw"
    JSONL = "jsonl"
    CSV = "csv"


class Undated(StrEnum):
    """What becomes of a row without a time."""

    REFUSE = "refuse"
    FOLLOW = "follow"


@app.command(short_help="One ordered stream or file of what is stored.")
def merge(
    jobs: Jobs = "jobs.toml",
    *,
    job: JobNames = None,
    from_: From = "",
    to: To = "",
    file: Annotated[
        str,
        typer.Option(
            "-o",
            metavar="FILE",
            show_default=False,
            help="Write here; it appears only complete, packed if its name ends in .gz or .zst. - is stdout.",
        ),
    ] = "",
    output: Annotated[
        MergedAs,
        typer.Option(
            "--output", help="raw: rows as stored, if all files have one shape; jsonl: objects; csv: a table."
        ),
    ] = MergedAs.RAW,
    allow_gaps: Annotated[
        bool,
        typer.Option(
            "--allow-gaps",
            help="Merge what is stored all the same; each gap is named on stderr. The exit code stays that "
            "of an incomplete window.",
        ),
    ] = False,
    undated: Annotated[
        Undated,
        typer.Option(
            "--undated",
            help="Rows without a readable time, or with one outside their slice: refuse them, or leave them "
            "behind the row before them.",
        ),
    ] = Undated.REFUSE,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
    manifest: Manifest = "",
    json: Json = False,
) -> None:
    """Write the stored rows of one job in time order: one stream, or one file that appears only complete.

    Rows come by record time to the millisecond, those of one millisecond as they stand in the archive. Every
    file is held against the ledger before its first row is used. Memory stays small whatever the archive
    holds; rows that are not in order wait in the folder of FILE, or for stdout in $TMPDIR.

    A gap in the window is refused with what mends it: exit 3 when another run can, 7 when none can. Gaps that
    were accepted are named and do not count. Needs no lock: it may be used while a run goes on, and changes
    nothing.

    \b
    Examples:
      orchestrator merge --job web-access -o january.jsonl.zst
      orchestrator merge --job web-access --from 2026-01-14 --to 2026-01-15 -o - | jq -r '."@raw"'
      orchestrator merge --job web-access --output csv -o january.csv --json
    """
    from orchestrator.cli import merging

    asked = Asked("merge", jobs, tuple(job or ()), from_, to, manifest, json=json)
    end(
        asked,
        lambda stage: merging.merge(
            stage,
            to=file,
            form=output.value,
            allow_gaps=allow_gaps,
            follow=undated is Undated.FOLLOW,
            force=force,
        ),
    )
