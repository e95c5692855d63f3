"""What does a job file say, and what is wrong with it?

Pure: the parsed TOML, the environment, the time zones and one ``now`` come in as arguments;
``orchestrator.settings`` brings them. The reading never stops at the first complaint (design.md 2.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, tzinfo
from typing import Any

from orchestrator.core.complaint import Complaint, KeyPath, Objection, Wrong
from orchestrator.core.job import DestinationSpec, JobFile, Limits, ServiceSpec
from orchestrator.core.jobfile_job import ReadJob, Surroundings, read_job
from orchestrator.core.jobfile_notyet import NOT_YET, NotYet
from orchestrator.core.jobfile_overlaps import check_collisions, check_names, check_overlaps
from orchestrator.core.jobfile_places import Base, read_destination, read_service
from orchestrator.core.jobfile_strings import substitute
from orchestrator.core.jobfile_tables import Findings, Table, default_values, read_table
from orchestrator.core.moments import read_moment
from orchestrator.errors import JobFileError, UsageError

__all__ = ["complaint_error", "examine", "parse_moment", "read"]

_TABLES = ("service", "services", "limits", "data_plane", "destinations", "defaults", "jobs")


def read(
    data: Mapping[str, Any],
    *,
    now_s: float,
    zones: Callable[[str], tzinfo | None],
    env: Mapping[str, str],
    base_folder: str,
    file: str,
    line_of: Callable[[KeyPath], int] = lambda _: 0,
    path: str = "",
    manifest: str | None = None,
    zone_names: Iterable[str] = (),
    not_yet: NotYet = NOT_YET,
) -> JobFile:
    """A parsed job file as values, every default filled in; the arguments are those of ``examine``.

    Raises JobFileError with every complaint.
    """
    job_file, complaints = examine(
        data,
        now_s=now_s,
        zones=zones,
        env=env,
        base_folder=base_folder,
        file=file,
        line_of=line_of,
        path=path,
        manifest=manifest,
        zone_names=zone_names,
        not_yet=not_yet,
    )
    if job_file is None:
        raise complaint_error(complaints)
    return job_file


def complaint_error(complaints: Iterable[Complaint]) -> JobFileError:
    """The error that carries complaints: all of them in its message, one a line, and each as a text."""
    texts = tuple(str(complaint) for complaint in complaints)
    count = "1 complaint" if len(texts) == 1 else f"{len(texts)} complaints"
    return JobFileError("\n".join([f"the job file cannot be used: {count}", *texts]), texts)


def parse_moment(text: str | date, zone: tzinfo, now_s: float) -> int:
    """UTC seconds of a moment given with a call, as text, date or date-time: the same grammar as `from` and
    `to` in a job file.

    Raises UsageError.
    """
    try:
        return read_moment(text, zone, now_s).at_s
    except Wrong as wrong:
        raise UsageError(
            f'"{text}": {wrong.objection.problem}', hint=f"allowed: {wrong.objection.allowed}"
        ) from None


def examine(
    data: Mapping[str, Any],
    *,
    now_s: float,
    zones: Callable[[str], tzinfo | None],
    env: Mapping[str, str],
    base_folder: str,
    file: str,
    line_of: Callable[[KeyPath], int] = lambda _: 0,
    path: str = "",
    manifest: str | None = None,
    zone_names: Iterable[str] = (),
    not_yet: NotYet = NOT_YET,
) -> tuple[JobFile | None, tuple[Complaint, ...]]:
    """The job file, or None and why.

    ``data`` is what tomllib makes of the file; ``now_s`` epoch seconds, read once per run; ``zones`` gives
    None for a name it does not know; ``base_folder`` is absolute: relative paths start there; ``file`` is how
    complaints call the file and ``line_of`` where a key path stands in it (0: unknown); ``path`` is the
    file's absolute path; ``manifest`` an absolute path that overrides the key."""
    replaced = substitute(data, env)
    findings = Findings(file, data, line_of, replaced.redactions)
    for place, objection in replaced.objections:
        findings.add(place, objection)
    reading = _Reading(replaced.data, Base(base_folder, env), findings, not_yet)
    top = reading.table("", replaced.data, (), skip=_TABLES)
    limits = reading.section("limits")
    data_plane = reading.section("data_plane")
    around = Surroundings(
        now_s,
        zones,
        zone_names,
        services=reading.services(),
        destinations=reading.destinations(),
        base=reading.base,
    )
    jobs = reading.jobs(around)
    where_manifest = manifest or reading.path(top, "manifest")
    mirror = reading.mirror(top)
    check_names(jobs, findings)
    check_overlaps(jobs, top, where_manifest, mirror, findings)
    check_collisions(jobs, findings)
    if data_plane.values.get("engine") == "dask" and not data_plane.has("scheduler"):
        findings.add(
            ("data_plane", "scheduler"),
            Objection('required with engine = "dask", and missing', "tcp://HOST:PORT"),
        )
    if findings.complaints:
        return None, tuple(sorted(findings.complaints, key=lambda complaint: complaint.line))
    return JobFile(
        path=path,
        manifest=where_manifest,
        mirror=mirror,
        limits=_limits(limits),
        engine=data_plane.values["engine"],
        workers=data_plane.values.get("workers"),
        scheduler=data_plane.values.get("scheduler", ""),
        jobs=tuple(read.job for read in jobs if read.job),
        fleets=tuple(read.fleet for read in jobs if read.fleet),
        manifest_named=manifest is not None,
        redactions=tuple(sorted(replaced.redactions)),
    ), ()


