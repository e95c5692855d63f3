"""Whatever stands in a job file, the answer is a job file that can run or complaints at the right places."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import strategies as st

from orchestrator import settings
from orchestrator.app.library import JobFile
from orchestrator.core import job as core_job
from orchestrator.core import jobfile
from orchestrator.core.jobfile_overlaps import check_collisions
from orchestrator.core.jobfile_text import example_job_file, starter
from orchestrator.core.jobkeys import KEYS, Key, Kind
from orchestrator.core.layout import render_layout
from orchestrator.core.model import slice_id
from orchestrator.core.window import Window, iso_utc
from orchestrator.errors import JobFileError
from orchestrator.remote.session import _endpoint
from tests.fuzz.aim import aimed, finding, outcome
from tests.fuzz.junk import JSON, ODD_VALUES, mutated, texts

NOW_S = 1_768_446_245.6
ENV = {"HOME": "/home/u", "A": "a", "EMPTY": "", "BYTES": "\udcff", "SECRET": "s3cr3t-value"}
GOOD = """\
manifest = "m.db"

[service]
region = "bj"
credentials = "env"

[services.own]
endpoint = "http://127.0.0.1:8700"

[limits]
requests_per_second = 12.5
tasks = 7
bandwidth = "1.5MB"

[destinations.cold]
url = "cold/logs"

[defaults]
timezone = "Asia/Shanghai"
lag = "1h30m"

[[jobs]]
name = "web"
logstore = "web-access"
query = "match level:ERROR"
from = 2026-01-01
to = "2026-01-14 00:00:00+08:00"
destination = "cold"

