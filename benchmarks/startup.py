"""How long the installed command takes to say something, beside Python alone, taken in turns; and beside what
is promised.

As when installed: with the byte code that an installer leaves, here in a folder of the measurement's own,
also where the environment forbids Python to write any. ``check --job`` is the same command where the parser
is needed to read it.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.report import Row, print_table

ROUNDS = 15
PROGRAM = str(Path(sys.executable).with_name("orchestrator"))
PYTHON_ALONE = (sys.executable, "-c", "pass")
JOB_FILE = """\
[service]
region = "bj"
[[jobs]]
name = "web"
logstore = "web-access"
from = 2026-01-14T00:00:00Z
to = 2026-01-15T00:00:00Z
destination = "archive"
"""
LIMITS_S = {"orchestrator --version": 0.25, "orchestrator check": 0.5, "orchestrator check --job": 0.5}


def main() -> None:
    """Print the median wall and CPU time of each command beside Python's own, and the promised ones beside
    their limits."""
    with tempfile.TemporaryDirectory() as folder:
        job_file = Path(folder) / "jobs.toml"
        job_file.write_text(JOB_FILE, encoding="utf-8")
        ours = {
            "orchestrator --version": (PROGRAM, "--version"),
            "orchestrator --help": (PROGRAM, "--help"),
            "orchestrator check": (PROGRAM, "check", str(job_file)),
            "orchestrator check --job": (PROGRAM, "check", str(job_file), "--job", "web"),
            "import orchestrator": (sys.executable, "-c", "import orchestrator"),
        }
        commands = {"python -c pass": PYTHON_ALONE, **ours}
        environment = installed(Path(folder) / "bytecode")
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for command in commands.values():
            elapsed(command, environment)  # once unmeasured: byte code is written, files are read into memory
        for _ in range(ROUNDS):
            for name, command in commands.items():
                taken[name].append(elapsed(command, environment))
    wall = {name: statistics.median(t[0] for t in times) for name, times in taken.items()}
    cpu = {name: statistics.median(t[1] for t in times) for name, times in taken.items()}
    rows = [Row(f"{name}, wall", wall[name], wall["python -c pass"]) for name in ours]
    rows += [Row(f"{name}, CPU", cpu[name], cpu["python -c pass"]) for name in ours]
    print_table(f"Start-up, median of {ROUNDS}", "s", "python alone", rows)
    limits = [Row(name, wall[name], limit_s, target=1.0) for name, limit_s in LIMITS_S.items()]
    print_table(f"Start-up beside what is promised, median of {ROUNDS}", "s", "promised", limits)


def installed(bytecode: Path) -> dict[str, str]:
    """The environment of this process, in which Python keeps all its byte code below ``bytecode``."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(bytecode)}


def elapsed(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds of one run of ``command``, its children included; raises when it fails."""
    before, start = children_cpu_s(), time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, env=environment)
    return time.perf_counter() - start, children_cpu_s() - before


def children_cpu_s() -> float:
    """CPU seconds, user and system, of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
