"""Paths, durations, sizes, moments, references and described worlds: any of them is a value or a
complaint."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import strategies as st

from orchestrator import settings
from orchestrator.app.emulation import described_world, loaded_store
from orchestrator.core import layout as layout_module
from orchestrator.core.complaint import Wrong
from orchestrator.core.job import Align
from orchestrator.core.jobfile_lines import lines_of
from orchestrator.core.jobfile_query import read_query
from orchestrator.core.jobfile_strings import substitute
from orchestrator.core.jobfile_text import starter
from orchestrator.core.layout import (
    check_layout,
    could_collide,
    path_shape,
    placeholders_for,
    render_layout,
    safe_component,
    stream_slug,
)
from orchestrator.core.measures import duration_text, parse_duration, parse_size
from orchestrator.core.moments import instants_of, local_time, read_moment
from orchestrator.core.window import LATEST_S, Window
from orchestrator.errors import JobFileError, UsageError
from tests.fuzz.aim import aimed, finding, outcome
from tests.fuzz.junk import mutated, texts

ZONES = st.sampled_from(
    [
        "UTC",
        "Asia/Shanghai",
        "Europe/London",
        "America/New_York",
        "Africa/Monrovia",
        "Pacific/Apia",
        "Asia/Kathmandu",
    ]
).map(ZoneInfo)

# --- layouts and slugs ---

FIELDS = st.sampled_from(
    [
        "{job}",
        "{project}",
        "{logstore}",
        "{start:%Y%m%dT%H%M%S}",
        "{start_utc:%Y%j%H%M%SZ}",
        "{start:%Y/%m/%d/%H%M%S%z}",
        "{end_utc:%H%M%S}",
        "{end:%H-%M-%S}",
        "{end_utc:%Y}",
        "dt={start:%Y-%m-%d}",
        "h={start_utc:%H}",
        "/",
        "..",
        ".",
        "_",
        "a",
        "+",
        "{",
        "}",
        "{x}",
        "{start}",
        "{start:%s}",
        "{start:%}",
        "{job:%Y}",
        "%",
        "\x00",
        "é",
        "x" * 170,
    ]
)
LAYOUTS = st.lists(FIELDS, min_size=1, max_size=9).map("".join) | texts(30)
NAMES = st.text(min_size=1, max_size=12) | st.sampled_from(
    [
        "..",
        ".",
        "a/../b",
        "/etc",
        "~",
        "a\x00b",
        "CON",
        "ß",
        "İ",
        "\udcff",
        "x" * 300,
        "web",
        "Web",
        "-rf",
        "a.",
    ]
)


@aimed(
    "layouts",
    suite=300,
    layout=LAYOUTS,
    names=st.tuples(NAMES, NAMES, NAMES),
    align=st.sampled_from(Align),
    zone=ZONES,
    start_s=st.integers(0, LATEST_S - 400_000),
    length_s=st.integers(1, 400_000),
    streams=st.tuples(NAMES | st.just(""), NAMES),
)
def test_no_accepted_layout_leaves_the_destination(
    layout: str,
    names: tuple[str, str, str],
    align: Align,
    zone: tzinfo,
    start_s: int,
    length_s: int,
    streams: tuple[str, str],
) -> None:
    """A layout is complained about, or every name, window and stream gives a path of its own below the
    destination, of the shape that collisions are looked for by."""
    objections = check_layout(layout, align=align, zone=zone, from_s=start_s, to_s=start_s + length_s)
    if objections:
        assert all(objection.problem for objection in objections)
        outcome(lambda: render_layout(layout, *names, Window(start_s, start_s + length_s), zone), Wrong)
        return
    paths = {}
    ends = {start_s, start_s + 1, start_s + length_s // 2 + 1, start_s + length_s}
    for first in ends:
        for last in ends:
            for stream in streams:
                if first < last <= first + 86_400:
                    path = render_layout(layout, *names, Window(first, last), zone, stream)
                    assert os.path.normpath(f"/d/{path}") == f"/d/{path}"
                    assert re.fullmatch(r"[A-Za-z0-9_.=@+,~/-]+", path)
                    assert all(0 < len(part) < 250 and part[0] != "." for part in path.split("/"))
                    known = paths.setdefault(path.casefold(), (first, last, stream))
                    assert known == (first, last, stream)
                    if not stream:
                        shape = path_shape("/d", layout, *names)
                        told = path_shape("/d", path.replace("~", "_"), *names)
                        assert could_collide(shape, told), (shape, told)
                        assert placeholders_for(shape) == placeholders_for(told)


@aimed("slugs", left=NAMES, right=NAMES)
def test_slugs_of_two_streams_differ(left: str, right: str) -> None:
    """Any two log streams have slugs that differ also when case is ignored, of safe characters only."""
    for name in (left, right):
        assert re.fullmatch(r"[A-Za-z0-9_-]{0,40}~[0-9a-f]{8}", stream_slug(name))
        assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,108}", safe_component(name))
    if left != right:
        assert stream_slug(left).casefold() != stream_slug(right).casefold()
        assert safe_component(left) != safe_component(right)


# --- measures and moments ---

MEASURES = texts(20) | mutated((b"1h30m", b"200MB", b"1.5GiB", b"90s", b"2w3d")).map(
    lambda raw: raw.decode("latin-1")
)


@aimed("measures", text=MEASURES, number=st.integers(0, 10**12))
def test_any_text_is_a_measure_or_a_complaint(text: str, number: int) -> None:
    """Any text is a duration, a size, or wrong; what is printed as a duration is read as one."""
    duration_s = outcome(lambda: parse_duration(text), Wrong)
    assert isinstance(duration_s, Wrong) or parse_duration(duration_text(duration_s)) == duration_s >= 0
    size_bytes = outcome(lambda: parse_size(text), Wrong)
    assert isinstance(size_bytes, Wrong) or size_bytes >= 0
    assert parse_duration(duration_text(number)) == number
    assert parse_size(f"{number}KB") == number * 1000


WRITTEN = texts(30) | mutated(
    (
        b"2026-01-14T08:00:00+08:00",
        b"2026-10-25 02:30",
        b"now-6h",
        b"today-7d12h",
        b"yesterday",
        b"2026-01-14",
    )
).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
VALUES = (
    WRITTEN
    | st.datetimes()
    | st.datetimes(datetime(1969, 12, 30), datetime(2100, 1, 2)).map(lambda at: at.replace(microsecond=0))
    | st.dates()
    | st.dates(date(1969, 12, 31), date(2100, 1, 2))
    | st.none()
    | st.integers()
)


@aimed(
    "moments",
    suite=300,
    value=VALUES,
    zone=ZONES,
    now_s=st.floats(0, LATEST_S),
)
def test_any_value_is_a_moment_or_a_complaint(value: Any, zone: tzinfo, now_s: float) -> None:
    """Anything for `from` or `to`, in any zone, at any time of running, is a second between 1970 and 2100 or
    wrong; a naive time is what the zone's clocks show then."""
    told = outcome(lambda: read_moment(value, zone, now_s), Wrong)
    if isinstance(told, Wrong):
        assert told.objection.problem
        return
    assert 0 <= told.at_s <= LATEST_S
    if isinstance(value, datetime):
        assert local_time(told.at_s, zone) == value
        assert instants_of(value, zone) == (told.at_s,)
    elif isinstance(value, date):
        assert abs((local_time(told.at_s, zone).date() - value).days) <= 1
        assert local_time(told.at_s, zone).date() >= value