[[jobs]]
name = "app.${A:-x}"
service = "own"
logstore = "app"
logstream = "app/prod-1"
from = "today-7d"
destination = "archive"
layout = "{job}/dt={start:%Y-%m-%d}/{start_utc:%Y%m%dT%H%M%SZ}_{end_utc:%Y%m%dT%H%M%SZ}"
align = "day"
"""
ORIGINALS = (
    GOOD.encode(),
    example_job_file().encode(),
    starter(logstore="web-access", region="bj").encode(),
)


@pytest.fixture(autouse=True, scope="module")
def _leave_nothing() -> Iterator[None]:
    """The one file all inputs are written to goes with the module."""
    yield
    Path(PLACE).unlink(missing_ok=True)


PLACE = os.path.join(tempfile.gettempdir(), f"orchestrator-fuzz-{os.getpid()}.toml")


def loaded(content: bytes) -> core_job.JobFile | JobFileError:
    """What a file with this content is to the program; a job file is tried out as far as that can be done
    offline."""
    with open(PLACE, "wb") as file:
        file.write(content)
    found = outcome(lambda: settings.load(PLACE, now_s=NOW_S, env=ENV), JobFileError)
    return judged(found)


def judged(found: Any) -> Any:
    if isinstance(found, JobFileError):
        assert found.complaints
        assert len(set(found.complaints)) == len(found.complaints)
        assert "s3cr3t-value" not in str(found)
        str(found).encode()
        return found
    for job in found.jobs:
        _usable(job)
    return found


def _usable(job: core_job.Job) -> None:
    """Everything the engine derives from a job before it contacts anybody."""
    zone = settings.zone(job.timezone)
    assert zone is not None
    assert job.destination is not None
    identity = job.identity
    for text in (iso_utc(job.due_until_s), iso_utc(job.from_s), iso_utc(job.to_s or 0)):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text)
    orjson.dumps(
        [identity, job.layout, job.destination.url, job.time_field, job.schedule, job.service.endpoint]
    )
    assert _endpoint(job.service.endpoint).host
    assert max(job.lag_s, job.give_up_after_s, job.recheck_s or 0, abs(job.priority)) < 2**33
    window = job.window or Window(job.from_s, job.from_s + 60)
    seen = set()
    for part in (window, Window(window.start_s, window.start_s + 1), Window(window.end_s - 1, window.end_s)):
        for stream in ("", "app/prod-1", "App/prod-1", "../" * 30):
            below = render_layout(
                job.layout, job.name, identity.project, identity.logstore, part, zone, stream
            )
            place = os.path.join(job.destination.url, below)
            assert os.path.normpath(place) == place.replace("//", "/")
            assert place.startswith(job.destination.url)
            assert all(len(piece) < 250 and not piece.startswith(".") for piece in below.split("/"))
            seen.add((below.casefold(), part, stream))
            assert re.fullmatch(r"[0-9a-f]{16}", slice_id(job, stream, part))
    assert len({path for path, _, _ in seen}) == len({(part, stream) for _, part, stream in seen})


@aimed("jobfile-text", text=st.text(max_size=60) | texts() | st.text("[]{}=\"'.#\n ab1-:T,$", max_size=60))
def test_any_text_is_a_job_file_or_complaints(text: str) -> None:
    """No text crashes the reader of job files."""
    loaded(text.encode("utf-8", "surrogatepass"))


@aimed(
    "jobfile-bytes",
    content=st.binary(max_size=80),
    also=[
        {"content": b"a = " + b"[" * 5000 + b"]" * 5000},
        {"content": b"a = " + b"9" * 5000},
        {"content": b"jobs = 0x" + b"f" * 5000},
        {"content": b"a" + b".a" * 3000 + b" = 1"},
        {"content": b"\xef\xbb\xbfa = 1\r\nb = \xff"},
        {"content": b'a = "' + b"${A:-" * 20_000 + b'"'},
    ],
)
def test_any_bytes_are_a_job_file_or_complaints(content: bytes) -> None:
    """No bytes crash the reader of job files."""
    loaded(content)


@aimed("jobfile-mutated", content=mutated(ORIGINALS))
def test_any_change_of_a_job_file_is_judged(content: bytes) -> None:
    """A valid file with bytes changed is still valid, and then can run, or is complained about."""
    loaded(content)


MOMENTS = (
    st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))
    | st.datetimes(
        datetime(1, 1, 2),
        datetime(9999, 12, 30),
        timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    )
    | st.dates(date(1, 1, 1), date(9999, 12, 31))
    | st.times(time.min, time.max)
    | st.sampled_from(["now-1h", "today", "yesterday+1d", "now-99999999w", "2026-01-01T00:00", "1969-12-31"])
)
WORDS = st.sampled_from(
    [
        "..",
        "${BYTES}",
        "${SECRET}",
        "${NO}",
        "${NO:-x}",
        "s3://b/p",
        "~/x",
        "~",
        "/",
        "//x",
        "5m",
        "0",
        "999999999w",
        "999999999w" * 30,
        "1GB",
        "999999999999999TB",
        "http://h:99999",
        "http://[::1]:8080/",
        "http://[:::]",
        "http://..",
        "http://-",
        "{job}",
        "{job}/../{start:%Y}",
        "{start_utc:%Y%m%d%H%M%S}{end_utc:%H%M%S}",
        "{job}{start:%Y%j%H%M%S%z}-{end:%H%M%S}",
        "UTC",
        "Europe/London",
        "America",
        "Africa/Monrovia",
        "../UTC",
        "match a | select 1",
        "* * * * *",
        "#99999",
        "exec:'",
    ]
)
VALUES = (
    WORDS
    | WORDS
    | texts()
    | st.sampled_from(ODD_VALUES)
    | JSON
    | MOMENTS
    | st.binary(max_size=3)
    | st.floats()
    | st.sampled_from([10**5000, -(10**5000), (1,), {1}, {1: 2}, object()])
)


def value_of(key: Key) -> st.SearchStrategy[Any]:
    """Mostly what the key allows, so that the rest of the file is looked at too."""
    allowed = [value for value in (key.default, key.example, *key.choices) if value is not None]
    return VALUES if key.kind is Kind.MOMENT and not allowed else st.sampled_from(allowed) | VALUES


PLACES = [key for key in KEYS if key.name != "mirror"]
EDITS = st.lists(
    st.sampled_from(PLACES).flatmap(lambda key: st.tuples(st.just(key), value_of(key))),
    min_size=1,
    max_size=3,
)
STRANGE = st.sampled_from([1, None, ("a",), "", "x y", "jobs", "service"])


@aimed(
    "jobfile-values",
    suite=150,
    edits=EDITS,
    whole=st.none()
    | st.tuples(st.sampled_from(["service", "services", "limits", "jobs", "defaults"]), VALUES),
    strange=st.none() | st.tuples(STRANGE, VALUES),
    later=st.booleans(),
)
def test_any_value_at_any_key_is_judged(
    edits: list[tuple[Key, Any]], whole: tuple[str, Any] | None, strange: tuple[Any, Any] | None, later: bool
) -> None:
    """``JobFile.from_dict`` with anything at any key gives a job file that can run, or a JobFileError."""
    job = {"name": "web", "logstore": "web-access", "from": "2026-01-01", "destination": "archive"}
    data: dict[Any, Any] = {"service": {"region": "bj"}, "jobs": [job, {**job, "name": "b"}]}
    data |= {"services": {"gz": {"region": "gz"}}, "destinations": {}, "defaults": {}}
    for key, value in edits:
        if key.section == "":
            data[key.name] = value
        elif key.section == "jobs":
            data["jobs"][0][key.name] = value
        elif key.section == "destinations":
            data["destinations"].setdefault("cold", {})[key.name] = value
            data["jobs"][1]["destination"] = "cold"
        else:
            data.setdefault(key.section, {})[key.name] = value
    if strange:
        for table in (data, data["service"], data["services"], data["jobs"][0]):
            if isinstance(table, dict):
                table.setdefault(*strange)
    if whole:
        data[whole[0]] = whole[1]
    if later:
        found = outcome(
            lambda: jobfile.examine(
                data,
                now_s=NOW_S,
                zones=settings.zone,
                env=ENV,
                base_folder="/srv",
                file="f",
                not_yet={},
            )
        )
        assert (found[0] is None) == bool(found[1])
    else:
        judged(
            outcome(
                lambda: JobFile.from_dict(data, folder="/srv", environment=ENV, now_s=NOW_S), JobFileError
            )
        )


def test_tables_that_hold_themselves_are_complained_about() -> None:
    """A table of a library caller that holds itself, or is nested without end, is a complaint."""
    endless: dict[str, Any] = {"jobs": []}
    endless["jobs"].append(endless)
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    for data in (endless, {"jobs": deep}, {"service": {"region": deep}}):
        with pytest.raises(JobFileError, match="nested too deeply"):
            JobFile.from_dict(data, folder="/srv", environment={}, now_s=NOW_S)


# --- where a complaint points ---


@dataclass(frozen=True)
class Wrong:
    """A line that is wrong in its section, and the key path complained about."""

    section: str
    line: str
    key: str


WRONGS = (
    Wrong("service", 'credentials = "x"', "service.credentials"),
    Wrong("service", "reg = 1", "service.reg"),
    Wrong("limits", "tasks = 0", "limits.tasks"),
    Wrong("limits", 'bandwidth = "fast"', "limits.bandwidth"),
    Wrong("limits", '"odd key" = """\n1\n"""', 'limits."odd key"'),
    Wrong("destinations.cold", "addressing = [1,\n 2]", "destinations.cold.addressing"),
    Wrong("defaults", 'lag = "soon"', "defaults.lag"),
    Wrong("jobs", 'order = "up"', "jobs[{}].order"),
    Wrong("jobs", "columns = { a = 'int64', b = 3 }", "jobs[{}].columns.b"),
    Wrong("jobs", "columns.'x.y' = 3", 'jobs[{}].columns."x.y"'),
    Wrong("jobs", "max_lines = 2_000_000", "jobs[{}].max_lines"),
    Wrong("jobs", 'layout = "{job}"', "jobs[{}].layout"),
    Wrong("jobs", 'query = "${NO}"', "jobs[{}].query"),
    Wrong("jobs", 'to = "2020-01-01"', "jobs[{}].to"),
    Wrong("jobs", "'attempts' = -1", "jobs[{}].attempts"),
)
NOISE = st.lists(
    st.sampled_from(["", "# [jobs]", "   ", '\t# order = \'up\' """', "#", "# ''' ["]), max_size=3
)
SOUND: dict[str, list[str]] = {
    "service": ['region = "bj" # here', "ca_file = 'x#.pem'"],
    "limits": ["requests_per_second = 5", "queries = 3"],
    "destinations.cold": ['url = """c"""', "'region' = \"bj\""],
    "defaults": ['project = "p"', "priority = 1"],
    "jobs": [
        'name = "j{}"',
        'logstore = "l"',
        "from = 2026-01-01",
        'destination = "d{}"',
        'query = """\nmatch a\n# not a comment\n[jobs]\n"""',
    ],
}


