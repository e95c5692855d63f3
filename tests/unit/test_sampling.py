"""Which files are read whole when only a share of them is to be."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.complaint import Wrong
from orchestrator.core.measures import parse_share
from orchestrator.core.sampling import picks
from orchestrator.testing.loop import SeededRng


def picked(share: float, files: int, seed: str = "", *, come: int | None = None) -> list[bool]:
    chosen = picks(share, files, SeededRng(seed).random)
    return list(itertools.islice(chosen, files if come is None else come))


@given(st.integers(1, 400), st.integers(1, 10_000), st.text(max_size=4))
def test_exactly_the_asked_share_is_picked_and_never_none(files: int, basis_points: int, seed: str) -> None:
    """Of any number of files the asked share is picked, rounded up: one at least."""
    exact = -(-files * basis_points // 10_000)
    assert sum(picked(basis_points / 10_000, files, seed)) == exact >= 1


def test_all_is_all_and_nothing_is_nothing() -> None:
    """A share of 1 picks every file, a share of 0 none, whatever the dice say."""
    assert picked(1.0, 50, come=60) == [True] * 60
    assert picked(0.0, 50, come=60) == [False] * 60


def test_no_file_is_favoured() -> None:
    """Over many samples every file is picked about as often as any other, and every pair too."""
    pairs: Counter[tuple[int, ...]] = Counter()
    for seed in range(6000):
        pairs[tuple(n for n, hit in enumerate(picked(0.4, 5, str(seed))) if hit)] += 1
    assert set(pairs) == set(itertools.combinations(range(5), 2))
    expected = 6000 / math.comb(5, 2)
    assert all(abs(count - expected) < 6 * math.sqrt(expected) for count in pairs.values())


def test_files_that_come_unforeseen_have_the_same_chance() -> None:
    """What a run stores while its archive is sampled is picked by the same share."""
    late = picked(0.25, 4, come=4004)[4:]
    assert 800 < sum(late) < 1200


@pytest.mark.parametrize(
    ("text", "share"), [("1%", 0.01), ("0.5%", 0.005), (" 100 % ", 1.0), ("12.25%", 0.1225)]
)
def test_a_percentage_is_read_as_a_share(text: str, share: float) -> None:
    """Percentages may be broken numbers, up to a hundred."""
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize(
    "text", ["0%", "0.0%", "-1%", "100.1%", "1", "0.01", "", "%", "1e1%", "nan%", "one%", "1%%", "½%"]
)
def test_what_is_no_percentage_above_zero_is_refused(text: str) -> None:
    """Zero, less, more than all, and a bare number are refused with what is allowed."""
    with pytest.raises(Wrong) as refused:
        parse_share(text)
    assert "percentage above 0 and up to 100" in refused.value.objection.allowed
