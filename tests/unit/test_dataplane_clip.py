"""Which rows are kept: a table of windows, orders and truncations."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core.job import Order, Output, ServedFormat
from orchestrator.core.window import Window
from orchestrator.dataplane.clip import judge, needs_order
from orchestrator.dataplane.survey import Survey
from orchestrator.errors import RowsOutsideWindow
from tests.unit.dataplane_kit import START_S, Server, fetched, json_lines, read_rows, ticket

S = START_S
TEN = Window(S, S + 10)
ONE = Window(S + 3, S + 4)


def some(*seconds: int) -> bytes:
    return json_lines([{"@timestamp": (S + second) * 1000 + 500, "n": n} for n, second in enumerate(seconds)])


def window(start: int, end: int) -> Window:
    return Window(S + start, S + end)


@pytest.mark.parametrize(
    ("seconds", "asked", "order", "limit", "kept", "stored", "truncated"),
    [
        # not truncated: the window, clipped
        ((0, 5, 9), TEN, Order.ASC, 9, TEN, 3, False),
        ((-1, 0, 9, 10), TEN, Order.ASC, 9, TEN, 2, False),
        ((9, 3, 5), TEN, Order.ASC, 9, TEN, 3, False),
        ((-1, 10), TEN, Order.ASC, 9, TEN, 0, False),
        # truncated and in order: all but the last second met
        ((0, 1, 1, 2, 2), TEN, Order.ASC, 5, window(0, 2), 3, True),
        ((-1, 0, 1, 2), TEN, Order.ASC, 4, window(0, 2), 2, True),
        ((9, 8, 8, 7), TEN, Order.DESC, 4, window(8, 10), 3, True),
        ((10, 9, 8), TEN, Order.DESC, 3, window(9, 10), 1, True),
        ((0, 1, 2, 3), TEN, Order.ASC, 3, window(0, 3), 3, True),  # more than the limit is truncated as well
        # the last second met lies beyond the window: nothing of the window is missing
        ((0, 5, 10), TEN, Order.ASC, 3, TEN, 2, True),
        ((9, 5, -1), TEN, Order.DESC, 3, TEN, 2, True),
        # nothing would be kept
        ((-1, 0, 0), TEN, Order.ASC, 3, None, 0, True),
        ((10, 9, 9), TEN, Order.DESC, 3, None, 0, True),
        ((4, 4, 4), TEN, Order.ASC, 3, None, 0, True),
        # not in the order asked for
        ((0, 2, 1, 3), TEN, Order.ASC, 4, None, 0, True),
        ((3, 2, 1), TEN, Order.ASC, 3, None, 0, True),
        ((1, 2, 3), TEN, Order.DESC, 3, None, 0, True),
        # one second: staged all the same, a recount may prove it
        ((3, 3, 3), ONE, Order.ASC, 3, None, 3, True),
        ((2, 3, 3), ONE, Order.ASC, 3, None, 2, True),
        ((2, 3, 4), ONE, Order.ASC, 3, ONE, 1, True),
        ((4, 3, 3), ONE, Order.DESC, 3, None, 2, True),
        ((3, 2, 3), ONE, Order.ASC, 3, None, 2, True),
    ],
)
@pytest.mark.parametrize("output", [Output.RAW, Output.JSONL])
def test_what_is_kept(
    tmp_path: Path,
    seconds: tuple[int, ...],
    asked: Window,
    order: Order,
    limit: int,
    kept: Window | None,
    stored: int,
    truncated: bool,
    output: Output,
) -> None:
    """The receipt's window, its counts and the rows in the artifact agree, case by case."""
    receipt = fetched(
        Server(some(*seconds)), ticket(tmp_path, window=asked, order=order, limit=limit, output=output)
    )
    assert (receipt.kept, receipt.stored_rows, receipt.truncated) == (kept, stored, truncated)
    assert receipt.served_rows == len(seconds)
    assert receipt.dropped_rows == len(seconds) - stored
    assert bool(receipt.staged_path) == bool(stored)
    if stored:
        held = kept or asked
        rows = read_rows(Path(receipt.staged_path).read_bytes(), receipt.form)
        expected = [n for n, second in enumerate(seconds) if held.start_s <= S + second < held.end_s]
        assert [row["n"] for row in rows] == expected


@pytest.mark.parametrize("second", [-2, 11, 10**6, -(10**9)])
def test_rows_far_outside_are_a_fault(tmp_path: Path, second: int) -> None:
    """More than a second beyond what was requested, on either side, however few they are."""
    with pytest.raises(RowsOutsideWindow, match="of 3 rows"):
        fetched(Server(some(0, 1, second)), ticket(tmp_path, window=TEN))