@dataclass(slots=True)
class _Reading:
    """One pass over a parsed file."""

    data: Mapping[str, Any]
    base: Base
    findings: Findings
    not_yet: NotYet

    def table(self, section: str, raw: object, path: KeyPath, skip: Iterable[str] = ()) -> Table:
        return read_table(section, raw, path, self.findings, self.not_yet, tuple(skip)).over(
            default_values(section)
        )

    def section(self, name: str) -> Table:
        return self.table(name, self.data.get(name, {}), (name,))

    def named(self, name: str) -> Mapping[str, Any]:
        """A table of tables, empty when it is not there or no table."""
        raw = self.data.get(name, {})
        if isinstance(raw, dict):
            return {str(key): value for key, value in raw.items()}
        self.findings.add((name,), Objection("not a table", f"[{name}.NAME]"))
        return {}

    def services(self) -> dict[str, ServiceSpec | None]:
        services = {}
        if "service" in self.data:
            services[""] = self.service("", self.data["service"], ("service",))
        for name, raw in self.named("services").items():
            services[name] = self.service(name, raw, ("services", name))
        return services

    def service(self, name: str, raw: object, path: KeyPath) -> ServiceSpec | None:
        table = self.table("service", raw, path)
        return read_service(name, table, self.base, self.findings) if isinstance(raw, dict) else None

    def destinations(self) -> dict[str, DestinationSpec | None]:
        destinations = {}
        for name, raw in self.named("destinations").items():
            table = self.table("destinations", raw, ("destinations", name))
            destinations[name] = (
                read_destination(table, self.base, self.findings) if isinstance(raw, dict) else None
            )
        return destinations

    def jobs(self, around: Surroundings) -> list[ReadJob]:
        defaults = self.table("defaults", self.data.get("defaults", {}), ("defaults",))
        raw = self.data.get("jobs")
        if not isinstance(raw, list) or not raw:
            problem = "not a list of tables" if raw else "required, and missing"
            self.findings.add(("jobs",), Objection(problem, "at least one [[jobs]], in double brackets"))
            return []
        found = []
        for index, one in enumerate(raw):
            own = read_table("jobs", one, ("jobs", index), self.findings, self.not_yet)
            merged = own.over(defaults)
            found.append(
                read_job(merged, around, self.findings) if isinstance(one, dict) else ReadJob(merged)
            )
        return found

    def path(self, table: Table, key: str) -> str:
        return self._placed(table, key, self.base.absolute)

    def mirror(self, table: Table) -> str:
        return self._placed(table, "mirror", self.base.place)

    def _placed(self, table: Table, key: str, place: Callable[[str], str]) -> str:
        if key not in table.values:
            return ""
        try:
            return place(table.values[key])
        except Wrong as wrong:
            self.findings.add(table.where(key), wrong.objection)
            return ""


def _limits(table: Table) -> Limits:
    return Limits(
        requests_per_s=table.values["requests_per_second"],
        queries=table.values["queries"],
        tasks=table.values["tasks"],
        downloads=table.values["downloads"],
        bandwidth_bytes_per_s=table.values.get("bandwidth"),
        disk_reserve_bytes=table.values["disk_reserve"],
    )
