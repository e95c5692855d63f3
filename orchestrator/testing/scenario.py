"""What is one seed about? Which faults, which deaths, which export: drawn from the number alone, the same on
every machine, and narrowed down at will when a failure is taken apart."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.core.job import Align, Compression, Limits, Order, Output, ServedFormat
from orchestrator.core.window import Window
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.testing.faults import FAULTS, Fault
from orchestrator.testing.lines import Shape
from orchestrator.testing.loop import START_AT, SeededRng
from orchestrator.testing.script import Ending, EndingKind, Jump, Moment

__all__ = ["CRASHES", "FAULTS_DRAWN", "SLICES", "Export", "Scenario", "draw_scenario"]

SLICES = 30
CRASHES = 2
FAULTS_DRAWN = 8
"""Not every fault that is on is met in every episode; at least five are."""
_LATEST_PERCENT = 70
"""After this much there might be too few fault points left for an ending to come."""


@dataclass(frozen=True, slots=True)
class Export:
    """How the export of an episode is asked for, and what besides the service makes it hard."""

    indexed: bool = True
    spell: Mapping[str, Any] = field(default_factory=dict)
    """Switches of the service in one life only."""
    spell_life: int = 0
    order: Order = Order.ASC
    format: ServedFormat = ServedFormat.JSON
    output: Output = Output.JSONL
    compression: Compression = Compression.NONE
    align: Align = Align.NONE
    logstream: str = ""
    query: str = "match *"
    streams: int = 3
    shape: Shape = "even"
    ties: bool = False
    late: bool = False
    window_s: int = 3600
    time_field: str = "auto"
    give_up_after_s: int = 86_400
    attempts: int = 5
    tasks: int = 4
    wired: bool = False
    """The real client over HTTP made of memory, instead of the ports in process."""
    neighbour: bool = False
    """Another manifest exports the same logstore into a folder of its own."""
    strangers: int = 0
    omits: float = 0.0
    lands: bool = False
    jump_s: float = 0.0
    clock_wrong_s: float = 0.0
    pause_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One episode, wholly determined. ``slices`` is roughly how many remote tasks the export takes."""

    seed: int
    faults: tuple[str, ...]
    endings: tuple[Ending, ...]
    slices: int = SLICES

    @property
    def chosen(self) -> tuple[Fault, ...]:
        return tuple(FAULTS[name] for name in self.faults)

    @property
    def behaviour(self) -> Behaviour:
        """The switches of all faults on a service of ordinary speed."""
        switches: dict[str, Any] = {"run_base_s": 1.0 + 8.0 * self.rng("speed").random()}
        for fault in self.chosen:
            switches |= fault.switches
        return replace(Behaviour(), **switches)

    @property
    def export(self) -> Export:
        wishes: dict[str, Any] = {}
        for fault in self.chosen:
            wishes |= fault.export
        return Export(**wishes)

    @property
    def lines_per_slice(self) -> int:
        return 10 + int(self.rng("lines").random() * 40)

    @property
    def window(self) -> Window:
        """Not at a full hour, so that an alignment has something to align."""
        end_s = int(START_AT) - 86_400 + 1234
        return Window(end_s - self.export.window_s * self.slices // SLICES - 60, end_s)

    @property
    def limits(self) -> Limits:
        rng = self.rng("limits")
        return Limits(
            requests_per_s=(10.0, 20.0, 50.0)[int(rng.random() * 3)],
            queries=(2, 10)[int(rng.random() * 2)],
            tasks=self.export.tasks,
            downloads=1 + int(rng.random() * 3),
            disk_reserve_bytes=0,
        )

    def rng(self, label: str) -> SeededRng:
        """Chance of its own for every part: taking one fault away moves no other fault's luck."""
        return SeededRng(f"scenario {self.seed}").fork(label)

    def jumps(self, life: int) -> tuple[Jump, ...]:
        """How the machine's clock is set during a life."""
        by_s = self.export.jump_s
        if not by_s:
            return ()
        rng = self.rng(f"jump {life}")
        moment = Moment(int(rng.random() * 60), 1 + int(rng.random() * 10))
        return (Jump(moment, by_s * (0.2 + 0.8 * rng.random())),)

    @property
    def drawn(self) -> bool:
        """Whether this is what its seed alone makes it: only then must it be hard."""
        return self == draw_scenario(self.seed)

    def __str__(self) -> str:
        """The command that plays exactly this."""
        drawn = draw_scenario(self.seed)
        text = f"python -m orchestrator.testing.simulate --seed {self.seed}"
        if self.faults != drawn.faults:
            text += f' --only "{",".join(self.faults)}"'
        if self.endings != drawn.endings:
            text += f' --deaths "{",".join(map(str, self.endings))}"'
        if self.slices != drawn.slices:
            text += f" --slices {self.slices}"
        return text


def draw_scenario(
    seed: int,
    *,
    only: Sequence[str] | None = None,
    endings: Sequence[Ending] | None = None,
    slices: int = SLICES,
    without: Collection[str] = (),
) -> Scenario:
    """The scenario of a seed. ``only`` and ``endings`` replace what would be drawn, ``without`` are faults
    never to be drawn. Raises KeyError for an unknown fault."""
    names = tuple(only) if only is not None else _draw_faults(seed, without)
    if unknown := [name for name in names if name not in FAULTS]:
        raise KeyError(unknown[0])
    scenario = Scenario(seed, names, (), slices)
    return replace(scenario, endings=tuple(endings) if endings is not None else _draw_endings(scenario))


def _draw_faults(seed: int, without: Collection[str]) -> tuple[str, ...]:
    rng = SeededRng(f"scenario {seed}").fork("faults")
    pool = sorted(set(FAULTS) - set(without))
    names: list[str] = []
    taken: set[str] = set()
    while pool and len(names) < FAULTS_DRAWN:
        name = pool.pop(int(rng.random() * len(pool)))
        sets = _sets(FAULTS[name])
        if taken.isdisjoint(sets):
            names.append(name)
            taken |= sets
    return tuple(names)


def _sets(fault: Fault) -> set[str]:
    """What a fault claims for itself: switches, wishes, tags."""
    return (
        {f"switch {name}" for name in fault.switches}
        | {f"wish {name}" for name in fault.export}
        | {f"tag {name}" for name in fault.tags}
    )


def _draw_endings(scenario: Scenario) -> tuple[Ending, ...]:
    """Two crashes and what the faults bring, in any order, spread over the whole episode: in planning, at
    work, and soon after the one before, while the next life still recovers."""
    kinds = [EndingKind.CRASH] * CRASHES
    kinds += [fault.ending for fault in scenario.chosen if fault.ending is not None]
    rng = scenario.rng("endings")
    kinds.sort(key=lambda _: rng.random())
    percents = sorted(int(rng.random() * _LATEST_PERCENT) for _ in kinds)
    endings = []
    for kind, percent in zip(kinds, percents, strict=True):
        at_once = rng.random() < 0.3
        points = 1 + int(rng.random() * (40 if at_once else 5 if percent > 50 else 12))
        endings.append(Ending(kind, Moment(0 if at_once else percent, points)))
    return tuple(endings)