def test_padding_widens_what_is_allowed_not_what_is_kept(tmp_path: Path) -> None:
    """A task asked for with a second more at both ends may serve one more beyond those; only the window is
    stored."""
    body = some(-2, -1, 0, 9, 10, 11)
    receipt = fetched(Server(body), ticket(tmp_path, window=TEN, requested=window(-1, 11)))
    assert (receipt.stored_rows, receipt.dropped_rows) == (2, 4)
    with pytest.raises(RowsOutsideWindow):
        fetched(Server(some(-3, 0)), ticket(tmp_path, attempt_key="b", window=TEN, requested=window(-1, 11)))


@pytest.mark.parametrize(
    ("limit", "asked", "kept", "stored"), [(9, TEN, TEN, 3), (3, TEN, None, 0), (3, ONE, None, 3)]
)
def test_without_a_time_nothing_is_clipped_or_cut(
    tmp_path: Path, limit: int, asked: Window, kept: Window | None, stored: int
) -> None:
    """Undated rows are kept whole or, when truncated over more than a second, not at all."""
    receipt = fetched(Server(b'{"n":1}\n{"n":2}\n{"n":3}\n'), ticket(tmp_path, window=asked, limit=limit))
    assert (receipt.time_known, receipt.kept, receipt.stored_rows) == (False, kept, stored)


def test_order_is_asked_for_only_when_it_decides(tmp_path: Path) -> None:
    """The extra look at every row is taken for truncated, dated files."""
    for limit, needed in ((9, False), (3, True)):
        asked = ticket(tmp_path, window=TEN, limit=limit)
        glance = Survey(asked)
        survey = Survey(asked, in_order=True)
        for look in (glance, survey):
            look.feed(some(0, 1, 2))
            look.finish()
        assert needs_order(glance, asked) is needed
        assert not needs_order(survey, asked)
        assert judge(survey, asked).truncated is needed


@pytest.mark.parametrize("at", [100, -1], ids=["at the end", "before the start"])
def test_one_row_in_the_wrong_place_is_left_out(at: int, tmp_path: Path) -> None:
    """In the middle of a file that is in order otherwise, and of which no other row need be left out."""
    times = [(S + 1) * 1000 + n for n in range(60_000)]
    times[30_001] = (S + at) * 1000
    lines = json_lines([{"@timestamp": moment} for moment in times])
    receipt = fetched(Server(lines), ticket(tmp_path, window=window(0, 100)))
    assert (receipt.served_rows, receipt.dropped_rows) == (60_000, 1)


MS = S * 1000


@pytest.mark.parametrize(
    ("body", "order", "met"),
    [
        (json_lines([{"@timestamp": MS}, {"@timestamp": MS + 1}]), Order.ASC, True),
        (json_lines([{"@timestamp": MS + 1}, {"@timestamp": MS}]), Order.DESC, True),
        (json_lines([{"@timestamp": MS + 1}, {"@timestamp": MS + 2}]), Order.ASC, False),
        (json_lines([{"@timestamp": S}, {"@timestamp": S + 1}]), Order.ASC, False),  # says the second only
        (json_lines([{"@timestamp": f"{MS}"}]), Order.ASC, True),
        (json_lines([{"@timestamp": f"{S}"}]), Order.ASC, False),
        (json_lines([{"@timestamp": f"{S}.000"}]), Order.ASC, True),
        (json_lines([{"@timestamp": True}, {"timestamp": MS}]), Order.ASC, False),
        (f'@timestamp,m\n{MS},"a\nb"\n{MS + 1},c\n'.encode(), Order.ASC, True),
        (f'@timestamp,m\n{MS + 1},c\n{MS},"a\nb"\n'.encode(), Order.DESC, True),
        (f'@timestamp,m\n{MS + 1},"a\nb"\n{MS + 2},c\n'.encode(), Order.ASC, False),
        (b"m\nx\n", Order.ASC, False),
        (b"", Order.ASC, False),
    ],
)
def test_a_row_exactly_at_the_start_shows_that_the_start_is_counted_in(
    tmp_path: Path, body: bytes, order: Order, met: bool
) -> None:
    """Only a time that says which part of its second it means can be exactly at the start."""
    form = ServedFormat.JSON if body.startswith(b"{") else ServedFormat.CSV
    receipt = fetched(Server(body), ticket(tmp_path, window=TEN, order=order, format=form))
    assert receipt.start_met is met


def test_the_start_that_counts_is_the_one_asked_for(tmp_path: Path) -> None:
    """Of a padded request, a row at the window's own start shows nothing."""
    asked = ticket(tmp_path, window=TEN, requested=window(-1, 11))
    assert not fetched(Server(json_lines([{"@timestamp": MS}])), asked).start_met
    asked = ticket(tmp_path, attempt_key="b", window=TEN, requested=window(-1, 11))
    assert fetched(Server(json_lines([{"@timestamp": MS - 1000}, {"@timestamp": MS}])), asked).start_met