# --- references ---

PIECES = st.lists(
    st.sampled_from(
        [
            "${A}",
            "${B:-x}",
            "${NO}",
            "${NO:-}",
            "${E:-d}",
            "$",
            "{",
            "}",
            "${",
            "${1}",
            "a",
            ":-",
            "${A:-${A}}",
        ]
    )
    | st.text(max_size=3),
    max_size=6,
).map("".join)
ENV = {"A": "s3cr3t", "B": "${A}", "E": "", "U": "\udcff"}


def by_hand(text: str) -> str | None:
    """References replaced from left to right by a plain scan; None when there is anything to complain
    about."""
    out, at = [], 0
    while (begin := text.find("${", at)) >= 0:
        end = text.find("}", begin)
        if end < 0:
            return None
        name, marked, default = text[begin + 2 : end].partition(":-")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or "${" in default:
            return None
        value = ENV.get(name)
        if marked and not value:
            value = default
        if value is None:
            return None
        out += [text[at:begin], value]
        at = end + 1
    return "".join([*out, text[at:]])


@aimed("references", suite=300, text=PIECES, deeper=st.booleans())
def test_references_are_replaced_once_or_complained_about(text: str, deeper: bool) -> None:
    """Every reference in any text is replaced, once and from left to right, or complained about; what came
    from the environment is known as something to hide."""
    found = substitute({"a": [{"b": text}] if deeper else text}, ENV)
    value = found.data["a"][0]["b"] if deeper else found.data["a"]
    expected = by_hand(text)
    if expected is None:
        assert found.objections
        return
    assert not found.objections or "${" in re.sub(r"\$\{[^}]*\}", "", text)
    if not found.objections:
        assert value == expected
        assert found.redactions == {ENV[name] for name in ENV if ENV[name] and f"${{{name}" in text}


