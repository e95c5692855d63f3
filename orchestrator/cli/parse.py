"""What may be typed? Every command and option, with its help; what a command does stands in ``call``.

``app`` can be introspected: the command page of the documentation is written from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.asked import Asked
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
    duration,
    line_count,
)

if TYPE_CHECKING:
    from orchestrator.cli.ending import Stage

__all__ = ["app"]

app = typer.Typer(
    name="orchestrator",
    help=(
        "Exports any window of logs from Baidu Log Service (BLS) and can prove that the export is\n"
        "complete.\n\n"
        "JOBS is a job file; left out, it is $ORCHESTRATOR_JOBS, then ./jobs.toml. Results go to\n"
        "stdout, logs and progress to stderr.\n\n"
        "\b\n"
        "Begin with:\n"
        "  orchestrator demo             the whole way, on this machine alone\n"
        "  orchestrator init             a job file to fill in\n"
        "  orchestrator run              make the coverage true"
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback()
def root(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from orchestrator import __version__

        typer.echo(f"orchestrator {__version__}")
        raise typer.Exit


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

    _end(Asked("demo"), lambda stage: demonstrate(stage, folder))


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
    _end(Asked("init"), lambda stage: starter.write_job_file(stage, path, given, force=force))


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
    _end(asked, check_job_file)


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
    """Show what a run would do: slices, lines, requests, time. Creates nothing, here or at the service.

    Planning counts lines at the service, so it needs credentials; the requests it took are shown.

    \b
    Examples:
      orchestrator plan
      orchestrator plan --job web-access --from 2026-01-14 --to 2026-01-15
      orchestrator plan --json | jq '.jobs[].slice_count'
    """
    from orchestrator.cli import call

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
    _end(asked, call.plan)


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

    \b
    Examples:
      orchestrator run
      orchestrator run nightly.toml --job 'web-*' --wait 30m
      orchestrator run --from 2026-01-14 --to 2026-01-15 --json
      orchestrator run --max-duration 4h --report report.json
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
    _end(asked, lambda stage: running.run(stage, max_duration_s=max_duration, max_lines=max_lines))


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

    Reads the manifest only; it may be used while a run goes on. Exits as `gaps` does.

    \b
    Examples:
      orchestrator status
      orchestrator status --job 'web-*' --json
    """
    from orchestrator.cli import call

    asked = Asked("status", jobs, tuple(job or ()), from_, to, manifest, json=json)
    _end(asked, call.status)


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
    _end(asked, call.gaps)


@app.command("manifest", short_help="Print the ledger: table, jsonl, csv, sha256sums.")
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
      orchestrator manifest --format jsonl | jq -r 'select(.state == "failed") | .uuid'
      orchestrator manifest --format sha256sums | sha256sum -c
    """
    from orchestrator.cli import call

    asked = Asked("manifest", jobs, tuple(job or ()), manifest=manifest, json=json)
    _end(asked, lambda stage: call.manifest(stage, format=format.value, output=output))


@app.command(short_help="Tell what happened to one slice.")
def story(
    jobs: Annotated[
        str, typer.Argument(metavar="JOBS", help="The job file; left out, SLICE_OR_UUID stands here.")
    ],
    slice_or_uuid: Annotated[
        str,
        typer.Argument(
            metavar="SLICE_OR_UUID",
            help="Id of a slice, or a beginning that is unique; or a remote task's uuid.",
        ),
    ] = "",
    *,
    manifest: Manifest = "",
    json: Json = False,
) -> None:
    """Tell everything that ever happened to one slice.

    \b
    Examples:
      orchestrator story 3fa9c1
      orchestrator story nightly.toml 6d1a6e7c-0f3f-4c39-9b0b-8f1d3f1e2a77
    """
    from orchestrator.cli import call

    path, wanted = (jobs, slice_or_uuid) if slice_or_uuid else ("", jobs)
    asked = Asked("story", path, manifest=manifest, json=json)
    _end(asked, lambda stage: call.story(stage, wanted))


@app.command(short_help="Check the stored files against the ledger.")
def verify(
    jobs: Jobs = "jobs.toml",
    *,
    job: JobNames = None,
    from_: From = "",
    to: To = "",
    quick: Annotated[bool, typer.Option("--quick", help="Existence and size only; reads no file.")] = False,
    no_mark: Annotated[bool, typer.Option("--no-mark", help="Report only; change no coverage.")] = False,
    wait: Wait = 0,
    manifest: Manifest = "",
    json: Json = False,
    log_format: LogStyle = LogFormat.CONSOLE,
    log_file: LogFile = "",
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Check the stored files against the ledger, digest by digest. Deletes nothing, contacts nothing.

    Slices whose file is missing or differs are marked uncovered, so that the next run mends them. Exits 4
    when there is one.

    \b
    Examples:
      orchestrator verify
      orchestrator verify --quick --no-mark
    """
    from orchestrator.cli import call

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
    _end(asked, lambda stage: call.verify(stage, quick=quick, mark=not no_mark))


@app.command(short_help="Run the emulator of the service alone.")
def emulate(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")
    ] = 8700,
    load: Annotated[
        str, typer.Option("--load", metavar="FILE", help="Serve a log file or exported rows, besides.")
    ] = "",
    world: Annotated[
        str, typer.Option("--world", metavar="FILE", help="Description of logstores and behaviour (TOML).")
    ] = "",
) -> None:
    """Run the emulator of the service alone, until SIGINT. Prints its endpoint and test credentials.

    What it prints on stdout are shell lines: `eval` them, and every command talks to it.

    \b
    Examples:
      orchestrator emulate
      orchestrator emulate --port 0 --world world.toml
    """
    from orchestrator.cli import emulating

    _end(
        Asked("emulate"), lambda stage: emulating.emulate(stage, host=host, port=port, load=load, world=world)
    )


def _end(asked: Asked, command: Callable[[Stage], int]) -> None:
    from orchestrator.cli.ending import ended

    raise typer.Exit(ended(asked, command))
