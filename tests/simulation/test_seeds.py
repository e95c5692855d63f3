"""Many faults at once, deaths on the way, a virtual clock: what is stored at the end is what is true."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.emulator.behaviour import Behaviour
from orchestrator.testing.episode import Episode, Setting
from orchestrator.testing.simulate import main, play
from orchestrator.testing.whims import WHIMS, draw_whims


@pytest.mark.parametrize("seed", range(50))
def test_every_seed_ends_complete_and_exact(seed: int, tmp_path: Path) -> None:
    """Several kinds of faults and two deaths: no row lost, none twice, no twin alive, no ceiling broken."""
    outcome = play(seed, tmp_path)
    assert outcome.kept, outcome


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


def test_the_simulator_says_what_it_met(capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints seeds, virtual hours, faults met and zeros, and ends with 0."""
    assert main(["--seeds", "2", "--processes", "1"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("seeds 2, virtual hours ")
    assert "lost rows 0, rows twice 0, twins alive 0, over a ceiling 0, not complete 0" in text
