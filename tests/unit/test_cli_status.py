"""How `status` reads: the bar, its legend, the run in progress."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.app.reading import JobStatus
from orchestrator.app.standing import Pace, StreamStanding
from orchestrator.cli.bar import ASCII, BLOCKS, Alphabet, alphabet_for, draw, legend, painted
from orchestrator.cli.scale import colour_wanted
from orchestrator.cli.status import JobTold, Look, Running, show_status
from orchestrator.cli.stdout import Stdout
from orchestrator.core.job import Job, JobIdentity, ServiceSpec
from orchestrator.core.report import Gap
from orchestrator.core.standing import Mark, Standing, columns, edges, stands
from orchestrator.core.window import Window, WindowSet, intersect, seconds
from orchestrator.manifest.lock import LockOwner
from orchestrator.ports.store import JobCounts

T = 1_768_348_800
"""2026-01-14T00:00:00Z."""
DAY_S = 86_400
IDENTITY = JobIdentity("bj", "default", "web", "", "match *")
SHORT = dict(zip(Mark, "SPGAWU-", strict=True))
"""Stored, Partly, Gap, Accepted, on its Way, Untried, not due."""


def at(*spans: tuple[int, int]) -> WindowSet:
    return tuple(Window(T + start, T + end) for start, end in spans)


def standing(end: int = 100, /, **parts: WindowSet) -> Standing:
    return Standing(Window(T, T + end), **parts)


def drawn(standing: Standing, width: int = 10) -> str:
    return "".join(SHORT[mark] for mark in draw(standing, width))


def gap(start: int, end: int, *, reason: str = "not exported yet", slice_: str = "", **more: str) -> Gap:
    return Gap("web", Window(T + start, T + end), "*", reason, True, "orchestrator run", slice=slice_, **more)


# --- the marks


def test_every_stretch_has_its_mark() -> None:
    """Stored, gap, accepted, under way, untried and not due stand side by side, each where it is."""
    found = standing(
        stored=at((0, 20)),
        failed=at((20, 40)),
        accepted=at((40, 50)),
        under_way=at((50, 70)),
        untried=at((70, 90)),
        not_due=at((90, 100)),
    )
    assert drawn(found) == "SSGGAWWUU-"
    assert drawn(found, 5) == "SGWWU"


@pytest.mark.parametrize(
    ("parts", "mark"),
    [
        ({"stored": at((0, 99)), "failed": at((99, 100))}, "G"),
        ({"accepted": at((0, 99)), "failed": at((99, 100))}, "G"),
        ({"under_way": at((0, 99)), "failed": at((99, 100))}, "G"),
        ({"stored": at((0, 99)), "untried": at((99, 100))}, "P"),
        ({"stored": at((0, 99)), "under_way": at((99, 100))}, "P"),
        ({"partly": at((0, 100)), "untried": at((0, 100))}, "P"),
        ({"untried": at((0, 99)), "under_way": at((99, 100))}, "W"),
        ({"accepted": at((0, 99)), "untried": at((99, 100))}, "U"),
        ({"stored": at((0, 99)), "accepted": at((99, 100))}, "A"),
        ({"stored": at((0, 1)), "not_due": at((1, 100))}, "S"),
        ({"untried": at((0, 1)), "not_due": at((1, 100))}, "U"),
        ({"not_due": at((0, 100))}, "-"),
    ],
)
def test_a_column_is_told_by_what_most_needs_to_be_seen(parts: dict[str, WindowSet], mark: str) -> None:
    """A gap of one second is never drawn as stored, and what is missing beside what is stored is partly
    stored."""
    assert drawn(standing(**parts), 1) == mark


def test_ends_inside_a_column_count_for_both_sides() -> None:
    """Where stored ends and untried begins within one column, that column alone is partly stored."""
    assert drawn(standing(stored=at((0, 35)), untried=at((35, 100)))) == "SSSPUUUUUU"
    assert drawn(standing(stored=at((0, 30)), untried=at((30, 100)))) == "SSSUUUUUUU"
    assert drawn(standing(stored=at((0, 31)), untried=at((31, 100)))) == "SSSPUUUUUU"


def test_a_window_of_few_seconds_has_a_column_for_each() -> None:
    """No column stands for less than a second, and one second is one mark."""
    assert drawn(standing(3, stored=at((0, 1)), untried=at((1, 3))), 78) == "SUU"
    assert drawn(standing(1, failed=at((0, 1))), 78) == "G"
    assert drawn(standing(1, stored=at((0, 1))), 0) == "S"


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 400)), min_size=1, max_size=60),
    st.integers(1, 120),
)
def test_a_bar_shows_all_there_is_and_nothing_else(stretches: list[tuple[int, int]], width: int) -> None:
    """Every kind of stretch but stored and accepted ones beside worse is seen somewhere, and a column of a
    single kind has that kind's mark."""
    names = ("stored", "failed", "accepted", "under_way", "untried", "not_due")
    parts: dict[str, list[Window]] = {name: [] for name in names}
    place = T
    for kind, length_s in stretches:
        parts[names[kind]].append(Window(place, place + length_s))
        place += length_s
    found = Standing(Window(T, place), **{name: tuple(spans) for name, spans in parts.items()})
    marks = columns(found, width)
    parted = edges(found.window, width)
    assert len(marks) == min(width, found.window.length_s) == len(parted) - 1
    kinds = (Mark.STORED, Mark.FAILED, Mark.ACCEPTED, Mark.UNDER_WAY, Mark.UNTRIED, Mark.NOT_DUE)
    plain = dict(zip(names, kinds, strict=True))
    for number, mark in enumerate(marks):
        column = (Window(parted[number], parted[number + 1]),)
        there = {name for name in names if intersect(parts[name], column)}
        if len(there) == 1:
            assert mark is plain[there.pop()]
        elif "failed" in there:
            assert mark is Mark.FAILED
        elif there & {"under_way", "untried"}:
            assert mark in ({Mark.PARTLY} if "stored" in there else {Mark.UNDER_WAY, Mark.UNTRIED})


