"""Where files go: unique, inside the destination, and true to their folders' names."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.complaint import Wrong
from orchestrator.core.job import Align
from orchestrator.core.layout import (
    check_layout,
    could_collide,
    path_shape,
    render_layout,
    safe_component,
    stream_slug,
)
from orchestrator.core.window import Window

SHANGHAI, BERLIN, KATHMANDU = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kathmandu")
DEFAULT = "{job}/{start:%Y/%m/%d}/{start_utc:%Y%m%dT%H%M%SZ}_{end_utc:%Y%m%dT%H%M%SZ}"
UNIQUE = "{start_utc:%Y%m%dT%H%M%S}_{end_utc:%H%M%S}"
FROM_S = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
TO_S = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())
SLICE = Window(FROM_S - 3_600, FROM_S + 600)  # 2025-12-31T23:00:00Z to 2026-01-01T00:10:00Z


def problems(layout: str, align: Align = Align.NONE, zone: ZoneInfo | type[UTC] = UTC) -> list[str]:
    return [
        objection.problem
        for objection in check_layout(layout, align=align, zone=zone, from_s=FROM_S, to_s=TO_S)
    ]


def test_the_default_layout() -> None:
    """By default files stand in a folder per job and local day, named by both ends in UTC."""
    path = render_layout(DEFAULT, "web", "default", "web-access", SLICE, SHANGHAI, "")
    assert path == "web/2026/01/01/20251231T230000Z_20260101T001000Z"
    assert problems(DEFAULT, zone=SHANGHAI) == []


def test_every_field() -> None:
    """Every field of a layout is filled in, local ones in the job's zone."""
    layout = "{project}/{logstore}/{job}-{start:%Y%m%d%z}.{start_utc:%H%M%S}-{end:%j}.{end_utc:%H}"
    path = render_layout(layout, "j", "p", "l", SLICE, SHANGHAI, "")
    assert path == "p/l/j-20260101+0800.230000-001.00"


def test_a_stream_is_told_by_its_slug() -> None:
    """A slice of one log stream carries the stream's readable part and a digest of its whole name."""
    digest = sha256(b"app/prod-1").hexdigest()[:8]
    assert stream_slug("app/prod-1") == f"app_prod-1~{digest}"
    path = render_layout(DEFAULT, "web", "default", "web-access", SLICE, UTC, "app/prod-1")
    assert path.endswith(f"_20260101T001000Z~app_prod-1~{digest}")


@given(st.text(max_size=300))
def test_slugs_are_harmless(stream: str) -> None:
    """Whatever a log stream is called, its slug is a safe, short file name of its own."""
    assert re.fullmatch(r"[A-Za-z0-9_-]{0,40}~[0-9a-f]{8}", stream_slug(stream))


@given(st.text(max_size=300), st.text(max_size=300))
def test_names_stay_below_the_destination(name: str, other: str) -> None:
    """Whatever a logstore is called, it becomes one visible component, and another name another one."""
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", safe_component(name))
    assert len(safe_component(name)) <= 110
    assert name == other or safe_component(name) != safe_component(other)


@pytest.mark.parametrize(
    ("name", "safe"), [("web-1.x", "web-1.x"), (".", "_-"), ("..", "_.-"), ("", "-"), ("a/b", "a_b-")]
)
def test_only_harmful_names_are_changed(name: str, safe: str) -> None:
    """A harmless name is kept, another one is cleaned and told apart by a digest."""
    assert safe_component(name) == (safe if safe == name else safe + sha256(name.encode()).hexdigest()[:8])


@pytest.mark.parametrize(
    "layout",
    [
        UNIQUE,
        "{start_utc:%Y/%m/%d/%H%M%S}-{end_utc:%H%M%S}",
        "{start_utc:%Y}/{start_utc:%j}/{start_utc:%H%M%S}_{end:%H%M%S}",
        "{job}/{start:%Y%m%dT%H%M%S%z}_{end:%H%M%S}",
        "a=b/" + UNIQUE,
        "job={job}/" + UNIQUE,
    ],
)
def test_good_layouts(layout: str) -> None:
    """What tells slices apart and stays inside is taken, also where clocks change."""
    assert problems(layout, zone=BERLIN) == []


