"""Play many seeds and count what went wrong: ``python -m orchestrator.testing.simulate --seeds 1000``.

Each seed is an export under a virtual clock against a service with several whims at once, with deaths on the
way. Whatever a seed finds is found again by ``--seed N``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from orchestrator.core.report import Report
from orchestrator.testing.episode import Episode, Setting
from orchestrator.testing.whims import draw_whims

__all__ = ["Outcome", "main", "play"]

MOST_LIVES = 12


@dataclass(frozen=True, slots=True)
class Outcome:
    """One seed's end. The promises are kept when every count is 0 and ``complete`` is true."""

    seed: int
    whims: tuple[str, ...]
    complete: bool
    virtual_s: float
    deaths: int
    lost_rows: int
    extra_rows: int
    twins_alive: int
    over_ceiling: int
    why: str = ""

    @property
    def kept(self) -> bool:
        return self.complete and not (
            self.lost_rows or self.extra_rows or self.twins_alive or self.over_ceiling
        )


def play(seed: int, folder: Path | None = None) -> Outcome:
    """Play one seed to its end, in ``folder`` or a temporary one."""
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            return play(seed, Path(temporary))
    whims = draw_whims(seed)
    setting = Setting(
        seed=seed,
        slices=whims.slices,
        lines_per_slice=whims.lines_per_slice,
        behaviour=whims.behaviour,
        indexed=whims.indexed,
    )
    episode = Episode(setting, folder)
    try:
        return _judge(seed, whims.names, episode, _live_on(episode, whims.deaths))
    except Exception as error:  # noqa: BLE001  a seed that breaks is a finding among others, named with its seed
        return Outcome(seed, whims.names, False, 0.0, 0, 0, 0, 0, 0, f"{type(error).__name__}: {error}")


def _live_on(episode: Episode, deaths: Sequence[int]) -> Report | None:
    for crash_at in deaths:
        episode.live(crash_at)
    for _ in range(MOST_LIVES):
        report = episode.live().report
        if report is not None and report.complete:
            return report
    return episode.lives[-1].report


def _judge(seed: int, names: tuple[str, ...], episode: Episode, report: Report | None) -> Outcome:
    truth, archived = episode.truth(), episode.archived()
    lost, extra = truth - archived, archived - truth
    witness, limits = episode.world.witness, episode.setting.limits
    over = max(0, witness.max_outstanding - limits.tasks) + max(
        0, witness.max_requests_in_1s - int(limits.requests_per_s)
    )
    complete = report is not None and report.complete
    why = "" if complete or report is None else "; ".join(sorted({gap.reason for gap in report.jobs[0].gaps}))
    if report is not None and report.error is not None:
        why += f" [{report.error.code}: {report.error.message}]"
    return Outcome(
        seed=seed,
        whims=names,
        complete=complete,
        virtual_s=sum(life.virtual_s for life in episode.lives),
        deaths=sum(life.crash is not None for life in episode.lives),
        lost_rows=lost.total() if complete else 0,
        extra_rows=extra.total(),
        twins_alive=len(witness.live_duplicate_names()),
        over_ceiling=over,
        why=why,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was met and what was broken; 1 when any promise was."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.testing.simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=50, help="how many seeds, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=None, help="only this one")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    seeds = (
        [options.seed] if options.seed is not None else range(options.first, options.first + options.seeds)
    )
    with ProcessPoolExecutor(options.processes) as pool:
        outcomes = list(pool.map(partial(play), seeds))
    return _print(outcomes)


def _print(outcomes: Sequence[Outcome]) -> int:
    write = sys.stdout.write
    met = Counter(name for outcome in outcomes for name in outcome.whims)
    broken = [outcome for outcome in outcomes if not outcome.kept]
    write(f"seeds {len(outcomes)}, virtual hours {sum(o.virtual_s for o in outcomes) / 3600:.1f}, ")
    write(f"deaths {sum(o.deaths for o in outcomes)}, fault kinds met {len(met)}\n")
    for name, count in sorted(met.items()):
        write(f"  {count:5d}  {name}\n")
    write(
        f"lost rows {sum(o.lost_rows for o in outcomes)}, rows twice {sum(o.extra_rows for o in outcomes)}, "
    )
    write(f"twins alive {sum(o.twins_alive for o in outcomes)}, ")
    write(f"over a ceiling {sum(o.over_ceiling for o in outcomes)}, ")
    write(f"not complete {sum(not o.complete for o in outcomes)}\n")
    for outcome in broken:
        write(f"BROKEN seed {outcome.seed}: {outcome}\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
