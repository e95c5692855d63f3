"""Which rows stand in an archive, and which ought to? Read by hand, without a line of the exporter."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import zstandard

from orchestrator.app.emulation import described_world
from orchestrator.emulator.record import Arrangement
from orchestrator.emulator.search import EVERYTHING

__all__ = ["Rows", "by_second", "final_files", "rows_of", "sample", "truth"]

Rows = Counter[tuple[int, str]]
"""How often each (time in ms, text) occurs."""

_STAGING = ".orchestrator"
_SECONDS_BELOW = 10**11
_MICROSECONDS_ABOVE = 10**14
"""Today's epoch times in seconds, milliseconds and microseconds lie in different magnitudes."""


def truth(world: Path, *, project: str, logstore: str, start_ms: int, end_ms: int) -> Rows:
    """Every row of a logstore in ``[start_ms, end_ms)``, straight from the described world, not over HTTP."""
    store = described_world(world).account.store(project, logstore)
    found = store.source.matching(EVERYTHING, None, from_ms=0, visible_ms=2**62)
    rows = found.rows(start_ms, end_ms, 10**9, Arrangement())
    return Counter((record.at_ms, record.raw) for record in rows.records(0, rows.count))


def final_files(archive: Path) -> list[Path]:
    """Every file that stands under a final name."""
    found = (path for path in archive.rglob("*") if path.is_file())
    return sorted(path for path in found if _STAGING not in path.relative_to(archive).parts)


def rows_of(path: Path) -> Rows:
    """The rows of one file in any form the service serves or the exporter writes (but Parquet)."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    elif path.suffix == ".zst":
        content = (
            zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content), read_across_frames=True).read()
        )
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            content = b"".join(archive.read(name) for name in archive.namelist())
    text = content.decode("utf-8-sig", "surrogateescape")
    if ".csv" in path.suffixes:
        headed = text.startswith(("@timestamp,", "timestamp,"))
        names = None if headed else ["@timestamp", "@seq", "@stream", "@raw"]
        return Rows(_pair(row) for row in csv.DictReader(io.StringIO(text, newline=""), names))
    if text.startswith("["):
        return Rows(_pair(row) for row in json.loads(text))
    return Rows(_pair(json.loads(line)) for line in text.split("\n") if line.strip())


def by_second(rows: Rows) -> Rows:
    """The same with times cut to whole seconds, for archives in which some files tell no more."""
    cut: Rows = Counter()
    for (at_ms, text), count in rows.items():
        cut[at_ms // 1000 * 1000, text] += count
    return cut


def sample(rows: Rows) -> str:
    """A few of many rows, for a message."""
    return ascii([(at_ms, text[:120]) for at_ms, text in sorted(rows)[:3]])


def _pair(row: Mapping[str, Any]) -> tuple[int, str]:
    at = row["@timestamp"] if "@timestamp" in row else row["timestamp"]
    return _at_ms(at), str(row["@raw"] if "@raw" in row else row["message"])


def _at_ms(at: str | int) -> int:
    if isinstance(at, str) and not at.isdecimal():
        return round(datetime.fromisoformat(at).timestamp() * 1000)
    number = int(at)
    if number < _SECONDS_BELOW:
        return number * 1000
    return number // 1000 if number > _MICROSECONDS_ABOVE else number