@pytest.mark.parametrize(
    ("layout", "problem"),
    [
        ("{jab}/" + UNIQUE, "unknown field {jab}"),
        ("{}/" + UNIQUE, "unknown field {}"),
        ("{job:%Y}/" + UNIQUE, "{job} has a time format"),
        ("{start}/" + UNIQUE, "{start} has no time format"),
        ("{start:}/" + UNIQUE, "{start} has no time format"),
        ("{start:%B}/" + UNIQUE, "the time format %B"),
        ("{start:%Y%}/" + UNIQUE, "the time format %"),
        ("{start:%Y %m}/" + UNIQUE, "not safe in a path"),
        ("{job/" + UNIQUE, "a brace that has no partner"),
        ("job}/" + UNIQUE, "a brace that has no partner"),
        (UNIQUE + "{", "a brace that has no partner"),
        ("a b/" + UNIQUE, "not safe in a path"),
        ("a~b/" + UNIQUE, "not safe in a path"),
        ("a\\b/" + UNIQUE, "not safe in a path"),
        ("日志/" + UNIQUE, "not safe in a path"),
        ("/" + UNIQUE, "empty folder or file name"),
        ("a//" + UNIQUE, "empty folder or file name"),
        (UNIQUE + "/", "empty folder or file name"),
        ("../" + UNIQUE, "leaves the destination"),
        ("a/./" + UNIQUE, "leaves the destination"),
        (".hidden/" + UNIQUE, "leaves the destination or hides"),
        ("a./" + UNIQUE, "ends in a dot"),
        ("a" * 181 + "/" + UNIQUE, "can grow too long"),
        ("{job}{logstore}/" + UNIQUE, "can grow too long"),
        ("{job}", "two slices one path"),
        ("{start_utc:%Y%m%dT%H%M}_{end_utc:%H%M%S}", "two slices one path"),
        ("{start_utc:%m%dT%H%M%S}_{end_utc:%H%M%S}", "two slices one path"),
        ("{start_utc:%Y%m%d}_{start:%H%M%S}_{end_utc:%H%M%S}", "two slices one path"),
        ("{start_utc:%Y%m%dT%H%M%S}", "two slices one path"),
        ("{start:%Y%m%dT%H%M%S}_{end:%H%M%S}", "when the clocks of Europe/Berlin go back"),
    ],
)
def test_bad_layouts(layout: str, problem: str) -> None:
    """What could escape, collide or not be rendered is refused before anything runs."""
    found = problems(layout, zone=BERLIN)
    assert any(problem in one for one in found), found


def test_local_times_suffice_where_clocks_never_change() -> None:
    """In a zone with one offset a local start tells slices apart."""
    assert problems("{start:%Y%m%dT%H%M%S}_{end:%H%M%S}", zone=SHANGHAI) == []


def test_the_nearest_field_is_named() -> None:
    """A mistyped field is answered with the one that was meant."""
    (objection,) = check_layout("{start_utx:%Y}", align=Align.NONE, zone=UTC, from_s=FROM_S, to_s=TO_S)
    assert objection.nearest == "start_utc"
    assert "{job}" in objection.allowed


def test_both_ends_are_asked_for_at_once() -> None:
    """A layout that lacks start and end hears of both, not of the second after mending the first."""
    (objection,) = check_layout("{job}", align=Align.NONE, zone=UTC, from_s=FROM_S, to_s=TO_S)
    assert "{start_utc:%Y%m%dT%H%M%SZ}" in objection.allowed
    assert "{end_utc:%H%M%S}" in objection.allowed


def test_a_layout_that_is_none_is_not_rendered() -> None:
    """Rendering and comparing refuse what checking refuses."""
    with pytest.raises(Wrong, match="unknown field"):
        render_layout("{jab}", "j", "p", "l", SLICE, UTC, "")
    with pytest.raises(Wrong, match="unknown field"):
        path_shape("/d", "{jab}", "j", "p", "l")


