"""How a plan reads: the picture, the table, the sums."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.picture import ASCII, BLOCKS, Alphabet, Picture, alphabet_for, draw
from orchestrator.cli.planning import SHOWN_SLICES, show_plan
from orchestrator.cli.stdout import Stdout
from orchestrator.core.estimating import Work
from orchestrator.core.job import Job, Limits
from orchestrator.core.report import JobPlan, PlannedSlice
from orchestrator.core.series import Series
from orchestrator.core.window import Window

T = 1_768_348_800
"""2026-01-14T00:00:00Z."""
COUNTED, ESTIMATED = set(BLOCKS.counted), set(BLOCKS.estimated)


def piece(
    start: int, end: int, lines: int | None, *, estimated: bool = False, stream: str = ""
) -> PlannedSlice:
    return PlannedSlice(Window(T + start, T + end), stream, lines, estimated)


def planned(*slices: PlannedSlice, empty: tuple[Window, ...] = (), seen: Series | None = None) -> JobPlan:
    known = [item.lines for item in slices if item.lines is not None]
    return JobPlan(
        job="web",
        window=Window(T, T + 86_400),
        slices=slices,
        lines=sum(known) if len(known) == len(slices) else None,
        requests=3 * len(slices),
        planning_requests=2,
        empty=empty,
        work=Work(len(slices), None, 3 * len(slices)),
        seen=seen,
    )


def drawn(plan: JobPlan, width: int = 20, alphabet: Alphabet = BLOCKS) -> Picture:
    picture = draw(plan, width, alphabet)
    assert picture is not None
    return picture


class Sink(Stdout):
    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


def shown(*plans: JobPlan, timezone: str = "UTC", columns: int = 80, alphabet: Alphabet = BLOCKS) -> str:
    out = Sink()
    jobs = [cast("Job", SimpleNamespace(name=plan.job, timezone=timezone)) for plan in plans]
    show_plan(out, plans, jobs, Limits(), columns, alphabet)
    return out.text


# --- the picture ---


def test_heights_follow_density_and_cuts_lie_where_slices_meet() -> None:
    """Half as dense is half as high, and one mark stands in the column where the second slice begins."""
    picture = drawn(planned(piece(0, 100, 1000), piece(100, 200, 500)))
    assert picture.lines == "█" * 10 + "▄" * 10
    assert picture.cuts == "─" * 10 + "┴" + "─" * 9
    assert (picture.window, picture.column_s, picture.highest) == (Window(T, T + 200), 10.0, 10.0)
    assert picture.legend == ("┴ a cut",)


def test_a_single_line_is_seen_beside_a_million() -> None:
    """What is there is never drawn as nothing."""
    assert drawn(planned(piece(0, 100, 1_000_000), piece(100, 200, 1))).lines[-1] == "▁"


def test_what_is_not_counted_looks_different_from_what_is() -> None:
    """Estimates are shaded, the uncounted is a question mark, and the legend says so."""
    picture = drawn(
        planned(piece(0, 100, 1000), piece(100, 200, 1000, estimated=True), piece(200, 300, None)), 30
    )
    assert picture.lines == "█" * 10 + "▓" * 10 + "?" * 10
    assert picture.cuts == "─" * 10 + "┴" + "~" * 9 + "┴" + "?" * 9
    assert picture.legend == ("┴ a cut", "░▒▓~ estimated", "? not counted")


def test_without_blocks_the_same_is_told_in_ascii() -> None:
    """Every mark is one that any terminal has, and estimates still differ."""
    picture = drawn(
        planned(piece(0, 100, 1000), piece(100, 200, 250), piece(200, 300, 9, estimated=True)), 30, ASCII
    )
    assert picture.lines == "@" * 10 + ":" * 10 + "~" * 10
    assert picture.cuts == "-" * 10 + "|" + "-" * 9 + "|" + "~" * 9
    assert "".join((picture.lines, picture.cuts, *picture.legend)).isascii()


def test_a_stretch_counted_as_empty_is_blank_and_a_stored_one_is_dotted() -> None:
    """Between slices that do not meet there is no cut."""
    picture = drawn(planned(piece(0, 100, 10), piece(300, 400, 10), empty=(Window(T + 100, T + 200),)), 40)
    assert picture.lines == "█" * 10 + " " * 20 + "█" * 10
    assert picture.cuts == "─" * 10 + " " * 10 + "·" * 10 + "─" * 10
    assert picture.legend == ("· not to be exported", "blank: counted, and nothing there")


def test_lines_lie_where_planning_saw_them() -> None:
    """Inside a long slice the buckets that were asked for give the shape; the sum stays that of the slice."""
    seen = Series(tuple(T + 10 * number for number in range(21)), (0,) * 5 + (10,) * 10 + (0,) * 5)
    assert drawn(planned(piece(0, 200, 70), seen=seen)).lines == " " * 5 + "█" * 10 + " " * 5
    elsewhere = Series((T + 500, T + 600), (10,))
    silent = Series((T, T + 200), (0,))
    for useless in (elsewhere, silent, None):
        assert drawn(planned(piece(0, 200, 70), seen=useless)).lines == "█" * 20


def test_several_cuts_in_a_column_are_counted() -> None:
    """Up to nine by their number, more by one mark."""
    few = drawn(planned(*(piece(number * 10, number * 10 + 10, 5) for number in range(9))), 3)
    assert few.cuts == "233"
    assert few.legend == ("2 to 9 so many cuts",)
    many = drawn(planned(*(piece(number, number + 1, 5) for number in range(60))), 3)
    assert many.cuts == "###"
    assert many.legend == ("# more than 9 cuts",)


def test_streams_are_drawn_over_each_other() -> None:
    """Lines of all streams add up, and a slice of one stream is no cut in another."""
    picture = drawn(
        planned(
            piece(0, 100, 100, stream="a"), piece(0, 200, 200, stream="b"), piece(150, 200, 50, stream="a")
        )
    )
    assert picture.lines == "█" * 10 + "▄" * 5 + "█" * 5
    assert "┴" not in picture.cuts


def test_nothing_to_do_has_no_picture() -> None:
    """And a plan of nothing but silence is a blank one."""
    assert draw(planned(), 20, BLOCKS) is None
    blank = drawn(planned(empty=(Window(T, T + 50),)))
    assert (blank.lines.strip(), blank.cuts.strip(), blank.highest) == ("", "", None)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 5000), st.none() | st.integers(0, 10**9)), max_size=80
    ),
    st.integers(1, 120),
    st.sampled_from([BLOCKS, ASCII]),
)
def test_every_plan_can_be_drawn(
    stretches: list[tuple[int, int, int | None]], width: int, alphabet: Alphabet
) -> None:
    """Both rows fit the width, are equally long, and a column is blank above only where no line is known."""
    at, slices, empty = 0, [], []
    for kind, length_s, lines in stretches:
        if kind == 0:
            empty.append(Window(T + at, T + at + length_s))
        elif kind != 1:
            slices.append(piece(at, at + length_s, lines, estimated=kind == 3 and lines is not None))
        at += length_s
    picture = draw(planned(*slices, empty=tuple(empty)), width, alphabet)
    assert (picture is None) == (not slices and not empty)
    if picture is not None:
        assert len(picture.lines) == len(picture.cuts) == min(width, picture.window.length_s)
        assert (set(picture.lines) == {" "}) == all(item.lines == 0 for item in slices)
        assert ("?" in picture.lines) == any(item.lines is None for item in slices)


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


# --- all of it ---


def test_the_ends_of_the_picture_are_told_in_both_zones() -> None:
    """First and last instant in the job's timezone and in UTC, flush with the ends of the rows."""
    lines = shown(planned(piece(0, 86_400, 5)), timezone="Asia/Shanghai").splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("  █")]
    assert lines[at + 2].split() == ["2026-01-14", "08:00:00+08:00", "2026-01-15", "08:00:00+08:00"]
    assert lines[at + 3].split() == ["2026-01-14T00:00:00Z", "2026-01-15T00:00:00Z"]
    assert len(lines[at]) == len(lines[at + 1]) == len(lines[at + 2]) == len(lines[at + 3]) == 79