@aimed("queries", text=texts(30) | st.text("match select|'\"\\*:= \n", max_size=20))
def test_any_text_is_a_search_or_a_complaint(text: str) -> None:
    """Any query is sent as one search without SQL, and reads as itself when read again; or it is wrong."""
    told = outcome(lambda: read_query(text), Wrong)
    if isinstance(told, str):
        assert told.startswith("match ")
        assert read_query(told) == told


@aimed("toml-lines", suite=300, text=st.text("ab.=[]{}\"'#,\n 1\\\r", max_size=60) | texts(60))
def test_the_walk_over_any_text_ends(text: str) -> None:
    """The walk that finds lines ends on any text, and every line it names is one of the text."""
    assert all(1 <= line <= text.count("\n") + 1 for line in lines_of(text).values())


@aimed(
    "starters",
    logstore=texts(),
    region=texts(),
    project=texts(),
    destination=texts(),
    since=texts() | st.dates(),
)
def test_a_starter_of_any_words_is_toml(
    logstore: str, region: str, project: str, destination: str, since: Any
) -> None:
    """A job file begun from any words can be read: it is valid, or every complaint is about one of the
    words."""
    text = starter(logstore=logstore, region=region, project=project, destination=destination, since=since)
    with open(PLACE, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(text)
    told = outcome(lambda: settings.load(PLACE, now_s=1.8e9, env={}), JobFileError)
    if isinstance(told, JobFileError):
        assert not any("not TOML" in complaint for complaint in told.complaints)


# --- worlds ---

PLACE = os.path.join(tempfile.gettempdir(), f"orchestrator-fuzz-{os.getpid()}.world")
WORLD = b"""\
seed = 7

[behaviour]
run_base_s = 0.5
list_lag_s = 2

[[logstores]]
name = "web-access"
project = "shop"
retention_days = 30
indexed = true
start = 2026-01-01T00:00:00Z
end = 2026-02-01
streams = ["app/prod-1"]
late_per_mille = 5
late_by_s = 600.0
density = { kind = "uniform", rows_per_day = 3_000_000 }

[[logstores]]
name = "giant"
density = { kind = "giant-second", rows_per_s = 1.5, at_s = 1768348800, rows = 7 }
"""
WORLD_VALUES = st.sampled_from(
    [
        "inf",
        "-inf",
        "nan",
        "-1",
        "0",
        "1e300",
        "9" * 30,
        "9" * 5000,
        "true",
        '""',
        '"\\u0000"',
        '"x"',
        "[]",
        "{}",
        "[1]",
        "[[1]]",
        '["a", "a"]',
        "1979-05-27",
        "07:32:00",
        "0001-01-01T00:00:00+23:00",
        "9999-12-31T23:59:59-23:00",
        '"sparse"',
        '"bursty"',
    ]
)
WORLD_KEYS = st.sampled_from(sorted(set(re.findall(r"^(\w+) =", WORLD.decode(), re.MULTILINE))))
INNER_KEYS = st.sampled_from(["kind", "rows_per_day", "rows_per_s", "at_s", "rows", "seed"])


def replaced(drawn: list[tuple[str, str]]) -> bytes:
    text = WORLD.decode()
    for key, value in drawn:
        text = re.sub(
            rf"\b{key} = (?:\[.*?\]|\"[^\"]*\"|\{{.*?\}}|[^,\n ]+)",
            lambda _, k=key, v=value: f"{k} = {v}",
            text,
        )
    return text.encode()


@pytest.fixture(autouse=True, scope="module")
def _leave_nothing() -> Iterator[None]:
    """The one file all inputs are written to goes with the module."""
    yield
    Path(PLACE).unlink(missing_ok=True)


@aimed(
    "worlds",
    suite=200,
    content=mutated((WORLD,))
    | st.lists(st.tuples(WORLD_KEYS | INNER_KEYS, WORLD_VALUES), min_size=1, max_size=3).map(replaced)
    | st.binary(max_size=30),
    also=[
        {"content": b"seed = " + b"9" * 5000},
        {"content": b"a = " + b"[" * 3000 + b"]" * 3000},
        {"content": replaced([("rows_per_s", "inf")])},
        {"content": replaced([("name", '"same"')])},
        {"content": replaced([("end", "0001-01-01T00:00:00+23:00")])},
        {"content": b'[[logstores]]\nname = "x"\nrecords = "\\u0000"\n'},
    ],
)
def test_any_description_is_a_world_or_a_complaint(content: bytes) -> None:
    """Any bytes for a --world file describe a world that can be asked, or are a UsageError."""
    with open(PLACE, "wb") as file:
        file.write(content)
    told = outcome(lambda: described_world(Path(PLACE)), UsageError)
    if isinstance(told, UsageError):
        assert str(told)


@aimed(
    "loaded-files",
    content=st.binary(max_size=60)
    | mutated(
        (
            b'{"@timestamp":1768348800123,"@raw":"x","@stream":"s","a":1.5,"b":{}}\n{"timestamp":1,"message":"m"}\n',
            b"2026-01-14T00:00:00+08:00 hello\nno time\n1768348801 x\n",
            b"Jan 32 00:00:00 h\n<13>Feb 29 10:00:00 h x\n01/Foo/2026:00:00:00 +9999\n",
            b"9999-12-31T23:59:59-12:00 x\n0001-01-01T00:00:00+14:00 y\n0000-00-00 00:00:00 z",
        )
    ),
    also=[
        {"content": b'{"@timestamp":1,"@raw":"x","@stream":' + b"[" * 990 + b"]" * 990 + b"}"},
        {"content": b"[" * 5000},
    ],
)
def test_any_file_is_loaded_or_complained_about(content: bytes) -> None:
    """Any bytes for `emulate --load` are records of a logstore, or a UsageError."""
    with open(PLACE, "wb") as file:
        file.write(content)
    told = outcome(lambda: loaded_store(Path(PLACE), 1.8e9), UsageError)
    assert isinstance(told, UsageError) or told.name


def test_slugs_without_a_digest_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The property fails for slugs that keep only what is safe of a name: it can fail."""
    monkeypatch.setattr(layout_module, "_digest", lambda text: "00000000")
    assert finding("slugs") is not None


def test_moments_that_guess_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The property fails when a naive time is taken for UTC in every zone: it can fail."""
    monkeypatch.setattr(
        "orchestrator.core.moments.instants_of",
        lambda naive, zone: (
            (naive.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1),
        ),
    )
    assert finding("moments", 3_000) is not None
