"""What may be typed to export, from the first look to the last slice?"""

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
    LogFile,
    LogFormat,
    LogStyle,
    Manifest,
    NoProgress,
    Quiet,
    To,
    Verbose,
    Wait,
    duration,
    line_count,
)


@app.command(short_help="Show the whole way on this machine alone.")
def demo(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Where everything goes; kept, and safe to use again.")
    ] = "./orchestrator-demo",
) -> None:
    """Show the whole way on this machine alone: no account, no network, under two minutes.

    Starts the emulator with a generated logstore of more than three million lines, exports it in several
    slices, kills the export once in the middle, resumes it, verifies every file against the ledger, and shows
    that a further run has nothing left to do.

    \b
    Examples:
      orchestrator demo
      orchestrator demo my-demo
    """
    from orchestrator.cli.demo import demonstrate

    end(Asked("demo"), lambda stage: demonstrate(stage, folder))


@app.command(short_help="Write a commented job file to start from.")
def init(
    path: Annotated[str, typer.Argument(metavar="PATH", help="The job file to write.")] = "jobs.toml",
    *,
    region: Annotated[str, typer.Option(help="Region of the logstore, such as bj or gz.")] = "",
    endpoint: Annotated[str, typer.Option(metavar="URL", help="Instead of a region.")] = "",
    project: Annotated[str, typer.Option(help="Project of the logstore.")] = "",
    logstore: Annotated[str, typer.Option(help="The logstore to export.")] = "",
    destination: Annotated[str, typer.Option(metavar="FOLDER", help="Where the files go.")] = "",
    from_: Annotated[str, typer.Option("--from", metavar="TIME", help="Where the export begins.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that exists.")] = False,
) -> None:
    """Write a commented job file to start from.

    On a terminal it asks for what was not given; elsewhere it takes the defaults. An existing file is left
    alone unless --force is given. Secrets never stand in a job file: they come from the environment.

    \b
    Examples:
      orchestrator init
      orchestrator init nightly.toml --region bj --logstore web-access --from 2026-01-01
    """
    from orchestrator.cli import starter

    given = starter.Given(region, endpoint, project, logstore, destination, from_)
    end(Asked("init"), lambda stage: starter.write_job_file(stage, path, given, force=force))


@app.command(short_help="List logstores with their retention and index.")
def logstores(
    jobs: Jobs = "jobs.toml",
    *,
    project: Annotated[
        str, typer.Option(show_default="those of the jobs", help="List this project instead.")
    ] = "",
    json: Json = False,
) -> None:
    """List logstores: how long each keeps its records, and whether its lines can be counted (index).

    These are the logstores in the projects of a job file, at all of its services. Asks the service and
    creates nothing. What a service does not say is shown as unknown.

    \b
    Examples:
      orchestrator logstores
      orchestrator logstores nightly.toml --project shop --json
    """
    from orchestrator.cli import listing

    end(Asked("logstores", jobs, json=json), lambda stage: listing.logstores(stage, project=project))


@app.command(short_help="Validate the job file; nothing is contacted.")
def check(
    jobs: Jobs = "jobs.toml",
    *,
    job: JobNames = None,
    manifest: Manifest = "",
    json: Json = False,
) -> None:
    """Validate the job file and show what each job asks for. Nothing is contacted, nothing is created.

    All complaints are shown at once, each with its line. Exits 2 when there is one.

    \b
    Examples:
      orchestrator check
      orchestrator check nightly.toml --json
    """
    from orchestrator.cli.checking import check as check_job_file

    asked = Asked("check", jobs, tuple(job or ()), manifest=manifest, json=json)
    end(asked, check_job_file)