@aimed(
    "jobfile-lines",
    order=st.permutations(["service", "limits", "destinations.cold", "defaults", "jobs", "jobs", "jobs"]),
    wrong=st.sampled_from(WRONGS),
    which=st.integers(0, 2),
    place=st.integers(0, 5),
    noise=st.lists(NOISE, min_size=1, max_size=12),
    bom=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_a_complaint_points_at_its_line(
    order: list[str], wrong: Wrong, which: int, place: int, noise: list[list[str]], bom: bool, end: str
) -> None:
    """One wrong line anywhere in a sound file, whatever stands around it, is the one complaint, at its line
    and key."""
    rows: list[str] = []
    jobs = used = line = 0
    at = ""
    for section in order:
        rows += noise[used % len(noise)]
        used += 1
        index = jobs
        rows.append("[[ jobs ]]" if section == "jobs" else f"[{section}]")
        jobs += section == "jobs"
        lines = [text.format(index) if section == "jobs" else text for text in SOUND[section]]
        if section == wrong.section and (section != "jobs" or index == which):
            key = wrong.line.split("=")[0].strip(" '")
            lines = [text for text in lines if not text.startswith(f"{key} ")]
            lines.insert(min(place, len(lines)), wrong.line)
            at = wrong.key.format(index)
        for text in lines:
            if text == wrong.line and at:
                line = line or sum(row.count("\n") + 1 for row in rows) + 1
            rows += [text, *noise[used % len(noise)]]
            used += 1
    content = ("\ufeff" if bom else "") + "\n".join(rows)
    found = loaded(content.replace("\n", end).encode())
    assert isinstance(found, JobFileError)
    assert len(found.complaints) == 1, found
    assert f":{line}: {at}: " in found.complaints[0]


# --- collisions ---

PIECES = st.lists(
    st.sampled_from(
        [
            "a",
            "B",
            "b",
            "1",
            "20",
            "+",
            "-",
            "x/",
            "{job}",
            "{logstore}",
            "{start:%H}",
            "{start:%z}",
            "{end:%d}",
        ]
    ),
    max_size=5,
)


@aimed("jobfile-collisions", jobs=st.lists(st.tuples(PIECES, st.sampled_from("aA1")), min_size=2, max_size=6))
def test_collisions_are_found_as_by_comparing_each_with_each(jobs: list[tuple[list[str], str]]) -> None:
    """The quick search for jobs whose files could have one name finds the first of them, as the slow one
    would."""
    from orchestrator.core.jobfile_job import ReadJob
    from orchestrator.core.jobfile_tables import Findings, Table
    from orchestrator.core.layout import could_collide, path_shape

    reads, shapes, expected = [], [], []
    for index, (pieces, name) in enumerate(jobs):
        layout = "".join(pieces)
        values = {"layout": layout, "project": "p", "logstore": "1"}
        table = Table(("jobs", index), values, paths={"layout": ("jobs", index, "layout")})
        reads.append(ReadJob(table, name, core_job.DestinationSpec("/d")))
        shapes.append(path_shape("/d", layout, name, "p", "1"))
        first = next((n for n in range(index) if could_collide(shapes[n], shapes[index])), None)
        if first is not None:
            expected.append((f"jobs[{index}].layout", f"jobs[{first}]"))
    findings = Findings("f", {"jobs": []}, lambda path: 0)
    findings.data = {"jobs": [{"layout": "x"}] * len(jobs)}
    check_collisions(reads, findings)
    assert [(c.key_path, c.problem.split(" as ")[1].split(":")[0]) for c in findings.complaints] == expected


def test_a_reader_that_lets_any_layout_through_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The property fails for a check that finds nothing wrong with any layout: it can fail."""
    monkeypatch.setattr("orchestrator.core.jobfile_job.check_layout", lambda layout, **_: [])
    assert finding("jobfile-lines", 600) is not None


def test_lines_that_are_off_by_one_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The property fails when complaints point at the line above: it can fail."""
    real = settings.line_of
    monkeypatch.setattr(settings, "line_of", lambda path, lines: real(path, lines) - 1)
    assert finding("jobfile-lines", 100) is not None
