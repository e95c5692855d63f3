"""A scenario from its first life to its judgement."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.core.model import SliceState
from orchestrator.testing.faults import FAULTS
from orchestrator.testing.inspection import Inspector
from orchestrator.testing.scenario import CRASHES, SLICES, Scenario
from orchestrator.testing.script import Ending, EndingKind
from orchestrator.testing.trial import Life, Trial

__all__ = ["LEAST_FAULTS", "Outcome", "play"]

LEAST_FAULTS = 5
MOST_LIVES = 12
"""Beside the lives that a script ends."""
CLOSING_PAUSE_S = 3600.0
MOST_CLOSING = 6
"""Later runs, within the day in which strays are looked for: a list that hides one or refuses takes
several."""
_EXITS = {
    EndingKind.STOP: {130, 0},
    EndingKind.DISK_FULL: {6, 0},
    EndingKind.NO_ROOM: {6, 0},
    EndingKind.COMMIT_FAILS: {6},
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One episode's end: plain values, ready for JSON. All promises are kept when ``broken`` is empty."""

    seed: int
    command: str
    faults: tuple[str, ...]
    met: dict[str, int]
    """How often each fault of this episode was met."""
    happened: dict[str, int]
    """Everything that was counted."""
    deaths: tuple[str, ...]
    slices: int
    virtual_s: float
    broken: dict[str, int]
    notes: tuple[str, ...]
    thin: str = ""
    """Why the episode is easier than it should be; "" when it is not."""

    @property
    def kept(self) -> bool:
        return not self.broken

    def asdict(self) -> dict[str, Any]:
        return asdict(self)


def play(
    scenario: Scenario, folder: Path | None = None, *, inspected: Callable[[Trial], Inspector] = Inspector
) -> Outcome:
    """Play it in ``folder``, or a temporary one. Never raises for what the engine does: a defect is a broken
    promise too."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="simulated-") as temporary:
            return play(scenario, Path(temporary), inspected=inspected)
    trial = Trial(scenario, folder)
    inspector = inspected(trial)
    try:
        _live_on(trial, inspector)
        inspector.at_end()
    except Exception as error:  # noqa: BLE001  whatever is raised is a finding, named with its seed
        inspector.findings.add("defects", 1, f"{type(error).__name__}: {error}")
    return _outcome(trial, inspector)


def _live_on(trial: Trial, inspector: Inspector) -> None:
    """Scripted lives, each until its ending has come; lives to the end; and one more that must be idle."""
    lives = 0
    for ending in trial.scenario.endings:
        while not trial.first.complete and lives < len(trial.scenario.endings) + MOST_LIVES:
            lives += 1
            if _lived(trial, inspector, ending).ending is not None:
                break
    for _ in range(MOST_LIVES):
        if trial.complete:
            break
        _lived(trial, inspector, None)
    if not trial.complete:
        return
    for _ in range(MOST_CLOSING):  # strays of late creates are found and deleted; then nothing is left to do
        trial.now_s += CLOSING_PAUSE_S
        _lived(trial, inspector, None)
        if not inspector.unknown():
            break
    _idle(trial, inspector)


def _lived(trial: Trial, inspector: Inspector, ending: Ending | None) -> Life:
    life = trial.live(ending)
    inspector.after_life()
    report, came = life.report, life.ending
    if report is not None and came is not None and report.exit not in _EXITS.get(came.kind, {report.exit}):
        inspector.findings.add("misreported", 1, f"after {came}: exit {report.exit}")
    if report is not None and (report.exit == 0) != report.complete:
        inspector.findings.add("misreported", 1, f"exit {report.exit}, complete {report.complete}")
    trial.pause()
    return life


def _idle(trial: Trial, inspector: Inspector) -> None:
    """A run of what is complete asks the service for nothing but, at most, its list."""
    witness = trial.world.witness
    before = witness.tasks_made, witness.file_requests.total(), dict(witness.requests)
    if not trial.scenario.export.strangers:
        _lived(trial, inspector, None)
        asked = witness.tasks_made - before[0] + witness.file_requests.total() - before[1]
        asked += sum(n - before[2].get(word, 0) for word, n in witness.requests.items() if word == "query")
        inspector.findings.add("restless", asked, f"{asked} requests by a run of what was complete")
    inspector.findings.add("restless", not trial.complete, "a further run made the export incomplete")


def _outcome(trial: Trial, inspector: Inspector) -> Outcome:
    scenario = trial.scenario
    happened = trial.all_met()
    met = {name: sum(happened[word] for word in FAULTS[name].met_by) for name in scenario.faults}
    crashes = [life.crash for life in trial.lives if life.crash is not None]
    deaths = [
        f"{life.ending.kind if life.ending else ''}@{life.crash.name}" if life.crash else str(life.ending)
        for life in trial.lives
        if life.ending is not None
    ]
    slices = _slices(inspector)
    thin = [
        f"{slices} slices" if slices < SLICES else "",
        f"{len(crashes)} crashes" if len(crashes) < CRASHES else "",
        f"{sum(map(bool, met.values()))} faults met" if sum(map(bool, met.values())) < LEAST_FAULTS else "",
    ]
    return Outcome(
        seed=scenario.seed,
        command=str(scenario),
        faults=scenario.faults,
        met=met,
        happened=dict(happened),
        deaths=tuple(deaths),
        slices=slices,
        virtual_s=sum(life.virtual_s for life in trial.lives),
        broken=dict(inspector.findings.broken),
        notes=tuple(inspector.findings.notes),
        thin=", ".join(filter(None, thin)) if scenario.drawn else "",
    )


def _slices(inspector: Inspector) -> int:
    """How many slices of the first installation stand in the end."""
    states: Counter[SliceState] = Counter(
        slice_.state for slice_ in inspector.ledger(inspector.trial.first).slices
    )
    return states[SliceState.DONE] + states[SliceState.EMPTY]
