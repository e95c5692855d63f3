"""What does a description of a world mean? The tables of a ``--world`` file, read into logstores and
switches.

seed = 7

[behaviour]                       # switches of the emulated service, see behaviour.py
list_lag_s = 2.0

[[logstores]]
name      = "web-access"
project   = "shop"                # left out: default
retention_days = 30               # left out: for ever
indexed   = true
streams   = ["app/prod-1", "app/prod-2"]
start     = 2026-01-01T00:00:00Z  # records exist from here
end       = 2026-02-01T00:00:00Z  # to here, exclusive
density   = { kind = "diurnal", rows_per_day = 50_000_000 }
# density = { kind = "empty" }    # nothing but what is pushed; other kinds: see density.py
late_per_mille = 5                # so many of a thousand records can be seen only late_by_s after their time
late_by_s = 600.0
multiline_per_mille = 3           # so many go over several lines
# seed    = 5                     # of this logstore's records; left out: the world's, plus its place
# records = "web.jsonl"           # instead of a density: real records
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from orchestrator.emulator.account import FOREVER_DAYS, Logstore
from orchestrator.emulator.behaviour import Behaviour, BehaviourError
from orchestrator.emulator.density import density_from_dict
from orchestrator.emulator.generated import GeneratedStore
from orchestrator.emulator.record import Record
from orchestrator.emulator.records import RecordStore
from orchestrator.emulator.refusal import Refusal
from orchestrator.emulator.world import World

__all__ = ["FindRecords", "world_from_dict"]

FindRecords = Callable[[str], Iterable[Record]]
"""The records of a file named in a description. Raises ValueError for a file that holds none."""

_TABLES = ("seed", "behaviour", "logstores")
_KEYS = (
    "name",
    "project",
    "retention_days",
    "indexed",
    "streams",
    "start",
    "end",
    "density",
    "late_per_mille",
    "late_by_s",
    "multiline_per_mille",
    "seed",
    "records",
)
_STREAMS = ["app/prod-1", "app/prod-2", "app/prod-3"]
_EARLIEST_S, _LATEST_S = 1_600_000_000, 4_102_444_800


def world_from_dict(spec: Mapping[str, object], *, find_records: FindRecords | None = None) -> World:
    """Builds a world. ``find_records`` reads the files that ``records`` names; without it none may be named.
    Raises BehaviourError with every complaint at once, each beginning with where it is."""
    reading = _Reading(find_records)
    for key in sorted(set(spec) - set(_TABLES)):
        reading.complain(key, f"unknown; known are {', '.join(_TABLES)}")
    seed = reading.value("", spec, "seed", int, 0)
    behaviour = reading.behaviour(spec.get("behaviour", {}))
    tables = spec.get("logstores", [])
    if not isinstance(tables, list) or not tables:
        reading.complain("logstores", "at least one [[logstores]] table is needed")
        tables = []
    stores = [reading.store(f"logstores[{place}]", table, seed + place) for place, table in enumerate(tables)]
    if not reading.complaints:
        try:
            return World([store for store in stores if store], seed=seed, behaviour=behaviour)
        except Refusal as refusal:
            reading.complain("logstores", refusal.message)
    raise BehaviourError(tuple(reading.complaints))


@dataclass(slots=True)
class _Reading:
    """One pass over a description that goes on after a complaint."""

    find_records: FindRecords | None
    complaints: list[str] = field(default_factory=list)

    def complain(self, where: str, what: str) -> None:
        self.complaints.append(f"{where}: {what}")

    def behaviour(self, switches: object) -> Behaviour:
        if not isinstance(switches, Mapping):
            self.complain("behaviour", "must be a table of switches")
            return Behaviour()
        try:
            return Behaviour.from_dict(switches)
        except BehaviourError as error:
            for complaint in error.complaints:
                self.complain("behaviour", complaint)
            return Behaviour()

    def store(self, where: str, table: object, seed: int) -> Logstore | None:
        """One logstore; None when there were complaints about it."""
        before = len(self.complaints)
        if not isinstance(table, Mapping):
            self.complain(where, "must be a table")
            return None
        for key in sorted(set(table) - set(_KEYS)):
            self.complain(f"{where}.{key}", f"unknown; known are {', '.join(_KEYS)}")
        name = table.get("name")
        if not isinstance(name, str) or not name:
            self.complain(f"{where}.name", "a name is required")
        start_s = self._moment(where, table, "start", _EARLIEST_S)
        source = self._source(where, table, seed, start_s)
        project = self.value(where, table, "project", str, "default")
        retention_days = self.value(where, table, "retention_days", int, FOREVER_DAYS)
        indexed = self.value(where, table, "indexed", bool, True)
        if source is None or len(self.complaints) > before:
            return None
        created_at_s = float(start_s) if "start" in table else 0.0
        return Logstore(str(name), source, project, retention_days, indexed, created_at_s)

    def _source(
        self, where: str, table: Mapping[str, Any], seed: int, start_s: int
    ) -> GeneratedStore | RecordStore | None:
        before = len(self.complaints)
        if "records" in table:
            return RecordStore(self._records(where, self.value(where, table, "records", str, "")))
        end_s = self._moment(where, table, "end", _LATEST_S)
        if end_s <= start_s:
            self.complain(f"{where}.end", "must lie after start")
        streams = self.value(where, table, "streams", list, _STREAMS)
        if not streams or not all(isinstance(stream, str) for stream in streams):
            self.complain(f"{where}.streams", "must be a list of names")
        density = self.value(where, table, "density", dict, {})
        own = self.value(where, table, "seed", int, seed)
        multiline = self.value(where, table, "multiline_per_mille", int, 3)
        late = self.value(where, table, "late_per_mille", int, 0)
        late_by_s = float(self.value(where, table, "late_by_s", (int, float), 0.0))
        if len(self.complaints) > before:
            return None
        if density == {"kind": "empty"}:
            return RecordStore()
        try:
            return GeneratedStore(
                own,
                density_from_dict(density),
                start_s=start_s,
                end_s=end_s,
                streams=tuple(streams),
                multiline_per_mille=multiline,
                late_per_mille=late,
                late_by_s=late_by_s,
            )
        except ValueError as error:
            self.complain(where, str(error))
            return None

    def _records(self, where: str, name: str) -> Iterable[Record]:
        if self.find_records is None:
            self.complain(f"{where}.records", "no file can be read here")
            return ()
        try:
            return tuple(self.find_records(name))
        except ValueError as error:
            self.complain(f"{where}.records", str(error))
            return ()

    def value(self, where: str, table: Mapping[str, Any], key: str, kind: Any, default: Any) -> Any:
        """The value of a key when it is of that kind, else a complaint and the default."""
        value = table.get(key, default)
        if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
            return value
        self.complain(f"{where}.{key}".removeprefix("."), f"{value!r} is of the wrong type")
        return default

    def _moment(self, where: str, table: Mapping[str, Any], key: str, default: int) -> int:
        match table.get(key, default):
            case bool():
                pass
            case int() as at_s:
                return at_s
            case datetime() as moment:
                return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
            case date() as day:
                return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
        self.complain(f"{where}.{key}", "must be a date, a date-time or UTC epoch seconds")
        return default
