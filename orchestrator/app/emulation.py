"""What does the emulator hold? A built-in world, one described in a TOML file, or real records from a file.

seed = 7

[behaviour]                       # switches of the emulated service, see emulator/behaviour.py
run_base_s = 0.5

[[logstores]]
name      = "web-access"
project   = "default"
retention_days = 30               # left out: for ever
indexed   = true
start     = 2026-01-01T00:00:00Z  # records from here
end       = 2026-02-01T00:00:00Z  # to here, exclusive
streams   = ["app/prod-1"]
density   = { kind = "uniform", rows_per_day = 3_000_000 }
# records = "web.jsonl"           # instead of a density: real records, see ``records_of``
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from orchestrator.emulator.account import FOREVER_DAYS, Logstore
from orchestrator.emulator.behaviour import Behaviour, BehaviourError
from orchestrator.emulator.density import Uniform, density_from_dict
from orchestrator.emulator.generated import GeneratedStore
from orchestrator.emulator.log_lines import records_of_lines
from orchestrator.emulator.record import Record
from orchestrator.emulator.records import RecordStore
from orchestrator.emulator.world import World
from orchestrator.errors import UsageError

__all__ = ["described_world", "loaded_store", "records_of", "world_of"]

DAY_S = 86_400
BUILT_IN_DAYS = 30
BUILT_IN_ROWS_PER_DAY = 2_400_000

_LOGSTORE_KEYS = {
    "name",
    "project",
    "retention_days",
    "indexed",
    "start",
    "end",
    "streams",
    "density",
    "records",
    "multiline_per_mille",
    "late_per_mille",
    "late_by_s",
}
_TIME_KEYS = ("@timestamp", "timestamp")
_TEXT_KEYS = ("@raw", "message")
_STREAM_KEYS = ("@stream", "stream")
_OWN_KEYS = {*_TIME_KEYS, *_TEXT_KEYS, *_STREAM_KEYS, "@seq"}


def world_of(*, world_path: str = "", load_path: str = "", now_s: float) -> World:
    """The world to serve. Without a file: one logstore ``web-access`` with the last 30 days of records.

    Raises UsageError with every complaint about a file.
    """
    world = described_world(Path(world_path)) if world_path else _built_in(now_s)
    if load_path:
        store = loaded_store(Path(load_path), now_s)
        if world.account.find_store(store.project, store.name) is not None:
            raise UsageError(
                f"{load_path}: the world has a logstore {store.name} already", hint="rename the file"
            )
        world.account.add_store(store)
    return world


def _built_in(now_s: float) -> World:
    today_s = int(now_s) // DAY_S * DAY_S
    source = GeneratedStore(
        1,
        Uniform(BUILT_IN_ROWS_PER_DAY),
        start_s=today_s - BUILT_IN_DAYS * DAY_S,
        end_s=today_s + 365 * DAY_S,
    )
    return World([Logstore("web-access", source, created_at_s=float(source.start_s))], seed=1)


def described_world(path: Path) -> World:
    """The world a TOML file describes. Raises UsageError with every complaint."""
    try:
        description = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}", hint="name a TOML file that describes a world") from None
    reading = _Reading(path)
    behaviour = reading.behaviour(description.get("behaviour", {}))
    stores = [reading.store(number, spec) for number, spec in enumerate(reading.tables(description))]
    for key in sorted(set(description) - {"seed", "behaviour", "logstores"}):
        reading.complaints.append(f"{key}: unknown; known are seed, behaviour, logstores")
    seed = description.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        reading.complaints.append("seed: must be a whole number")
    if reading.complaints:
        lines = "\n".join(f"  {complaint}" for complaint in reading.complaints)
        raise UsageError(f"{path} describes no world:\n{lines}", hint="mend the lines named above")
    return World([store for store in stores if store], seed=int(seed), behaviour=behaviour)


@dataclass(slots=True)
class _Reading:
    """One pass over a description that goes on after a complaint."""

    path: Path
    complaints: list[str] = field(default_factory=list)

    def tables(self, description: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        found = description.get("logstores", [])
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found) or not found:
            self.complaints.append("logstores: at least one [[logstores]] table is needed")
            return []
        return found

    def behaviour(self, switches: object) -> Behaviour:
        if not isinstance(switches, dict):
            self.complaints.append("behaviour: must be a table of switches")
            return Behaviour()
        try:
            return Behaviour.from_dict(switches)
        except BehaviourError as error:
            self.complaints += [f"behaviour: {complaint}" for complaint in error.complaints]
            return Behaviour()

    def store(self, number: int, spec: Mapping[str, Any]) -> Logstore | None:
        where = f"logstores[{number}]"
        before = len(self.complaints)
        for key in sorted(set(spec) - _LOGSTORE_KEYS):
            self.complaints.append(f"{where}.{key}: unknown; known are {', '.join(sorted(_LOGSTORE_KEYS))}")
        name = self._value(where, spec, "name", str, "")
        if not name:
            self.complaints.append(f"{where}.name: required")
        source = self._source(where, spec, number)
        retention_days = self._value(where, spec, "retention_days", int, FOREVER_DAYS)
        store_project = self._value(where, spec, "project", str, "default")
        indexed = self._value(where, spec, "indexed", bool, True)
        if len(self.complaints) > before or source is None:
            return None
        return Logstore(name, source, store_project, retention_days, indexed)

    def _source(
        self, where: str, spec: Mapping[str, Any], number: int
    ) -> GeneratedStore | RecordStore | None:
        if "records" in spec:
            records = self.path.parent / str(spec["records"])
            try:
                return RecordStore(records_of(records))
            except UsageError as error:
                self.complaints.append(f"{where}.records: {error.message}")
                return None
        try:
            return GeneratedStore(
                number + 1,
                density_from_dict(self._value(where, spec, "density", dict, {})),
                start_s=self._moment(where, spec, "start", 1_600_000_000),
                end_s=self._moment(where, spec, "end", 4_102_444_800),
                streams=tuple(self._value(where, spec, "streams", list, ["app/prod-1", "app/prod-2"])),
                multiline_per_mille=self._value(where, spec, "multiline_per_mille", int, 3),
                late_per_mille=self._value(where, spec, "late_per_mille", int, 0),
                late_by_s=float(self._value(where, spec, "late_by_s", (int, float), 0.0)),
            )
        except ValueError as error:
            self.complaints.append(f"{where}: {error}")
            return None

    def _value(self, where: str, spec: Mapping[str, Any], key: str, kind: Any, default: Any) -> Any:
        value = spec.get(key, default)
        if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
            return value
        self.complaints.append(f"{where}.{key}: {value!r} is of the wrong type")
        return default

    def _moment(self, where: str, spec: Mapping[str, Any], key: str, default: int) -> int:
        match spec.get(key, default):
            case bool():
                pass
            case int() as at_s:
                return at_s
            case datetime() as moment:
                return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
            case date() as day:
                return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
        self.complaints.append(f"{where}.{key}: must be a date, a date-time or UTC epoch seconds")
        return default


def loaded_store(path: Path, now_s: float) -> Logstore:
    """A logstore of the file's records, named after the file: exported rows when its first line is one
    (``records_of``), else the lines of a log file, dated by what they say (emulator/log_lines.py)."""
    name = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "-" for c in path.stem) or "loaded"
    records = records_of(path) if _holds_rows(path) else _log_lines(path)
    return Logstore(name, RecordStore(records), created_at_s=now_s)


def _holds_rows(path: Path) -> bool:
    """Whether the first line that is not blank is a row as ``run`` exports it, or there is none at all."""
    with _opened(path) as file:
        line = next((line for line in file if line.strip()), b"{}")
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(row, dict) and (not row or not row.keys().isdisjoint((*_TIME_KEYS, *_TEXT_KEYS)))


def _log_lines(path: Path) -> list[Record]:
    with _opened(path) as file:
        return records_of_lines(file, modified_at_s=os.fstat(file.fileno()).st_mtime)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}", hint="name a file that can be read") from None


def records_of(path: Path) -> Iterator[Record]:
    """The records of a JSON-lines file, such as one exported by ``run``.

    Each line is an object with the time in ``@timestamp`` or ``timestamp`` (epoch milliseconds), the text in
    ``@raw`` or ``message``, the log stream in ``@stream`` or ``stream``; other plain values become fields.
    Raises UsageError naming the first line that is none.
    """
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _record(line, number, f"{path}:{number}")


def _record(line: bytes, seq: int, where: str) -> Record:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        row = None
    if not isinstance(row, dict):
        raise UsageError(f"{where}: not a JSON object")
    at_ms = next((row[key] for key in _TIME_KEYS if key in row), None)
    if not isinstance(at_ms, int) or isinstance(at_ms, bool) or at_ms < 0:
        raise UsageError(f"{where}: no time: one of {', '.join(_TIME_KEYS)} must be epoch milliseconds")
    text = next((row[key] for key in _TEXT_KEYS if key in row), None)
    if not isinstance(text, str):
        raise UsageError(f"{where}: no text: one of {', '.join(_TEXT_KEYS)} must be a string")
    stream = next((str(row[key]) for key in _STREAM_KEYS if row.get(key)), "loaded")
    tags = tuple(
        (key, value if isinstance(value, int) and not isinstance(value, bool) else str(value))
        for key, value in row.items()
        if key not in _OWN_KEYS and isinstance(value, str | int | float)
    )
    return Record(at_ms, seq, stream, text, tags, at_ms)
