"""The installed command is killed again and again while the service is at its worst."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from orchestrator.testing.chaos import Setting, play
from orchestrator.testing.judging import Orphans


@pytest.mark.slow
def test_ten_kills_amid_every_kind_of_fault_lose_nothing(tmp_path: Path) -> None:
    """SIGKILL at ten random moments of an export of tens of slices: every row once, no orphan at the service,
    ceilings held, every exit code true, ``verify`` agrees, and nothing is left to do."""
    told: list[str] = []
    setting = Setting(slices=24, kills=10, seed=3, lost_replies=0.1, calm_after=0, patience_s=120.0)
    figures = play(setting, tmp_path, told.append)
    assert figures.findings == [], "\n".join([*told, str(asdict(figures))])
    assert (figures.complete, figures.kills) == (True, 10)
    assert figures.slices >= 24
    assert figures.rows >= 2400
    assert figures.twins_ever == 0
    assert (figures.rows_missing, figures.rows_twice, figures.orphans) == (0, 0, Orphans())
    assert sum(figures.creates_lost.values()) > 0
    assert len(figures.faults_met) >= 20