@app.command(short_help="Show what a run would do; creates nothing.")
def plan(
    jobs: Jobs = "jobs.toml",
    *,
    job: JobNames = None,
    from_: From = "",
    to: To = "",
    manifest: Manifest = "",
    json: Json = False,
    log_format: LogStyle = LogFormat.CONSOLE,
    log_file: LogFile = "",
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Show what a run would do: slices, lines, requests, time, size. Creates nothing, here or at the service.

    Planning counts lines at the service, so it needs credentials; the requests it took are shown. Two rows
    draw the lines over time and the cuts between slices. Time and size go by what earlier slices took. Of
    many slices only the first and the last are listed; --json has all. What lies beyond retention is named.

    A job that cannot be planned, such as one whose logstore is gone, is named with what the service says and
    makes the exit, 5 where it refuses; the others are planned.

    \b
    Examples:
      orchestrator plan
      orchestrator plan --job web-access --from 2026-01-14 --to 2026-01-15
      orchestrator plan --json | jq '.jobs[].slice_count'
    """
    from orchestrator.cli import planning

    asked = Asked(
        "plan",
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
    )
    end(asked, planning.plan)


@app.command(short_help="Make the coverage true; safe to repeat and to kill.")
def run(
    jobs: Jobs = "jobs.toml",
    *,
    job: JobNames = None,
    from_: From = "",
    to: To = "",
    max_duration: Annotated[
        int,
        typer.Option(
            "--max-duration",
            metavar="DURATION",
            parser=duration,
            show_default="no limit",
            help="Drain after this long, such as 2h; what is left makes the exit 3.",
        ),
    ] = 0,
    max_lines: Annotated[
        int,
        typer.Option(
            "--max-lines",
            metavar="LINES",
            parser=line_count,
            show_default="no limit",
            help="Drain once this run has stored so many lines.",
        ),
    ] = 0,
    report: Annotated[
        str, typer.Option("--report", metavar="FILE", help="Also write the JSON document to this file.")
    ] = "",
    timing: Annotated[
        bool, typer.Option("--timing", help="Say at the end where the time went, and which limit to raise.")
    ] = False,
    wait: Wait = 0,
    manifest: Manifest = "",
    json: Json = False,
    no_progress: NoProgress = False,
    log_format: LogStyle = LogFormat.CONSOLE,
    log_file: LogFile = "",
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Make the coverage true: export what the manifest does not hold yet. Safe to repeat, kill and run again.

    The first SIGINT or SIGTERM drains and exits 130, a second one stops at once; both are safe. Exits 0 when
    every job's window is complete, 3 when another run can mend what is missing, 7 when none can.

    With --timing it ends with where the time went: waiting for the service, held back by it or by
    requests_per_second, fetching, converting, planning. Each moment counts once, for what the run waited for
    then; a limit that was full while it mattered is named as the one to raise.

    \b
    Examples:
      orchestrator run
      orchestrator run nightly.toml --job 'web-*' --wait 30m
      orchestrator run --from 2026-01-14 --to 2026-01-15 --json
      orchestrator run --max-duration 4h --report report.json
      orchestrator run --timing
    """
    from orchestrator.cli import running

    asked = Asked(
        "run",
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
        report=report,
        progress=not (no_progress or quiet),
        wait_s=wait,
    )
    end(
        asked,
        lambda stage: running.run(stage, max_duration_s=max_duration, max_lines=max_lines, timing=timing),
    )


@app.command(short_help="Show how far each job is.")
def status(
    jobs: Jobs = "jobs.toml",
    *,
    job: JobNames = None,
    from_: From = "",
    to: To = "",
    manifest: Manifest = "",
    json: Json = False,
) -> None:
    """Show how far each job is: coverage, slices by state, lines, failures, what is due next, a run in
    progress.

    A bar per job shows its window from end to end: what is stored, what is a gap, what is still to come.
    Reads the manifest only; it may be used while a run goes on. Exits as `gaps` does.

    \b
    Examples:
      orchestrator status
      orchestrator status --job 'web-*' --json
    """
    from orchestrator.cli import status as telling

    asked = Asked("status", jobs, tuple(job or ()), from_, to, manifest, json=json)
    end(asked, telling.status)


@app.command(short_help="List what is not proven stored, and the mend.")
def gaps(
    jobs: Jobs = "jobs.toml",
    *,
    job: JobNames = None,
    from_: From = "",
    to: To = "",
    manifest: Manifest = "",
    json: Json = False,
) -> None:
    """List what is not proven stored: why, whether another run can mend it, and the command that does.

    Exits 0 when there is no gap in the asked window, 3 when another run can mend one, 7 when none can.

    \b
    Examples:
      orchestrator gaps
      orchestrator gaps --from yesterday --to today --json
    """
    from orchestrator.cli import call

    asked = Asked("gaps", jobs, tuple(job or ()), from_, to, manifest, json=json)
    end(asked, call.gaps)
