"""An analysis by time is read in whatever form its instants come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.core.window import Window
from orchestrator.errors import MalformedAnswer
from orchestrator.ports.service import Bucket, CountUnavailable, Histogram
from orchestrator.remote.found_buckets import buckets_of

START_S = 1_768_348_800  # 2026-01-14T00:00:00Z
WINDOW = Window(START_S, START_S + 86_400)
HOURS = (0, 7, 23)


def answer(instants: list[object]) -> dict[str, dict[str, object]]:
    """One row an instant, with 1, 2, 3 … lines."""
    rows = [[instant, number + 1] for number, instant in enumerate(instants)]
    return {"resultSet": {"columns": ["h", "c"], "rows": rows}, "datasetScanInfo": {}}


def read(document: object) -> Histogram | CountUnavailable:
    """The answer to a question about the day, hour by hour."""
    return buckets_of(document, "r-1", WINDOW, 3600)


def spelled(form: str) -> list[object]:
    """The hours in one of the forms an analysis may use."""
    moments = [datetime.fromtimestamp(START_S + hour * 3600, UTC) for hour in HOURS]
    later = [moment + timedelta(hours=8) for moment in moments]
    forms: dict[str, list[object]] = {
        "ms": [int(moment.timestamp()) * 1000 for moment in moments],
        "s": [int(moment.timestamp()) for moment in moments],
        "ms as text": [str(int(moment.timestamp()) * 1000) for moment in moments],
        "ms as float": [moment.timestamp() * 1000 for moment in moments],
        "iso": [f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in moments],
        "iso with offset": [f"{moment:%Y-%m-%dT%H:%M:%S}.000+08:00" for moment in later],
        "wall clock of UTC": [f"{moment:%Y-%m-%d %H:%M:%S}" for moment in moments],
        "wall clock of Beijing": [f"{moment:%Y-%m-%d %H:%M:%S}.000" for moment in later],
    }
    return forms[form]


@pytest.mark.parametrize(
    "form",
    [
        "ms",
        "s",
        "ms as text",
        "ms as float",
        "iso",
        "iso with offset",
        "wall clock of UTC",
        "wall clock of Beijing",
    ],
)
def test_instants_are_read_in_every_form(form: str) -> None:
    """Numbers, numbers as texts, ISO texts, and wall clocks, whose zone the window tells."""
    buckets = tuple(Bucket(START_S + hour * 3600, number + 1) for number, hour in enumerate(HOURS))
    assert read(answer(spelled(form))) == Histogram(3600.0, buckets, None)


def test_rows_come_in_order_and_numbers_as_texts_count() -> None:
    """The oldest first, whatever order they were served in."""
    found = read({"resultSet": {"rows": [[(START_S + 3600) * 1000, "7"], [START_S * 1000, 5.0]]}})
    assert isinstance(found, Histogram)
    assert found.buckets == (Bucket(START_S, 5), Bucket(START_S + 3600, 7))


def test_a_wall_clock_that_fits_nowhere_is_taken_for_utc() -> None:
    """Such buckets lie outside the window, and whoever plans by them sees that they are odd."""
    found = read(answer(["1999-01-01 00:00:00"]))
    assert isinstance(found, Histogram)
    assert found.buckets == (Bucket(915_148_800.0, 1),)


def test_nothing_found_is_no_buckets() -> None:
    """Empty stretches are left out by an analysis; all of them may be empty."""
    assert read({"resultSet": {"rows": []}}) == Histogram(3600.0, (), None)


@pytest.mark.parametrize("where", ["resultSet", "datasetScanInfo"])
def test_what_was_cut_short_is_too_much(where: str) -> None:
    """A truncated analysis tells nothing, but one of a shorter window might."""
    document = answer([START_S])
    document[where]["isTruncated"] = True
    found = read(document)
    assert isinstance(found, CountUnavailable)
    assert found.too_much


@pytest.mark.parametrize(
    "row",
    [
        None,
        [],
        [START_S],
        [START_S, 1, 2],
        ["yesterday", 1],
        [None, 1],
        [[], 1],
        [START_S, None],
        [START_S, -1],
        [START_S, "many"],
        [START_S, 1.5],
    ],
)
def test_a_row_that_tells_nothing_is_malformed(row: object) -> None:
    """The answer is refused as a whole and says which row it was."""
    with pytest.raises(MalformedAnswer, match="rows"):
        read({"resultSet": {"rows": [row]}})
