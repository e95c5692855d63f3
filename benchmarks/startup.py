"""How long the installed command takes to say something, beside Python alone, taken in turns."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import Row, print_table

ROUNDS = 15
LIMIT_S = 0.25
PYTHON_ALONE = (sys.executable, "-c", "pass")
OURS = {
    "orchestrator --version": (str(Path(sys.executable).with_name("orchestrator")), "--version"),
    "orchestrator --help": (str(Path(sys.executable).with_name("orchestrator")), "--help"),
    "import orchestrator": (sys.executable, "-c", "import orchestrator"),
}


def main() -> None:
    """Print the median wall and CPU time of each command beside Python's own, and one beside its limit."""
    commands = {"python -c pass": PYTHON_ALONE, **OURS}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for command in commands.values():
        elapsed(command)  # once unmeasured: byte code is written, files are read into memory
    for _ in range(ROUNDS):
        for name, command in commands.items():
            taken[name].append(elapsed(command))
    wall = {name: statistics.median(t[0] for t in times) for name, times in taken.items()}
    cpu = {name: statistics.median(t[1] for t in times) for name, times in taken.items()}
    rows = [Row(f"{name}, wall", wall[name], wall["python -c pass"]) for name in OURS]
    rows += [Row(f"{name}, CPU", cpu[name], cpu["python -c pass"]) for name in OURS]
    promised = "orchestrator --version"
    rows.append(Row(f"{promised}, wall, beside its limit", wall[promised], LIMIT_S, target=1.0))
    print_table(f"Start-up, median of {ROUNDS}", "s", "python alone", rows)


def elapsed(command: Sequence[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one run of ``command``, its children included; raises when it fails."""
    before, start = children_cpu_s(), time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return time.perf_counter() - start, children_cpu_s() - before


def children_cpu_s() -> float:
    """CPU seconds, user and system, of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
