"""Many faults at once, deaths on the way, a virtual clock: what is stored at the end is what is true."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.testing.playing import play
from orchestrator.testing.scenario import draw_scenario
from orchestrator.testing.script import endings_from

FOUND = {
    "a revived slice let go of its remote task without a mark": (
        0,
        ("counts too high at first",),
        "",
        1,
    ),
    "a clock set back aged remote tasks by the jump": (11, ("stuck tasks", "clock set back"), "", 4),
    "a stray was noted as deleted like its twin, and a crash made it so for ever": (
        570,
        ("failures without code", "not indexed", "made very late"),
        "60%+1,62%+4",
        30,
    ),
    "a second divided another way was gathered together with the parts of the first division": (
        1003,
        ("overfull seconds", "start exclusive", "many log streams", "malformed answers"),
        "",
        1,
    ),
    "an exclusive start kept the early end of a second short for ever": (
        1439,
        ("malformed answers", "start exclusive", "overfull seconds"),
        "",
        30,
    ),
    "a row in the wrong place of a file that looked sorted was kept": (
        3088,
        ("dense seconds, uncounted", "latency", "rows stirred"),
        "",
        30,
    ),
    "rows after an end that is counted in crowded a second out": (
        3297,
        ("counts low", "end whole second", "newest first", "dense seconds"),
        "",
        30,
    ),
    "streams that could not be counted for a moment made a second overfull for ever": (
        3358,
        ("overfull seconds", "ties stirred", "internal errors"),
        "38",
        1,
    ),
    "the fullest of several short files was discarded with the fetch that was done again": (
        4093,
        (
            "counts too high at first",
            "bad gateway",
            "written rows one less",
            "files expire",
            "throttled politely",
        ),
        "",
        8,
    ),
    "a day without the service let a stray slip through": (
        2184,
        ("made very late", "overfull seconds", "out of service later"),
        "30%+4",
        1,
    ),
}
"""Episodes that broke a promise once, as shrunk."""


@pytest.mark.parametrize("finding", FOUND)
def test_what_was_found_once_stays_mended(finding: str, tmp_path: Path) -> None:
    """The smallest episodes that ever broke a promise keep it now."""
    seed, faults, deaths, slices = FOUND[finding]
    scenario = draw_scenario(seed, only=faults, endings=endings_from(deaths), slices=slices)
    outcome = play(scenario, tmp_path)
    assert outcome.kept, (outcome.command, outcome.notes)


@pytest.mark.parametrize("seed", range(50))
def test_every_seed_keeps_every_promise(seed: int, tmp_path: Path) -> None:
    """At least thirty slices, five kinds of faults met, two crashes in different lives: nothing lost, nothing
    twice, nothing visible unproven, no twin, no orphan, no ceiling broken, nothing fetched again."""
    outcome = play(draw_scenario(seed), tmp_path)
    assert outcome.kept, (outcome.command, outcome.notes)
    assert not outcome.thin, outcome.command
