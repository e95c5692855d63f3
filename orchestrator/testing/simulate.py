"""Play many seeds and count what was met and what was broken: ``python -m orchestrator.testing.simulate
--seeds 1000``.

Each seed is an export under a virtual clock: at least thirty slices, several faults at once, two crashes and
more. Whatever a seed finds is found again by the command printed beside it, and ``--shrink`` takes it apart.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from orchestrator.testing.faults import FAULTS
from orchestrator.testing.inspection import PROMISES
from orchestrator.testing.playing import LEAST_FAULTS, Outcome, play
from orchestrator.testing.scenario import CRASHES, SLICES, Scenario, draw_scenario
from orchestrator.testing.script import endings_from
from orchestrator.testing.shrink import shrink

__all__ = ["Tally", "main"]

ENOUGH_SEEDS = 1000
"""From so many seeds on every fault kind must have been met."""
_TOLD = (
    ("replies of creates lost, remote task made", ("create in doubt, made",)),
    ("replies of creates lost, nothing made", ("create in doubt, not made",)),
    ("adoptions by name", ("Adopted",)),
    ("absences proved", ("ProvedAbsent",)),
    ("answers 429", ("429", "429 with Retry-After")),
    ("connections broken", ("connection broken",)),
    ("links expired", ("link expired",)),
    ("bodies broken off", ("body broke off",)),
    ("bodies ended early", ("body ended early",)),
    ("downloads resumed", ("download resumed",)),
    ("remote tasks FAILED", ("FAILED",)),
    ("remote tasks EXPIRED or gone", ("EXPIRED", "Vanished")),
    ("slices cut", ("became cut",)),
    ("slices split", ("became superseded",)),
    ("recounts", ("Recounted",)),
    ("foreign tasks that came or went", ("strangers came and went",)),
    ("requests over HTTP", ("request over HTTP",)),
)
"""What is told of everything that happened; all of it is in ``--json``."""


@dataclass(slots=True)
class Tally:
    """The sum of outcomes."""

    seeds: int = 0
    virtual_s: float = 0.0
    slices: int = 0
    drawn: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    episodes: Counter[str] = field(default_factory=Counter)
    """In how many episodes a fault was met."""
    happened: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    failed: list[Outcome] = field(default_factory=list)
    thin: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Counts one more episode in."""
        self.seeds += 1
        self.virtual_s += outcome.virtual_s
        self.slices += outcome.slices
        self.drawn.update(outcome.faults)
        self.met.update(outcome.met)
        self.episodes.update(name for name, count in outcome.met.items() if count)
        self.happened.update(outcome.happened)
        self.broken.update(outcome.broken)
        if not outcome.kept:
            self.failed.append(outcome)
        elif outcome.thin:
            self.thin.append(outcome)

    @property
    def crashes(self) -> dict[str, int]:
        """Crashes by the boundary they happened at."""
        found = {
            word.removeprefix("crash at "): n
            for word, n in self.happened.items()
            if word.startswith("crash at ")
        }
        return dict(sorted(found.items()))

    @property
    def endings(self) -> dict[str, int]:
        """How lives ended before their time."""
        return {
            word.removeprefix("ended by "): n
            for word, n in sorted(self.happened.items())
            if word.startswith("ended by ")
        }

    @property
    def unmet(self) -> tuple[str, ...]:
        """Fault kinds that never really happened."""
        return tuple(name for name in FAULTS if not self.met[name])

    def exit_code(self, *, every_fault: bool) -> int:
        """0 when every promise was kept, every episode hard enough and, if asked, every fault kind met."""
        return int(bool(self.failed or self.thin or (every_fault and self.unmet)))

    def asdict(self) -> dict[str, Any]:
        """All figures, ready for JSON."""
        return {
            "seeds": self.seeds,
            "virtual_hours": round(self.virtual_s / 3600, 1),
            "slices": self.slices,
            "crashes": self.crashes,
            "endings": self.endings,
            "fault_kinds": len(FAULTS),
            "fault_kinds_met": len(FAULTS) - len(self.unmet),
            "unmet": list(self.unmet),
            "faults": {
                name: {"episodes": self.episodes[name], "times": self.met[name]} for name in sorted(FAULTS)
            },
            "happened": dict(sorted(self.happened.items())),
            "broken": {promise: self.broken[promise] for promise in PROMISES},
            "thin": [{"seed": outcome.seed, "why": outcome.thin} for outcome in self.thin],
            "failed": [outcome.asdict() for outcome in self.failed],
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was met and what was broken; 1 when any promise was, or the run was too easy."""
    options = _options(arguments)
    try:
        scenarios = [_scenario(options, seed) for seed in _seeds(options)]
    except (KeyError, ValueError) as error:
        sys.stderr.write(
            f"simulate: unknown fault {error}\n" if isinstance(error, KeyError) else f"{error}\n"
        )
        return 2
    if options.shrink:
        return _shrunk(scenarios[0])
    began = time.monotonic()
    tally = Tally()
    for outcome in _played(scenarios, options.processes):
        tally.add(outcome)
        if not outcome.kept and not options.json:
            _print_failure(outcome)
    alone = options.seed is not None
    every_fault = not alone and options.only is None and tally.seeds >= ENOUGH_SEEDS
    if options.json:
        took = {"took_s": round(time.monotonic() - began, 1), "processes": options.processes}
        sys.stdout.write(json.dumps(tally.asdict() | took, indent=1) + "\n")
    elif alone:
        _print_one(tally)
    else:
        _print(tally, time.monotonic() - began, every_fault=every_fault)
    if alone and not tally.failed:
        return 0
    return tally.exit_code(every_fault=every_fault)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m orchestrator.testing.simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=50, help="how many seeds, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=None, help="only this one, told in full")
    parser.add_argument("--only", default=None, help="these faults, comma-separated, instead of those drawn")
    parser.add_argument("--deaths", default=None, help="these endings, e.g. 17,40%%+3,stop@9; '' for none")
    parser.add_argument("--slices", type=int, default=SLICES)
    parser.add_argument(
        "--shrink", action="store_true", help="with --seed: look for the smallest failing episode"
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="all figures as one document")
    options = parser.parse_args(arguments)
    if options.shrink and options.seed is None:
        parser.error("--shrink needs --seed")
    return options


def _seeds(options: argparse.Namespace) -> Iterable[int]:
    if options.seed is not None:
        return [options.seed]
    return range(options.first, options.first + options.seeds)


def _scenario(options: argparse.Namespace, seed: int) -> Scenario:
    only = None if options.only is None else [name.strip() for name in _names(options.only)]
    endings = None if options.deaths is None else endings_from(options.deaths)
    return draw_scenario(seed, only=only, endings=endings, slices=options.slices)


def _names(text: str) -> list[str]:
    """Names of faults between commas; some names hold a comma themselves."""
    found: list[str] = []
    for piece in filter(None, (part.strip() for part in text.split(","))):
        joined = f"{found[-1]}, {piece}" if found else ""
        if joined in FAULTS:
            found[-1] = joined
        else:
            found.append(piece)
    return found


def _played(scenarios: Sequence[Scenario], processes: int) -> Iterable[Outcome]:
    """Outcomes in the order of the scenarios, as they come."""
    if processes <= 1 or len(scenarios) == 1:
        yield from map(play, scenarios)
        return
    with ProcessPoolExecutor(processes, initializer=_quiet) as pool:
        yield from pool.map(partial(play), scenarios, chunksize=2)


def _quiet() -> None:
    """A server whose process died amid a request complains of it; that is no finding."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def _shrunk(scenario: Scenario) -> int:
    def told(outcome: Outcome) -> None:
        write(f"still broken: {_short(outcome)}  {outcome.command}\n")

    write = sys.stdout.write
    smallest = shrink(scenario, told=told)
    if smallest.kept:
        write(f"seed {scenario.seed} keeps every promise: nothing to shrink\n")
        return 0
    write("smallest found:\n")
    _print_failure(smallest)
    return 1


# --- printing ---


def _short(outcome: Outcome) -> str:
    return ", ".join(f"{count} {PROMISES[promise]}" for promise, count in outcome.broken.items())


def _print_failure(outcome: Outcome) -> None:
    """What it was up against, how its lives ended, what differed, and how to see it again."""
    write = sys.stdout.write
    write(f"BROKEN seed {outcome.seed}: {_short(outcome)}\n")
    faults = ", ".join(f"{name} ({outcome.met.get(name, 0)})" for name in outcome.faults)
    write(f"  up against (times met): {faults or 'nothing'}\n")
    write(f"  deaths, in order: {', '.join(outcome.deaths) or 'none'}\n")
    for note in outcome.notes:
        write(f"  {note}\n")
    write(f"  again: {outcome.command}\n")
    write(f"  smaller: {outcome.command} --shrink\n")


def _print_one(tally: Tally) -> None:
    """One seed in full."""
    write = sys.stdout.write
    write(f"virtual hours {tally.virtual_s / 3600:.2f}, slices {tally.slices}\n")
    for name in tally.drawn:
        write(f"  {tally.met[name]:6d}  {name}\n")
    for word, count in (*tally.crashes.items(), *tally.endings.items()):
        write(f"  {count:6d}  {word}\n")
    write("every promise kept\n" if not tally.failed else "")
    for outcome in tally.thin:
        write(f"  an easy one: {outcome.thin}\n")


def _print(tally: Tally, took_s: float, *, every_fault: bool) -> None:
    write = sys.stdout.write
    kinds = len(FAULTS) - len(tally.unmet)
    write(f"seeds {tally.seeds}, virtual hours {tally.virtual_s / 3600:.1f}, slices {tally.slices}, ")
    write(f"crashes {sum(tally.crashes.values())}, fault kinds met {kinds} of {len(FAULTS)}, ")
    write(f"{took_s:.0f} s, {60 * tally.seeds / max(took_s, 1e-9):.0f} seeds a minute\n")
    _columns(
        "fault met (times, episodes):",
        [(n, f"{tally.met[n]:7d} {tally.episodes[n]:5d}") for n in sorted(FAULTS)],
    )
    _columns("crashed at:", [(name, f"{n:7d}") for name, n in tally.crashes.items()])
    _columns("ended early by:", [(name, f"{n:7d}") for name, n in tally.endings.items()])
    _columns(
        "what the engine met:",
        [(name, f"{sum(tally.happened[word] for word in words):7d}") for name, words in _TOLD],
    )
    if tally.unmet and every_fault:
        write(f"never met: {', '.join(tally.unmet)}\n")
    for outcome in tally.thin:
        write(f"too easy (asked are {SLICES} slices, {LEAST_FAULTS} faults met, {CRASHES} crashes): ")
        write(f"{outcome.thin}; {outcome.command}\n")
    _columns(
        "promises broken:", [(text, f"{tally.broken[promise]:7d}") for promise, text in PROMISES.items()]
    )
    write(f"episodes with a broken promise: {len(tally.failed)}; too easy: {len(tally.thin)}\n")


def _columns(title: str, rows: Sequence[tuple[str, str]]) -> None:
    sys.stdout.write(title + "\n")
    for name, figures in rows:
        sys.stdout.write(f"  {figures}  {name}\n")


if __name__ == "__main__":
    sys.exit(main())
