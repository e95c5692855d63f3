"""What may be typed to see what is stored, and to mend it?"""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.asked import Asked
from orchestrator.cli.entry import app, end
from orchestrator.cli.options import (
    From,
    JobNames,
    Jobs,
    Json,
    LedgerFormat,
    LogFile,
    LogFormat,
    LogStyle,
    Manifest,
    NoProgress,
    Quiet,
    To,
    Verbose,
    Wait,
    share,
)


@app.command("manifest", short_help="Print the ledger: table, jsonl, csv, parquet, sha256sums.")
def manifest_command(
    jobs: Jobs = "jobs.toml",
    *,
    job: JobNames = None,
    format: Annotated[
        LedgerFormat, typer.Option("--format", help="sha256sums can be checked by `sha256sum -c`.")
    ] = LedgerFormat.TABLE,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Write here; it appears only complete.")
    ] = "",
    manifest: Manifest = "",
    json: Json = False,
) -> None:
    """Print the ledger: one row per remote task, and per slice that never had one.

    \b
    Examples:
      orchestrator manifest
      orchestrator manifest --format csv -o ledger.csv
      orchestrator manifest --format parquet -o ledger.parquet
      orchestrator manifest --format jsonl | jq -r 'select(.state == "failed") | .uuid'
      orchestrator manifest --format sha256sums | sha256sum -c
    """
    from orchestrator.cli import call

    asked = Asked("manifest", jobs, tuple(job or ()), manifest=manifest, json=json)
    end(asked, lambda stage: call.manifest(stage, format=format.value, output=output))


@app.command(short_help="Tell what happened to one slice.")
def story(
    jobs: Annotated[
        str, typer.Argument(metavar="JOBS", help="The job file; left out, SLICE_OR_UUID stands here.")
    ],
    slice_or_uuid: Annotated[
        str,
        typer.Argument(
            metavar="SLICE_OR_UUID",
            help="Id of a slice, or uuid or name of a remote task, or a beginning that is unique.",
        ),
    ] = "",
    *,
    manifest: Manifest = "",
    json: Json = False,
) -> None:
    """Tell everything that ever happened to one slice.

    Its journal and its remote tasks, and those of the slices it came from and was divided into. What was
    forgotten is told as well.

    Reads the manifest only. Exits 2 when nothing is called so, and says what comes nearest.

    \b
    Examples:
      orchestrator story 3fa9c1
      orchestrator story nightly.toml 6d1a6e7c-0f3f-4c39-9b0b-8f1d3f1e2a77
    """
    from orchestrator.cli import call

    path, wanted = (jobs, slice_or_uuid) if slice_or_uuid else ("", jobs)
    asked = Asked("story", path, manifest=manifest, json=json)
    end(asked, lambda stage: call.story(stage, wanted))


