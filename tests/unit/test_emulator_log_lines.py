"""Lines of real log files become records with the times they name."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.emulator.account import Logstore
from orchestrator.emulator.log_lines import records_of_lines
from orchestrator.emulator.records import RecordStore
from orchestrator.emulator.world import World

MODIFIED_S = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
AT_MS = 1_768_379_405_000


@pytest.mark.parametrize(
    ("line", "at_ms"),
    [
        ("2026-01-14T08:30:05Z started", AT_MS),
        ("2026-01-14T08:30:05.250Z started", AT_MS + 250),
        ("2026-01-14 08:30:05,250 INFO started", AT_MS + 250),
        ("2026-01-14T16:30:05+08:00 started", AT_MS),
        ("2026-01-14T03:00:05-0530 started", AT_MS),
        ("2026/01/14 08:30:05 [error] 12#12: started", AT_MS),
        ('10.0.0.1 - - [14/Jan/2026:08:30:05 +0000] "GET / HTTP/1.1" 200 5', AT_MS),
        ('10.0.0.1 - - [14/Jan/2026:16:30:05 +0800] "GET / HTTP/1.1" 200 5', AT_MS),
        ("Jan 14 08:30:05 host sshd[1]: started", AT_MS),
        ("<13>Jan 14 08:30:05 host sshd[1]: started", AT_MS),
        ("Dec  3 08:30:05 host sshd[1]: last year", 1_764_750_605_000),
        ("1768379405.25 started", AT_MS + 250),
        ('{"ts":1768379405250,"msg":"started"}', AT_MS + 250),
    ],
)
def test_a_line_is_dated_by_what_it_says(line: str, at_ms: int) -> None:
    """ISO, Apache, nginx, syslog and epoch times are understood, with offsets and fractions."""
    (record,) = records_of_lines([line.encode() + b"\n"], modified_at_s=MODIFIED_S)
    assert (record.at_ms, record.raw) == (at_ms, line)


def test_lines_without_a_time_belong_to_the_one_before() -> None:
    """A stack trace has the time of the line that began it; lines before any time share the first one."""
    lines = [b"header\n", b"2026-01-14T08:30:05Z boom\n", b"  at main.c:3\n", b"2026-01-14T08:30:06Z on\n"]
    times = [record.at_ms - AT_MS for record in records_of_lines(lines, modified_at_s=MODIFIED_S)]
    assert times == [0, 0, 0, 1000]


def test_a_file_without_times_ends_when_it_was_modified() -> None:
    """Undated lines are spaced evenly up to the file's modification."""
    records = records_of_lines([b"a\n", b"b\r\n", b"2026-13-45T99:00:00Z c"], modified_at_s=MODIFIED_S)
    assert [record.at_ms - int(MODIFIED_S * 1000) for record in records] == [-20, -10, 0]
    assert [record.raw for record in records] == ["a", "b", "2026-13-45T99:00:00Z c"]


def test_bytes_that_are_no_text_are_kept() -> None:
    """A line outside UTF-8 can be turned back into its bytes."""
    (record,) = records_of_lines([b"caf\xe9\n"], modified_at_s=MODIFIED_S)
    assert record.raw.encode("utf-8", "surrogateescape") == b"caf\xe9"


def test_no_lines_are_no_records() -> None:
    """An empty file is an empty logstore."""
    assert records_of_lines([], modified_at_s=MODIFIED_S) == []


def test_a_log_file_becomes_a_logstore() -> None:
    """The lines of a file can be exported by a task like any other records."""
    lines = [b"2026-01-14T08:30:05Z one\n", b"2026-01-14T08:30:06Z two\n"]
    world = World([Logstore("mine", RecordStore(records_of_lines(lines, modified_at_s=MODIFIED_S)))])
    window = {"queryStartTime": "2026-01-14T08:30:05Z", "queryEndTime": "2026-01-14T08:30:06Z"}
    uuid = world.create_task({"logStoreName": "mine", **window}, MODIFIED_S)
    body = world.tasks.open_file(uuid, MODIFIED_S + 10)[1]
    assert b"".join(body.read(0, body.size_bytes())).count(b"one") == 1
    assert body.size_bytes() < 120
