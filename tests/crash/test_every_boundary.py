"""The process dies at every durable boundary of exports that meet everything there is to meet, is started
again, and nothing is lost or done twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core import events as ev
from orchestrator.core import lifecycle
from orchestrator.core.model import Slice
from orchestrator.core.rules import Rules
from orchestrator.dataplane import transfer
from tests.crash.conftest import WHOLE
from tests.crash.ring import STORIES, Ring, deaths_of, undisturbed

GROUPS = 16 if WHOLE else 4

EXPECTED = {
    "doubts": {"in doubt", "adopted", "twins", "proved absent", "a surplus remote task deleted"},
    "ends": {
        "an expired remote task",
        "a vanished remote task",
        "a failed remote task",
        "dropped",
        "a surplus remote task deleted",
    },
    "sizes": {"split", "cut", "asked again, padded", "a short file kept", "path occupied", "path freed"},
    "shortness": {
        "a short file published",
        "the fuller file wins",
        "the same path replaced",
        "another path replaced",
        "the old file of a divided slice retired",
    },
    "bursts": {"a second divided", "a second gathered"},
    "emptiness": {
        "empty by two witnesses",
        "empty by the remote task",
        "empty by failure",
        "empty by its file",
        "empty without a file",
    },
}
"""What each story is told for."""
EVERYWHERE = {"published", "run.draining"}


@pytest.mark.parametrize("story", STORIES)
def test_the_stories_meet_what_they_are_told_for(story: str) -> None:
    """Undisturbed, an export with doubts, expiries, cuts, short files or silence keeps every promise; and it
    really meets them, so that deaths in it prove something."""
    ring = undisturbed(story)
    assert ring.broken == []
    assert EXPECTED[story] | EVERYWHERE <= set(ring.met)
    assert ring.reports[0].exit == 130
    names = {name for life in ring.boundaries for name, _ in life}
    assert {"manifest.commit.before", "manifest.commit.after", "submit.before", "settle.after"} <= names
    assert {"disk.create .part", "disk.move .part.json", "disk.move .staged", "disk.link final"} <= names


@pytest.mark.parametrize("group", range(GROUPS))
@pytest.mark.parametrize("story", STORIES)
def test_a_death_at_any_boundary_loses_nothing_and_repeats_nothing(
    story: str, group: int, tmp_path: Path
) -> None:
    """Around each commit, each create and each change of a file: no visible file is ever unaccounted for, and
    lives until the end give the same rows, no byte fetched twice that was safe, no remote task left over."""
    for life, number in deaths_of(story, whole=WHOLE)[group::GROUPS]:
        ring = Ring(STORIES[story], tmp_path / f"{life}-{number}", [(life, number)]).play()
        assert ring.lives[life].crash is not None, f"boundary {number} of life {life} was not reached"
        assert ring.broken == [], f"death at boundary {number} of life {life}: {ring.boundaries[life][-1]}"


# --- the ring can fail ---


def _red(story: str, what: str, folder: Path) -> bool:
    """Whether some death at a boundary of this name breaks a promise."""
    places = [
        (life, number)
        for life, boundaries in enumerate(undisturbed(story).boundaries)
        for number, (name, _) in enumerate(boundaries, 1)
        if name == what
    ]
    return any(Ring(STORIES[story], folder / f"{at}", [at]).play().broken for at in places)


def _submit_again(slice_: Slice, event: ev.Resumed, now: float, rules: Rules) -> ev.Step:
    assert slice_.task is not None
    return ev.Step(slice_, (ev.Submit(slice_, slice_.task),))


def test_the_ring_turns_red_when_recovery_repeats_a_create(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a recovery that submits instead of looking, a death after a create makes a second remote task."""
    undisturbed("ends")
    broken = lifecycle.Row(_submit_again, frozenset({lifecycle.S.SUBMITTING}))
    monkeypatch.setitem(lifecycle.TABLE, (lifecycle.S.SUBMITTING, ev.Resumed), broken)
    assert _red("ends", "submit.after", tmp_path)


def test_the_ring_turns_red_when_a_receipt_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a data plane that forgets what it staged, a death before the receipt is committed fetches bytes
    again that were verified."""
    undisturbed("ends")
    monkeypatch.setattr(transfer, "found", lambda area, ticket: None)
    assert _red("ends", "transfer.receipt", tmp_path)
