"""What does ``plan`` do and show?"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.cli import values
from orchestrator.cli.checking import asked_for
from orchestrator.cli.ending import Stage, cleaned, complain
from orchestrator.cli.fleets import fleet_json, masked, printable, show_fleets
from orchestrator.cli.picture import Alphabet, Picture, alphabet_for, draw
from orchestrator.cli.print import bytes_text, counted, moment_text, print_table, span_text, window_text
from orchestrator.cli.scale import columns_of_stdout, ends_lines, rate_text, wrapped
from orchestrator.cli.stdout import Stdout
from orchestrator.core.estimating import together
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    from orchestrator.core.job import Job, Limits
    from orchestrator.core.model import Fault
    from orchestrator.core.report import JobPlan, PlannedSlice

__all__ = ["plan", "show_plan"]

SHOWN_SLICES = 40
"""Up to so many slices are listed; of more only the first and the last ones."""
_FIRST_AND_LAST = 10
_INDENT = "  "


def plan(stage: Stage) -> int:
    """Show what a run would do; what could not be planned makes the exit. Raises CredentialsError, and
    ServiceError when no job is known at all: counting asks the service."""
    from orchestrator.cli.watching import logged

    job_file = asked_for(stage)

    async def shown() -> int:
        from orchestrator.app.library import planned, planning

        with logged(stage) as outside:
            async with planning(job_file, outside) as house:
                plans = await planned(house, to_be_drawn=not stage.document)
                plans = tuple(replace(item, error=cleaned(stage.redaction, item.error)) for item in plans)
                jobs = house.job_file.jobs
                found = [masked(item, stage.redaction.own_words) for item in house.resolved.found]
        nothing_to_do = not any(item.slices or item.error or item.beyond_retention for item in plans)
        code, worst = _ending(plans)
        if worst is not None and worst.error is not None:
            fault = worst.error
            complain(
                stage.redaction,
                f"{worst.job}: {fault.message}",
                fault.hint or values.hint_of(fault.code),
                fault.request_id,
            )
        if stage.document:
            stage.document.stream("jobs", (values.plan_json(item) for item in plans))
            stage.document.stream("fleets", map(fleet_json, found))
            error = values.fault_json(worst.error) if worst is not None else None
            stage.document.end(code, complete=nothing_to_do, error=error)
        else:
            alphabet = alphabet_for(sys.stdout.encoding)
            show_plan(stage.out, plans, jobs, job_file.limits, columns_of_stdout(), alphabet)
            show_fleets(stage.out, found)
        return code

    return asyncio.run(shown())


def _ending(plans: Sequence[JobPlan]) -> tuple[int, JobPlan | None]:
    """The exit code that speaks for all jobs, and the first job that could not be planned with it."""
    from orchestrator.engine.run import exit_of_fault

    failed = {plan.job: exit_of_fault(plan.error) for plan in plans if plan.error is not None}
    code = ExitCode.worst([ExitCode.COMPLETE, *failed.values()])
    return code, next((plan for plan in plans if failed.get(plan.job) == code), None)


def show_plan(
    out: Stdout,
    plans: Sequence[JobPlan],
    jobs: Sequence[Job],
    limits: Limits,
    columns: int,
    alphabet: Alphabet,
) -> None:
    """Job by job the slices a run would ask for, their picture, and the sums; then those of all jobs."""
    zones = {job.name: job.timezone for job in jobs}
    for plan in plans:
        timezone = zones.get(plan.job, "UTC")
        out.line(f"{plan.job}  {window_text(plan.window, timezone)}")
        if plan.error is not None:
            _show_error(out, plan.error)
            continue
        if not plan.slices:
            out.line(f"{_INDENT}nothing to do: {_why_nothing(plan)}")
        if plan.beyond_retention:
            gone = ", ".join(window_text(window, timezone) for window in plan.beyond_retention)
            out.line(f"{_INDENT}beyond retention, cannot be exported: {gone}")
        _show_slices(out, plan.slices, timezone)
        picture = draw(plan, columns - len(_INDENT) - 1, alphabet)
        if picture is not None:
            out.line()
            _show_picture(out, picture, timezone, columns)
            out.line()
        _show_sums(out, plan)
    if len(plans) > 1:
        _show_total(out, plans, limits)


def _why_nothing(plan: JobPlan) -> str:
    if plan.empty:
        return "the service counts no lines"
    if plan.beyond_retention:
        return "the manifest holds all that the logstore still keeps"
    return "the manifest holds all of it"


def _show_error(out: Stdout, error: Fault) -> None:
    out.line(f"{_INDENT}not planned: {printable(error.message)}")
    hint = error.hint or values.hint_of(error.code)
    if hint:
        out.line(f"{_INDENT}{hint}")


def _show_slices(out: Stdout, slices: Sequence[PlannedSlice], timezone: str) -> None:
    if not slices:
        return
    rest = len(slices) - 2 * _FIRST_AND_LAST
    if len(slices) <= SHOWN_SLICES:
        rows = [_cells(item, timezone) for item in slices]
    else:
        rows = [_cells(item, timezone) for item in slices[:_FIRST_AND_LAST]]
        rows.append((f"{_INDENT}({rest:,} more; all with --json)", "", "", ""))
        rows += [_cells(item, timezone) for item in slices[-_FIRST_AND_LAST:]]
    stream = "log stream" if any(item.logstream for item in slices) else ""
    print_table(out, (f"{_INDENT}from", "to", "lines", stream), rows, right=(2,))


def _cells(item: PlannedSlice, timezone: str) -> tuple[str, str, str, str]:
    lines = "unknown" if item.lines is None else f"{'~' if item.estimated else ''}{item.lines:,}"
    start, end = (moment_text(at_s, timezone) for at_s in (item.window.start_s, item.window.end_s))
    return f"{_INDENT}{start}", end, lines, item.logstream


def _show_picture(out: Stdout, picture: Picture, timezone: str, columns: int) -> None:
    out.line(_INDENT + picture.lines.rstrip())
    out.line(_INDENT + picture.cuts.rstrip())
    for line in ends_lines(picture.window, timezone, len(picture.lines)):
        out.line(_INDENT + line)
    scale = [f"a column is {span_text(picture.column_s)}"]
    if picture.highest is not None:
        scale.append(f"the highest {rate_text(picture.highest)}")
    for line in wrapped([*scale, *picture.legend], columns - len(_INDENT)):
        out.line(_INDENT + line)


def _show_sums(out: Stdout, plan: JobPlan) -> None:
    took = f"planning took {counted(plan.planning_requests, 'request')}"
    out.line(f"{_INDENT}{counted(len(plan.slices), 'slice')}, {_lines_text(plan)}")
    if any(item.lines is None for item in plan.slices):
        out.line(f"{_INDENT}where nothing is counted slices follow the rows as they come: a guess so far")
    out.line(f"{_INDENT}about {counted(plan.requests, 'request')}; {took}")
    if plan.slices:
        size = "unknown" if plan.bytes_stored is None else f"about {bytes_text(plan.bytes_stored)}"
        out.line(f"{_INDENT}time {_time_text(plan.duration_s)}; size {size}")


def _lines_text(plan: JobPlan) -> str:
    about = "about " if any(item.estimated for item in plan.slices) else ""
    if plan.lines is not None:
        return f"{about}{counted(plan.lines, 'line')}"
    known = sum(item.lines for item in plan.slices if item.lines is not None)
    uncounted = sum(item.lines is None for item in plan.slices)
    if uncounted == len(plan.slices):
        return "lines unknown"
    return f"{about}{counted(known, 'line')} and what is in {counted(uncounted, 'slice')} not counted"


def _time_text(duration_s: float | None) -> str:
    return "unknown, as no remote task ran yet" if duration_s is None else f"about {span_text(duration_s)}"


def _show_total(out: Stdout, plans: Sequence[JobPlan], limits: Limits) -> None:
    works = [plan.work for plan in plans if plan.work is not None]
    slices = sum(len(plan.slices) for plan in plans)
    asked = sum(plan.requests for plan in plans)
    took = sum(plan.planning_requests for plan in plans)
    failed = sum(plan.error is not None for plan in plans)
    left_out = f", {failed:,} of them not planned" if failed else ""
    out.line(
        f"{counted(len(plans), 'job')}{left_out}: {counted(slices, 'slice')}, "
        f"about {counted(asked, 'request')}, time {_time_text(together(works, limits))}; "
        f"planning took {counted(took, 'request')}"
    )
