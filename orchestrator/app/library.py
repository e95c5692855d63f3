"""What a program may call: load a job file, plan it, run it. The command line stands on this too.

Nothing here keeps state between calls, reads ``sys.argv`` or sets up logging. All exceptions are those of
``orchestrator.errors``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from orchestrator import settings
from orchestrator.app.selection import select
from orchestrator.clock import SystemClock, SystemRng
from orchestrator.core import job as core_job
from orchestrator.core import jobfile
from orchestrator.core.reasons import shell_word
from orchestrator.errors import StorageError

if TYPE_CHECKING:
    from orchestrator.app.wiring import House, Outside
    from orchestrator.core.events import Event
    from orchestrator.core.model import Slice
    from orchestrator.core.report import JobPlan, Report
    from orchestrator.engine.audit import VerifyReport
    from orchestrator.engine.context import StopSignal
    from orchestrator.ports.control import Observer
    from orchestrator.ports.store import ManifestReader, ManifestWriter

__all__ = [
    "JobFile",
    "Silent",
    "drained_when_cancelled",
    "load",
    "plan",
    "planning",
    "run",
    "run_sync",
    "running",
    "verification",
]


class JobFile(core_job.JobFile):
    """A valid job file with every default filled in; its jobs' windows are absolute, as of when it was
    read."""

    __slots__ = ()

    @classmethod
    def from_dict(
        cls,
        data: Mapping[str, Any],
        *,
        folder: str | PathLike[str] = ".",
        environment: Mapping[str, str] | None = None,
        now_s: float | None = None,
    ) -> Self:
        """The same as a file with these tables: ``{"service": {…}, "jobs": [{…}]}``.

        Relative paths start at ``folder``; ``environment`` (default: the process's) fills ``${NAME}``;
        ``now_s`` is epoch seconds (default: now). Raises JobFileError with every complaint.
        """
        base = Path(folder).absolute()
        read = jobfile.read(
            data,
            now_s=SystemClock().now() if now_s is None else now_s,
            zones=settings.zone,
            env=settings.environment() if environment is None else environment,
            base_folder=str(base),
            file="the job file",
            path=str(base / "jobs.toml"),
        )
        return cls.of(read)

    @classmethod
    def of(cls, read: core_job.JobFile) -> Self:
        """``read`` as the public type."""
        return cls(**{part.name: getattr(read, part.name) for part in fields(read)})


def load(path: str | PathLike[str], *, manifest: str | None = None, now_s: float | None = None) -> JobFile:
    """Read and judge a job file; nothing is contacted.

    ``manifest`` overrides the file's key; ``now_s`` is what ``now`` means in it, epoch seconds. Raises
    JobFileError with every complaint.
    """
    moment_s = SystemClock().now() if now_s is None else now_s
    return JobFile.of(settings.load(path, now_s=moment_s, manifest=manifest))


class Silent:
    """The Observer that does nothing."""

    def changed(self, before: Slice | None, after: Slice, event: Event | None) -> None:
        """Nobody watches."""

    def noted(self, name: str, **detail: str | float | None) -> None:
        """Nobody listens."""


async def run(
    job_file: core_job.JobFile,
    *,
    jobs: Sequence[str] = (),
    from_: str = "",
    to: str = "",
    observer: Observer | None = None,
    stop: StopSignal | None = None,
    wait_s: float = 0.0,
) -> Report:
    """Make the coverage of ``job_file`` true, and say how far that went.

    ``jobs`` are names, with ``*`` and ``?``; ``from_`` and ``to`` narrow every job's window, written as in a
    job file. ``stop.set("why")`` drains, and so does cancelling: what is under way is brought to where it can
    be resumed, then CancelledError is raised. ``wait_s`` is how long to wait for another run that holds the
    manifest.

    Raises UsageError, CredentialsError, ManifestLocked, StorageError; what goes wrong later stands in the
    report.
    """
    from orchestrator.app.wiring import Outside
    from orchestrator.engine.context import StopSignal

    outside = Outside(
        environment=settings.environment(),
        clock=SystemClock(),
        rng=SystemRng(),
        observer=observer or Silent(),
        stop=stop or StopSignal(),
    )
    chosen = select(job_file, jobs, from_=from_, to=to, now_s=outside.clock.now())
    async with running(chosen, outside, wait_s=wait_s) as house:
        return await drained_when_cancelled(house, shell_word(job_file.path))


def run_sync(job_file: core_job.JobFile, **options: Any) -> Report:
    """``run`` for programs without an event loop; ``KeyboardInterrupt`` drains too. Options are those of
    ``run``."""
    import asyncio

    return asyncio.run(run(job_file, **options))


async def plan(
    job_file: core_job.JobFile,
    *,
    jobs: Sequence[str] = (),
    from_: str = "",
    to: str = "",
    observer: Observer | None = None,
) -> tuple[JobPlan, ...]:
    """What ``run`` would do now, job by job. Creates nothing, here or at the service; counts lines there.

    Raises UsageError, CredentialsError, ServiceError, StorageError.
    """
    from orchestrator.app.wiring import Outside

    outside = Outside(
        environment=settings.environment(),
        clock=SystemClock(),
        rng=SystemRng(),
        observer=observer or Silent(),
    )
    chosen = select(job_file, jobs, from_=from_, to=to, now_s=outside.clock.now())
    async with planning(chosen, outside) as house:
        from orchestrator.engine.plan import plan as plan_all

        return await plan_all(house.contexts, house.room)


@asynccontextmanager
async def running(
    job_file: core_job.JobFile, outside: Outside, *, wait_s: float = 0.0
) -> AsyncIterator[House]:
    """The furnished house of one run that may write; the manifest's lock is held until it ends.

    Raises ManifestLocked after ``wait_s`` seconds in vain, StorageError, CredentialsError, UsageError.
    """
    from orchestrator.app.fleets import note_news
    from orchestrator.app.wiring import furnished
    from orchestrator.manifest.lock import ManifestLock
    from orchestrator.manifest.store import open_writer

    _make_folder(Path(job_file.manifest).parent)
    async with (
        ManifestLock(job_file.manifest, now=outside.clock.now).holding(wait_s) as lock,
        open_writer(
            job_file.manifest, now=outside.clock.now, new_id=lambda: outside.rng.token_hex(8)
        ) as manifest,
        furnished(job_file, manifest, outside, quiet_s=lock.quiet_s) as house,
    ):
        await note_news(house.resolved, manifest, outside.observer, outside.clock)
        yield house


@asynccontextmanager
async def planning(job_file: core_job.JobFile, outside: Outside) -> AsyncIterator[House]:
    """The furnished house of a plan: the manifest as it is, or an empty one in memory when there is none
    yet. Raises Refused and its kin when a fleet cannot be looked up, or nothing fits its pattern."""
    from orchestrator.app.reading import manifest_to_read
    from orchestrator.app.wiring import furnished

    async with (
        manifest_to_read(job_file.manifest) as manifest,
        furnished(job_file, cast("ManifestWriter", manifest), outside) as house,  # a plan commits nothing
    ):
        for error in house.resolved.errors:
            raise error
        yield house


async def verification(
    job_file: core_job.JobFile,
    outside: Outside,
    *,
    share: float = 1.0,
    mark: bool,
    recount: bool = False,
    jobs_path: str = "jobs.toml",
    wait_s: float = 0.0,
) -> VerifyReport:
    """Hold every stored file of ``job_file`` against the ledger, and with ``recount`` the ledger against the
    service, which is not asked otherwise. Only ``share`` of every job's files, picked anew each time, are
    read whole: 1 all, 0 none; of the others presence and size are checked.

    ``mark`` takes the manifest's lock and marks what is damaged, so that the next run exports it anew. Raises
    ManifestLocked, StorageError; with ``recount`` Refused and its kin.
    """
    from orchestrator.app.reading import manifest_to_read
    from orchestrator.app.wiring import furnished
    from orchestrator.engine.audit import verify
    from orchestrator.manifest.lock import ManifestLock
    from orchestrator.manifest.store import open_writer

    async with AsyncExitStack() as cleanup:
        if mark and _exists(job_file.manifest):
            lock = ManifestLock(job_file.manifest, now=outside.clock.now)
            await cleanup.enter_async_context(lock.holding(wait_s))
            opened = open_writer(
                job_file.manifest, now=outside.clock.now, new_id=lambda: outside.rng.token_hex(8)
            )
            writer: ManifestWriter | None = await cleanup.enter_async_context(opened)
            reader: ManifestReader = cast("ManifestWriter", writer)
        else:
            writer = None
            reader = await cleanup.enter_async_context(manifest_to_read(job_file.manifest))
        house = await cleanup.enter_async_context(
            furnished(job_file, cast("ManifestWriter", reader), outside, offline=not recount)
        )
        return await verify(
            house.contexts,
            reader,
            share=share,
            rng=outside.rng,
            writer=writer,
            clock=outside.clock,
            queries=job_file.limits.queries if recount else 0,
            jobs_path=jobs_path,
        )


def _make_folder(folder: Path) -> None:
    """Raises StorageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"the folder {folder} of the manifest cannot be made: {error.strerror or error}",
            hint="name another place with `manifest` or --manifest",
        ) from error


def _exists(path: str) -> bool:
    return Path(path).exists()


async def drained_when_cancelled(
    house: House, jobs_path: str, again: Mapping[str, Sequence[Slice]] | None = None
) -> Report:
    """The engine's run, with the slices ``again`` exported anew; a cancellation from outside becomes a drain,
    and is raised again when that is done."""
    import asyncio

    from orchestrator.app.fleets import with_patterns
    from orchestrator.engine.run import run as run_all

    work = run_all(house.contexts, house.room, jobs_path=jobs_path, again=again or {})
    task = asyncio.ensure_future(work)
    try:
        return with_patterns(await asyncio.shield(task), house.resolved)
    except asyncio.CancelledError:
        house.room.stop.set("cancelled")
        while not task.done():
            with suppress(asyncio.CancelledError):  # asked twice is not asked otherwise: the drain is bounded
                await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()  # seen: the caller is told of the cancellation, not of what it led to
        raise
