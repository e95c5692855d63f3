"""Breaks a copy of the program on purpose, once for each promise, and looks whether a ring of tests notices.

``python -m tests.breakage`` from the repository's root; names of breakages as arguments choose among them.
Every ring that is used must be green on an unbroken copy first. Exits 1 when a breakage goes unnoticed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.breakage.breakages import BREAKAGES, Breakage

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("orchestrator", "tests", "docs", "pyproject.toml", "README.md", "jobs.example.toml")
LONGEST_RING_S = 900


def copied(into: Path) -> Path:
    """A copy of what the rings need, without what running left behind."""
    into.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, into / name, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
        else:
            shutil.copy(source, into / name)
    return into


def red(ring: tuple[str, ...], copy: Path) -> bool:
    """Whether the ring fails on the copy. A ring that does not end is red too."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *ring]
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, timeout=LONGEST_RING_S, check=False
        )
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def broken(breakage: Breakage, copy: Path) -> None:
    """Apply one breakage. Raises ValueError when the code is no longer what the breakage was written for."""
    path = copy / breakage.path
    text = path.read_text(encoding="utf-8")
    if text.count(breakage.old) != 1:
        raise ValueError(f"{breakage.name}: {breakage.path} does not hold its text exactly once")
    path.write_text(text.replace(breakage.old, breakage.new), encoding="utf-8")


def main(names: list[str]) -> int:
    """Print one line for each breakage: which ring noticed it, and how soon."""
    chosen = [breakage for breakage in BREAKAGES if not names or breakage.name in names]
    unnoticed = 0
    with tempfile.TemporaryDirectory() as folder:
        for ring in dict.fromkeys(breakage.rings[0] for breakage in chosen):
            began = time.monotonic()
            if red(ring, copied(Path(folder) / f"unbroken-{len(os.listdir(folder))}")):
                print(f"{' '.join(ring)} is red on an unbroken copy: it proves nothing", flush=True)
                return 1
            print(
                f"unbroken                 green in {time.monotonic() - began:4.0f} s  {ring[-1]}", flush=True
            )
        for number, breakage in enumerate(chosen):
            copy = copied(Path(folder) / f"broken-{number}")
            broken(breakage, copy)
            began = time.monotonic()
            noticed = next((ring for ring in breakage.rings if red(ring, copy)), None)
            unnoticed += noticed is None
            word = "UNNOTICED" if noticed is None else "red"
            by = "" if noticed is None else " ".join(noticed)
            print(f"{breakage.name:24s} {word} in {time.monotonic() - began:4.0f} s  {by}", flush=True)
            shutil.rmtree(copy)
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