# --- what stands where


def test_gaps_are_parted_by_what_became_of_them() -> None:
    """What failed, what somebody accepted, what is planned, what nobody tried: together with what is stored
    and what is not due they are the window."""
    found = stands(
        Window(T, T + 120),
        covered=at((0, 20)),
        gaps=[
            gap(20, 40, reason="attempts exhausted", slice_="s1"),
            gap(40, 50, reason="beyond retention", slice_="s2", accepted="too old"),
            gap(50, 100),
        ],
        unfinished=at((45, 70)),
        due_until_s=T + 100,
    )
    assert (found.stored, found.failed, found.accepted) == (at((0, 20)), at((20, 40)), at((40, 50)))
    assert (found.under_way, found.untried) == (at((50, 70)), at((70, 100)))
    assert found.not_due == at((100, 120))
    parts = (found.stored, found.failed, found.accepted, found.under_way, found.untried, found.not_due)
    assert sum(map(seconds, parts)) == 120


def test_what_is_stored_of_some_streams_only_is_partly_stored() -> None:
    """Also where it only waits to be compared with the count of all lines."""
    found = stands(
        Window(T, T + 30),
        covered=at((0, 10)),
        gaps=[gap(10, 20), gap(20, 30, reason="not compared yet")],
        unfinished=(),
        due_until_s=T + 30,
        held=at((0, 30)),
    )
    assert drawn(found, 3) == "SPP"


# --- as text


@pytest.mark.parametrize("alphabet", [BLOCKS, ASCII])
def test_marks_differ_without_colour(alphabet: Alphabet) -> None:
    """Every mark has a character of its own, and colour changes none of them."""
    assert len({alphabet[mark] for mark in Mark}) == len(Mark)
    marks = [mark for mark in Mark for _ in range(3)]
    plain, coloured = (painted(marks, alphabet, colour=colour) for colour in (False, True))
    assert len(plain) == len(marks)
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain
    assert coloured.count("\x1b[0m") == len(Mark), "one run of each"
    assert coloured.endswith("\x1b[0m")


def test_the_legend_tells_only_what_occurs() -> None:
    """In the order of the marks, whichever bar they are in."""
    assert legend([[Mark.UNTRIED], [Mark.STORED, Mark.UNTRIED]], ASCII) == ["# stored", ". not tried yet"]
    assert all(text.isascii() for text in legend([list(Mark)], ASCII))


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        ("utf-8", BLOCKS),
        ("gb18030", BLOCKS),
        ("ascii", ASCII),
        ("iso8859-1", ASCII),
        (None, ASCII),
        ("no", ASCII),
    ],
)
def test_blocks_are_used_where_they_can_be_written(encoding: str | None, found: Alphabet) -> None:
    """An encoding without them, or none that is known, gets ASCII."""
    assert alphabet_for(encoding) is found