@pytest.mark.parametrize("alphabet", [BLOCKS, ASCII])
@pytest.mark.parametrize("columns", [40, 80, 200])
def test_ten_thousand_slices_stay_readable(alphabet: Alphabet, columns: int) -> None:
    """The table shows the ends and how many are between; the picture is no wider than the terminal."""
    slices = [piece(number * 300, number * 300 + 300, 900_000) for number in range(10_000)]
    text = shown(planned(*slices), columns=columns, alphabet=alphabet)
    assert "(9,980 more; all with --json)" in text
    assert len(text.splitlines()) < SHOWN_SLICES
    picture = text.partition("\n\n")[2].partition("\n\n")[0]
    assert max(map(len, picture.splitlines())) <= columns
    assert "10,000 slices, 9,000,000,000 lines" in text


def test_all_slices_are_listed_when_they_are_few() -> None:
    """Up to forty rows are a table that is read."""
    text = shown(planned(*(piece(number * 10, number * 10 + 10, 5) for number in range(SHOWN_SLICES))))
    assert text.count("2026-01-14 00:0") >= 2 * SHOWN_SLICES
    assert "more" not in text


def test_estimates_and_the_unknown_say_so() -> None:
    """In the table, in the sums, and for time and size when nothing tells."""
    text = shown(planned(piece(0, 100, 1000), piece(100, 200, 500, estimated=True), piece(200, 300, None)))
    assert "~500" in text
    assert " unknown\n" in text
    assert "3 slices, about 1,500 lines and what is in 1 slice not counted" in text
    assert "time unknown, as no remote task ran yet; size unknown" in text
    assert "planning took 2 requests" in text
    blind = shown(planned(piece(0, 100, None)))
    assert "1 slice, lines unknown" in blind
    assert "where nothing is counted slices follow the rows as they come: a guess so far" in blind
    assert "a guess so far" not in shown(planned(piece(0, 100, 5)))


