"""What may a person decide about the ledger: sign a gap off, forget what is stored, clean up, export anew?

Everything that writes holds the manifest's lock; nothing here makes a manifest where there is none.
"""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.app.reading import manifest_to_read
from orchestrator.app.selection import asked_window, zone_of
from orchestrator.core.complaint import nearest
from orchestrator.core.job import Job, JobFile
from orchestrator.core.reasons import Reason
from orchestrator.core.report import Gap, JobReport, RedoOutcome, Report, exit_of_reason, is_of_lost_logstore
from orchestrator.core.window import Window, WindowSet, intersect, iso_utc, subtract
from orchestrator.errors import ExitCode, StorageError, UsageError
from orchestrator.ports.store import Forgotten, ManifestReader, ManifestWriter

if TYPE_CHECKING:
    from orchestrator.app.wiring import House, Outside
    from orchestrator.core.model import Fault, Slice
    from orchestrator.engine.clean import Deletion

__all__ = [
    "Cleaned",
    "Forgetting",
    "SignedOff",
    "StaleFile",
    "accept",
    "clean",
    "forget",
    "forgetting",
    "redo_exit",
    "to_redo",
    "user_name",
    "writing",
]


def user_name() -> str:
    """Who runs this process, as the ledger shows it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"


@asynccontextmanager
async def writing(
    path: str, outside: Outside, *, wait_s: float = 0.0
) -> AsyncIterator[ManifestWriter | None]:
    """The manifest with its lock held; None when there is none yet, and then none is made. Raises
    ManifestLocked, StorageError."""
    from orchestrator.manifest.lock import ManifestLock
    from orchestrator.manifest.store import open_writer

    if not _exists(path):
        yield None
        return
    now = outside.clock.now
    async with (
        ManifestLock(path, now=now).holding(wait_s),
        open_writer(path, now=now, new_id=lambda: outside.rng.token_hex(8)) as manifest,
    ):
        yield manifest


def _exists(path: str) -> bool:
    return Path(path).exists()


# --- accept ---


@dataclass(frozen=True, slots=True)
class SignedOff:
    """What ``accept`` did: the gaps that are signed off now, and the parts of the asked window that were
    none, each with the reason why."""

    gaps: tuple[Gap, ...]
    not_gaps: tuple[tuple[Window, str], ...]
    complete: bool


async def accept(
    job_file: JobFile,
    outside: Outside,
    *,
    from_: str,
    to: str,
    logstream: str = "",
    reason: str,
    jobs_words: str,
    wait_s: float,
) -> SignedOff:
    """Sign off every gap of the one job of ``job_file`` between ``from_`` and ``to``: of ``logstream``, ``*``
    for what is missing of all streams together, "" for all there is. Only what was tried and failed is a gap,
    and what is missing of a logstore that is gone; the rest is told. Raises UsageError when there is no gap
    at all, or the manifest holds another job under that name."""
    from orchestrator.app.lost import gaps_told
    from orchestrator.engine.takeup import check_identity

    (job,) = job_file.jobs
    if not reason.strip():
        raise UsageError("an acceptance needs its reason", hint="--reason 'why the gap may stay'")
    wanted = _stream_wanted(job, logstream)
    asked = asked_window(job, from_, to, outside.clock.now())
    async with writing(job_file.manifest, outside, wait_s=wait_s) as manifest:
        if manifest is None:
            raise _no_gap(job, asked, [(asked, "never tried")], jobs_words)
        await check_identity(job, manifest)
        inside = intersect((asked,), (job.window,) if job.window else ())
        every = [gap for part in inside for gap in await gaps_told(job, manifest, part, jobs_words)]
        found = [gap for gap in every if wanted in ("", gap.logstream)]
        tried = [gap for gap in found if gap.slice and gap.reason != Reason.NOT_EXPORTED]
        real = [gap for gap in found if gap in tried or is_of_lost_logstore(gap)]
        other = _not_gaps(job, asked, inside, found, real)
        if not real:
            raise _no_gap(job, asked, other, jobs_words)
        now = outside.clock.now()
        for gap in real:
            stream = gap.logstream.removeprefix("*") if job.stream_patterns else "*"
            await manifest.accept(job.name, gap.window, reason.strip(), user_name(), now, stream)
        signed = [gap for part in inside for gap in await gaps_told(job, manifest, part, jobs_words)]
    return SignedOff(
        tuple(gap for gap in signed if gap.accepted is not None and wanted in ("", gap.logstream)),
        tuple(other),
        complete=all(gap.accepted is not None for gap in signed),
    )


def _stream_wanted(job: Job, logstream: str) -> str:
    """Raises UsageError for a stream whose gaps are not told apart."""
    if not logstream or (not job.stream_patterns and logstream == job.identity.logstream):
        return ""
    if not job.stream_patterns:
        raise UsageError(
            f"job {job.name} does not export its log streams one by one", hint="leave --logstream out"
        )
    known = sorted({*job.streams, *job.gone_streams})
    if logstream != "*" and logstream not in known:
        guess = nearest(logstream, known)
        hint = f"did you mean {guess}?" if guess else f"its log streams are: {', '.join(known)}"
        raise UsageError(f"job {job.name} has no log stream {logstream}", hint=hint)
    return logstream


def _not_gaps(
    job: Job, asked: Window, inside: WindowSet, found: Sequence[Gap], real: Sequence[Gap]
) -> list[tuple[Window, str]]:
    parts = [(part, "stored") for part in subtract(inside, (gap.window for gap in found))]
    parts += [(gap.window, "never tried") for gap in found if gap not in real]
    for part in subtract((asked,), inside):
        late = part.start_s >= job.due_until_s
        parts.append((part, "not due" if late else "outside of the job's window"))
    return sorted(parts)


def _no_gap(job: Job, asked: Window, parts: Sequence[tuple[Window, str]], jobs_words: str) -> UsageError:
    said = ", ".join(f"{window!r} is {why}" for window, why in parts[:5])
    more = f", and {len(parts) - 5} more parts" if len(parts) > 5 else ""
    return UsageError(
        f"job {job.name} has no gap to accept in {asked!r}: {said}{more}",
        hint=f"`orchestrator gaps {jobs_words}` lists the gaps; what was never tried is for `run`",
    )


# --- forget ---


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What ``forget`` is about: ``window`` None means the whole job, its identity included."""

    job: str
    timezone: str
    window: Window | None
    dropped: Forgotten


