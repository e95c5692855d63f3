"""How is airbyte-cdk made to export the same windows from the same service?

Its async jobs (creation, polling and download requesters) run as a declarative source in a child process
(benchmarks/peers/airbyte_export.py), with the keys of the service and what its users can set: how many jobs
at once, how many requests a second, how to wait after a 429. The five seconds between two looks at all its
jobs are no setting. Twenty threads fetch; more changed nothing. After a 429 it waits a second, which was
faster than its own exponential waiting.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmarks.emulated import Emulated, environment

__all__ = [
    "ENVIRONMENT",
    "INSTALLED",
    "PYTHON",
    "REQUIREMENTS",
    "Exported",
    "exported",
    "forget",
    "missing",
    "start",
]

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "airbyte.txt"
ENVIRONMENT = HERE / ".venv" / "airbyte"
INSTALLED = ENVIRONMENT / "installed.txt"
"""The requirements as they were installed."""
PYTHON = ENVIRONMENT / "bin" / "python"
THREADS = 20
PATIENCE_S = 1800.0
TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Exported:
    """What came of it: the exit code, every row (time in ms, text) with how often it came, and the last of
    what was said."""

    exit: int
    rows: Counter[tuple[int, str]]
    last_words: str


def missing() -> str:
    """Why airbyte-cdk cannot be run; empty when it can."""
    if not INSTALLED.exists() or INSTALLED.read_bytes() != REQUIREMENTS.read_bytes():
        return "airbyte-cdk is not installed; `python -m benchmarks.peers` does that"
    return ""


def start(
    folder: Path,
    service: Emulated,
    windows: Sequence[tuple[datetime, datetime]],
    *,
    logstore: str,
    at_once: int,
    per_s: int = 0,
) -> subprocess.Popen[bytes]:
    """An export of every window ``[start, end)`` of a logstore, each by a job of its own, ``at_once`` of
    them. With ``per_s`` it is told how many requests of each kind a second are taken. What it prints is added
    to ``airbyte.jsonl`` in ``folder``, for ``exported``."""
    wish = {
        "endpoint": service.endpoint,
        "logstore": logstore,
        "windows": [f"{start.strftime(TIME)}/{end.strftime(TIME)}" for start, end in windows],
        "at_once": at_once,
        "threads": THREADS,
        "per_s": per_s,
    }
    (folder / "wish.json").write_text(json.dumps(wish), encoding="utf-8")
    with _printed(folder).open("ab") as out, (folder / "airbyte.log").open("ab") as log:
        return subprocess.Popen(
            [str(PYTHON), str(HERE / "airbyte_export.py"), str(folder / "wish.json")],
            cwd=folder,
            env={**environment(), **service.credentials, "AIRBYTE_ENABLE_UNSAFE_CODE": "true"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=log,
        )


def exported(folder: Path, child: subprocess.Popen[bytes]) -> Exported:
    """What came of it, once it has ended. Raises TimeoutExpired after half an hour."""
    try:
        code = child.wait(PATIENCE_S)
    finally:
        child.kill()
    rows: Counter[tuple[int, str]] = Counter()
    last_words = ""
    with _printed(folder).open(encoding="utf-8") as lines:
        for line in lines:
            if '"type":"RECORD"' in line:
                row = json.loads(line)["record"]["data"]
                rows[row["@timestamp"], row["@raw"]] += 1
            elif '"type":"TRACE"' in line or '"level":"ERROR"' in line:
                last_words = line[:2000]
    return Exported(code, rows, last_words)


def forget(folder: Path) -> None:
    """Drop what was printed so far."""
    _printed(folder).unlink(missing_ok=True)


def _printed(folder: Path) -> Path:
    return folder / "airbyte.jsonl"
