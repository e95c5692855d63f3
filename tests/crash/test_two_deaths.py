"""Dying again while recovering from a death does no more harm than dying once."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.crash.conftest import WHOLE
from tests.crash.ring import STORIES, Ring, undisturbed

PAIRS = 120 if WHOLE else 7


@pytest.mark.parametrize("story", STORIES)
def test_two_deaths_in_a_row_lose_nothing_and_repeat_nothing(story: str, tmp_path: Path) -> None:
    """The second life dies within its first boundaries, where it takes up what the first one left, or
    anywhere later; a third life still keeps every promise."""
    random = Random(f"pairs {story}")
    lives = undisturbed(story).boundaries
    for pair in range(PAIRS):
        life = random.choices(range(len(lives)), weights=[len(met) for met in lives])[0]
        first = random.randrange(1, len(lives[life]) + 1)
        second = random.randrange(1, 13 if pair % 2 else len(lives[life]) + 1)
        ring = Ring(STORIES[story], tmp_path / str(pair), [(life, first), (life + 1, second)]).play()
        assert ring.lives[life].crash is not None
        assert ring.broken == [], f"deaths at {life}.{first} and {life + 1}.{second}"
