"""Many inputs for every fuzz target, two at a time, and a table: what ran, how long, what was found.

    python -m tests.fuzz --inputs 100000 [--seed 7] [--target NAME …]

The seed decides every input. A target runs in rounds of at most ``ROUND`` inputs, each with a seed of its
own, so that memory stays flat and a finding is replayed by its round alone; the command for that is printed
with it."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROUND = 10_000
LEAST = 600
"""Inputs that a round is asked for, however few are missing: it may run fewer."""
AT_ONCE = 2
MEMORY_BYTES = 3 << 30
"""Of address space: an input that wants more is a finding, not the end of the machine."""
MEMORY_FOLDER = "/dev/shm"
"""Some targets write each input to a file: not to a disk, where there is a choice."""
MOST_ROUNDS_BEYOND = 4
"""Rounds more than the inputs asked for would need: hypothesis may run fewer than it was asked to."""


def _targets() -> dict[str, Any]:
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        importlib.import_module(f"tests.fuzz.{path.stem}")
    from tests.fuzz.aim import TARGETS

    return dict(TARGETS)


def _shoot(name: str, inputs: int, seed: int) -> dict[str, Any]:
    """One target in this process; what happened as a JSON object."""
    from hypothesis import Phase
    from hypothesis import seed as seeded

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    target = _targets()[name]
    began = time.monotonic()
    rounds = -(-inputs // ROUND) + MOST_ROUNDS_BEYOND
    for number in range(rounds):
        left = inputs - target.inputs
        if left <= 0:
            break
        shot = target.armed(
            max(min(left, ROUND), LEAST),
            database=None,
            derandomize=False,
            phases=(Phase.generate, Phase.shrink),
        )
        try:
            seeded(seed + number)(shot)()
        except BaseException:
            import traceback

            return {
                "inputs": target.inputs,
                "seconds": time.monotonic() - began,
                "found": traceback.format_exc(limit=-12),
                "replay": f"make fuzz TARGET={name} SEED={seed + number} N={max(min(left, ROUND), LEAST)}",
            }
    return {"inputs": target.inputs, "seconds": time.monotonic() - began, "found": "", "replay": ""}


def _apart(name: str, inputs: int, seed: int) -> dict[str, Any]:
    """One target in a process of its own, which may die of what it meets."""
    command = [
        sys.executable,
        "-m",
        "tests.fuzz",
        "--alone",
        name,
        "--inputs",
        str(inputs),
        "--seed",
        str(seed),
    ]
    memory = {"TMPDIR": MEMORY_FOLDER} if os.path.isdir(MEMORY_FOLDER) else {}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | memory)
    last = (ended.stdout.strip().splitlines() or [""])[-1]
    try:
        told: dict[str, Any] = json.loads(last)
    except ValueError:
        told = {
            "inputs": 0,
            "seconds": 0.0,
            "found": f"the process ended with {ended.returncode}\n{ended.stderr[-4000:]}",
            "replay": f"make fuzz TARGET={name} SEED={seed} N={inputs}",
        }
    rate = told["inputs"] / told["seconds"] if told["seconds"] else 0.0
    verdict = "FOUND" if told["found"] else "0"
    print(f"{name:<24} {told['inputs']:>9,} {told['seconds']:>8.1f} {rate:>8,.0f} {verdict:>9}", flush=True)
    return {"name": name, **told}


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    asked.add_argument("--inputs", type=int, default=100_000, help="inputs per target")
    asked.add_argument("--seed", type=int, default=0, help="0: a seed of the moment, printed")
    asked.add_argument("--target", action="append", default=[], help="repeatable; default: all")
    asked.add_argument("--alone", default="", help=argparse.SUPPRESS)
    options = asked.parse_args()
    if options.alone:
        os.environ["FUZZ_INPUTS"] = str(options.inputs)
        print(json.dumps(_shoot(options.alone, options.inputs, options.seed)))
        return 0
    known = _targets()
    if strange := [name for name in options.target if name not in known]:
        print(f"no target {', '.join(strange)}; known are {', '.join(known)}", file=sys.stderr)
        return 2
    names = options.target or list(known)
    seed = options.seed or int(time.time())
    print(f"seed {seed}; {options.inputs:,} inputs for each of {len(names)} targets, {AT_ONCE} at a time\n")
    print(f"{'target':<24} {'inputs':>9} {'seconds':>8} {'per s':>8} {'failures':>9}", flush=True)
    began = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        told = list(pool.map(lambda name: _apart(name, options.inputs, seed), names))
    total = sum(one["inputs"] for one in told)
    found = [one for one in told if one["found"]]
    short = [one["name"] for one in told if not one["found"] and one["inputs"] < options.inputs]
    print(f"\n{total:,} inputs in {time.monotonic() - began:.0f} s, {len(found)} targets with a finding")
    if short:
        print(f"fewer inputs than asked for, which hypothesis may decide: {', '.join(short)}")
    for one in found:
        print(f"\n--- {one['name']}\n{one['found']}\nreplay: {one['replay']}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
