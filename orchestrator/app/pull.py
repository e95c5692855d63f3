"""An export without a job file: what was typed becomes a job in memory, with its manifest and its files in
the user's state folder, so that the same line goes on where an earlier one was stopped.

A pull that is complete leaves nothing behind there. One that is not keeps what it has. The same line then
takes it up with *its* window, also when that was given relative to now, as long as it is younger than the
window is long; after that it begins anew, and what the old one had at the service is deleted there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import settings
from orchestrator.core import jobfile
from orchestrator.core.complaint import Complaint
from orchestrator.core.job import Job, JobFile
from orchestrator.core.patterns import is_pattern
from orchestrator.core.window import Window, iso_utc
from orchestrator.errors import StorageError, UsageError

if TYPE_CHECKING:
    from orchestrator.app.wiring import House, Outside
    from orchestrator.manifest.lock import ManifestLock

__all__ = [
    "JOB",
    "LET_GO",
    "NOTE",
    "UNSETTLED_S",
    "Opened",
    "Pull",
    "Wish",
    "let_go",
    "narrowed",
    "prepared",
    "pulling",
    "remove",
]

JOB = "pull"
NOTE = "pull.json"
"""What a line that can be taken up has in its folder; its date is that of the last such line."""
LET_GO = "let_go.json"
"""The same, of a line that is over but could not delete all it had at the service."""
UNSETTLED_S = 300
"""What is younger than the settling margin of a job (``lag``, 5 minutes unless a job says otherwise) may
still get late records."""
SLICE_LINES = 250_000
"""A quarter of what one remote task may carry: the first rows come sooner, and more tasks run at once."""
_VERSION = 1
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


@dataclass(slots=True)
class Opened:
    """A pull at work. ``gone``: its state is to be removed when it ends."""

    pull: Pull
    house: House
    gone: bool = False


def prepared(wish: Wish, *, environment: Mapping[str, str], now_s: float) -> Pull:
    """The wish as it would begin now. Contacts nobody and makes nothing. Raises UsageError with every
    complaint."""
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


@asynccontextmanager
async def pulling(pull: Pull, outside: Outside, *, wait_s: float = 0.0) -> AsyncIterator[Opened]:
    """The house of a pull, its state locked: of the one that the same line began before, or of a new one.
    What was let go meanwhile is gone when this ends.

    Raises ManifestLocked when the same line runs already, StorageError, CredentialsError, UsageError.
    """
    from orchestrator.app.wiring import furnished
    from orchestrator.manifest.lock import ManifestLock
    from orchestrator.manifest.store import open_writer

    now = outside.clock.now
    manifest_path = pull.job_file.manifest
    async with _held(pull.folder, ManifestLock(manifest_path, now=now), wait_s) as lock:
        stored = _stored(pull.folder)
        taken = _taken_up(pull, stored, now())
        if not taken.resumed:
            remove(pull.folder / "archive")
            _note(taken)
        else:
            with suppress(OSError):
                os.utime(pull.folder / NOTE)
        async with (
            open_writer(manifest_path, now=now, new_id=lambda: outside.rng.token_hex(8)) as manifest,
            furnished(taken.job_file, manifest, outside, quiet_s=lock.quiet_s) as house,
        ):
            if not taken.resumed:
                await manifest.forget(JOB, None, now())
            opened = Opened(taken, house)
            yield opened
        if opened.gone:  # still locked: nobody else has begun in there
            remove(pull.folder)


@asynccontextmanager
async def _held(folder: Path, lock: ManifestLock, wait_s: float) -> AsyncIterator[ManifestLock]:
    """The lock in a folder that is there, also when who held it before took the folder away with it."""
    while not lock.held:
        _make_private(folder)
        try:
            await lock.acquire(wait_s)
        except StorageError:
            if _is_folder(folder):
                raise
    try:
        yield lock
    finally:
        lock.release()


async def let_go(opened: Opened, *, unfinished: bool) -> None:
    """The rows are where they belong: the state goes. ``unfinished``: slices that nobody wants any more are
    dropped, and their remote tasks deleted, first. When remote tasks could not be deleted the manifest stays,
    without a single row, for the same line to delete them."""
    from orchestrator.engine.clean import Surplus, delete_surplus

    pull, house = opened.pull, opened.house
    manifest = house.room.manifest
    (context,) = house.contexts
    if unfinished:
        await manifest.forget(JOB, None, house.room.clock.now())
        mine = [Surplus(context, task, "let go") for task in await manifest.surplus(JOB) if task.uuid]
        await delete_surplus(mine, house.room)
    remove(pull.folder / "archive")
    with suppress(OSError):
        (pull.folder / NOTE).replace(pull.folder / LET_GO)
    opened.gone = not await manifest.surplus(JOB)


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
    raw = wish.output in ("raw", "text", "jsonl", "csv")  # all of these are made of what is served
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
        "output": "raw" if raw else wish.output,
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
            "\n".join(["this cannot be pulled", *map(_in_words, complaints)]),
            hint="see `orchestrator pull --help`",
        )
    for name in (wish.logstore, wish.logstream):
        if is_pattern(name):
            raise UsageError(f"{name} may mean more than one", hint="name one; a job file exports many")
    return replace(read, redactions=())


def _literal(value: Any) -> Any:
    """Nothing typed refers to the environment: ``${`` means itself."""
    if isinstance(value, str):
        return value.replace("${", f"${{{_LITERAL}}}{{")
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    return [_literal(item) for item in value] if isinstance(value, list) else value


def _in_words(complaint: Complaint) -> str:
    place = _TYPED.get(complaint.key_path, complaint.key_path)
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


# --- what an earlier line left


@dataclass(frozen=True, slots=True)
class _Stored:
    window: Window
    begun_at: float


def _stored(folder: Path) -> _Stored | None:
    """None when there is nothing to take up; what cannot be read counts as nothing."""
    try:
        found = json.loads((folder / NOTE).read_bytes())
        if found["version"] != _VERSION or not (folder / "pull.db").exists():
            return None
        return _Stored(Window(int(found["from_s"]), int(found["to_s"])), float(found["begun_at"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _taken_up(pull: Pull, stored: _Stored | None, now_s: float) -> Pull:
    """The pull with the window of an earlier line: of the same one, or of one that is younger than its window
    is long. A clock that was set back makes none too old."""
    if stored is None:
        return pull
    if stored.window != pull.window and now_s - stored.begun_at >= stored.window.length_s:
        return pull
    job = narrowed(pull.job, stored.window)
    return replace(pull, job_file=replace(pull.job_file, jobs=(job,)), begun_at=stored.begun_at, resumed=True)


def _note(pull: Pull) -> None:
    """On disk before anything is asked for: a kill from here on leaves something to take up."""
    identity = pull.job.identity
    text = json.dumps(
        {
            "version": _VERSION,
            "from_s": pull.window.start_s,
            "to_s": pull.window.end_s,
            "begun_at": pull.begun_at,
            "service": identity.service,
            "credentials": pull.job.service.credentials,
            "project": identity.project,
            "logstore": f"{identity.project}/{identity.logstore}",
            "query": identity.query,
        }
    )
    place = pull.folder / NOTE
    part = place.with_suffix(".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(place)
    except OSError as error:
        raise StorageError(f"{place} cannot be written: {error.strerror or error}") from error


def _make_private(folder: Path) -> None:
    """Logs are nobody else's business. Raises StorageError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"the folder {folder} cannot be made: {error.strerror or error}",
            hint="set XDG_STATE_HOME to a folder that can be written",
        ) from error


def _is_folder(place: Path) -> bool:
    return place.is_dir()


def remove(place: Path) -> None:
    """A folder and all in it; absent is fine. Raises StorageError when rows would stay behind unsaid."""
    try:
        shutil.rmtree(place)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"{place} cannot be removed: {error.strerror or error}") from error
