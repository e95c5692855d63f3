"""What fuzzing found once, each finding by its smallest input."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator import settings
from orchestrator.app.emulation import described_world, records_of
from orchestrator.app.library import JobFile
from orchestrator.clock import SystemClock
from orchestrator.core.complaint import shown
from orchestrator.core.jobfile_strings import substitute
from orchestrator.core.window import Window
from orchestrator.dataplane import rows as rows_module
from orchestrator.dataplane.dating import CsvDater, JsonDater
from orchestrator.dataplane.rows import RowStream, split_rows
from orchestrator.dataplane.sniff import Shape
from orchestrator.errors import CredentialsError, JobFileError, Refused, UsageError
from orchestrator.remote.credentials import find_credentials
from orchestrator.remote.refusals import checked
from orchestrator.remote.wire import Answer, moment_of


@pytest.mark.parametrize("depth", [400, 900, 1000])
def test_a_nested_success_is_no_recursion(depth: int) -> None:
    """An answer whose ``success`` is a list in a list in a list is read without the stack's end."""
    body = b'{"success":' + b"[" * depth + b"]" * depth + b"}"
    assert checked(Answer(200, {}, body), "Call")
    with pytest.raises(Refused):
        checked(Answer(400, {}, body), "Call")


def test_a_time_beyond_all_floats_is_no_time() -> None:
    """A number of 400 digits where a time should be means that there is none."""
    assert moment_of(10**400) is None
    assert moment_of(-(10**400)) is None


def test_a_home_that_cannot_be_looked_at_is_said(tmp_path: Path) -> None:
    """A home folder whose name the system refuses is a CredentialsError like any other missing source."""
    home = tmp_path / ("x" * 5000)
    source = find_credentials("auto", environment={}, home=home, folder=home, clock=SystemClock())
    with pytest.raises(CredentialsError, match="cannot be read"):
        asyncio.run(source.current())


# --- job files ---


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("\na = " + "9" * 5000, ":2: a number with too many digits"),
        ("a = 0x" + "f" * 5000, ":1: a: unknown key, found 0xfff"),
        ("a = " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("a = " + "[" * 30 + "]" * 30, "nested too deeply"),
    ],
)
def test_numbers_and_lists_without_end_are_complaints(tmp_path: Path, text: str, complaint: str) -> None:
    """Numbers that Python refuses to spell and lists deeper than its stack are complained about like all
    else."""
    path = tmp_path / "jobs.toml"
    path.write_text(text)
    with pytest.raises(JobFileError) as refused:
        settings.load(path, now_s=1.8e9, env={})
    assert complaint in str(refused.value)


JOB = {"name": "a", "logstore": "l", "from": "2026-01-01", "destination": "d"}


@pytest.mark.parametrize(
    ("section", "key", "value", "problem"),
    [
        ("service", "endpoint", "http://h:99999", "not allowed"),
        ("service", "endpoint", "http://h:0", "not allowed"),
        ("service", "endpoint", "http://a..b", "not allowed"),
        ("service", "endpoint", f"http://{'a' * 64}.example", "not allowed"),
        ("service", "endpoint", "http://[::::]", "no IPv6 address"),
        ("jobs", "lag", "999999999w", "too long"),
        ("jobs", "give_up_after", "999999999w" * 40, "too long"),
        ("limits", "bandwidth", "999999999999999TB", "too large"),
        ("jobs", "project", "\udcff", "not Unicode"),
        ("jobs", "project", "${BYTES}", "not Unicode"),
        ("jobs", "logstore", ["web-*", "\udcff"], "not a pattern"),
        ("jobs", "on_complete", ["a\x00b"], "no command can be given"),
    ],
)
def test_what_no_run_could_use_is_no_job_file(section: str, key: str, value: Any, problem: str) -> None:
    """Addresses nothing can connect to, times past every calendar, and text nobody could send or store."""
    tables: dict[str, Any] = {"service": {"region": "bj"}, "limits": {}, "jobs": [dict(JOB)]}
    table = tables["jobs"][0] if section == "jobs" else tables[section]
    table[key] = value
    with pytest.raises(JobFileError) as refused:
        JobFile.from_dict(tables, folder="/srv", environment={"BYTES": "\udcff"}, now_s=1.8e9)
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:8700", "https://[::1]:65535/", "http://log-1.Example.com.:80"]
)
def test_addresses_that_work_are_taken(endpoint: str) -> None:
    """Names, numbers and IPv6 addresses with any port there is are endpoints."""
    tables = {"service": {"endpoint": endpoint}, "jobs": [JOB]}
    found = JobFile.from_dict(tables, folder="/srv", environment={}, now_s=1.8e9)
    assert found.jobs[0].service.endpoint == endpoint.rstrip("/")