@app.command(short_help="Check the stored files against the ledger.")
def verify(
    jobs: Jobs = "jobs.toml",
    *,
    job: JobNames = None,
    from_: From = "",
    to: To = "",
    quick: Annotated[bool, typer.Option("--quick", help="Presence and size only; reads no file.")] = False,
    sample: Annotated[
        float,
        typer.Option(
            "--sample",
            metavar="PERCENT",
            parser=share,
            show_default="all files",
            help="Read whole only so many of each job's files, such as 1%, picked anew each time; the others "
            "as with --quick.",
        ),
    ] = 0.0,
    recount: Annotated[
        bool, typer.Option("--recount", help="Also let the service count again what is stored.")
    ] = False,
    no_mark: Annotated[bool, typer.Option("--no-mark", help="Report only; change no coverage.")] = False,
    wait: Wait = 0,
    manifest: Manifest = "",
    json: Json = False,
    log_format: LogStyle = LogFormat.CONSOLE,
    log_file: LogFile = "",
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Check the stored files against the ledger, digest by digest and row by row, and the ledger against
    itself. Deletes nothing, and contacts nobody without --recount.

    With --sample at least one file of each job that has any is read whole. The answer says how many were, and
    of how many only presence and size were looked at: a sample that agrees says nothing about the content of
    the others.

    What disagrees is marked uncovered, so that the next run mends it; what is stored and was read, but was
    not covered, is covered again. Exits 4 when anything disagrees, and names the line that mends it. A file
    that cannot be read is named and never marked, and the exit is 6. Nothing is looked at of a job that the
    manifest holds another one of under its name: exit 2, with what differs and the ways out.

    With --recount the service counts the lines of what is stored, seconds that were divided as a whole; what
    it has more lines of now is named with the command that exports it anew, and stays covered. Slices are
    looked at whole, also those that only meet the window. What cannot be counted disagrees with nothing: the
    answer says how much that was, and a line on stderr when it was everything.

    \b
    Examples:
      orchestrator verify
      orchestrator verify --quick --no-mark
      orchestrator verify --sample 1%
      orchestrator verify --quick --recount
    """
    from orchestrator.cli import call

    if quick and sample:
        raise typer.BadParameter("give --quick or --sample, not both", param_hint="--sample")
    asked = Asked(
        "verify",
        jobs,
        tuple(job or ()),
        from_,
        to,
        manifest,
        json=json,
        log_format=log_format.value,
        log_file=log_file,
        verbose=verbose,
        quiet=quiet,
        wait_s=wait,
    )
    read = 0.0 if quick else sample or 1.0
    end(asked, lambda stage: call.verify(stage, share=read, mark=not no_mark, recount=recount))


@app.command(short_help="Export anew, swap in once verified.")
def redo(
    jobs: Jobs = "jobs.toml",
    *,
    job: Annotated[str, typer.Option("--job", metavar="NAME", help="The job whose slices are meant.")],
    slice_id: Annotated[
        str,
        typer.Option("--slice", metavar="ID", help="One slice: its id, a beginning of it, or a uuid."),
    ] = "",
    from_: Annotated[
        str,
        typer.Option("--from", metavar="TIME", help="All slices that meet the window from here; with --to."),
    ] = "",
    to: Annotated[str, typer.Option("--to", metavar="TIME", help="Up to here, exclusive.")] = "",
    wait: Wait = 0,
    manifest: Manifest = "",
    json: Json = False,
    no_progress: NoProgress = False,
    log_format: LogStyle = LogFormat.CONSOLE,
    log_file: LogFile = "",
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Export slices anew, at once, and put the new files in the place of the old ones once they are verified.

    Whole slices are redone, also those that the window only meets. Until the new file is verified the old one
    stays, with its coverage; when the new export fails, or has fewer rows, it stays for good and the reason
    is said. A second that was divided into several files is divided again, and is a gap until all of them
    are stored. Failed slices are tried again, accepted ones too. Killed, the next `run` or `redo` goes on.
    Exits 0 when all were replaced, 3 when trying again may help, 7 when it cannot.

    \b
    Examples:
      orchestrator redo --job web-access --slice 3fa9c1d2
      orchestrator redo --job web-access --from 2026-01-14 --to 2026-01-15
    """
    from orchestrator.cli import running

    asked = Asked(
        "redo",
        jobs,
        (job,),
        manifest=manifest,
        json=json,
        log_format=log_format.value,
        log_file=log_file,
        verbose=verbose,
        quiet=quiet,
        progress=not (no_progress or quiet),
        wait_s=wait,
    )
    end(asked, lambda stage: running.redo(stage, slice_id=slice_id, from_=from_, to=to))


@app.command(short_help="Sign off a gap: it stays listed, the exit becomes 0.")
def accept(
    jobs: Jobs = "jobs.toml",
    *,
    job: Annotated[str, typer.Option("--job", metavar="NAME", help="The job whose gaps are meant.")],
    from_: Annotated[
        str, typer.Option("--from", metavar="TIME", help="Where the gaps begin; times as for `run`.")
    ],
    to: Annotated[str, typer.Option("--to", metavar="TIME", help="Where they end, exclusive.")],
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why they may stay; kept in the ledger.")
    ],
    logstream: Annotated[
        str,
        typer.Option(
            "--logstream",
            metavar="NAME",
            help="Only the gaps of this log stream, '*' for what is missing of all together; left out: all "
            "there are. For jobs that export log streams one by one.",
        ),
    ] = "",
    wait: Wait = 0,
    manifest: Manifest = "",
    json: Json = False,
    log_format: LogStyle = LogFormat.CONSOLE,
    log_file: LogFile = "",
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Sign off the gaps of a window: they stay listed, with your reason, but no longer make a run incomplete.

    Only what was tried and failed is a gap, and what is missing of a logstore that a run found gone; what is
    stored, not due or never tried is told and left as it is, and when nothing else lies in the window the
    exit is 2. `run` leaves accepted gaps alone, but for those of a logstore that is there again; `redo`
    tries them again, and what it stores is covered like any other window. Each gap is signed off for its own
    log stream: what another stream comes to miss in the same window later is a new gap.

    \b
    Examples:
      orchestrator accept --job web-access --from 2026-01-14T06:00:00Z --to 2026-01-14T06:00:01Z \\
          --reason 'a burst of debug lines, not needed'
    """
    from orchestrator.cli import mending

    asked = Asked(
        "accept",
        jobs,
        (job,),
        manifest=manifest,
        json=json,
        log_format=log_format.value,
        log_file=log_file,
        verbose=verbose,
        quiet=quiet,
        wait_s=wait,
    )
    end(asked, lambda stage: mending.accept(stage, from_=from_, to=to, logstream=logstream, reason=reason))


@app.command(short_help="Drop coverage from the manifest; files stay.")
def forget(
    jobs: Jobs = "jobs.toml",
    *,
    job: Annotated[
        str, typer.Option("--job", metavar="NAME", help="The job, also one that has left the job file.")
    ],
    from_: Annotated[
        str, typer.Option("--from", metavar="TIME", help="Only what meets the window from here; with --to.")
    ] = "",
    to: Annotated[str, typer.Option("--to", metavar="TIME", help="Up to here, exclusive.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask. Needed where nobody can be asked.")] = False,
    wait: Wait = 0,
    manifest: Manifest = "",
    json: Json = False,
    log_format: LogStyle = LogFormat.CONSOLE,
    log_file: LogFile = "",
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Drop coverage from the manifest: the next run exports that window again. Files stay where they are.

    Slices go whole, also those that only meet the window. Without a window the job's identity goes too,
    so that its name may mean another logstore. A run adopts a file it would write alike; any other file
    in its way is no longer known as ours and is never overwritten: the window becomes the gap `path
    occupied`.

    \b
    Examples:
      orchestrator forget --job web-access --from 2026-01-14 --to 2026-01-15
      orchestrator forget --job old-name --yes
    """
    from orchestrator.cli import mending

    asked = Asked(
        "forget",
        jobs,
        manifest=manifest,
        json=json,
        log_format=log_format.value,
        log_file=log_file,
        verbose=verbose,
        quiet=quiet,
        wait_s=wait,
    )
    end(asked, lambda stage: mending.forget(stage, job=job, from_=from_, to=to, yes=yes))


@app.command(short_help="Delete surplus remote tasks and stale staging files.")
def clean(
    jobs: Jobs = "jobs.toml",
    *,
    job: JobNames = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would go; delete and change nothing.")
    ] = False,
    wait: Wait = 0,
    manifest: Manifest = "",
    json: Json = False,
    log_format: LogStyle = LogFormat.CONSOLE,
    log_file: LogFile = "",
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Delete remote tasks of this manifest that nobody wants any more, and staging files that no slice needs.

    Surplus is what was let go, and what the service lists under one of this manifest's names though no
    slice waits for it. Never deleted: what a slice still needs or a create in doubt may have made, what
    stands behind a stored file, tasks of other manifests or of anybody else, and tasks with deliver =
    "bos". Exits 0 when all of it is gone, 3 when something is left to do again, 5 when the service
    refuses.

    \b
    Examples:
      orchestrator clean --dry-run
      orchestrator clean nightly.toml --job 'web-*'
    """
    from orchestrator.cli import mending

    asked = Asked(
        "clean",
        jobs,
        tuple(job or ()),
        manifest=manifest,
        json=json,
        log_format=log_format.value,
        log_file=log_file,
        verbose=verbose,
        quiet=quiet,
        wait_s=wait,
    )
    end(asked, lambda stage: mending.clean(stage, dry_run=dry_run))
