"""A run: make the coverage of the asked windows true, as far as the service and this machine allow, and say
what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from orchestrator.core.job import Job
from orchestrator.core.model import Fault, Slice
from orchestrator.core.report import Gap, JobReport, Redone, Report, exit_of_gaps, settled_to
from orchestrator.core.streams import views
from orchestrator.core.window import Window, WindowSet
from orchestrator.engine import rechecking, redo
from orchestrator.engine.arrivals import Noted, Stray
from orchestrator.engine.audit import gaps_of
from orchestrator.engine.clean import Surplus, delete_surplus
from orchestrator.engine.context import JobContext, Room
from orchestrator.engine.counting import Counting
from orchestrator.engine.desk import Desk
from orchestrator.engine.driver import Driver
from orchestrator.engine.faults import fault_of
from orchestrator.engine.plan import planned_slices
from orchestrator.engine.recovery import Resolver
from orchestrator.engine.stages.watch import Watcher
from orchestrator.engine.steady import SteadyClock
from orchestrator.engine.takeup import (
    all_begun_anew,
    check_identity,
    check_logstream,
    cover_again,
    doubted_lately,
    leftovers,
    missing_of,
    out_of_retention,
    retention_starts_at,
)
from orchestrator.engine.tally import add_up
from orchestrator.errors import ExitCode, OrchestratorError, UsageError
from orchestrator.ports.store import JournalEntry

__all__ = ["exit_of_fault", "run"]

Missing = Mapping[Job, WindowSet]
"""What is missing of a job, or of each of its log streams, by view."""


async def run(
    contexts: Sequence[JobContext],
    room: Room,
    *,
    jobs_path: str,
    again: Mapping[str, Sequence[Slice]] = MappingProxyType({}),
) -> Report:
    """Run all jobs together until each asked window is covered or nothing more can be done for it in this
    run. ``jobs_path`` is what a shell is to be told of the job file, for the commands in the report.
    ``again`` are slices to be exported anew, by job: the report then tells what became of each.

    Never raises for what the service or the disk did: the report says it, per job and as a whole. A defect of
    ours is raised. Setting ``room.stop`` drains: the report then tells how far it came. Cancelling drains
    nothing but loses nothing either.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    room = replace(room, clock=SteadyClock(room.clock))
    desks: dict[str, Desk] = {}
    refused: dict[str, Fault] = {}
    kept: dict[str, dict[str, str]] = {}
    fault: Fault | None = None
    driver: Driver | None = None
    try:
        driver = Driver(desks_of(contexts, room, desks), room, next_number=await room.manifest.next_number())
        openings = []
        missing = await _take_up_all(contexts, room, driver, refused, again)
        for context in contexts:
            if context.job.name in missing:
                driver.working_on(context.job.name, +1)
                work = _begin(context, missing[context.job.name], room, driver, refused)
                openings.append(asyncio.create_task(work))
        try:
            await driver.run()
        finally:
            for task in openings:
                task.cancel()
            await asyncio.gather(*openings, return_exceptions=True)
        fault = driver.fault
        if fault is None or fault.code == "disk_full":
            for context in contexts:
                if context.job.name not in refused or refused[context.job.name].code != "usage":
                    kept[context.job.name] = await _end_redos(context, room)
                if not (fault or room.stop.is_set() or context.job.name in refused):
                    await add_up(context, room)
    except OrchestratorError as error:
        fault = fault_of(error)
    reports = [
        await _report(c, room, desks.get(c.job.name), refused.get(c.job.name), fault, jobs_path)
        for c in contexts
    ]
    if again:
        reports = [replace(report, redone=await _redone(report.job, again, kept, room)) for report in reports]
    exit_code = ExitCode.worst([r.exit for r in reports] + ([exit_of_fault(fault)] if fault else []))
    settled = [
        _settled_to(context.job, report)
        for context, report in zip(contexts, reports, strict=True)
        if fault is None or fault.code == "disk_full"
    ]
    known = [at for at in settled if at is not None]
    return Report(
        exit=exit_code,
        complete=all(report.complete for report in reports),
        settled_to=min(known) if known and len(known) == len(settled) else None,
        duration_s=round(loop.time() - started, 3),
        requests=dict(room.requests()),
        jobs=tuple(reports),
        error=fault or next((report.error for report in reports if report.error), None),
    )