def test_services_of_odd_names_are_listed() -> None:
    """A library caller's table with a key that is no text is complained about, not met with a TypeError."""
    tables = {"services": {1: {}}, "jobs": [{**JOB, "service": "x"}]}
    with pytest.raises(JobFileError, match="no such service"):
        JobFile.from_dict(tables, folder="/srv", environment={}, now_s=1.8e9)


def test_a_key_that_is_no_text_is_named_all_the_same() -> None:
    """A library caller's key of any type is named in the complaint about its value."""
    tables = {"service": {"region": "bj"}, "jobs": [JOB], None: "${NO}"}
    with pytest.raises(JobFileError, match="None: the environment variable NO is not set"):
        JobFile.from_dict(tables, folder="/srv", environment={}, now_s=1.8e9)


def test_references_are_found_in_one_pass() -> None:
    """A text full of references that never end costs no more than its length."""
    began = time.thread_time()
    found = substitute({"a": "${A:-" * 50_000}, {})
    assert found.objections
    assert time.thread_time() - began < 2
    assert substitute({"a": "${A:-${B}}"}, {"B": "b"}).data == {"a": "${A:-b}"}
    assert substitute({"a": "${A:-$x{y$}"}, {}).data == {"a": "$x{y$"}


def test_a_large_value_is_shown_in_no_time() -> None:
    """What is wrong is shown shortened, however large it is."""
    began = time.thread_time()
    assert len(shown([[["x" * 100] * 100] * 1000] * 1000)) <= 80
    assert time.thread_time() - began < 2
    assert shown([[[[[[[[1]]]]]]]]) == "[[[[[[…]]]]]]"


def test_a_thousand_complaints_or_jobs_take_no_time(tmp_path: Path) -> None:
    """Judging a job file costs no more than in proportion to its length."""
    began = time.thread_time()
    layout = "{job}{start_utc:%Y%m%d%H%M%S}-{end_utc:%H%M%S}"
    jobs = [{**JOB, "name": f"a{number}", "layout": layout} for number in range(3000)]
    tables = {"service": {"region": "bj"}, "jobs": jobs}
    found = JobFile.from_dict(tables, folder=os.fspath(tmp_path), environment={}, now_s=1.8e9)
    assert len(found.jobs) == 3000
    assert time.thread_time() - began < 10


# --- rows and their times ---


def rows_of(*blocks: bytes) -> tuple[RowStream, bytes]:
    stream = RowStream(Shape.JSON_LINES)
    return stream, b"".join([*(stream.feed(block) for block in blocks), stream.finish()])


def test_a_number_of_any_length_is_an_element() -> None:
    """A JSON array may hold numbers longer than Python reads."""
    long = b'{"n":%s}' % (b"9" * 5000)
    assert rows_of(b"[" + long + b",1]")[1] == long + b"\n1\n"


def test_the_last_row_gets_no_second_newline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CSV file whose last newline comes in a block of its own ends with one newline, and is not
    unterminated."""
    monkeypatch.setattr(rows_module, "HEAD_BYTES", 8)
    stream, rows = rows_of(b"12345678", b"", b"\n")
    assert rows == b"12345678\n"
    assert not stream.unterminated
    assert rows_of(b"@raw\n", b"a")[0].unterminated


def test_a_lone_carriage_return_is_a_row_with_and_without_newline() -> None:
    """Only an empty line is no row, whether or not the file ends with a newline."""
    assert rows_of(b"@raw\n\r\r")[1] == rows_of(b"@raw\n\r\r\n")[1] == b"\r\r\n"
    assert split_rows(rows_of(b"@raw\na\n\r")[1], Shape.CSV) == [b"a\n"]


def test_the_shape_does_not_depend_on_the_first_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows the bytes that are looked at decides nothing, however much of it came at once."""
    monkeypatch.setattr(rows_module, "HEAD_BYTES", 8)
    body = b"[ \n        {}]"
    assert rows_of(body)[1] == rows_of(body[:8], body[8:])[1] == b"{}\n"