@pytest.mark.parametrize(
    ("terminal", "environment", "wanted"),
    [
        (True, {}, True),
        (True, {"NO_COLOR": ""}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {}, False),
    ],
)
def test_colour_is_for_terminals_of_people_who_want_it(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, environment: dict[str, str], wanted: bool
) -> None:
    """Never into a pipe or a file, never with NO_COLOR set to anything."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    assert colour_wanted(environment) is wanted


# --- the whole


class Sink(Stdout):
    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


def told(*streams: str, timezone: str = "UTC", not_due: bool = False) -> JobTold:
    window = Window(T, T + DAY_S)
    job = Job("web", IDENTITY, ServiceSpec("", "http://127.0.0.1"), window, window.end_s, timezone)
    half = at((0, DAY_S // 2))
    rest = at((DAY_S // 2, DAY_S))
    status = JobStatus(job, half, rest, (), T + DAY_S // 2, JobCounts({}), None)
    found = Standing(window, stored=half, not_due=rest if not_due else (), untried=() if not_due else rest)
    each = [StreamStanding(stream, found) for stream in streams]
    return JobTold(status, (StreamStanding(None, found), *each))


def shown(
    *jobs: JobTold, running: Running | None = None, columns: int = 80, alphabet: Alphabet = BLOCKS
) -> str:
    out = Sink()
    show_status(out, jobs, running, Look(columns, alphabet), "jobs.toml")
    return out.text


def test_the_ends_stand_below_the_bar_in_both_zones() -> None:
    """First and last instant in the job's timezone and in UTC, flush with the bar."""
    _, bar, local, utc, *rest = shown(told(timezone="Asia/Shanghai")).splitlines()
    assert bar == "  " + "█" * 38 + "▄" + "·" * 38
    assert local.split() == ["2026-01-14", "08:00:00+08:00", "2026-01-15", "08:00:00+08:00"]
    assert utc.split() == ["2026-01-14T00:00:00Z", "2026-01-15T00:00:00Z"]
    assert len(bar) == len(local) == len(utc) == 79
    assert rest[0] == "  a column is 18 min 42 s; █ stored; ▄ partly stored; · not tried yet"


@pytest.mark.parametrize("alphabet", [BLOCKS, ASCII])
@pytest.mark.parametrize("width", [4, 40, 80, 200])
def test_no_line_of_a_bar_is_wider_than_the_terminal(alphabet: Alphabet, width: int) -> None:
    """However narrow, there is at least one column; where the ends do not fit they stand one below the
    other."""
    text = shown(told(not_due=True), columns=width, alphabet=alphabet)
    bar = text.splitlines()[1]
    assert 3 <= len(bar) <= max(3, width - 1)
    if width == 40:
        assert "  from 2026-01-14 00:00:00Z\n  to   2026-01-15 00:00:00Z\n" in text
        assert max(map(len, text.splitlines()[1:5])) <= 40


def test_few_streams_have_bars_below_that_of_all() -> None:
    """All bars share their columns; long names are cut, and what could move a cursor is not printed."""
    text = shown(told("a", "b\x1b[2J", "x" * 40), columns=60)
    rows = text.splitlines()[1:5]
    assert [row.split()[0] for row in rows] == ["all", "a", "b\ufffd[2J", "x" * 17 + "..."]
    assert len({row.index("█") for row in rows}) == 1
    assert max(map(len, rows)) <= 60
    assert text.splitlines()[5].index("from 2026-01-14") == rows[0].index("█")


def test_a_job_without_a_window_has_no_bar() -> None:
    """Nothing is due yet, and no end is known."""
    empty = replace(told(), standing=())
    assert "a column is" not in shown(empty)
    assert "window" in shown(empty)


@pytest.mark.parametrize(
    ("pace", "words"),
    [
        (None, ""),
        (
            Pace(300.0, 12_345.0, 4000.0),
            "12,345 lines a second in the last 5 min 0 s; about 1 h 6 min left",
        ),
        (Pace(300.0, 0.5, None), "30 lines a minute in the last 5 min 0 s; time left not known yet"),
        (Pace(20.0, 0.0, None), "no line stored in the last 20.0 s; time left not known yet"),
        (Pace(20.0, 100.0, 0.0), "100 lines a second in the last 20.0 s; finishing"),
    ],
)
def test_a_run_in_progress_is_told_with_its_pace(pace: Pace | None, words: str) -> None:
    """Who, where, since when, how fast, how long still: what is not known is left out or said to be so."""
    text = shown(told(), running=Running(LockOwner("host", 7, "2026-01-15T00:00:00Z"), pace))
    head = "run in progress: process 7 on host since 2026-01-15T00:00:00Z\n"
    assert text.endswith(head + (f"  {words}\n" if words else ""))
