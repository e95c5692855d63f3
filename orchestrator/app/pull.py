"""What was typed after ``pull``, as a job without a job file: judged by the same rules, in other words."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator import settings
from orchestrator.core import jobfile
from orchestrator.core.complaint import Complaint
from orchestrator.core.job import Job, JobFile
from orchestrator.core.patterns import is_pattern
from orchestrator.core.window import Window, iso_utc
from orchestrator.errors import UsageError

__all__ = ["JOB", "SLICE_LINES", "UNSETTLED_S", "Pull", "Wish", "narrowed", "prepared"]

JOB = "pull"
UNSETTLED_S = 300
"""What is younger than the settling margin of a job (``lag``, 5 minutes unless a job says otherwise) may
still get late records."""
SLICE_LINES = 250_000
"""A quarter of what one remote task may carry: the first rows come sooner, and more tasks run at once."""
_SERVED = ("raw", "text", "jsonl", "csv")
"""All of these are made of what is served, which is kept as it is."""
_LITERAL = "ORCHESTRATOR_LITERAL_DOLLAR"
_RELATIVE = re.compile(r"\s*(now|today|yesterday)\b")
_TYPED = {
    "service.region": "--region",
    "service.endpoint": "--endpoint",
    "service.credentials": "--credentials",
    "jobs[0].logstore": "LOGSTORE",
    "jobs[0].project": "--project",
    "jobs[0].logstream": "--logstream",
    "jobs[0].query": "--query",
    "jobs[0].from": "--from",
    "jobs[0].to": "--to",
    "jobs[0].output": "--output",
    "jobs[0].max_lines": "--slice-lines",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What was typed. "" means: not given. ``since_s`` is how far back from now, 0 when ``from_`` says it."""

    logstore: str
    project: str = "default"
    region: str = ""
    endpoint: str = ""
    credentials: str = "auto"
    logstream: str = ""
    query: str = ""
    since_s: int = 0
    from_: str = ""
    to: str = ""
    output: str = "raw"
    slice_lines: int = SLICE_LINES


@dataclass(frozen=True, slots=True)
class Pull:
    """A wish that is valid: ``job_file`` holds its one job, ``folder`` is where it keeps its state.
    ``begun_at`` is when its window was taken; ``resumed`` whether an earlier line had begun it."""

    job_file: JobFile
    folder: Path
    begun_at: float
    resumed: bool = False

    @property
    def job(self) -> Job:
        return self.job_file.jobs[0]

    @property
    def window(self) -> Window:
        """What is asked for."""
        if self.job.window is None:
            raise UsageError("this window has not begun yet", hint="let it begin before now")
        return self.job.window

    @property
    def settled_until_s(self) -> int:
        """From here on late records may still have come after the rows were asked for; the window's end when
        all of it was old enough."""
        return min(self.window.end_s, int(self.begun_at) - UNSETTLED_S)


def prepared(wish: Wish, *, environment: Mapping[str, str], now_s: float) -> Pull:
    """The wish as it would begin now. Contacts nobody and makes nothing. Raises UsageError with every
    complaint."""
    if wish.output not in _SERVED:
        raise UsageError(
            "--output: not available in this version", hint='a job with output = "parquet" writes such files'
        )
    for place, name in (("LOGSTORE", wish.logstore), ("--logstream", wish.logstream)):
        if is_pattern(name):
            raise UsageError(
                f"{place}: {name} may mean more than one", hint="name one; a job file exports many"
            )
    region, endpoint = _service(wish, environment)
    wish = replace(wish, region=region, endpoint=endpoint)
    from_ = f"now-{wish.since_s}s" if wish.since_s else wish.from_
    job_file = _job_file(wish, from_, wish.to, environment, now_s, folder=Path("/nowhere"))
    (job,) = job_file.jobs
    if job.window is None:
        raise UsageError("this window holds no second that has passed", hint="let it begin before now")
    line = [
        job.service.endpoint,
        job.identity.project,
        job.identity.logstore,
        job.identity.logstream,
        job.identity.query,
        _moment_key(from_, job.window.start_s),
        _moment_key(wish.to, job.to_s) if wish.to else "now",
        job.format.value,
    ]
    digest = hashlib.sha256(json.dumps(line).encode()).hexdigest()[:16]
    folder = Path(settings.state_folder()) / "pulls" / digest
    return Pull(_placed(job_file, folder), folder, now_s)