def desks_of(contexts: Sequence[JobContext], room: Room, desks: dict[str, Desk]) -> list[Desk]:
    """One desk per job; jobs of one service and project share their resolver and watcher."""
    resolvers: dict[tuple[int, str], Resolver] = {}
    watchers: dict[tuple[int, str], Watcher] = {}
    for context in contexts:
        project = context.job.identity.project
        key = (id(context.tasks), project)
        if key not in resolvers:
            resolvers[key] = Resolver(context.tasks, project, clock=room.clock, observer=room.observer)
            watchers[key] = Watcher(context.tasks, project, clock=room.clock, observer=room.observer)
        desks[context.job.name] = Desk(context, watchers[key], resolvers[key])
    return list(desks.values())


async def _end_redos(context: JobContext, room: Room) -> dict[str, str]:
    """What was withheld takes its place, or is given up; remote tasks that go with it are deleted at once."""
    kept = await redo.swap(context, room)
    if kept:
        tasks = await room.manifest.surplus(context.job.name)
        await delete_surplus([Surplus(context, task, "let go") for task in tasks if task.uuid], room)
    return kept


async def _redone(
    job: str, again: Mapping[str, Sequence[Slice]], kept: Mapping[str, dict[str, str]], room: Room
) -> tuple[Redone, ...]:
    try:
        return await redo.outcomes(again.get(job, ()), kept.get(job, {}), room.manifest)
    except OrchestratorError:  # the manifest cannot be read any more: the report's error says so
        return ()


async def _take_up_all(
    contexts: Sequence[JobContext],
    room: Room,
    driver: Driver,
    refused: dict[str, Fault],
    again: Mapping[str, Sequence[Slice]],
) -> dict[str, Missing | None]:
    """What earlier runs left of every job goes into memory before anything is admitted, so that the ceilings
    count it. Asks nobody; yields what is missing of the jobs that have something to do, be it only to look
    for strays (None)."""
    missing: dict[str, Missing | None] = {}
    for context in contexts:
        job, manifest = context.job, room.manifest
        if job.window is None:
            continue
        try:
            await check_identity(job, manifest)
        except UsageError as error:
            refused[job.name] = fault_of(error)
            driver.stop_job(job.name, refused[job.name])
            continue
        await cover_again(job, job.window, room)
        chosen = again.get(job.name, ())
        await redo.begin(context, chosen, room)
        left = await leftovers(job, job.window, manifest, frozenset(slice_.id for slice_ in chosen))
        lacking = {
            view: await missing_of(view, job.window, manifest, left.taken_of(view)) for view in views(job)
        }
        for slice_, event in left.events:
            driver.resume(slice_, event)
        surplus = await manifest.surplus(job.name)
        for task in surplus:
            driver.post(Stray(task))
        due = any(lacking.values()) or left.taken or await rechecking.is_due(context, room)
        if due or context.stopped is not None:
            missing[job.name] = lacking
        elif surplus or (await doubted_lately(job, room))[0]:
            missing[job.name] = None
    return missing


async def _begin(
    context: JobContext, missing: Missing | None, room: Room, driver: Driver, refused: dict[str, Fault]
) -> None:
    """First contact, then the plan of what is missing, part by part: the first slices run before the last are
    planned. At last look whether a doubt of the last day has come true after all."""
    job = context.job
    try:
        if context.stopped is not None:
            raise context.stopped
        if missing is not None:
            starts_at = await retention_starts_at(context, room)
            await check_logstream(context, room)
            due = {view: out_of_retention(view, lacking, starts_at) for view, lacking in missing.items()}
            await driver.add_planned([slice_ for _, gone in due.values() for slice_ in gone], job=job)
            driver.open(job.name, starts_at)
            counting = Counting(context.counts, job.identity)
            await driver.add_planned(await rechecking.grown(context, counting, room, driver.post))
            lanes = driver.lanes_of(job.name)
            for view, (lacking, _) in due.items():
                async for part in planned_slices(view, lacking, counting, lanes, room):
                    cells = [cell for slice_ in part for cell in rechecking.in_cells(slice_, view)]
                    await driver.add_planned(await all_begun_anew(cells, room.manifest))
        await _seek_strays(job, room, driver)
    except OrchestratorError as error:
        if error.exit_code == ExitCode.STORAGE:
            driver.stop(fault_of(error))
        else:
            refused[job.name] = fault_of(error)
            driver.stop_job(job.name, refused[job.name])
    except Exception as error:
        driver.crash(error)
        raise
    finally:
        driver.working_on(job.name, -1)