async def forgetting(job_file: JobFile, outside: Outside, *, job: str, from_: str, to: str) -> Forgetting:
    """What ``forget`` would drop, read from the manifest alone; also of a job that has left the job file.
    Raises UsageError for a name that neither knows."""
    from orchestrator.app.fleets import as_remembered

    async with manifest_to_read(job_file.manifest) as manifest:
        job_file = (await as_remembered(job_file, manifest)).job_file
        known = next((item for item in job_file.jobs if item.name == job), None)
        stored = await manifest.jobs()
        if known is None and job not in stored:
            names = sorted({*stored, *(item.name for item in job_file.jobs)})
            guess = nearest(job, names)
            hint = f"did you mean {guess}?" if guess else f"known are: {', '.join(names)}"
            raise UsageError(f"{job_file.manifest}: no job is called {job}", hint=hint)
        window = None
        if from_ or to:
            if not (from_ and to):
                raise UsageError("--from and --to go together", hint="leave both out to forget the whole job")
            zone = zone_of(known.timezone if known else "UTC")
            window = asked_window(known, from_, to, outside.clock.now(), zone=zone)
        dropped = await manifest.forgettable(job, window)
    return Forgetting(job, known.timezone if known else "UTC", window, dropped)


async def forget(job_file: JobFile, outside: Outside, plan: Forgetting, *, wait_s: float) -> Forgetting:
    """Drop it; the files stay. Says what really was dropped, which a run in between may have changed."""
    async with writing(job_file.manifest, outside, wait_s=wait_s) as manifest:
        if manifest is None:
            return plan
        dropped = await manifest.forgettable(plan.job, plan.window)
        await manifest.forget(plan.job, plan.window, outside.clock.now())
    return Forgetting(plan.job, plan.timezone, plan.window, dropped)