def narrowed(job: Job, window: Window) -> Job:
    """The same job over another window, all of which is due."""
    return replace(job, window=window, from_s=window.start_s, to_s=window.end_s, due_until_s=window.end_s)


# --- what was typed


def _service(wish: Wish, environment: Mapping[str, str]) -> tuple[str, str]:
    if wish.region and wish.endpoint:
        raise UsageError("--region and --endpoint exclude each other", hint="give one of the two")
    if wish.region or wish.endpoint:
        return wish.region, wish.endpoint
    endpoint = environment.get("BLS_ENDPOINT", "")
    region = "" if endpoint else environment.get("BCE_REGION", "")
    if not (endpoint or region):
        raise UsageError(
            "no service is named", hint="give --region or --endpoint, or set BCE_REGION or BLS_ENDPOINT"
        )
    return region, endpoint


def _job_file(
    wish: Wish, from_: str, to: str, environment: Mapping[str, str], now_s: float, *, folder: Path
) -> JobFile:
    """Judged by the same rules as a file of these tables. Raises UsageError in the words of the command
    line."""
    where = {"endpoint": wish.endpoint} if wish.endpoint else {"region": wish.region}
    job = {
        "name": JOB,
        "project": wish.project,
        "logstore": wish.logstore,
        "logstream": wish.logstream,
        **({"query": wish.query} if wish.query else {}),
        "from": from_,
        **({"to": to} if to else {}),
        "lag": "0s",
        "max_lines": wish.slice_lines,
        "format": "csv" if wish.output == "csv" else "json",
        "destination": str(folder / "archive"),
        "layout": "{start_utc:%Y%m%dT%H%M%SZ}_{end_utc:%Y%m%dT%H%M%SZ}",
        "output": "raw",
    }
    data = {
        "manifest": str(folder / "pull.db"),
        "service": {**where, "credentials": wish.credentials},
        "jobs": [job],
    }
    here = Path.cwd()
    read, complaints = jobfile.examine(
        _literal(data),
        now_s=now_s,
        zones=settings.zone,
        env={**environment, _LITERAL: "$"},
        base_folder=str(here),
        file="",
        path=str(here / "pull"),
    )
    if read is None:
        raise UsageError(
            "\n".join(["this cannot be pulled", *(_in_words(complaint, wish) for complaint in complaints)]),
            hint="see `orchestrator pull --help`",
        )
    return replace(read, redactions=())


def _literal(value: Any) -> Any:
    """Nothing typed refers to the environment: ``${`` means itself."""
    if isinstance(value, str):
        return value.replace("${", f"${{{_LITERAL}}}{{")
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    return [_literal(item) for item in value] if isinstance(value, list) else value


def _in_words(complaint: Complaint, wish: Wish) -> str:
    place = _TYPED.get(complaint.key_path, complaint.key_path)
    if place == "--from" and wish.since_s:
        place = "--since"
    return str(replace(complaint, file=place, key_path="", line=0))


def _moment_key(text: str, at_s: int | None) -> str:
    """The same for every spelling of a fixed second; what moves with now goes by its words."""
    if _RELATIVE.match(text):
        return "".join(text.split())
    return text if at_s is None else iso_utc(at_s)


def _placed(job_file: JobFile, folder: Path) -> JobFile:
    (job,) = job_file.jobs
    destination = job.destination and replace(job.destination, url=str(folder / "archive"))
    return replace(job_file, manifest=str(folder / "pull.db"), jobs=(replace(job, destination=destination),))
