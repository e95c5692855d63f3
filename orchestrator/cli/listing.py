"""How does ``logstores`` go: ask every service of the job file, show what there is."""

from __future__ import annotations

import asyncio
from typing import Any

from orchestrator.app.listing import Listing, Place, list_logstores
from orchestrator.cli import values
from orchestrator.cli.checking import read_job_file
from orchestrator.cli.document import iso_or_null
from orchestrator.cli.ending import Stage, complain
from orchestrator.cli.fleets import printable
from orchestrator.cli.print import counted, print_table
from orchestrator.cli.watching import logged
from orchestrator.engine.run import exit_of_fault
from orchestrator.engine.takeup import PERMANENT_DAYS
from orchestrator.errors import ExitCode
from orchestrator.ports.service import LogStore

__all__ = ["logstores"]


def logstores(stage: Stage, *, project: str) -> int:
    """List logstores; places that cannot be listed are told, the others shown all the same."""
    job_file = read_job_file(stage)

    async def listed() -> Listing:
        with logged(stage) as outside:
            return await list_logstores(job_file, outside, project=project)

    listing = asyncio.run(listed())
    hide = stage.redaction.own_words
    for place, fault in listing.faults:
        where = f"project {hide(place.project)} at {hide(place.service)}"
        hint = fault.hint or values.hint_of(fault.code)
        complain(stage.redaction, f"{where}: {fault.message}", hint, fault.request_id)
    code = ExitCode.worst([exit_of_fault(fault) for _, fault in listing.faults])
    if stage.document:
        first = next((fault for _, fault in listing.faults if exit_of_fault(fault) == code), None)
        stage.document.stream("logstores", (_value(*item, stage) for item in listing.stores))
        error = values.fault_json(first)
        if error is not None:
            error["message"] = stage.redaction(error["message"])
        stage.document.end(code, complete=code == ExitCode.COMPLETE, error=error)
    else:
        _show(stage, listing)
    return code


def _value(place: Place, store: LogStore, stage: Stage) -> dict[str, Any]:
    """``retention_days`` and ``index`` null when the service does not say; ``permanent`` when records stay
    for ever."""
    hide = stage.redaction.own_words
    return {
        "service": hide(place.service),
        "endpoint": hide(place.endpoint),
        "project": hide(place.project),
        "logstore": store.name,
        "retention_days": store.retention_days,
        "permanent": None if store.retention_days is None else store.retention_days >= PERMANENT_DAYS,
        "index": store.index_enabled,
        "created_at": iso_or_null(store.created_at),
    }


def _show(stage: Stage, listing: Listing) -> None:
    hide = stage.redaction.own_words
    rows = [
        (
            hide(place.service),
            hide(place.project),
            printable(store.name),
            _retention(store.retention_days),
            {True: "yes", False: "no", None: "unknown"}[store.index_enabled],
            iso_or_null(store.created_at) or "unknown",
        )
        for place, store in listing.stores
    ]
    if rows:
        print_table(stage.out, ("service", "project", "logstore", "retention", "index", "created"), rows)
    stage.out.line(counted(len(rows), "logstore"))


def _retention(days: int | None) -> str:
    if days is None:
        return "unknown"
    return "for ever" if days >= PERMANENT_DAYS else counted(days, "day")
