"""How long do many remote tasks take, when the service hides what it allows? Beside the least that is
possible, and beside airbyte-cdk's async jobs.

The emulated service runs 20 remote tasks at once, two seconds each, and takes 20 requests a second of every
kind; it says neither. A thousand slices (``BENCH_TASKS``) go through the installed command over HTTP, with a
ceiling of 100 requests a second, once allowed 40 remote tasks at a time and once 20. The lower bound is what
nobody can beat: all run times divided by the executors, or the creates or the links at the rate that is
taken, whichever is longest.

Then 300 slices (``BENCH_HIDDEN_TASKS``) on a service that allows seven remote tasks waiting or running and
five creates a second, answers 429 beyond, and says neither; beside it what somebody who knew would need at
the least, and beside all requests those that were refused.

airbyte-cdk exports the first 200 of the slices (``BENCH_PEER_TASKS``) from the same service, and ours the
same 200 beside it: airbyte-cdk with as many jobs at once as ours, with all of them at once, and with all at
once and told the rates that the service hides, which makes it fastest.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.emulated import ORCHESTRATOR, emulated, environment
from benchmarks.peers import airbyte
from benchmarks.report import Row, could_not_measure, print_table

__all__ = ["main"]

TASKS = int(os.environ.get("BENCH_TASKS", "1000"))
PEER_TASKS = int(os.environ.get("BENCH_PEER_TASKS", "200"))
HIDDEN_TASKS = int(os.environ.get("BENCH_HIDDEN_TASKS", "300"))
AT_ONCE = (40, 20)
EXECUTORS = 20
RUN_S = 2.0
PER_S = 20.0
TARGET = 1.10
HIDDEN = {"outstanding_cap": 7, "create_per_s": 5.0}
HIDDEN_TITLE = "Seven remote tasks and five creates a second are allowed, and nobody says so"
HIDDEN_TARGET = 1.15
REFUSED_TARGET = 0.05
START = datetime(2026, 1, 1, tzinfo=UTC)
ROWS_PER_HOUR = 10
WORLD = f"""\
seed = 5
[behaviour]
executors = {EXECUTORS}
run_base_s = {RUN_S}
run_per_line_s = 0.0
create_per_s = {PER_S}
read_per_s = {PER_S}
list_per_s = {PER_S}
link_per_s = {PER_S}
delete_per_s = {PER_S}
query_per_s = {PER_S}
[[logstores]]
name = "web"
start = {START:%Y-%m-%dT%H:%M:%SZ}
end = {{end:%Y-%m-%dT%H:%M:%SZ}}
density = {{{{ kind = "uniform", rows_per_day = {ROWS_PER_HOUR * 24} }}}}
"""
JOBS = """\
[service]
endpoint = "{endpoint}"
[limits]
requests_per_second = 100
tasks = {at_once}
disk_reserve = "1MB"
[[jobs]]
name = "web"
logstore = "web"
from = {start:%Y-%m-%dT%H:%M:%SZ}
to = {end:%Y-%m-%dT%H:%M:%SZ}
align = "hour"
max_lines = 12
destination = "archive"
"""


@dataclass(frozen=True)
class Run:
    """One export of so many slices: seconds on the clock, start of the process included, and what the
    service saw of it."""

    tasks: int
    wall_s: float
    seen: dict[str, Any]
    executors: int = EXECUTORS
    creates_per_s: float = PER_S

    @property
    def bound_s(self) -> float:
        """The least that is possible."""
        return max(self.tasks * RUN_S / self.executors, self.tasks / self.creates_per_s)

    @property
    def multiple(self) -> float:
        """How many times the least it took."""
        return self.wall_s / self.bound_s

    @property
    def signed(self) -> dict[str, int]:
        """Signed calls by kind: all that was asked but the files themselves."""
        return {name: count for name, count in self.seen["requests"].items() if name != "file"}

    @property
    def refused(self) -> dict[str, int]:
        """Which of them met a 429."""
        return {
            status.removesuffix(" 429"): count
            for status, count in self.seen["statuses"].items()
            if status.endswith(" 429")
        }

    def told(self) -> str:
        """Where the time went, as far as the service can tell."""
        busy, links = self.seen["executors"]["busy_s"] / self.executors / self.wall_s, self.seen["links"]
        signed, refused = self.signed, self.refused
        asked = ", ".join(f"{count} {name}" for name, count in sorted(signed.items()))
        return (
            f"{self.wall_s:.1f} s, {self.multiple:.2f} x the least; executors busy "
            f"{busy:.0%} of it; links asked for {links['mean_delay_s']:.2f} s "
            f"after the end of their task, {links['max_delay_s']:.1f} s at most; "
            f"{sum(signed.values()) / self.tasks:.2f} requests per slice ({asked}); "
            f"{sum(refused.values())} refused {refused or ''}".rstrip()
        )


def main() -> None:
    """Print ours beside the least that is possible, airbyte-cdk beside the same, and one beside the other."""
    runs = {at_once: _ours(TASKS, at_once) for at_once in AT_ONCE}
    print_table(
        f"Makespan of {TASKS:,} remote tasks of {RUN_S:g} s on {EXECUTORS} executors",
        "s",
        "lower bound",
        [
            Row(f"allowed {at_once} at once", run.wall_s, run.bound_s, target=TARGET)
            for at_once, run in runs.items()
        ],
    )
    hidden = _ours(HIDDEN_TASKS, AT_ONCE[0], **HIDDEN)
    print_table(
        HIDDEN_TITLE,
        "s",
        "lower bound",
        [Row(f"makespan of {HIDDEN_TASKS:,}", hidden.wall_s, hidden.bound_s, target=HIDDEN_TARGET)],
    )
    print_table(
        HIDDEN_TITLE,
        "requests",
        "all",
        [
            Row(
                "refused requests",
                sum(hidden.refused.values()),
                sum(hidden.signed.values()),
                target=REFUSED_TARGET,
            )
        ],
    )
    if why := airbyte.missing():
        could_not_measure("airbyte-cdk", why)
        return
    ours = _ours(PEER_TASKS, AT_ONCE[0])
    peers = {
        known: _peer(known, at_once=at_once, per_s=per_s)
        for known, at_once, per_s in (
            (f"{AT_ONCE[0]} at once too", AT_ONCE[0], 0),
            ("all at once", PEER_TASKS, 0),
            ("all at once, and told the rates", PEER_TASKS, int(PER_S)),
        )
    }
    print_table(
        f"{PEER_TASKS:,} of the same tasks by airbyte-cdk",
        "s",
        "lower bound",
        [Row(known, peer.wall_s, peer.bound_s) for known, peer in peers.items()],
        first="airbyte-cdk",
    )
    print_table(
        f"{PEER_TASKS:,} of the same tasks, ours {AT_ONCE[0]} at once",
        "s",
        "airbyte-cdk",
        [Row(f"airbyte-cdk {known}", ours.wall_s, peer.wall_s, target=1.0) for known, peer in peers.items()],
    )


def _ours(tasks: int, at_once: int, **switches: float) -> Run:
    end = START + timedelta(hours=tasks)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with emulated(folder, WORLD.format(end=end)) as service:
            service.behave(**switches)
            text = JOBS.format(endpoint=service.endpoint, at_once=at_once, start=START, end=end)
            (folder / "jobs.toml").write_text(text, encoding="utf-8")
            begun = time.perf_counter()
            child = subprocess.run(
                [ORCHESTRATOR, "run", "--no-progress", "--json"],
                cwd=folder,
                env={**environment(), **service.credentials},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            wall_s = time.perf_counter() - begun
            if child.returncode:
                raise RuntimeError(f"run ended with {child.returncode}: {child.stderr[-2000:]}")
            cap, creates_per_s = (
                switches.get("outstanding_cap", EXECUTORS),
                switches.get("create_per_s", PER_S),
            )
            run = Run(tasks, wall_s, service.stats(), int(cap), creates_per_s)
        said = json.loads(child.stdout)["jobs"][0]
        if said["files"] != tasks or said["lines"] != tasks * ROWS_PER_HOUR:
            raise RuntimeError(f"{said['files']} files and {said['lines']} lines of {tasks} slices")
    limits = "".join(f", {name} = {value:g}" for name, value in switches.items())
    print(f"{tasks:,} tasks, {at_once} at once{limits}: {run.told()}", flush=True)
    return run


def _peer(known: str, *, at_once: int, per_s: int) -> Run:
    hours = [START + timedelta(hours=hour) for hour in range(PEER_TASKS + 1)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with emulated(folder, WORLD.format(end=hours[-1])) as service:
            windows = list(pairwise(hours))
            begun = time.perf_counter()
            child = airbyte.start(folder, service, windows, logstore="web", at_once=at_once, per_s=per_s)
            exported = airbyte.exported(folder, child)
            run = Run(PEER_TASKS, time.perf_counter() - begun, service.stats())
    if exported.exit or exported.rows.total() != PEER_TASKS * ROWS_PER_HOUR:
        raise RuntimeError(f"airbyte-cdk ended with {exported.exit}: {exported.last_words}")
    print(f"airbyte-cdk, {PEER_TASKS:,} tasks, {known}: {run.told()}", flush=True)
    return run


if __name__ == "__main__":
    main()
