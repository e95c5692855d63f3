"""Tables with the installed command: an archive of CSV or Parquet is exported, read by others, verified,
mended and merged."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import duck
from tests.e2e.conftest import DAY_ROWS, Desk
from tests.e2e.test_merge import bytes_of

TABLES = {"parquet": "*.parquet", "csv": "*.csv"}


def archive(desk: Desk, output: str) -> list[Path]:
    return sorted((desk.folder / "archive").rglob(TABLES[output]))


def asked(desk: Desk, output: str, question: str) -> Any:
    """One glob over all files, without a word about columns or types."""
    glob = f"{desk.folder}/archive/**/{TABLES[output]}"
    reading = {"parquet": f"read_parquet('{glob}')", "csv": f"read_csv('{glob}')"}[output]
    (row,) = duck.asked(question.format(archive=reading))
    return tuple(row)


@pytest.fixture(scope="module")
def lines(exported: Desk) -> list[dict[str, Any]]:
    """What the archive of lines holds."""
    return [json.loads(row) for row in exported.rows()]


@pytest.mark.parametrize("output", TABLES)
def test_one_glob_reads_the_archive_and_counts_what_the_ledger_says(
    desk: Desk, output: str, lines: list[dict[str, Any]]
) -> None:
    """Typed columns, times as moments, every row once; and the ledger agrees."""
    desk.write_jobs(job=f'output = "{output}"')
    ended = desk.call("run", "--no-progress", "--json")
    assert ended.exit == 0, ended.err
    assert len(archive(desk, output)) == 5
    rows = [json.loads(row) for row in desk.call("manifest", "--format", "jsonl").out.splitlines()]
    stored = sum(row["stored_rows"] for row in rows)
    assert {row["form"] for row in rows} == {"csv-table" if output == "csv" else "parquet"}
    question = (
        'select count(*), count("_raw"), epoch_ms(min("@timestamp")), epoch_ms(max("@timestamp")), '
        'sum("@seq"), sum(length("@raw")) from {archive}'
    )
    times = [row["@timestamp"] for row in lines]
    assert asked(desk, output, question) == (
        stored,
        0,
        min(times),
        max(times),
        sum(row["@seq"] for row in lines),
        sum(len(row["@raw"]) for row in lines),
    )
    assert stored == DAY_ROWS
    assert desk.call("verify").exit == 0


@pytest.mark.parametrize("output", TABLES)
def test_a_table_comes_back_as_one_stream_of_rows(
    desk: Desk, output: str, lines: list[dict[str, Any]]
) -> None:
    """``merge`` gives the records in time order: of Parquet the lines that were served."""
    desk.write_jobs(job=f'output = "{output}"')
    assert desk.call("run", "--no-progress").exit == 0
    merged = bytes_of(desk, "merge", "--job", "web", "--output", "jsonl", "-o", "-").splitlines()
    found = [json.loads(line) for line in merged]
    assert len(found) == DAY_ROWS
    if output == "parquet":
        assert sorted(found, key=lambda row: row["@seq"]) == sorted(lines, key=lambda row: row["@seq"])
        assert [row["@timestamp"] for row in found] == sorted(row["@timestamp"] for row in lines)
    else:
        assert {row["@raw"] for row in found} == {row["@raw"] for row in lines}


def test_the_columns_of_a_job_stay_from_run_to_run(desk: Desk) -> None:
    """Found by the first file, kept in the manifest; what the job file declares later holds from then on."""
    desk.write_jobs(job='output = "parquet"')
    assert desk.call("run", "--no-progress", "--to", "2026-01-14T06:00:00Z").exit == 0
    ledger = sqlite3.connect(desk.folder / "orchestrator.db")
    kept = ledger.execute("select name, type from columns order by place").fetchall()
    ledger.close()
    assert kept[:4] == [
        ("@timestamp", "timestamp"),
        ("@stream", "string"),
        ("@seq", "int64"),
        ("@raw", "string"),
    ]
    assert desk.call("run", "--no-progress").exit == 0
    schemas = {
        str(duck.asked(f"select name, type from parquet_schema('{path}')"))
        for path in archive(desk, "parquet")
    }
    assert len(schemas) == 1
    desk.write_jobs(job='output = "parquet"\ncolumns = { "@seq" = "string", extra = "float64" }')
    assert desk.call("redo", "--job", "web", "--from", "2026-01-14", "--to", "2026-01-14T03:00:00Z").exit == 0
    first = duck.asked(f"describe select * from read_parquet('{archive(desk, 'parquet')[0]}')")
    assert {name: kind for name, kind, *_ in first}["@seq"] == "VARCHAR"
    assert {name: kind for name, kind, *_ in first}["extra"] == "DOUBLE"


def test_a_damaged_table_is_found_and_mended(desk: Desk) -> None:
    """A file cut short, and one with fewer rows than the ledger says."""
    desk.write_jobs(job='output = "parquet"')
    assert desk.call("run", "--no-progress").exit == 0
    victim = archive(desk, "parquet")[2]
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-100])
    assert desk.call("verify").exit == 4
    assert desk.call("run", "--no-progress").exit == 0
    assert asked(desk, "parquet", "select count(*) from {archive}") == (DAY_ROWS,)
    assert victim.read_bytes() == whole


def test_a_run_that_is_killed_goes_on_with_the_same_columns(desk: Desk) -> None:
    """Nothing twice, nothing lost, one schema."""
    desk.emulated.behave(run_base_s=0.5, run_per_line_s=0.0)
    desk.write_jobs(job='output = "parquet"')
    child = desk.start("run", "--no-progress")
    while not archive(desk, "parquet"):
        assert child.poll() is None
    child.kill()
    child.communicate()
    assert desk.call("run", "--no-progress").exit == 0
    assert asked(desk, "parquet", 'select count(*), count(distinct "@seq") from {archive}') == (
        DAY_ROWS,
        DAY_ROWS,
    )


@pytest.mark.parametrize("output", TABLES)
def test_what_the_page_about_the_archive_shows_runs_as_it_stands(desk: Desk, output: str) -> None:
    """Every question of docs/archive.md about such files, asked beside the archive, has an answer."""
    desk.write_jobs(job=f'output = "{output}"')
    assert desk.call("run", "--no-progress").exit == 0
    page = (Path(__file__).parents[2] / "docs" / "archive.md").read_text("utf-8")
    questions = [text for text in re.findall(r"```sql\n(.*?)```", page, re.DOTALL) if f"*.{output}" in text]
    assert questions
    for question in questions:
        ((rows,),) = duck.asked(f"select count(*) from ({question.rstrip().rstrip(';')})", desk.folder)
        assert rows > 0


def test_days_of_another_zone_are_partitions(desk: Desk, lines: list[dict[str, Any]]) -> None:
    """``dt=`` folders by local day, with slices that stop at local midnight: each row lies in the folder of
    its day, so that a reader may skip by it."""
    zone = 'timezone = "Asia/Shanghai"\nalign = "day"\noutput = "parquet"\n'
    layout = 'layout = "dt={start:%Y-%m-%d}/{start_utc:%Y%m%dT%H%M%SZ}_{end_utc:%Y%m%dT%H%M%SZ}"'
    desk.write_jobs(job=zone + layout)
    assert desk.call("run", "--no-progress").exit == 0
    archive = f"read_parquet('{desk.folder}/archive/**/*.parquet', hive_partitioning = true)"
    day = """cast(("@timestamp" at time zone 'Asia/Shanghai') as date)"""
    found = duck.asked(f"select dt, {day}, count(*) from {archive} group by all order by dt")
    assert [(str(dt), str(local)) for dt, local, _ in found] == [
        ("2026-01-14", "2026-01-14"),
        ("2026-01-15", "2026-01-15"),
    ]
    midnight = 1_768_406_400_000
    before = sum(row["@timestamp"] < midnight for row in lines)
    assert [count for _, _, count in found] == [before, DAY_ROWS - before]


def test_without_the_library_parquet_is_refused_before_anything_is_asked(desk: Desk) -> None:
    """Exit 2 with the line that mends it; nothing is created at the service, and no ledger row is lost."""
    (desk.folder / "sitecustomize.py").write_text("import sys\nsys.modules['pyarrow'] = None\n")
    made = desk.emulated.stats()
    desk.write_jobs(job='output = "parquet"')
    hidden = str(desk.folder)
    for arguments in (("run", "--no-progress"), ("manifest", "--format", "parquet", "-o", "x.parquet")):
        ended = desk.call(*arguments, PYTHONPATH=hidden)
        assert ended.exit == 2, ended.err
        assert "pip install 'orchestrator[parquet]'" in ended.err
    assert desk.emulated.stats() == made
    assert not (desk.folder / "x.parquet").exists()
    assert desk.call("run", "--no-progress").exit == 0
