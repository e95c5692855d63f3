"""``merge`` with the installed command: what a run has stored comes back as one ordered stream or file."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import zstandard

from benchmarks import merging
from tests.e2e.conftest import DAY_ROWS, ORCHESTRATOR, Desk

NOON = "2026-01-14T12:00:00Z"
MERGE = ("merge", "--job", "web")


def stored_rows(desk: Desk) -> list[bytes]:
    """Every row of the archive by time; rows of one millisecond as they stand in their files."""
    rows = [row for path in desk.files() for row in path.read_bytes().splitlines(keepends=True)]
    return sorted(rows, key=time_of)


def time_of(row: bytes) -> int:
    at: int = json.loads(row)["@timestamp"]
    return at


def bytes_of(desk: Desk, *arguments: str) -> bytes:
    done = subprocess.run(
        [*ORCHESTRATOR, *arguments],
        cwd=desk.folder,
        env=desk.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return done.stdout


def test_stdout_has_every_row_once_in_time_order_and_nothing_else(exported: Desk) -> None:
    """Twenty thousand lines out of five slices, byte by byte."""
    found = bytes_of(exported, *MERGE, "-o", "-")
    assert found == b"".join(stored_rows(exported))
    assert found.count(b"\n") == DAY_ROWS


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_file_is_packed_as_its_name_says(exported: Desk, tmp_path: Path, suffix: str) -> None:
    """The document says what it is; nothing else is left, in the folder or on stdout."""
    target = tmp_path / f"day.jsonl{suffix}"
    done = exported.call(*MERGE, "-o", str(target), "--json")
    assert (done.exit, done.err) == (0, "")
    packed = target.read_bytes()
    unpack: dict[str, Any] = {"": bytes, ".gz": gzip.decompress, ".zst": _unzstd}
    assert unpack[suffix](packed) == b"".join(stored_rows(exported))
    said = done.document
    assert (said["complete"], said["rows"], said["files"]) == (True, DAY_ROWS, len(exported.files()))
    assert (said["bytes"], said["sha256"]) == (len(packed), hashlib.sha256(packed).hexdigest())
    assert (said["path"], said["gaps"], said["output"]) == (str(target), [], "raw")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def _unzstd(packed: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(packed)


def test_a_window_is_cut_out_by_record_time(exported: Desk) -> None:
    """From a second inside one slice to a second inside another: exactly the rows of that window."""
    span = ("--from", "2026-01-14T03:07:09Z", "--to", "2026-01-14T11:12:13Z")
    low, high = 1768360029000, 1768389133000
    expected = [row for row in stored_rows(exported) if low <= time_of(row) < high]
    assert bytes_of(exported, *MERGE, *span, "-o", "-") == b"".join(expected)


def test_a_table_has_a_header_and_every_row(exported: Desk) -> None:
    """JSON becomes CSV with a column for every field there is."""
    sheet = io.StringIO(bytes_of(exported, *MERGE, "--output", "csv", "-o", "-").decode(), newline="")
    rows = list(csv.DictReader(sheet))
    expected = [json.loads(row) for row in stored_rows(exported)]
    assert [row["@raw"] for row in rows] == [row["@raw"] for row in expected]
    assert set(rows[0]) == {name for row in expected for name in row}


def test_an_archive_in_reverse_comes_back_in_order(desk: Desk) -> None:
    """Asked for latest first and stored as CSV: as objects by time, and as it is under one header."""
    desk.write_jobs(job='order = "desc"\nformat = "csv"\n')
    assert desk.call("run", "--no-progress").exit == 0
    found = bytes_of(desk, *MERGE, "--output", "jsonl", "-o", "-").splitlines()
    times = [int(json.loads(row)["@timestamp"]) for row in found]
    assert len(times) == DAY_ROWS
    assert times == sorted(times)
    late = bytes_of(desk, *MERGE, "--from", "2026-01-14T18:00:00Z", "-o", "-").decode()
    header, *rows = csv.reader(io.StringIO(late, newline=""))
    assert header[0] == "@timestamp"
    assert [row[0] for row in rows] == [str(at) for at in times if at >= 1768413600000]


def test_log_streams_stored_apart_come_together(desk: Desk, exported: Desk) -> None:
    """Files that each hold one stream of the same hours, merged, are what one export of all streams gives."""
    desk.write_jobs(job='logstream = ["app*"]')
    assert desk.call("run", "--no-progress").exit == 0
    assert len({path.stem.split("~", 1)[1] for path in desk.files()}) > 1
    assert bytes_of(desk, *MERGE, "-o", "-") == b"".join(stored_rows(exported))


# --- gaps


def test_gaps_are_refused_or_named_also_while_a_run_goes_on(desk: Desk) -> None:
    """Half a day is stored and a run at the other half holds the manifest: the first half is merged, the day
    is refused as `gaps` refuses it, or merged as far as it goes; without a lock and without a trace."""
    assert desk.call("run", "--no-progress", "--to", NOON).exit == 0
    desk.emulated.behave(run_base_s=60.0)
    running = desk.start("run", "--no-progress")
    deadline = time.monotonic() + 30
    while desk.call("status", "--json").document["run"] is None:
        assert time.monotonic() < deadline
    half = b"".join(stored_rows(desk))
    assert bytes_of(desk, *MERGE, "--to", NOON, "-o", "-") == half
    refused = desk.call(*MERGE, "-o", "day.jsonl", "--json")
    assert refused.exit == 3
    (gap,) = refused.document["gaps"]
    assert (gap["reason"], refused.document["rows"]) == ("not exported yet", None)
    assert gap["mend"] in refused.err
    assert "so nothing is merged" in refused.err
    assert "--allow-gaps" in refused.err
    assert "day.jsonl" not in {path.name for path in desk.folder.iterdir()}
    allowed = desk.call(*MERGE, "-o", "day.jsonl", "--allow-gaps", "--json")
    assert (allowed.exit, allowed.document["complete"], allowed.document["gaps"]) == (3, False, [gap])
    assert gap["mend"] in allowed.err
    assert (desk.folder / "day.jsonl").read_bytes() == half
    assert running.poll() is None
    running.kill()
    running.communicate()


# --- beside it


def test_a_reader_that_leaves_ends_it_quietly(exported: Desk) -> None:
    """`| head -1` gets its line; the merge ends with exit 0 and not a word."""
    line = f"{ORCHESTRATOR[0]} merge --job web -o - 2>err | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=exported.folder,
        env=exported.environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, stored_rows(exported)[0])
    assert (exported.folder / "err").read_text() == ""
    (exported.folder / "err").unlink()


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ctrl-C in the middle: exit 130, and the file never appears, not even in part."""
    merging.made(tmp_path, 200_000, overlapping=True)
    child = subprocess.Popen(
        [*ORCHESTRATOR, *MERGE, "-o", "day.jsonl.gz", "--json"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while not any(path.stat().st_size > 0 for path in tmp_path.glob(".day.jsonl.gz.*.part")):
        assert time.monotonic() < deadline
        assert child.poll() is None
    child.send_signal(2)
    out, err = child.communicate(timeout=30)
    assert child.returncode == 130, err
    assert json.loads(out)["error"]["code"] == "interrupted"
    assert not list(tmp_path.glob("*day*"))


def test_many_rows_over_many_files_take_little_memory(tmp_path: Path) -> None:
    """Two hundred thousand rows over forty files of the same hours, in no order at all: sorted through disk
    by a process of less than 150 MB, of which most is there before the first row."""
    files = merging.made(tmp_path, 200_000, overlapping=True, in_order=False)
    command = [*ORCHESTRATOR, *MERGE, "--json", "-o", "day.jsonl"]
    done = merging.measured(command, tmp_path)
    assert done.exit == 0, done.err
    assert done.memory_bytes < merging.MOST_BYTES, f"{done.memory_bytes / 1e6:.0f} MB"
    said = json.loads(done.out)
    assert (said["rows"], said["files"]) == (200_000, 40)
    expected = sorted(
        (row for path in files for row in path.read_bytes().splitlines(keepends=True)),
        key=lambda row: row[14:27],
    )
    assert (tmp_path / "day.jsonl").read_bytes() == b"".join(expected)
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]
