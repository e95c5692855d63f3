"""Questions to DuckDB, in a process of its own: what it holds on to when it ends is not told here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["asked"]

_ASK = """
import json, sys, duckdb
found = duckdb.sql(sys.argv[1]).fetchall()
print(json.dumps(found, default=str))
"""


def asked(question: str, folder: Path | None = None) -> list[list[Any]]:
    """The rows of the answer; what JSON does not know comes as text. ``folder`` is where paths begin."""
    done = subprocess.run(
        [sys.executable, "-c", _ASK, question],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows: list[list[Any]] = json.loads(done.stdout)
    return rows
