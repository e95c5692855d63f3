"""Many faults at once, deaths on the way, a virtual clock: what is stored at the end is what is true."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.testing.playing import play
from orchestrator.testing.scenario import draw_scenario


@pytest.mark.parametrize("seed", range(50))
def test_every_seed_keeps_every_promise(seed: int, tmp_path: Path) -> None:
    """At least thirty slices, five kinds of faults met, two crashes in different lives: nothing lost, nothing
    twice, nothing visible unproven, no twin, no orphan, no ceiling broken, nothing fetched again."""
    outcome = play(draw_scenario(seed), tmp_path)
    assert outcome.kept, (outcome.command, outcome.notes)
    assert not outcome.thin, outcome.command
