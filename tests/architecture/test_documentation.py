"""Documentation that follows from the code is what the code says."""

from __future__ import annotations

import subprocess
import sys

from tests.architecture.tree import ROOT

COMMAND = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]


def test_generated_pages_are_up_to_date() -> None:
    """Every page that docs/generate.py writes stands on disk as it would write it now."""
    outcome = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