@pytest.mark.parametrize(
    ("row", "second"),
    [
        (b'{"@timestamp":1768348800000,"@timestamp":1768348801000}', 1_768_348_801),
        (b'{"a\\"@timestamp":1768348800000}', None),
        (b'{"a\\"@timestamp":1768348800000,"@timestamp":1768348801000}', 1_768_348_801),
        (b'{"@timestamp":"1768348800 "}', 1_768_348_800),
        (b'{"@timestamp":"1768348800 x"}', None),
        (b'{"@timestamp":1768348800123.9999999}', 1_768_348_800),
        (b'{"@timestamp":1768348800000,"n":%s,"x":"\xff"}' % (b"9" * 5000), 1_768_348_800),
        (b'{"n":{"@timestamp":5,"n":%s},"@timestamp":1768348800000}' % (b"9" * 5000), 1_768_348_800),
    ],
)
def test_a_row_has_the_time_its_json_says(row: bytes, second: int | None) -> None:
    """Equal keys, keys with quotes in them, times with something behind them: alone or among others, all the
    same."""
    usual = b'{"@timestamp":1768348805000}'
    dater = JsonDater("@timestamp")
    assert dater.seconds(row + b"\n") == [second]
    assert dater.seconds(b"\n".join([usual, row, usual]) + b"\n")[1] == second


@pytest.mark.parametrize(
    "between",
    [
        b'{"@timestamp":17683488001}',
        b'{"@timestamp":1768348800001x}',
        b'{"@timestamp":17683488:0000}',
        b'{"@timestamp":1768348800001,"@timestamp":1}',
    ],
)
def test_rows_between_the_least_and_the_greatest_are_looked_at(between: bytes) -> None:
    """A block is not taken to lie inside a window by its ends alone."""
    dater, window = JsonDater("@timestamp"), Window(1_768_348_800, 1_768_348_803)
    ends = [b'{"@timestamp":1768348800000}', b'{"@timestamp":1768348802000}']
    assert dater.all_inside(b"\n".join([*ends, ends[0]]) + b"\n", window) == 3
    assert dater.all_inside(b"\n".join([ends[0], between, ends[1]]) + b"\n", window) is None


def test_cells_between_the_least_and_the_greatest_are_looked_at() -> None:
    """The same holds for CSV, also where the time is a row's only cell."""
    dater, window = CsvDater(0), Window(1_768_348_800, 1_768_348_803)
    assert dater.all_inside(b"1768348800000\n1768348802000\n", window) == 2
    assert dater.all_inside(b"1768348800000,a\r\n1768348802000,\r\n", window) == 2
    assert dater.all_inside(b"1768348800000\n17683488001\n1768348802000\n", window) is None


# --- what the emulator is told to hold ---


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[[logstores]]\nname = "a"\ndensity = { rows_per_s = inf }', "rows_per_s must be a number from 0"),
        ('[[logstores]]\nname = "a"\ndensity = { rows_per_s = 1e305 }', "rows_per_s must be a number from 0"),
        ("a = " + "[" * 3000 + "]" * 3000, "nested too deeply"),
    ],
)
def test_an_endless_world_is_complained_about(tmp_path: Path, text: str, complaint: str) -> None:
    """Infinite rates and endless nesting in a world's description are a UsageError that says so."""
    path = tmp_path / "world.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=complaint):
        described_world(path)


def test_a_stream_that_is_no_name_is_no_stream(tmp_path: Path) -> None:
    """A record whose stream is a list in a list in a list is loaded as one without a stream."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"@timestamp":1,"@raw":"x","@stream":%s1%s}' % (b"[" * 990, b"]" * 990))
    assert [record.stream for record in records_of(path)] == ["loaded"]
