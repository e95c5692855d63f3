"""A small file stands in memory until its artifact does, and one look tells what earlier processes left."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from orchestrator.dataplane.held import HeldFile
from orchestrator.dataplane.inflow import at_once
from orchestrator.dataplane.leftovers import Leftovers
from orchestrator.dataplane.staging import AppendFile, StagingArea
from orchestrator.errors import DiskFull


def test_it_answers_as_a_file_on_the_disk_does(tmp_path: Path) -> None:
    """The same calls, the same answers."""
    on_disk, held = AppendFile(str(tmp_path / "part")), HeldFile()
    for file in (on_disk, held):
        assert not file.append((b"early",), 0)
        file.open(0)
        assert file.append((b"one", b"two"), 0)
        assert not file.append((b"elsewhere",), 3)
        assert file.append((b"three",), 6)
        assert (file.offset_bytes, file.read(3, 5)) == (11, b"twoth")
        assert file.reopen(6)
        file.cut()
        assert file.append((b"anew",), 0)
        file.become(str(tmp_path / f"{type(file).__name__}.staged"))
        file.close()
        assert not file.is_open
    found = [(tmp_path / f"{kind.__name__}.staged").read_bytes() for kind in (AppendFile, HeldFile)]
    assert found == [b"anew", b"anew"]


def test_a_file_with_a_second_name_is_not_written_over(tmp_path: Path) -> None:
    """What stands under the staged name may be published already: it keeps its bytes there."""
    staged, published = tmp_path / "a.staged", tmp_path / "a.jsonl"
    staged.write_bytes(b"published")
    os.link(staged, published)
    held = HeldFile()
    held.open(0)
    held.append((b"fetched again",), 0)
    held.become(str(staged))
    assert (staged.read_bytes(), published.read_bytes()) == (b"fetched again", b"published")


def test_what_cannot_be_written_whole_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up leaves no half artifact."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    held = HeldFile()
    held.open(0)
    held.append((b"rows",), 0)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        held.become(str(tmp_path / "a.staged"))
    assert list(tmp_path.iterdir()) == []


def test_one_look_finds_what_earlier_processes_left(tmp_path: Path) -> None:
    """Keys that were there, and those begun here and not concluded, may have left something."""
    (tmp_path / "o-1-0.part").write_bytes(b"")
    (tmp_path / "o-1-0.part.json").write_bytes(b"{}")

    async def main() -> list[bool]:
        run, leftovers = at_once(asyncio.get_running_loop()), Leftovers()
        old, new = StagingArea(str(tmp_path), "o-1-0"), StagingArea(str(tmp_path), "o-2-0")
        found = [await leftovers.begin(area, run) for area in (old, new, new)]
        leftovers.concluded(new)
        nowhere = StagingArea(str(tmp_path / "missing"), "o-1-0")
        return [*found, await leftovers.begin(new, run), await leftovers.begin(nowhere, run)]

    assert asyncio.run(main()) == [True, False, True, False, False]
