"""What a program may call: load a job file, plan it, run it, verify it. The command line stands on this too.

Nothing here keeps state between calls, reads ``sys.argv`` or sets up logging. All exceptions are those of
``orchestrator.errors``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import fields, replace
from datetime import date
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from orchestrator import settings
from orchestrator.app.selection import select
from orchestrator.clock import SystemClock, SystemRng
from orchestrator.core import job as core_job
from orchestrator.core import jobfile
from orchestrator.errors import ExitCode, StorageError, UsageError

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
    "jobs_words",
    "load",
    "plan",
    "planned",
    "planning",
    "run",
    "run_sync",
    "running",
    "verification",
    "verify",
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
        ``now_s`` is what ``now`` means, epoch seconds (default: now). Times may be dates and date-times.
        ``ORCHESTRATOR_MANIFEST`` is not obeyed, and commands in a report call the file ``folder/jobs.toml``.
        Raises JobFileError with every complaint.
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


def load(
    path: str | PathLike[str],
    *,
    manifest: str | None = None,
    environment: Mapping[str, str] | None = None,
    now_s: float | None = None,
) -> JobFile:
    """Read and judge a job file; nothing is contacted.

    ``manifest``, else ``ORCHESTRATOR_MANIFEST``, overrides the file's key, relative to the working folder;
    ``environment`` (default: the process's) fills ``${NAME}``; ``now_s`` is what ``now`` means in the file,
    epoch seconds (default: now). Raises JobFileError with every complaint, also when the file is missing.
    """
    moment_s = SystemClock().now() if now_s is None else now_s
    return JobFile.of(settings.load(path, now_s=moment_s, manifest=manifest, env=environment))


def jobs_words(job_file: core_job.JobFile) -> str:
    """What a shell is to be told of the job file: its path, and the manifest when that was named besides."""
    from orchestrator.core.reasons import shell_word

    words = shell_word(job_file.path)
    return f"{words} --manifest {shell_word(job_file.manifest)}" if job_file.manifest_named else words


class Silent:
    """The Observer that does nothing."""

    def changed(self, before: Slice | None, after: Slice, event: Event | None) -> None:
        """Nobody watches."""

    def noted(self, name: str, **detail: str | float | None) -> None:
        """Nobody listens."""


async def run(
    job_file: core_job.JobFile,
    *,
    jobs: str | Sequence[str] = (),
    from_: str | date = "",
    to: str | date = "",
    observer: Observer | None = None,
    stop: StopSignal | None = None,
    wait_s: float = 0.0,
    environment: Mapping[str, str] | None = None,
) -> Report:
    """Make the coverage of ``job_file`` true, and say how far that went.

    ``jobs`` is a name or several, with ``*`` and ``?``; without any, every enabled job is meant. ``from_``
    and ``to`` narrow every job's window: text as in a job file, or dates and date-times, naive ones in each
    job's timezone. ``observer`` is told of everything that happens. ``stop.set("why")`` drains, and so does
    cancelling: what is under way is brought to where it can be resumed, then CancelledError is raised.
    ``wait_s`` is how many seconds to wait for another run that holds the manifest. Credentials and proxies
    are looked for in ``environment`` (default: the process's).

    Raises UsageError, CredentialsError, ManifestLocked, StorageError; what goes wrong later stands in the
    report.
    """
    outside = _outside(environment, observer, stop)
    chosen = _chosen(job_file, jobs, from_, to, outside)
    async with running(chosen, outside, wait_s=wait_s) as house:
        return await drained_when_cancelled(house, jobs_words(job_file))


def run_sync(
    job_file: core_job.JobFile,
    *,
    jobs: str | Sequence[str] = (),
    from_: str | date = "",
    to: str | date = "",
    observer: Observer | None = None,
    stop: StopSignal | None = None,
    wait_s: float = 0.0,
    environment: Mapping[str, str] | None = None,
) -> Report:
    """``run`` for programs without an event loop, in an event loop of its own; may be called in any thread.
    In the main thread ``KeyboardInterrupt`` drains first.

    Raises what ``run`` does, and UsageError where an event loop runs already: await ``run`` there.
    """
    import asyncio

    with suppress(RuntimeError):  # which says that none is running
        asyncio.get_running_loop()
        raise UsageError(
            "run_sync cannot be called where an event loop is running, as in a notebook or an async function",
            hint="await orchestrator.run(...) there",
        )
    return asyncio.run(
        run(
            job_file,
            jobs=jobs,
            from_=from_,
            to=to,
            observer=observer,
            stop=stop,
            wait_s=wait_s,
            environment=environment,
        )
    )


async def plan(
    job_file: core_job.JobFile,
    *,
    jobs: str | Sequence[str] = (),
    from_: str | date = "",
    to: str | date = "",
    observer: Observer | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[JobPlan, ...]:
    """What ``run`` would do now, job by job, those of fleets too. Creates nothing, here or at the service;
    counts lines there. Takes no lock, so it may be asked while a run goes on. Arguments are those of ``run``.

    What keeps one job from being planned, a logstore that is gone or an outage of its service, stands in the
    ``error`` of that job's plan, and the others are planned. Raises UsageError, CredentialsError,
    StorageError, and ServiceError when not one job is known.
    """
    outside = _outside(environment, observer, None)
    chosen = _chosen(job_file, jobs, from_, to, outside)
    async with planning(chosen, outside) as house:
        return await planned(house)


async def verify(
    job_file: core_job.JobFile,
    *,
    jobs: str | Sequence[str] = (),
    from_: str | date = "",
    to: str | date = "",
    share: float = 1.0,
    recount: bool = False,
    mark: bool = True,
    wait_s: float = 0.0,
    environment: Mapping[str, str] | None = None,
) -> VerifyReport:
    """Hold the stored files of ``job_file`` against the ledger. Deletes nothing.

    ``share`` of every job's files, picked anew each time and one at least, are read whole: 1.0 all, 0.0 none;
    of the others presence and size are checked. With ``recount`` the service counts again what is stored;
    without it nobody is contacted. With ``mark`` the windows of damaged files are no longer covered, so that
    the next run exports them anew; that takes the manifest's lock. The other arguments are those of ``run``.

    Raises UsageError, ManifestLocked, StorageError; with ``recount`` CredentialsError and ServiceError too.
    """
    if not 0.0 <= share <= 1.0:
        raise UsageError(f"share is {share}", hint="give a number from 0.0 to 1.0")
    outside = _outside(environment, None, None)
    chosen = _chosen(job_file, jobs, from_, to, outside)
    return await verification(
        chosen,
        outside,
        share=share,
        mark=mark,
        recount=recount,
        jobs_path=jobs_words(job_file),
        wait_s=wait_s,
    )


def _chosen(
    job_file: core_job.JobFile,
    jobs: str | Sequence[str],
    from_: str | date,
    to: str | date,
    outside: Outside,
) -> core_job.JobFile:
    names = (jobs,) if isinstance(jobs, str) else jobs
    return select(job_file, names, from_=from_, to=to, now_s=outside.clock.now())


def _outside(
    environment: Mapping[str, str] | None, observer: Observer | None, stop: StopSignal | None
) -> Outside:
    from orchestrator.app.wiring import Outside
    from orchestrator.engine.context import StopSignal

    return Outside(
        environment=settings.environment() if environment is None else environment,
        clock=SystemClock(),
        rng=SystemRng(),
        observer=observer or Silent(),
        stop=stop or StopSignal(),
    )


async def planned(house: House, *, to_be_drawn: bool = False) -> tuple[JobPlan, ...]:
    """The engine's plan, with an entry for what kept a fleet from having all its jobs. One that is
    ``to_be_drawn`` may take a request more per job."""
    from orchestrator.app.fleets import troubles
    from orchestrator.core.report import JobPlan
    from orchestrator.engine.plan import plan as plan_all

    plans = await plan_all(house.contexts, house.room, to_be_drawn=to_be_drawn)
    further = (
        JobPlan(name, window, (), None, 0, 0, error=fault) for name, window, fault in troubles(house.resolved)
    )
    return (*plans, *further)


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
    yet. Raises Refused and its kin when there is not one job, since fleets cannot be looked up or nothing
    fits their patterns."""
    from orchestrator.app.reading import manifest_to_read
    from orchestrator.app.wiring import furnished

    async with (
        manifest_to_read(job_file.manifest) as manifest,
        furnished(job_file, cast("ManifestWriter", manifest), outside) as house,  # a plan commits nothing
    ):
        if house.resolved.errors and not house.contexts:
            raise house.resolved.errors[0]
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
    ManifestLocked, StorageError; with ``recount`` Refused and its kin. A job that the manifest holds another
    one of is not looked at, and makes the exit 2.
    """
    from orchestrator.app.reading import identity_fault, manifest_to_read
    from orchestrator.app.wiring import furnished
    from orchestrator.engine.audit import verify as verify_all
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
        faults = {job.name: await identity_fault(job, reader) for job in house.job_file.jobs}
        report = await verify_all(
            [context for context in house.contexts if faults[context.job.name] is None],
            reader,
            share=share,
            rng=outside.rng,
            writer=writer,
            clock=outside.clock,
            queries=job_file.limits.queries if recount else 0,
            jobs_path=jobs_path,
        )
        not_checked = tuple((name, fault) for name, fault in faults.items() if fault is not None)
        exit_code = ExitCode.worst([report.exit] + [ExitCode.USAGE for _ in not_checked])
        return replace(report, exit=exit_code, not_checked=not_checked)


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
    from orchestrator.app.lost import with_losses
    from orchestrator.engine.run import run as run_all

    work = run_all(house.contexts, house.room, jobs_path=jobs_path, again=again or {})
    task = asyncio.ensure_future(work)
    try:
        report = await with_losses(await asyncio.shield(task), house, jobs_path)
        return with_patterns(report, house.resolved)
    except asyncio.CancelledError:
        house.room.stop.set("cancelled")
        while not task.done():
            with suppress(asyncio.CancelledError):  # asked twice is not asked otherwise: the drain is bounded
                await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()  # seen: the caller is told of the cancellation, not of what it led to
        raise
