"""The demo: the whole way, killed once in the middle, told truthfully."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import ORCHESTRATOR


@pytest.mark.slow
def test_the_demo_holds_and_can_be_repeated(tmp_path: Path) -> None:
    """It kills an export between first and last slice, resumes, verifies, and leaves files to go on with."""
    folder = tmp_path / "demo"
    ended = subprocess.run(
        [*ORCHESTRATOR, "demo", str(folder)], capture_output=True, text=True, timeout=170, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "complete: 3,200,000 lines" in ended.stdout
    assert "0 remote tasks created, 0 bytes fetched" in ended.stdout
    assert "none twice" in ended.stdout
    assert len(list((folder / "archive").rglob("*.jsonl.gz"))) >= 4
    checked = subprocess.run(
        [*ORCHESTRATOR, "check", str(folder / "jobs.toml")], capture_output=True, check=False
    )
    assert checked.returncode == 0
    status = subprocess.run(
        [*ORCHESTRATOR, "status", str(folder / "jobs.toml")], capture_output=True, check=False
    )
    assert status.returncode == 0


def test_the_demo_leaves_other_folders_alone(tmp_path: Path) -> None:
    """A folder that holds something else is refused and stays as it is."""
    (tmp_path / "mine.txt").write_text("mine")
    ended = subprocess.run(
        [*ORCHESTRATOR, "demo", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
