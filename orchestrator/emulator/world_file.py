"""A world as described by a person: the tables of a ``--world`` file (TOML), or a real log file.

seed = 1
[behaviour]                     # any switch of behaviour.py
list_lag_s = 2.0
[[logstores]]
name = "web-access"
project = "shop"                # default
retention_days = 30
indexed = true
streams = ["app/prod-1", "app/prod-2"]
start = 2026-01-01T00:00:00Z    # records exist from here
end = 2026-02-01T00:00:00Z      # to here, exclusive
density = { kind = "diurnal", rows_per_day = 50_000_000 }
late_per_mille = 5              # so many of a thousand records can be seen only late_by_s after their time
late_by_s = 600.0
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from orchestrator.emulator.account import FOREVER_DAYS, Logstore
from orchestrator.emulator.behaviour import Behaviour, BehaviourError
from orchestrator.emulator.density import density_from_dict
from orchestrator.emulator.generated import GeneratedStore
from orchestrator.emulator.log_lines import records_of_lines
from orchestrator.emulator.records import RecordStore
from orchestrator.emulator.refusal import Refusal
from orchestrator.emulator.world import World

__all__ = ["world_from_dict", "world_from_lines"]

_STORE_KEYS = frozenset(
    {
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
    }
)
_DEFAULT_STREAMS = ("app/prod-1", "app/prod-2", "app/prod-3")


def world_from_dict(spec: Mapping[str, object]) -> World:
    """Builds a world. Raises BehaviourError with every complaint at once, each naming where it is."""
    complaints = [f"unknown table {key!r}" for key in sorted(set(spec) - {"seed", "behaviour", "logstores"})]
    seed = spec.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int):
        complaints.append(f"seed must be a whole number, not {seed!r}")
        seed = 0
    behaviour = Behaviour()
    switches = spec.get("behaviour", {})
    try:
        if not isinstance(switches, Mapping):
            raise BehaviourError(("it must be a table",))
        behaviour = Behaviour.from_dict(switches)
    except BehaviourError as error:
        complaints += [f"behaviour: {complaint}" for complaint in error.complaints]
    stores = []
    tables = spec.get("logstores", [])
    for place, table in enumerate(tables if isinstance(tables, list) else [tables]):
        where = f"logstores[{place}]"
        try:
            stores.append(_store(table, seed + place))
        except BehaviourError as error:
            complaints += [f"{where}: {complaint}" for complaint in error.complaints]
        except (ValueError, TypeError) as error:
            complaints.append(f"{where}: {error}")
    if not complaints:
        try:
            return World(stores, seed=seed, behaviour=behaviour)
        except Refusal as refusal:
            complaints.append(f"logstores: {refusal.message}")
    raise BehaviourError(tuple(complaints))


def world_from_lines(
    lines: Iterable[bytes],
    *,
    modified_at_s: float,
    logstore: str,
    project: str = "default",
    stream: str = "file",
) -> World:
    """A world with one logstore that holds the lines of a log file, dated by what they say (log_lines.py)."""
    source = RecordStore(records_of_lines(lines, modified_at_s=modified_at_s, stream=stream))
    return World([Logstore(logstore, source, project)])


def _store(table: object, seed: int) -> Logstore:
    if not isinstance(table, Mapping):
        raise TypeError("it must be a table")
    if strange := sorted(set(table) - _STORE_KEYS):
        raise BehaviourError(tuple(f"unknown key {key!r}" for key in strange))
    name = table.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError("name is required")
    start_s, end_s = _second(table, "start", 1_600_000_000), _second(table, "end", 4_102_444_800)
    if end_s <= start_s:
        raise ValueError("end must lie after start")
    source: GeneratedStore | RecordStore = RecordStore()
    if "density" in table:
        density = table["density"]
        if not isinstance(density, Mapping):
            raise TypeError("density must be a table")
        streams = table.get("streams", _DEFAULT_STREAMS)
        if (
            not isinstance(streams, list | tuple)
            or not streams
            or not all(isinstance(s, str) for s in streams)
        ):
            raise TypeError("streams must be a list of names")
        source = GeneratedStore(
            int(table.get("seed", seed)),
            density_from_dict(density),
            start_s=start_s,
            end_s=end_s,
            streams=tuple(streams),
            multiline_per_mille=int(table.get("multiline_per_mille", 3)),
            late_per_mille=int(table.get("late_per_mille", 0)),
            late_by_s=float(table.get("late_by_s", 0.0)),
        )
    return Logstore(
        name,
        source,
        project=str(table.get("project", "default")),
        retention_days=int(table.get("retention_days", FOREVER_DAYS)),
        indexed=bool(table.get("indexed", True)),
        created_at_s=float(start_s),
    )


def _second(table: Mapping[str, object], key: str, default: int) -> int:
    value = table.get(key, default)
    if isinstance(value, datetime):
        return int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{key} must be a date-time or UTC epoch seconds, not {value!r}")
    return value
