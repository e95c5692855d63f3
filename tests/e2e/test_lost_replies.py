"""Replies to creates get lost, the remote task made or not: each slice ends with exactly one."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core.job import Limits
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.testing.chaos import Setting as Staging
from orchestrator.testing.chaos import play
from orchestrator.testing.episode import Episode, Setting
from orchestrator.testing.judging import Orphans

LOST_MADE = 0.15
LOST_UNMADE = LOST_MADE / (1 - LOST_MADE)
"""Of what is left: together three of ten replies are lost, as often with a remote task as without."""
MADE, UNMADE = "create carried out", "create not carried out"


@pytest.mark.slow
def test_a_hundred_slices_over_http(tmp_path: Path) -> None:
    """Three of ten replies lost, both ways: as many remote tasks are made as there are slices, so creates
    heard of and creates adopted add up to the slices; none is doubled, none left over."""
    figures = play(
        Staging(
            slices=100,
            kills=0,
            seed=43,  # lost often enough, and seldom twice: every further round waits for another 15 s
            lost_replies=0.3,
            lost_form="503",
            weather=False,
            lines_per_slice=20,
            requests_per_s=100,
        ),
        tmp_path,
    )
    assert figures.findings == []
    assert figures.slices >= 100
    adopted, unmade = figures.creates_lost["carried out"], figures.creates_lost["not carried out"]
    assert adopted > 10
    assert unmade > 5
    assert figures.remote_tasks_made == figures.remote_tasks_wanted == figures.slices
    heard = figures.requests["create"] - figures.disturbed["create 503"]
    assert heard + adopted == figures.slices
    assert figures.requests["create"] - unmade == figures.slices
    assert figures.orphans == Orphans()
    assert figures.requests.get("delete", 0) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "also"),
    [
        ("drop", {}),
        ("500", {"list_lag_s": 5.0}),
        ("502", {"lost_reply_delay_s": 6.0}),
        ("503", {"page_size_max": 10, "page_border": "repeats"}),
        ("504", {"lost_reply_delay_s": 4.0, "list_lag_s": 4.0, "create_repeated": "same-task"}),
    ],
)
def test_each_form_of_a_lost_reply_in_virtual_time(
    tmp_path: Path, form: str, also: dict[str, object]
) -> None:
    """Whatever comes instead of the reply, and however late the remote task is made or listed: creates less
    those not carried out are the slices, no name was ever borne twice, and nothing had to be deleted."""
    behaviour = Behaviour.from_dict(
        {
            "run_base_s": 1.0,
            "lost_reply_made": LOST_MADE,
            "lost_reply_unmade": LOST_UNMADE,
            "lost_reply_form": form,
            **also,
        }
    )
    episode = Episode(
        Setting(
            seed=17,
            slices=150,
            lines_per_slice=8,
            window_s=7200,
            behaviour=behaviour,
            limits=Limits(tasks=20, downloads=4, disk_reserve_bytes=0),
        ),
        tmp_path,
    )
    report = episode.live().report
    assert report is not None
    assert report.complete
    witness = episode.world.witness
    slices = sum(report.jobs[0].slices.values())
    assert slices >= 150
    lost = witness.replies_lost
    assert min(lost[MADE], lost[UNMADE]) >= 20
    assert lost[MADE] + lost[UNMADE] > 0.25 * witness.requests["create"]
    assert witness.tasks_made == slices
    assert witness.requests["create"] - lost[UNMADE] == slices
    assert not witness.duplicate_names
    assert not witness.deletes_asked
    assert episode.archived() == episode.truth()
