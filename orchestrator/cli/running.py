"""How does ``run`` go: the lock, the signals, the progress, the report.

The first SIGINT or SIGTERM drains; the second one ends the process at once. Both are safe, because what is
true stands in the manifest.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import structlog

from orchestrator.app.library import drained_when_cancelled, jobs_words, running
from orchestrator.app.mending import redo_exit, to_redo
from orchestrator.app.reading import job_status
from orchestrator.app.timekeeping import Timekeeper
from orchestrator.app.wiring import House, Outside
from orchestrator.cli import results, values
from orchestrator.cli.checking import asked_for, chosen
from orchestrator.cli.collecting import collect_seldom
from orchestrator.cli.draining import signals_obeyed
from orchestrator.cli.ending import Stage, complain
from orchestrator.cli.fleets import fleet_json, masked
from orchestrator.cli.timing import show_timing, timing_json
from orchestrator.cli.watching import LineBudget, Observers, logged, progress_shown
from orchestrator.core.job import JobFile
from orchestrator.core.model import Fault, Slice, SliceState
from orchestrator.core.report import Report
from orchestrator.core.window import intersect, seconds
from orchestrator.dashboard.progress import Held, Progress
from orchestrator.engine.context import StopSignal
from orchestrator.errors import Interrupted, UsageError

__all__ = ["redo", "run"]


Again = dict[str, tuple[Slice, ...]]
Prepare = Callable[[House], Awaitable[tuple[House, Again]]]
"""Narrows a house to what a redo is about, and says which slices are to be exported anew."""


def run(stage: Stage, *, max_duration_s: int, max_lines: int, timing: bool = False) -> int:
    """Make the coverage true and say how far that went, with ``timing`` also where the time went; the exit
    code is the report's."""
    job_file = asked_for(stage)
    return _tell(stage, *asyncio.run(_run(stage, job_file, max_duration_s, max_lines, timing=timing)))


def redo(stage: Stage, *, slice_id: str, from_: str, to: str) -> int:
    """Export stored slices anew, and say of each whether the new one took its place."""
    job_file = chosen(stage)
    if len(job_file.jobs) != 1:
        raise UsageError("one job at a time", hint="give --job the full name of one job")
    if bool(slice_id) == bool(from_ or to) or bool(from_) != bool(to):
        raise UsageError(
            "redo wants either --slice, or --from and --to", hint="see `orchestrator redo --help`"
        )
    if not Path(job_file.manifest).exists():
        raise UsageError(
            f"{job_file.manifest}: nothing was exported yet", hint="begin with `orchestrator run`"
        )

    async def prepare(house: House) -> tuple[House, Again]:
        return await to_redo(job_file, house, slice_id=slice_id, from_=from_, to=to)

    return _tell(stage, *asyncio.run(_run(stage, job_file, 0, 0, prepare)))


def _tell(stage: Stage, job_file: JobFile, report: Report) -> int:
    """``job_file`` with the jobs of its fleets."""
    fault = _cleaned(stage, values.report_error(report))
    if fault is not None:
        complain(stage.redaction, fault.message, fault.hint or values.hint_of(fault.code), fault.request_id)
    redone = [item for job in report.jobs for item in job.redone]
    fleets = tuple(masked(found, stage.redaction.own_words) for found in report.fleets)
    report = replace(report, fleets=fleets)
    if stage.document:
        stage.document.put("duration_s", round(report.duration_s, 3))
        stage.document.put("requests", values.requests_json(report.requests))
        jobs = (replace(job, error=_cleaned(stage, job.error)) for job in report.jobs)
        stage.document.stream("jobs", (values.run_job_json(job) for job in jobs))
        stage.document.stream("fleets", map(fleet_json, report.fleets))
        if stage.asked.command == "redo":
            stage.document.stream("redone", (values.redone_json(item) for item in redone))
        else:
            stage.document.put("timing", timing_json(report.timing))
        stage.document.end(
            int(report.exit),
            complete=report.complete,
            settled_to=report.settled_to,
            error=values.fault_json(fault),
        )
    if not stage.asked.json:
        results.show_run(stage.out, report, job_file.jobs, jobs_words(job_file))
        if report.timing is not None:
            show_timing(stage.out, report.timing)
    return int(report.exit)


def _cleaned(stage: Stage, fault: Fault | None) -> Fault | None:
    """Faults may quote the service; what is printed is cleaned once more, with every secret known by now."""
    return fault and replace(fault, message=stage.redaction(fault.message))


async def _run(
    stage: Stage,
    job_file: JobFile,
    max_duration_s: int,
    max_lines: int,
    prepare: Prepare | None = None,
    *,
    timing: bool = False,
) -> tuple[JobFile, Report]:
    collect_seldom()
    with logged(stage) as bare:
        stop = StopSignal()
        outside = replace(bare, stop=stop, timekeeper=Timekeeper(job_file.limits) if timing else None)
        with signals_obeyed(stage, stop) as waiting_for_lock:
            try:
                async with running(job_file, outside, wait_s=stage.asked.wait_s) as house:
                    waiting_for_lock.clear()
                    meant, again = (house, {}) if prepare is None else await prepare(house)
                    report = await _watched(stage, meant, outside, max_duration_s, max_lines, again)
                    return house.job_file, report
            except asyncio.CancelledError:
                if stop.is_set():
                    raise Interrupted(f"{stop.reason} before the run began") from None
                raise


async def _watched(
    stage: Stage,
    house: House,
    outside: Outside,
    max_duration_s: int,
    max_lines: int,
    again: Again,
) -> Report:
    log = structlog.get_logger()
    job_file = house.job_file
    held = await _held(job_file, house)
    progress = Progress(tick=time.monotonic, requests=house.room.requests, redact=stage.redaction, held=held)
    observers = outside.observer
    assert isinstance(observers, Observers)  # noqa: S101  ``logged`` made it
    observers.join(progress)
    timekeeper = outside.timekeeper
    if timekeeper is not None:
        observers.join(timekeeper)
    if max_lines:
        observers.join(LineBudget(max_lines, outside.stop))
    if max_duration_s:
        loop = asyncio.get_running_loop()
        loop.call_later(max_duration_s, lambda: outside.stop.set("--max-duration", interrupted=False))
    log.info("run.started", jobs=len(job_file.jobs), manifest=job_file.manifest, log_file=str(stage.log_path))
    if timekeeper is not None:
        timekeeper.begin(planned=held.slices[SliceState.PLANNED])
    async with progress_shown(stage, progress):
        report = await drained_when_cancelled(house, jobs_words(job_file), again)
    if timekeeper is not None:
        report = replace(report, timing=timekeeper.read())
    if again:
        interrupted = outside.stop.is_set() and outside.stop.interrupted
        report = replace(report, exit=redo_exit(report, interrupted=interrupted))
    log.info(
        "run.complete" if report.complete else "run.incomplete",
        exit=int(report.exit),
        duration_s=round(report.duration_s, 3),
        requests=sum(report.requests.values()),
        drained_by=outside.stop.reason or None,
    )
    return report


async def _held(job_file: JobFile, house: House) -> Held:
    """What earlier runs left, all jobs together."""
    manifest = house.room.manifest
    slices: Counter[SliceState] = Counter()
    lines = missing_s = in_slices_s = 0
    for job in job_file.jobs:
        status = await job_status(job, manifest)
        slices.update(status.counts.slices)
        lines += status.counts.lines
        missing_s += seconds(status.missing)
        in_slices_s += seconds(intersect(status.missing, await manifest.unfinished(job.name, job.window)))
    return Held(slices, lines, missing_s, in_slices_s)
