"""How does a new job file come about? A few questions on a terminal, defaults elsewhere, comments for the
rest."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.cli.ending import Stage
from orchestrator.cli.outfile import Outfile
from orchestrator.clock import SystemClock
from orchestrator.core.window import iso_utc
from orchestrator.errors import ExitCode, JobFileError, UsageError
from orchestrator.settings import load

__all__ = ["Given", "starter_text", "write_job_file"]

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line said; "" where it said nothing."""

    region: str = ""
    endpoint: str = ""
    project: str = ""
    logstore: str = ""
    destination: str = ""
    from_: str = ""


def write_job_file(stage: Stage, path: str, given: Given, *, force: bool) -> int:
    """Write a job file that ``check`` accepts. Raises UsageError when it exists or an answer cannot be
    used."""
    target = Path(path)
    if target.exists() and not force:
        raise UsageError(f"{path} exists already", hint="choose another name, or overwrite it with --force")
    if given.region and given.endpoint:
        raise UsageError("--region and --endpoint exclude each other", hint="give one of the two")
    full = _asked(given) if sys.stdin.isatty() and sys.stderr.isatty() else given
    file = Outfile(path)
    try:
        file.write(starter_text(_with_defaults(full)))
        file.finish()
    finally:
        file.discard()
    _tell_complaints(path)
    stage.out.line(f"wrote {path}")
    stage.out.line("  credentials come from BCE_ACCESS_KEY_ID and BCE_SECRET_ACCESS_KEY in the environment")
    stage.out.line(f"  next: orchestrator check {path}; orchestrator plan {path}; orchestrator run {path}")
    return ExitCode.COMPLETE


def _asked(given: Given) -> Given:
    """Questions on stderr, because stdout carries results; Enter takes what stands in brackets."""
    from typer import prompt

    def ask(name: str, default: str) -> str:
        answer: str = prompt(name, default=default, err=True)
        return answer.strip()

    defaults = _with_defaults(given)
    if not (given.region or given.endpoint):
        place = ask("region of the logstore, or an endpoint URL", defaults.region)
        given = replace(given, endpoint=place) if "://" in place else replace(given, region=place)
    if not given.project:
        given = replace(given, project=ask("project", defaults.project))
    if not given.logstore:
        given = replace(given, logstore=ask("logstore", defaults.logstore))
    if not given.from_:
        given = replace(given, from_=ask("export from (UTC)", defaults.from_))
    if not given.destination:
        given = replace(given, destination=ask("folder for the files", defaults.destination))
    return given


def _with_defaults(given: Given) -> Given:
    yesterday = iso_utc((SystemClock().now() // DAY_S - 1) * DAY_S)
    return Given(
        region=given.region or ("" if given.endpoint else "bj"),
        endpoint=given.endpoint,
        project=given.project or "default",
        logstore=given.logstore or "web-access",
        destination=given.destination or "archive",
        from_=given.from_ or yesterday,
    )


def starter_text(given: Given) -> str:
    """The job file as text; every value that came from a person is written as a TOML string."""
    where = f"endpoint = {_toml(given.endpoint)}" if given.endpoint else f"region = {_toml(given.region)}"
    name = (
        "".join(c if (c.isalnum() and c.isascii()) or c in "_.-" else "-" for c in given.logstore)[:64]
        or "export"
    )
    return f"""\
# A job file of orchestrator. `orchestrator check` validates it without contacting anybody.
# Secrets never stand here: they come from BCE_ACCESS_KEY_ID and BCE_SECRET_ACCESS_KEY.

manifest = "orchestrator.db"        # what is done and what led there; keep it beside this file

[service]
{where}
# credentials = "profile:NAME"      # or "env", "file:PATH", "exec:COMMAND"; left out: found by itself

# [limits]                          # ceilings; the tool adapts below them
# requests_per_second = 20.0
# tasks     = 20                    # remote tasks at once
# downloads = 4                     # files fetched at once
# bandwidth = "200MB"               # per second

[[jobs]]
name     = {_toml(name)}
project  = {_toml(given.project)}
logstore = {_toml(given.logstore)}
# query  = "match *"                # everything; or a match search
from     = {_toml(given.from_)}     # a date, a date-time, or "now-6h", "today-7d", "yesterday"
# to     = "2026-02-01"             # exclusive; left out: now minus `lag`, moving with every run
# lag    = "5m"                     # what is younger is not due yet
# timezone = "Asia/Shanghai"        # for times without an offset and for the folders; left out: UTC
destination = {_toml(given.destination)}
# output = "jsonl"                  # left out: "raw", the bytes as the service serves them
# compression = "zstd"              # or "gzip"; with output = "jsonl"
"""


def _toml(text: str) -> str:
    """A TOML basic string; JSON's escapes are a part of TOML's."""
    return json.dumps(text, ensure_ascii=False)


def _tell_complaints(path: str) -> None:
    """What was answered may be wrong; the file stays, because mending one line is less than answering
    again."""
    try:
        load(path, now_s=SystemClock().now())
    except JobFileError as error:
        raise JobFileError(f"{path} was written; {error.message}", error.complaints) from None