# --- redo ---


async def to_redo(
    job_file: JobFile, house: House, *, slice_id: str, from_: str, to: str
) -> tuple[House, dict[str, tuple[Slice, ...]]]:
    """The house narrowed to the slices of the one job of ``job_file`` that are to be exported anew, and those
    slices: the one that ``slice_id`` means, or all that meet the window, whole. A part of a second that was
    divided means that second. Raises UsageError."""
    from orchestrator.engine.audit import all_slices
    from orchestrator.engine.redo import REDOABLE

    (job,) = job_file.jobs
    manifest = house.room.manifest
    if slice_id:
        chosen = [await _one_slice(job_file, job, slice_id, manifest)]
    else:
        asked = asked_window(job, from_, to, house.room.clock.now())
        if job.window is None or not job.window.holds(asked):
            raise UsageError(
                f"job {job.name}: {asked!r} does not lie in its window {job.window!r}",
                hint="narrow --from and --to",
            )
        found = all_slices(manifest, job.name, REDOABLE, asked)
        chosen = [
            slice_
            async for slice_ in found
            if not slice_.replaces and (slice_.logstream or not job.stream_patterns)
        ]
        if not chosen:
            raise UsageError(
                f"job {job.name}: nothing was exported in {asked!r} yet",
                hint="`orchestrator run` exports what is missing",
            )
    chosen = await _with_wholes(chosen, manifest)
    window = Window(
        min(slice_.window.start_s for slice_ in chosen), max(slice_.window.end_s for slice_ in chosen)
    )
    narrowed = tuple(
        replace(context, job=replace(context.job, window=window, due_until_s=window.end_s))
        for context in house.contexts
    )
    return replace(house, contexts=narrowed), {job.name: tuple(chosen)}


async def _with_wholes(chosen: Sequence[Slice], manifest: ManifestReader) -> list[Slice]:
    """Parts of a divided second are proven together, so they are done together; one that failed is tried
    again in its own place."""
    from orchestrator.core.model import SliceState

    found: dict[str, Slice] = {}
    for slice_ in chosen:
        whole = await manifest.slice(slice_.whole) if slice_.whole else None
        stored = slice_.state in (SliceState.DONE, SliceState.EMPTY)
        meant = whole if whole is not None and stored else slice_
        found.setdefault(meant.id, meant)
    return list(found.values())


async def _one_slice(job_file: JobFile, job: Job, wanted: str, manifest: ManifestReader) -> Slice:
    from orchestrator.app.story import slice_meant
    from orchestrator.core.model import LIVE_STATES, SliceState
    from orchestrator.engine.redo import REDOABLE

    found = await manifest.slice(await slice_meant(job_file.manifest, wanted, manifest))
    if found is None or found.job != job.name:
        raise UsageError(
            f"job {job.name} has no slice {wanted}",
            hint="it was forgotten" if found is None else f"it belongs to job {found.job}",
        )
    unfinished = found.state in (*LIVE_STATES, SliceState.PLANNED)
    divided = found.state is SliceState.SUPERSEDED and await manifest.parts(found.id)
    if found.state in REDOABLE or unfinished or divided:
        return found  # what is unfinished is simply gone on with
    raise UsageError(
        f"slice {found.id} is {found.state.value}: its window belongs to other slices",
        hint=f"name them by time: --from {iso_utc(found.window.start_s)} --to {iso_utc(found.window.end_s)}",
    )


def redo_exit(report: Report, *, interrupted: bool) -> int:
    """What a redo comes to: its window, and every slice that was to be exported anew."""
    codes = [int(report.exit)]
    for job in report.jobs:
        for one in job.redone:
            if one.outcome is RedoOutcome.KEPT:
                codes.append(exit_of_reason(one.reason))
            elif one.outcome is RedoOutcome.UNFINISHED:
                codes.append(ExitCode.INTERRUPTED if interrupted else _unfinished_exit(report, job))
    return ExitCode.worst(codes)


