"""One whim of the service at a time: the export ends complete and exact."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.emulator.behaviour import Behaviour
from orchestrator.testing.episode import Episode, Setting
from orchestrator.testing.whims import WHIMS, draw_whims


@pytest.mark.parametrize("name", sorted(WHIMS))
def test_every_whim_alone_ends_complete_and_exact(name: str, tmp_path: Path) -> None:
    """Each undocumented behaviour and each fault by itself leaves the export complete."""
    setting = Setting(seed=11, slices=8, lines_per_slice=30, behaviour=Behaviour(**WHIMS[name]))
    episode = Episode(setting, tmp_path)
    for _ in range(6):
        report = episode.live().report
        assert report is not None
        if report.complete:
            break
    assert report.complete, report
    assert episode.archived() == episode.truth()
    assert not episode.world.witness.live_duplicate_names()
    assert episode.world.witness.max_outstanding <= setting.limits.tasks


def test_a_seed_draws_the_same_whims_everywhere() -> None:
    """A failing seed can be replayed: its whims depend on nothing else."""
    assert draw_whims(7) == draw_whims(7)
    assert draw_whims(7).names != draw_whims(8).names
