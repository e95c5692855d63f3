"""One [[jobs]] table, over [defaults], as a job that can run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Any

from orchestrator.core.complaint import Objection, Wrong, nearest
from orchestrator.core.job import (
    Align,
    Compression,
    Deliver,
    DestinationSpec,
    Fleet,
    Job,
    JobIdentity,
    Order,
    Output,
    ServedFormat,
    ServiceSpec,
)
from orchestrator.core.jobfile_places import Base, service_identity
from orchestrator.core.jobfile_tables import Findings, Table
from orchestrator.core.jobfile_values import allowed_text
from orchestrator.core.jobkeys import keys_of
from orchestrator.core.layout import check_layout
from orchestrator.core.measures import UNIT_S
from orchestrator.core.moments import Anchor, Moment, read_moment
from orchestrator.core.patterns import pattern_text
from orchestrator.core.window import Window

__all__ = ["ReadJob", "Surroundings", "read_job"]

_FORESEEN_S = 3 * 365 * UNIT_S["d"]
"""How far ahead clock changes are looked for when a job has no fixed end."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a job table refers to. A service or destination that is there but wrong maps to None: that has
    been said."""

    now_s: float
    zones: Callable[[str], tzinfo | None]
    zone_names: Iterable[str]
    services: Mapping[str, ServiceSpec | None]
    destinations: Mapping[str, DestinationSpec | None]
    base: Base


@dataclass(frozen=True, slots=True)
class ReadJob:
    """What could be read of one job. After a complaint ``job`` and ``fleet`` are None, and ``name`` and
    ``destination`` are what is known of it all the same; where the logstore is a pattern, which only the
    service can resolve, there is a ``fleet`` instead of a ``job`` and no name."""

    table: Table
    name: str = ""
    destination: DestinationSpec | None = None
    job: Job | None = None
    fleet: Fleet | None = None


def read_job(table: Table, around: Surroundings, findings: Findings) -> ReadJob:
    """One job, ready to run unless something is wrong with it. ``table`` has the defaults filled in."""
    before = len(findings.complaints)
    values = table.values
    _require(table, ("name", "logstore", "from"), findings)
    deliver = values.get("deliver")
    if deliver:
        _require(table, ("destination" if deliver == Deliver.FILES else "file_dir",), findings)
    service = _service(table, around, findings)
    destination = _destination(table, around, findings) if deliver == Deliver.FILES else None
    name = _name(table, findings)
    zone = _zone(table, around, findings)
    span = _span(table, zone, around.now_s, findings) if zone else None
    if zone and span and deliver == Deliver.FILES:
        _check_layout(table, zone, span, findings)
    _check_compression(table, findings)
    unsound = len(findings.complaints) > before or table.broken
    if unsound or not service or not span:
        return ReadJob(table, name, destination)
    logstores = values["logstore"]
    if isinstance(logstores, tuple):
        values = values | {"logstore": pattern_text(logstores)}
        template = _job(values["name"], values, service, span, destination)
        return ReadJob(table, "", destination, fleet=Fleet(template, logstores, f"jobs[{table.path[1]}]"))
    return ReadJob(table, name, destination, _job(name, values, service, span, destination))


def _job(
    name: str,
    values: Mapping[str, Any],
    service: ServiceSpec,
    span: _Span,
    destination: DestinationSpec | None,
) -> Job:
    logstream = values["logstream"]
    streams = logstream if isinstance(logstream, tuple) else ()
    identity = JobIdentity(
        service=service_identity(service),
        project=values["project"],
        logstore=values["logstore"],
        logstream=pattern_text(streams) if streams else logstream,
        query=values["query"],
    )
    job = Job(
        name=name,
        identity=identity,
        service=service,
        window=Window(span.from_s, span.due_until_s) if span.due_until_s > span.from_s else None,
        due_until_s=span.due_until_s,
        from_s=span.from_s,
        to_s=span.to_s,
        destination=destination,
        stream_patterns=streams,
    )
    return replace(job, **_form(values))


def _form(values: Mapping[str, Any]) -> dict[str, Any]:
    """How it is exported: the fields of a job that are read as they stand."""
    return {
        "timezone": values["timezone"],
        "lag_s": values["lag"],
        "max_lines": values["max_lines"],
        "align": Align(values["align"]),
        "format": ServedFormat(values["format"]),
        "order": Order(values["order"]),
        "deliver": Deliver(values["deliver"]),
        "file_dir": values.get("file_dir", ""),
        "layout": values["layout"],
        "output": Output(values["output"]),
        "compression": Compression(values["compression"]),
        "time_field": values["time_field"],
        "columns": values.get("columns", ()),
        "recheck_s": values.get("recheck"),
        "attempts": values["attempts"],
        "give_up_after_s": values["give_up_after"],
        "schedule": values.get("schedule", ""),
        "priority": values["priority"],
        "enabled": values["enabled"],
        "on_complete": values.get("on_complete", ()),
        "on_incomplete": values.get("on_incomplete", ()),
    }


def _require(table: Table, names: Iterable[str], findings: Findings) -> None:
    for name in names:
        if not table.has(name):
            findings.add(
                table.where(name), Objection("required, and missing", allowed_text(keys_of("jobs")[name]))
            )


def _service(table: Table, around: Surroundings, findings: Findings) -> ServiceSpec | None:
    if "service" in table.broken:
        return None
    name = table.values.get("service", "")
    if name in around.services:
        return around.services[name]
    if not name:
        findings.add(
            ("service",), Objection("required, and missing", "[service] with a `region` or an `endpoint`")
        )
        return None
    known = [known for known in around.services if known]
    allowed = ", ".join(known) or "no [services.NAME] is in this file"
    findings.add(table.where("service"), Objection("no such service", allowed, nearest(name, known)))
    return None


def _destination(table: Table, around: Surroundings, findings: Findings) -> DestinationSpec | None:
    if "destination" not in table.values:
        return None
    text = table.values["destination"]
    if text in around.destinations:
        return around.destinations[text]
    try:
        return DestinationSpec(url=around.base.place(text))
    except Wrong as wrong:
        findings.add(table.where("destination"), wrong.objection)
        return None


def _name(table: Table, findings: Findings) -> str:
    """The name with ``{logstore}`` filled in; "" when it cannot be known before the service is asked."""
    name, logstore = table.values.get("name", ""), table.values.get("logstore")
    if isinstance(logstore, tuple):
        layout = table.values.get("layout", "")
        if name and "{logstore}" not in name:
            findings.add(
                table.where("name"),
                Objection("one name for a pattern of logstores", 'a name with "{logstore}" in it'),
            )
        elif layout and "{job}" not in layout and "{logstore}" not in layout:
            findings.add(
                table.where("layout"),
                Objection("the same paths for a pattern of logstores", "{job} or {logstore} in the layout"),
            )
    if not isinstance(logstore, str):
        return ""
    filled = str(name).replace("{logstore}", logstore)
    if len(filled) > 64:
        findings.add(
            table.where("name"), Objection("too long with the logstore's name in it", "at most 64 characters")
        )
    return filled


def _zone(table: Table, around: Surroundings, findings: Findings) -> tzinfo | None:
    if "timezone" in table.broken:
        return None
    name = table.values["timezone"]
    zone = around.zones(name)
    if zone is None:
        allowed = allowed_text(keys_of("jobs")["timezone"])
        findings.add(
            table.where("timezone"), Objection("no such time zone", allowed, nearest(name, around.zone_names))
        )
    return zone


@dataclass(frozen=True, slots=True)
class _Span:
    """``to_s`` is None when the job has no end of its own; ``due_until_s`` is where "not due" begins."""

    from_s: int
    to_s: int | None
    due_until_s: int


def _span(table: Table, zone: tzinfo, now_s: float, findings: Findings) -> _Span | None:
    start = _moment(table, "from", zone, now_s, findings)
    end = _moment(table, "to", zone, now_s, findings)
    if (
        start is None
        or "to" in table.broken
        or "lag" in table.broken
        or (end is None and "to" in table.values)
    ):
        return None
    settled_s = math.floor(now_s) - int(table.values["lag"])
    if end is None:
        return _Span(start.at_s, None, settled_s)
    moving = end.anchor is not Anchor.FIXED and end.anchor is not start.anchor
    if end.at_s <= start.at_s and not moving:
        findings.add(
            table.where("to"),
            Objection("not after `from`", "a moment after `from`, which is not exported itself"),
        )
        return None
    return _Span(start.at_s, end.at_s, min(end.at_s, settled_s))


def _moment(table: Table, key: str, zone: tzinfo, now_s: float, findings: Findings) -> Moment | None:
    if key not in table.values:
        return None
    try:
        return read_moment(table.values[key], zone, now_s)
    except Wrong as wrong:
        findings.add(table.where(key), wrong.objection)
        return None


def _check_layout(table: Table, zone: tzinfo, span: _Span, findings: Findings) -> None:
    if "layout" in table.broken or "align" in table.broken:
        return
    last_s = span.to_s if span.to_s is not None else max(span.due_until_s, span.from_s) + _FORESEEN_S
    align = Align(table.values["align"])
    for objection in check_layout(
        table.values["layout"], align=align, zone=zone, from_s=span.from_s, to_s=last_s
    ):
        findings.add(table.where("layout"), objection)


def _check_compression(table: Table, findings: Findings) -> None:
    compression, output = table.values.get("compression"), table.values.get("output")
    if compression not in {None, Compression.NONE} and output in {Output.RAW, Output.PARQUET}:
        findings.add(
            table.where("compression"),
            Objection(f'without effect on output = "{output}"', 'output = "jsonl" or "csv"'),
        )
