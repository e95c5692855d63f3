"""The process dies at every durable boundary of an export, is started again, and nothing is lost or done
twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core import events as ev
from orchestrator.core import lifecycle
from orchestrator.core.model import Slice
from orchestrator.testing.episode import Episode, Setting

SETTING = Setting(seed=3, slices=12, lines_per_slice=40)
GROUPS = 12
BOUNDARIES = (
    "manifest.",
    "submit.",
    "settle.",
    "transfer.receipt",
    "transfer.staged",
    "transfer.offset_recorded",
)


def durable(name: str) -> bool:
    """Boundaries around what outlives the process: commits, creates, staged files, published files."""
    return name.startswith(BOUNDARIES)


def play(folder: Path, crash_at: int | None) -> Episode:
    """An episode with one death, then lives until one ends by itself."""
    episode = Episode(SETTING, folder)
    if crash_at is not None:
        life = episode.live(crash_at, counts=durable)
        assert life.crash is not None, "the boundary was not reached"
    episode.live()
    return episode


def complaints(episode: Episode) -> list[str]:
    """Every promise the episode broke."""
    report = episode.lives[-1].report
    witness = episode.world.witness
    found = []
    if report is None or not report.complete or report.exit != 0:
        found.append(f"not complete: {report}")
    if episode.archived() != episode.truth():
        found.append("the archive differs from the truth")
    if witness.duplicate_names:
        found.append(f"more than one remote task of a name: {witness.duplicate_names}")
    if report is not None and witness.tasks_made != sum(report.jobs[0].slices.values()):
        found.append(f"{witness.tasks_made} remote tasks for {report.jobs[0].slices}")
    if witness.max_outstanding > SETTING.limits.tasks:
        found.append(f"{witness.max_outstanding} outstanding at once")
    again = episode.live().report
    if again is None or sum(n for family, n in again.requests.items() if family != "list") != 0:
        found.append(f"a further run was not idle: {again}")
    return found


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many durable boundaries the undisturbed episode has."""
    episode = Episode(SETTING, tmp_path_factory.mktemp("undisturbed"))
    met = episode.live().met
    assert not complaints(episode)
    return sum(map(durable, met))


@pytest.mark.parametrize("group", range(GROUPS))
def test_a_death_at_any_boundary_loses_nothing_and_repeats_nothing(
    group: int, points: int, tmp_path: Path
) -> None:
    """Before a commit, after a commit, effect done but event not stored: the next run ends with the same
    rows, one remote task per slice, and nothing left to do."""
    assert points > 150
    for crash_at in range(1 + group, points + 1, GROUPS):
        broken = complaints(play(tmp_path / str(crash_at), crash_at))
        assert not broken, f"death at boundary {crash_at}: {broken}"


def _submit_again(slice_: Slice, event: ev.Resumed, now: float, rules: lifecycle.Rules) -> ev.Step:
    step = lifecycle._resumed(slice_, event, now, rules)
    assert slice_.task is not None
    return ev.Step(slice_, (ev.Submit(slice_, slice_.task),)) if step.instructions else step


def test_the_ring_turns_red_when_recovery_repeats_a_create(
    points: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a recovery that submits instead of looking, some death makes a second remote task: the ring can
    fail."""
    key = (lifecycle.S.SUBMITTING, ev.Resumed)
    broken = lifecycle.Row(_submit_again, frozenset({lifecycle.S.SUBMITTING}))
    monkeypatch.setitem(lifecycle.TABLE, key, broken)
    assert any(complaints(play(tmp_path / str(crash_at), crash_at)) for crash_at in range(1, points + 1, 3))
