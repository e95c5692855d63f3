"""Where the text of a result goes."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

from orchestrator.cli.outfile import Outfile


def test_a_file_appears_only_complete(tmp_path: Path) -> None:
    """What stood there stays until then, and for good when the result is thrown away."""
    path = tmp_path / "report.json"
    path.write_text("old")
    thrown_away, kept = Outfile(str(path)), Outfile(str(path))
    thrown_away.line("new")
    thrown_away.discard()
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("report.json", "old")]
    kept.line("new")
    assert path.read_text() == "old"
    kept.finish()
    kept.discard()
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("report.json", "new\n")]


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    """No file takes the place of what is none, such as /dev/null."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    out = Outfile(str(pipe))
    out.line("new")
    out.finish()
    out.discard()
    reader.join(10)
    assert read == ["new\n"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]