@pytest.mark.parametrize(
    ("folder", "align", "zone", "problem"),
    [
        ("dt={start:%Y-%m-%d}", Align.NONE, UTC, "{start:%d}, finer than align"),
        ("dt={start:%Y-%m-%d}", Align.MONTH, UTC, "{start:%d}, finer than align"),
        ("dt={start:%Y-%m-%d}", Align.DAY, SHANGHAI, ""),
        ("dt={start:%Y-%m-%d}", Align.HOUR, SHANGHAI, ""),
        ("day={start:%j}", Align.MONTH, UTC, "{start:%j}, finer than align"),
        ("month={start:%Y-%m}", Align.MONTH, SHANGHAI, ""),
        ("year={start:%Y}", Align.NONE, UTC, "{start:%Y}, finer than align"),
        ("year={start:%Y}", Align.MONTH, UTC, ""),
        ("h={start:%H}", Align.DAY, UTC, "{start:%H}, finer than align"),
        ("h={start:%H%z}", Align.HOUR, UTC, ""),
        ("m={start:%M}", Align.HOUR, UTC, "of %M: slices cross it"),
        ("dt={end:%d}", Align.DAY, UTC, "{end}, which lies after the rows"),
        ("dt={start_utc:%Y-%m-%d}", Align.DAY, UTC, ""),
        ("dt={start_utc:%Y-%m-%d}", Align.DAY, SHANGHAI, "{start_utc:%d}, finer than align"),
        ("dt={start_utc:%Y-%m-%d}", Align.HOUR, SHANGHAI, ""),
        ("dt={start_utc:%Y-%m-%d}", Align.HOUR, KATHMANDU, "{start_utc:%d}, finer than align"),
        ("dt={start_utc:%Y-%m-%d}", Align.NONE, SHANGHAI, "{start_utc:%d}, finer than align"),
        ("{start:%Y}", Align.NONE, UTC, ""),
    ],
)
def test_key_value_folders(folder: str, align: Align, zone: ZoneInfo, problem: str) -> None:
    """A key=value folder may only say what is true of every row below it."""
    found = problems(f"{folder}/{UNIQUE}", align, zone)
    assert (not found) if not problem else any(problem in one for one in found), found


def test_a_key_value_file_name_is_no_folder() -> None:
    """Only folders are taken for partitions: a file's name may hold an equals sign."""
    assert problems("a/t=" + UNIQUE) == []


@pytest.mark.parametrize(
    ("left", "right", "collide"),
    [
        (("/d", "{job}/" + UNIQUE, "a"), ("/d", "{job}/" + UNIQUE, "b"), False),
        (("/d", UNIQUE, "a"), ("/d", UNIQUE, "b"), True),
        (("/d/", UNIQUE, "a"), ("/d", UNIQUE, "b"), True),
        (("/d", "{job}/" + UNIQUE, "Web"), ("/d", "{job}/" + UNIQUE, "web"), True),
        (("/d", "{job}/" + UNIQUE, "web"), ("/d", "web/" + UNIQUE, "x"), True),
        (("/d/web", UNIQUE, "x"), ("/d", "{job}/" + UNIQUE, "web"), True),
        (("/d", "{start:%Y}/" + UNIQUE, "x"), ("/d", "2026/" + UNIQUE, "y"), True),
        (("/d", "2026/" + UNIQUE, "x"), ("/d", "{start:%Y}/" + UNIQUE, "y"), True),
        (("/d", "{start:%Y}/" + UNIQUE, "x"), ("/d", "abcd/" + UNIQUE, "y"), False),
        (("/d", "{start:%z}/" + UNIQUE, "x"), ("/d", "+0800/" + UNIQUE, "y"), True),
        (("/d", "{start:%z}/" + UNIQUE, "x"), ("/d", "-0800/" + UNIQUE, "y"), True),
        (("/d", "{start:%z}/" + UNIQUE, "x"), ("/d", "x0800/" + UNIQUE, "y"), False),
        (("/d", UNIQUE, "x"), ("/e", UNIQUE, "y"), False),
    ],
)
def test_collisions(left: tuple[str, str, str], right: tuple[str, str, str], collide: bool) -> None:
    """Two jobs whose files could ever get one path, also on a disk that ignores case, are told apart
    beforehand."""
    shapes = [path_shape(place, layout, job, "p", "l") for place, layout, job in (left, right)]
    assert could_collide(*shapes) is collide


@given(
    starts=st.lists(st.integers(FROM_S, TO_S), min_size=2, max_size=8, unique=True),
    zone=st.sampled_from([UTC, SHANGHAI, BERLIN]),
    layout=st.sampled_from([DEFAULT, UNIQUE, "{job}/{start:%Y%m%dT%H%M%S%z}_{end:%H%M%S}"]),
)
def test_slices_of_a_job_never_share_a_path(starts: list[int], zone: ZoneInfo, layout: str) -> None:
    """With a layout that was taken, disjoint slices have different paths, case ignored, and match the path's
    shape."""
    ordered = sorted(starts)
    slices = [Window(a, b) for a, b in pairwise(ordered)]
    paths = [render_layout(layout, "Web", "p", "l", one, zone, "") for one in slices]
    assert len({path.casefold() for path in paths}) == len(slices)
    shape = path_shape("/d", layout, "Web", "p", "l")
    assert all(could_collide(shape, tuple(f"/d/{path}".casefold())) for path in paths)
