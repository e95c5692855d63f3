"""What of a failing episode is needed to fail? Faults, deaths and slices are taken away one after the other
while the failure stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from orchestrator.testing.playing import Outcome, play
from orchestrator.testing.scenario import Scenario

__all__ = ["shrink"]

MOST_PLAYS = 150
_SLICES = (1, 2, 4, 8, 15)


def shrink(
    scenario: Scenario,
    *,
    played: Callable[[Scenario], Outcome] = play,
    most_plays: int = MOST_PLAYS,
    told: Callable[[Outcome], None] = lambda _: None,
) -> Outcome:
    """The smallest episode found that still breaks one of the promises that ``scenario`` breaks, as played;
    ``scenario`` itself when it breaks none. ``told`` hears of every step that made it smaller."""
    smallest = played(scenario)
    wanted = set(smallest.broken)
    plays = 1
    progress = bool(wanted)
    while progress and plays < most_plays:
        progress = False
        for smaller in _smaller(scenario):
            if plays == most_plays:
                break
            plays += 1
            outcome = played(smaller)
            if wanted & set(outcome.broken):
                scenario, smallest, progress = smaller, outcome, True
                told(outcome)
                break
    return smallest


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    """Every scenario one step smaller, the boldest steps first."""
    if scenario.faults:
        yield replace(scenario, faults=())
    if scenario.endings:
        yield replace(scenario, endings=())
    for slices in _SLICES:
        if slices < scenario.slices:
            yield replace(scenario, slices=slices)
    half = len(scenario.faults) // 2
    if half > 1:
        yield replace(scenario, faults=scenario.faults[half:])
        yield replace(scenario, faults=scenario.faults[:half])
    for place in range(len(scenario.faults)):
        yield replace(scenario, faults=scenario.faults[:place] + scenario.faults[place + 1 :])
    for place in range(len(scenario.endings)):
        yield replace(scenario, endings=scenario.endings[:place] + scenario.endings[place + 1 :])
