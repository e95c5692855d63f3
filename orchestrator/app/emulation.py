"""What does the emulator hold? A built-in world, one described in a TOML file (emulator/world_file.py says
how), or real records from a file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import orjson

from orchestrator.emulator.account import Logstore
from orchestrator.emulator.behaviour import BehaviourError
from orchestrator.emulator.density import Uniform
from orchestrator.emulator.generated import GeneratedStore
from orchestrator.emulator.log_lines import records_of_lines
from orchestrator.emulator.record import Record
from orchestrator.emulator.records import RecordStore
from orchestrator.emulator.world import World
from orchestrator.emulator.world_file import world_from_dict
from orchestrator.errors import UsageError

__all__ = ["described_world", "loaded_store", "records_of", "world_of"]

DAY_S = 86_400
BUILT_IN_DAYS = 30
BUILT_IN_ROWS_PER_DAY = 2_400_000

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
    """The world a TOML file describes; files of records that it names lie beside it. Raises UsageError with
    every complaint."""
    try:
        description = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}", hint="name a TOML file that describes a world") from None
    except RecursionError:
        raise UsageError(f"{path}: nested too deeply", hint="tables and lists a few levels deep") from None

    def find_records(name: str) -> Iterator[Record]:
        try:
            yield from records_of(path.parent / name)
        except UsageError as error:
            raise ValueError(error.message) from None

    try:
        return world_from_dict(description, find_records=find_records)
    except BehaviourError as error:
        lines = "\n".join(f"  {complaint}" for complaint in error.complaints)
        raise UsageError(f"{path} describes no world:\n{lines}", hint="mend the lines named above") from None


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
    streams = (row.get(key) for key in _STREAM_KEYS)
    stream = next((str(name) for name in streams if name and isinstance(name, str | int | float)), "loaded")
    tags = tuple(
        (key, value if isinstance(value, int) and not isinstance(value, bool) else str(value))
        for key, value in row.items()
        if key not in _OWN_KEYS and isinstance(value, str | int | float)
    )
    return Record(at_ms, seq, stream, text, tags, at_ms)