def _unfinished_exit(report: Report, job: JobReport) -> int:
    from orchestrator.engine.run import exit_of_fault

    fault = job.error or report.error
    return exit_of_fault(fault) if fault is not None else ExitCode.INCOMPLETE


# --- clean ---


@dataclass(frozen=True, slots=True)
class StaleFile:
    """A staging file that no slice needs; ``problem`` is "" when it is gone, or would go."""

    path: str
    size_bytes: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What ``clean`` deleted, or with a dry run would delete. ``faults`` say what could not be looked at."""

    exit: int
    remote_tasks: tuple[Deletion, ...]
    files: tuple[StaleFile, ...]
    faults: tuple[Fault, ...]


async def clean(job_file: JobFile, outside: Outside, *, dry_run: bool, wait_s: float) -> Cleaned:
    """Delete surplus remote tasks and stale staging files. A dry run takes no lock and changes nothing.
    Raises ManifestLocked, StorageError, CredentialsError."""
    from orchestrator.app.wiring import furnished
    from orchestrator.engine.clean import Deletion, delete_surplus, find_surplus, wanted_staging
    from orchestrator.engine.run import exit_of_fault
    from orchestrator.manifest.lock import FRESH_S

    if not _exists(job_file.manifest):
        return Cleaned(ExitCode.COMPLETE, (), (), ())
    async with AsyncExitStack() as cleanup:
        if dry_run:
            manifest: ManifestReader = await cleanup.enter_async_context(manifest_to_read(job_file.manifest))
        else:
            opened = writing(job_file.manifest, outside, wait_s=wait_s)
            writer = await cleanup.enter_async_context(opened)
            if writer is None:
                return Cleaned(ExitCode.COMPLETE, (), (), ())
            manifest = writer
        quiet_s = 0.0 if dry_run else FRESH_S  # a run may have ended a moment ago
        house = await cleanup.enter_async_context(
            furnished(job_file, _as_writer(manifest), outside, quiet_s=quiet_s)
        )
        found = await find_surplus(house.contexts, manifest, house.room)
        if dry_run:
            deletions = tuple(Deletion(item) for item in found.surplus)
        else:
            deletions = await delete_surplus(found.surplus, house.room)
        keep = await wanted_staging(manifest)
        files = await asyncio.to_thread(_stale_files, job_file, manifest.manifest_id, keep, dry_run)
    codes = [int(item.exit) for item in deletions] + [exit_of_fault(fault) for fault in found.faults]
    codes += [int(ExitCode.STORAGE) for file in files if file.problem]
    return Cleaned(ExitCode.worst(codes), deletions, files, found.faults)


def _as_writer(manifest: ManifestReader) -> ManifestWriter:
    """A dry run is given the house too, and commits nothing."""
    from typing import cast

    return cast("ManifestWriter", manifest)


def _stale_files(job_file: JobFile, manifest_id: str, keep: set[str], dry_run: bool) -> tuple[StaleFile, ...]:
    """Files of other manifests in the same place are not ours to judge."""
    from orchestrator.dataplane.destination import stale_staging

    folders = dict.fromkeys(job.destination.url for job in job_file.jobs if job.destination is not None)
    found: list[StaleFile] = []
    for folder in folders:
        try:
            paths = stale_staging(folder, keep)
        except StorageError as error:
            found.append(StaleFile(folder, 0, str(error)))
            continue
        ours = (Path(path) for path in paths)
        found += [_removed(path, dry_run) for path in ours if path.name.startswith(f"o-{manifest_id}-")]
    return tuple(found)


def _removed(path: Path, dry_run: bool) -> StaleFile:
    size_bytes, problem = 0, ""
    try:
        size_bytes = path.lstat().st_size
        if not dry_run:
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    except OSError as error:
        problem = error.strerror or str(error)
    return StaleFile(str(path), size_bytes, problem)