async def _seek_strays(job: Job, room: Room, driver: Driver) -> None:
    """Creates that took effect after all are let go. Where some could not be looked for yet, this was not the
    look that the next one reaches back to."""
    doubts, known, all_of_them = await doubted_lately(job, room)
    strays = await driver.resolver_of(job.name).strays(doubts, known) if doubts else None
    if strays is None:
        return
    for task in strays:
        driver.post(Stray(task))
    if all_of_them:
        driver.post(Noted(JournalEntry(room.clock.now(), job.name, "", "strays_sought")))


async def _report(
    context: JobContext,
    room: Room,
    desk: Desk | None,
    refused: Fault | None,
    fault: Fault | None,
    jobs_path: str,
) -> JobReport:
    job = context.job
    error = refused or (desk.stopped if desk else None)
    if job.window is None:
        return JobReport(job.name, ExitCode.COMPLETE, None, complete=True)
    try:
        gaps = await gaps_of(job, room.manifest, job.window, jobs_path)
        totals = await room.manifest.totals(job.name, job.window)
    except OrchestratorError as unreadable:
        lost = fault or fault_of(unreadable)
        return JobReport(job.name, exit_of_fault(lost), job.window, complete=False, error=lost)
    unknown = context.stopped is not None and bool(job.stream_patterns)  # there may be streams nobody knows
    exit_code = _job_exit(gaps, error=error, fault=fault, room=room, unknown=unknown)
    to_s = job.to_s if job.to_s is not None else job.due_until_s
    not_due = (Window(job.due_until_s, to_s),) if to_s > job.due_until_s else ()
    return JobReport(
        job=job.name,
        exit=exit_code,
        window=job.window,
        complete=exit_code == ExitCode.COMPLETE,
        lines=totals.lines,
        bytes_fetched=desk.fetched_bytes if desk else 0,
        bytes_stored=totals.stored_bytes,
        files=totals.files,
        remote_tasks_created=desk.created if desk else 0,
        slices={state.value: n for state, n in totals.slices.items() if n},
        gaps=gaps,
        not_due=not_due,
        error=error,
    )


def _settled_to(job: Job, report: JobReport) -> int | None:
    if report.window is None:
        return job.due_until_s
    told = report.complete or (report.gaps and report.exit != ExitCode.USAGE)
    return settled_to(report.window, report.gaps) if told else None


def _job_exit(
    gaps: Sequence[Gap], *, error: Fault | None, fault: Fault | None, room: Room, unknown: bool
) -> int:
    found = exit_of_gaps(gaps)
    if error is not None and exit_of_fault(error) == ExitCode.USAGE:
        return (
            ExitCode.USAGE
        )  # another job under this name: what the manifest holds is not what was asked for
    if found == ExitCode.COMPLETE and not unknown:
        return found
    if fault is not None:
        return exit_of_fault(fault)
    if error is not None:
        return exit_of_fault(error)
    if room.stop.is_set():
        return ExitCode.INTERRUPTED if room.stop.interrupted else ExitCode.INCOMPLETE
    return found


def exit_of_fault(fault: Fault) -> int:
    """The exit code of the error class a fault came from."""
    return _EXITS.get(fault.code, ExitCode.INCOMPLETE)


def _every_class(root: type[OrchestratorError]) -> list[type[OrchestratorError]]:
    return [root] + [found for child in root.__subclasses__() for found in _every_class(child)]


_EXITS: dict[str, int] = {error.code: int(error.exit_code) for error in _every_class(OrchestratorError)}
