"""Which names a result may take."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.cli.newname import check_name, place
from orchestrator.cli.rowsink import FileRows
from orchestrator.errors import StorageError, UsageError


def test_only_a_file_is_replaced_and_only_when_that_was_said(tmp_path: Path) -> None:
    """Folders and pipes are never replaced; a link that leads nowhere is something that exists."""
    free, file, folder, pipe = (tmp_path / name for name in ("free", "file", "folder", "pipe"))
    file.touch()
    folder.mkdir()
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to("nowhere")
    check_name(free, replace=False)
    check_name(file, replace=True)
    check_name(tmp_path / "link", replace=True)
    for taken in (file, folder, pipe, tmp_path / "link"):
        with pytest.raises(UsageError):
            check_name(taken, replace=False)
    for never in (folder, pipe):
        with pytest.raises(UsageError):
            check_name(never, replace=True)
    with pytest.raises(StorageError):
        check_name(tmp_path / "absent" / "file", replace=False)


@pytest.mark.parametrize("links", [True, False])
def test_a_name_that_was_taken_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """On file systems with links and without."""

    def no_links(*_: object) -> None:
        raise OSError("links are not supported")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    part, path = tmp_path / "part", tmp_path / "path"
    part.write_text("new")
    place(part, path, replace=False)
    assert (path.read_text(), part.exists()) == ("new", False)
    part.write_text("newer")
    with pytest.raises(UsageError):
        place(part, path, replace=False)
    assert (path.read_text(), part.read_text()) == ("new", "newer")
    place(part, path, replace=True)
    assert (path.read_text(), part.exists()) == ("newer", False)


def test_rows_do_not_replace_what_came_while_they_were_written(tmp_path: Path) -> None:
    """The file of somebody else stays, and nothing else is left."""
    sink = FileRows(str(tmp_path / "rows"), "key", replace=False)
    sink.begin()
    assert sink.write(b"row\n")
    (tmp_path / "rows").write_text("theirs")
    with pytest.raises(UsageError):
        sink.finish()
    sink.discard()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("rows", "theirs")]
