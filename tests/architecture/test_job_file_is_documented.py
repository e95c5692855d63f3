"""The job file's reference page is complete."""

from __future__ import annotations

import pytest

from orchestrator.core.jobkeys import KEYS, SECTIONS, Key
from tests.architecture.tree import ROOT

PAGE = (ROOT / "docs" / "job-file.md").read_text(encoding="utf-8")
CHAPTERS = dict(zip((s.name for s in SECTIONS), PAGE.split("\n## ")[1:], strict=True))


@pytest.mark.parametrize("key", KEYS, ids=lambda key: f"{key.section}.{key.name}")
def test_every_key_stands_in_its_section(key: Key) -> None:
    """A key that the reader accepts has one row, with its meaning, in the chapter of its section."""
    rows = [line for line in CHAPTERS[key.section].splitlines() if line.startswith(f"| `{key.name}` |")]
    assert len(rows) == 1
    assert key.meaning.replace("|", "\\|") in rows[0]