def test_time_and_size_are_told_when_they_are_known() -> None:
    """As estimates, in units that are read."""
    plan = replace(planned(piece(0, 100, 1000)), duration_s=90.0, bytes_stored=1_234_567)
    assert "time about 1 min 30 s; size about 1.2 MB" in shown(plan)


def test_several_jobs_are_summed() -> None:
    """The last line says what all of them take side by side."""
    one = replace(planned(piece(0, 100, 1000)), work=Work(1, 60.0, 3))
    text = shown(one, replace(one, job="app"))
    assert text.splitlines()[-1] == (
        "2 jobs: 2 slices, about 6 requests, time about 1 min 0 s; planning took 4 requests"
    )
    unknown = replace(one, work=Work(1, None, 3))
    assert "time unknown" in shown(one, unknown).splitlines()[-1]
    assert "2 jobs" not in shown(one)


def test_nothing_to_do_is_said() -> None:
    """Without a table, a picture or estimates of nothing."""
    text = shown(replace(planned(), duration_s=0.0))
    assert "nothing to do: the manifest holds all of it" in text
    assert "time" not in text
    assert "a column is" not in text
    quiet = replace(planned(), empty=(Window(0, 100),))
    assert "nothing to do: the service counts no lines" in shown(quiet)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (864_000_000, "10,000 lines a second"),
        (86_400, "60 lines a minute"),
        (480, "20 lines an hour"),
        (3, "3 lines a day"),
    ],
)
def test_the_scale_is_told_in_a_unit_that_gives_a_number(lines: int, words: str) -> None:
    """However dense or thin."""
    assert f"the highest {words}" in shown(planned(piece(0, 86_400, lines))).replace("\n  ", " ")
