"""The ledger as text: public columns in public order, times in UTC, nothing that moves a terminal."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.errors import UsageError
from orchestrator.manifest import ledgertable
from orchestrator.manifest.export import COLUMNS, TIMES, ledger_text
from orchestrator.manifest.ledgertable import ledger_parquet
from orchestrator.ports.store import LedgerRow

PUBLIC = (
    "job, region, project, logstore, logstream, query, slice, slice_start, slice_end, state, attempt, "
    "task_name, uuid, task_state, limit, order, format, evidence, counted_at, expected_lines, "
    "written_rows, served_rows, dropped_rows, stored_rows, path, form, fetched_bytes, fetched_sha256, "
    "stored_bytes, stored_sha256, request_id, created_at, finished_at, reason, accepted_by"
)
NEVER = LedgerRow(
    job="web",
    region="bj",
    project="default",
    logstore="web-access",
    logstream="",
    query="match *",
    slice="s1",
    slice_start=1_767_225_600,
    slice_end=1_767_229_200,
    state="planned",
    attempt=0,
    task_name=None,
    uuid=None,
    task_state=None,
    limit=None,
    order=None,
    format=None,
    evidence="none",
    counted_at=None,
    expected_lines=None,
    written_rows=None,
    served_rows=None,
    dropped_rows=None,
    stored_rows=None,
    path=None,
    form=None,
    fetched_bytes=None,
    fetched_sha256=None,
    stored_bytes=None,
    stored_sha256=None,
    request_id=None,
    created_at=None,
    finished_at=None,
    reason=None,
    accepted_by=None,
)
DONE = replace(
    NEVER,
    state="done",
    uuid="u1",
    counted_at=1_767_225_600.25,
    served_rows=12,
    dropped_rows=2,
    stored_rows=10,
    path="/data/a b,c.jsonl",
    stored_sha256="ab" * 32,
    created_at=1_767_225_601.0,
)


def text(rows: list[LedgerRow], format: str) -> str:
    async def given() -> AsyncIterator[LedgerRow]:
        for row in rows:
            yield row

    async def joined() -> bytes:
        return b"".join([chunk async for chunk in ledger_text(given(), format)])

    return asyncio.run(joined()).decode()


def test_the_columns_are_the_public_ones_in_public_order() -> None:
    """Readers of the ledger find the documented columns where they were."""
    assert ", ".join(COLUMNS) == PUBLIC


def test_json_lines_have_every_column_with_null_for_what_is_missing() -> None:
    """One object per row, keys in order, times in ISO 8601 UTC."""
    first, second = (json.loads(line) for line in text([DONE, NEVER], "jsonl").splitlines())
    assert tuple(first) == tuple(second) == COLUMNS
    assert first["slice_start"] == "2026-01-01T00:00:00Z"
    assert first["slice_end"] == "2026-01-01T01:00:00Z"
    assert first["counted_at"] == "2026-01-01T00:00:00.250Z"
    assert first["created_at"] == "2026-01-01T00:00:01Z"
    assert first["stored_rows"] == 10
    assert second["uuid"] is None
    assert second["counted_at"] is None


def test_csv_quotes_what_needs_it_and_leaves_missing_cells_empty() -> None:
    """A CSV reader gets back the header and every value."""
    odd = replace(DONE, query='match "a,b"\nline')
    header, row, never = csv.reader(io.StringIO(text([odd, NEVER], "csv"), newline=""))
    assert tuple(header) == COLUMNS
    cells = dict(zip(header, row, strict=True))
    assert cells["query"] == odd.query
    assert cells["path"] == "/data/a b,c.jsonl"
    assert dict(zip(header, never, strict=True))["uuid"] == ""


def test_checksums_are_understood_by_sha256sum(tmp_path: Path) -> None:
    """`sha256sum -c` accepts the lines, whatever a path looks like, and only stored files are named."""
    rows = [NEVER, replace(DONE, state="superseded"), replace(DONE, path=None)]
    for name in ("plain.jsonl", "with space", "back\\slash", "line\nend"):
        path = tmp_path / name
        path.write_text(name)
        rows.append(replace(DONE, path=str(path), stored_sha256=hashlib.sha256(name.encode()).hexdigest()))
    sums = text(rows, "sha256sums")
    assert len(sums.splitlines()) == 4
    checked = subprocess.run(
        ["sha256sum", "--strict", "-c"], input=sums, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_the_table_shows_no_control_characters() -> None:
    """Escape sequences in what the service said are made visible, missing values are dashes, columns line
    up."""
    lines = text([NEVER, replace(DONE, path="/a\x1b[2Jb")], "table").splitlines()
    assert len(lines) == 3
    assert "\x1b" not in "".join(lines)
    assert "/a\\x1b[2Jb" in lines[2]
    assert lines[0].index("state") == lines[1].index("planned") == lines[2].index("done")


def test_a_time_beyond_the_calendar_is_written_as_its_number() -> None:
    """An impossible time from the service does not stop the export."""
    (row,) = (json.loads(line) for line in text([replace(DONE, created_at=1e18)], "jsonl").splitlines())
    assert row["created_at"] == "1e+18"
    (row,) = (json.loads(line) for line in text([replace(DONE, created_at=-6e10)], "jsonl").splitlines())
    assert row["created_at"].startswith("0068-")


def test_an_empty_ledger_is_a_header_or_nothing() -> None:
    """Formats with a header keep it; the others are empty."""
    assert text([], "jsonl") == text([], "sha256sums") == ""
    assert text([], "csv").startswith("job,region")
    assert text([], "table").startswith("job ")


def test_many_rows_come_in_chunks() -> None:
    """The export does not collect the rows: chunks stay small however many there are."""

    async def given() -> AsyncIterator[LedgerRow]:
        for _ in range(2000):
            yield DONE

    async def sizes() -> list[int]:
        return [len(chunk) async for chunk in ledger_text(given(), "jsonl")]

    found = asyncio.run(sizes())
    assert len(found) > 10
    assert max(found) < 100_000


def test_another_format_is_refused() -> None:
    """The formats are named when one is unknown."""
    with pytest.raises(UsageError) as caught:
        text([], "xml")
    assert "jsonl" in caught.value.hint


def parquet(rows: list[LedgerRow], folder: Path) -> pq.ParquetFile:
    async def given() -> AsyncIterator[LedgerRow]:
        for row in rows:
            yield row

    async def written() -> bytes:
        return b"".join([piece async for piece in ledger_parquet(given())])

    (folder / "ledger.parquet").write_bytes(asyncio.run(written()))
    return pq.ParquetFile(folder / "ledger.parquet")


def test_parquet_has_the_same_columns_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times as moments, numbers as whole numbers, what is missing null; a time that no calendar has is null
    too; row groups follow as rows come."""
    monkeypatch.setattr(ledgertable, "_GROUP_ROWS", 2)
    odd = replace(NEVER, counted_at=1e15, created_at=1_767_225_600.25, stored_rows=7, limit=1000)
    file = parquet([NEVER, odd, NEVER], tmp_path)
    assert tuple(file.schema_arrow.names) == COLUMNS
    assert {str(file.schema_arrow.field(name).type) for name in TIMES} == {"timestamp[ms, tz=UTC]"}
    assert str(file.schema_arrow.field("stored_rows").type) == "int64"
    assert file.metadata.num_row_groups == 2
    first, second, third = file.read().to_pylist()
    assert first == third
    assert first["slice_start"].timestamp() == NEVER.slice_start
    assert (first["stored_rows"], first["path"]) == (None, None)
    assert (second["stored_rows"], second["limit"], second["counted_at"]) == (7, 1000, None)
    assert second["created_at"].timestamp() == 1_767_225_600.25
    assert parquet([], tmp_path).metadata.num_rows == 0
