"""What every destination promises: files appear whole, once, and never in place of somebody else's."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from orchestrator.dataplane import destination as destination_module
from orchestrator.dataplane.destination import FolderDestination, stale_staging
from orchestrator.errors import DiskFull, IntegrityError, PathOccupied, StorageError
from orchestrator.ports.files import Destination, Publication
from tests.unit.dataplane_kit import Server, fetched, json_lines, rows, ticket

T = TypeVar("T")
MakeDestination = Callable[[Path], Destination]


@pytest.fixture(params=["folder"])
def make(request: pytest.FixtureRequest) -> MakeDestination:
    """Every implementation of the port, for a root."""
    makers: dict[str, MakeDestination] = {"folder": lambda root: FolderDestination(str(root))}
    return makers[request.param]


def wait(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def staged(root: Path, key: str, content: bytes) -> Publication:
    """A finished artifact in the staging area, with what a transfer leaves beside it."""
    area = root / ".orchestrator" / "staging"
    area.mkdir(parents=True, exist_ok=True)
    (area / f"{key}.staged").write_bytes(content)
    (area / f"{key}.part.json").write_bytes(b"{}")
    digest = hashlib.sha256(content).hexdigest()
    return Publication(key, str(area / f"{key}.staged"), f"web/2026/{key}.jsonl", digest, len(content))


def left(root: Path) -> list[str]:
    return sorted(os.listdir(root / ".orchestrator" / "staging"))


def test_files_are_published_and_their_traces_go(tmp_path: Path, make: MakeDestination) -> None:
    """Folders are made, contents stand under their names, the staging area is empty, and doing it again
    changes nothing."""
    items = [staged(tmp_path, f"k-{n}", b"rows %d\n" % n) for n in range(3)]
    place = make(tmp_path)
    for _ in range(2):
        assert [outcome.error for outcome in wait(place.publish(items))] == [None] * 3
        assert [(tmp_path / item.path).read_bytes() for item in items] == [
            b"rows 0\n",
            b"rows 1\n",
            b"rows 2\n",
        ]
        assert left(tmp_path) == []


def test_absolute_paths_inside_the_root_are_taken(tmp_path: Path, make: MakeDestination) -> None:
    """The ledger may hold a path from the root or the whole path; both name the same file."""
    item = staged(tmp_path, "k", b"rows\n")
    absolute = Publication(
        item.key, item.staged_path, str(tmp_path / item.path), item.sha256, item.size_bytes
    )
    assert wait(make(tmp_path).publish([absolute]))[0].error is None
    assert (tmp_path / item.path).read_bytes() == b"rows\n"
    assert wait(make(tmp_path).check(absolute.path, size_bytes=5, sha256=item.sha256)) == ""


@pytest.mark.parametrize("content", [b"theirs", b"rowz\n"])
def test_a_foreign_file_is_never_overwritten(tmp_path: Path, make: MakeDestination, content: bytes) -> None:
    """A file of another content, even of equal size, keeps its place; the artifact stays staged and the
    others go on."""
    first, second = staged(tmp_path, "a", b"rows\n"), staged(tmp_path, "b", b"more\n")
    (tmp_path / first.path).parent.mkdir(parents=True)
    (tmp_path / first.path).write_bytes(content)
    one, two = wait(make(tmp_path).publish([first, second]))
    assert isinstance(one.error, PathOccupied)
    assert not one.lost
    assert two.error is None
    assert (tmp_path / first.path).read_bytes() == content
    assert left(tmp_path) == ["a.part.json", "a.staged"]


def test_an_equal_file_is_adopted(tmp_path: Path, make: MakeDestination) -> None:
    """A file of equal digest at the path counts as published, with or without the staged one."""
    item = staged(tmp_path, "k", b"rows\n")
    (tmp_path / item.path).parent.mkdir(parents=True)
    (tmp_path / item.path).write_bytes(b"rows\n")
    for _ in range(2):
        assert wait(make(tmp_path).publish([item]))[0].error is None
        assert left(tmp_path) == []


def test_our_own_older_file_is_replaced_when_the_ledger_says_so(
    tmp_path: Path, make: MakeDestination
) -> None:
    """A new generation takes the old one's place in one step, and only if asked to."""
    old, new = staged(tmp_path, "k", b"old\n"), staged(tmp_path, "n", b"newer\n")
    place = make(tmp_path)
    wait(place.publish([old]))
    swap = Publication(new.key, new.staged_path, old.path, new.sha256, new.size_bytes, replaces_own=True)
    assert wait(place.publish([swap]))[0].error is None
    assert (tmp_path / old.path).read_bytes() == b"newer\n"
    assert left(tmp_path) == []


def test_lost_bytes_are_said_to_be_lost(tmp_path: Path, make: MakeDestination) -> None:
    """Neither staged nor published: the caller is told to fetch again. A staged file of the wrong size is as
    good as none."""
    gone, short = staged(tmp_path, "a", b"rows\n"), staged(tmp_path, "b", b"rows\n")
    Path(gone.staged_path).unlink()
    Path(short.staged_path).write_bytes(b"ro")
    for outcome in wait(make(tmp_path).publish([gone, short])):
        assert outcome.lost
        assert isinstance(outcome.error, IntegrityError)
    assert not (tmp_path / short.path).exists()


def test_a_link_that_leads_outside_is_not_followed(tmp_path: Path, make: MakeDestination) -> None:
    """Neither a folder nor a final name that is a symbolic link can carry a file out of the destination."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    item = staged(root, "k", b"rows\n")
    (root / "web").symlink_to(outside)
    assert isinstance(wait(make(root).publish([item]))[0].error, PathOccupied)
    assert list(outside.iterdir()) == []
    final = staged(root, "f", b"rows\n")
    final = Publication("f", final.staged_path, "f.jsonl", final.sha256, final.size_bytes, replaces_own=True)
    (outside / "target").write_bytes(b"theirs")
    (root / "f.jsonl").symlink_to(outside / "target")
    assert isinstance(wait(make(root).publish([final]))[0].error, PathOccupied)
    assert (outside / "target").read_bytes() == b"theirs"


def test_a_link_that_stays_inside_is_followed(tmp_path: Path, make: MakeDestination) -> None:
    """People move folders about inside an archive; a root that is itself a link is theirs too."""
    real = tmp_path / "real"
    real.mkdir()
    root = tmp_path / "root"
    root.symlink_to(real)
    (real / "elsewhere").mkdir()
    (real / "web").symlink_to(real / "elsewhere")
    item = staged(root, "k", b"rows\n")
    assert wait(make(root).publish([item]))[0].error is None
    assert (real / "elsewhere" / "2026" / "k.jsonl").read_bytes() == b"rows\n"


@pytest.mark.parametrize("path", ["../escaped", "a/../../escaped", "/etc/escaped", "", "."])
def test_paths_that_leave_the_root_are_refused(tmp_path: Path, make: MakeDestination, path: str) -> None:
    """No path climbs out of the destination, whoever wrote it."""
    item = staged(tmp_path / "root", "k", b"rows\n")
    item = Publication(item.key, item.staged_path, path, item.sha256, item.size_bytes)
    assert isinstance(wait(make(tmp_path / "root").publish([item]))[0].error, PathOccupied)
    assert Path(item.staged_path).exists()


def test_a_file_in_place_of_a_folder_occupies_the_path(tmp_path: Path, make: MakeDestination) -> None:
    """`web` being a file is one slice's trouble, not the run's."""
    item = staged(tmp_path, "k", b"rows\n")
    (tmp_path / "web").write_text("a file")
    assert isinstance(wait(make(tmp_path).publish([item]))[0].error, PathOccupied)


def test_a_name_too_long_is_one_publications_trouble(tmp_path: Path, make: MakeDestination) -> None:
    """The file system refuses one name; the rest of the batch is published."""
    long, fine = staged(tmp_path, "a", b"rows\n"), staged(tmp_path, "b", b"rows\n")
    long = Publication("a", long.staged_path, "x" * 300, long.sha256, long.size_bytes)
    one, two = wait(make(tmp_path).publish([long, fine]))
    assert isinstance(one.error, StorageError)
    assert two.error is None


def test_checks_name_what_is_wrong(tmp_path: Path, make: MakeDestination) -> None:
    """Missing, size, digest, or nothing; the digest is read only when asked for."""
    item = staged(tmp_path, "k", b"rows\n")
    place = make(tmp_path)
    assert wait(place.staged_intact(item.staged_path, item.sha256, 5))
    assert not wait(place.staged_intact(item.staged_path, "0" * 64, 5))
    assert not wait(place.staged_intact(item.staged_path + "x", item.sha256, 5))
    wait(place.publish([item]))
    assert wait(place.check(item.path, size_bytes=5, sha256=item.sha256)) == ""
    assert wait(place.check(item.path, size_bytes=6, sha256=None)) == "size differs"
    assert wait(place.check(item.path, size_bytes=5, sha256="0" * 64)) == "digest differs"
    assert wait(place.check(item.path, size_bytes=5, sha256=None)) == ""
    assert wait(place.check("web/none", size_bytes=5, sha256=None)) == "missing"


@pytest.mark.parametrize("number", [errno.EACCES, errno.ESTALE, errno.EIO])
def test_a_file_that_cannot_be_looked_at_is_not_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """No permission on a folder, or a share that is gone, says nothing about the files: it is told, so that
    nobody exports an archive anew that is all there."""
    item = staged(tmp_path, "k", b"rows\n")
    place = FolderDestination(str(tmp_path))
    wait(place.publish([item]))
    found = os.stat

    def refused(path: Any, **how: Any) -> os.stat_result:
        if str(path).endswith(item.path):
            raise OSError(number, os.strerror(number), str(path))
        return found(path, **how)

    monkeypatch.setattr(os, "stat", refused)
    with pytest.raises(StorageError, match=re.escape(os.strerror(number))):
        wait(place.check(item.path, size_bytes=5, sha256=item.sha256))


def test_what_is_no_file_is_told_from_what_is_missing(tmp_path: Path) -> None:
    """A folder, and a link that leads nowhere, stand in the way; a file in place of a folder leaves nothing
    behind it."""
    place = FolderDestination(str(tmp_path))
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "file").write_bytes(b"")
    found = {
        path: wait(place.check(path, size_bytes=5, sha256=None)) for path in ("folder", "link", "file/x")
    }
    assert found == {"folder": "not a file", "link": "not a file", "file/x": "missing"}


def test_discarding_is_idempotent(tmp_path: Path, make: MakeDestination) -> None:
    """Every trace of an attempt goes, the second time as well; nothing else does."""
    kept, item = staged(tmp_path, "k", b"rows\n"), staged(tmp_path, "k-2", b"rows\n")
    for suffix in (".part", ".draft"):
        Path(item.staged_path).with_suffix(suffix).write_bytes(b"")
    place = make(tmp_path)
    for _ in range(2):
        wait(place.discard(item.staged_path))
        assert left(tmp_path) == ["k.part.json", "k.staged"]
    assert Path(kept.staged_path).exists()
    wait(place.discard(""))


# --- folders only ---


def test_files_have_the_rights_the_umask_leaves(tmp_path: Path) -> None:
    """A published file is as readable as one the user's own editor would make."""
    before = os.umask(0o027)
    try:
        receipt = fetched(Server(json_lines(rows(3))), ticket(tmp_path))
        item = Publication("a-1", receipt.staged_path, "d/f", receipt.stored_sha256, receipt.stored_bytes)
        assert wait(FolderDestination(str(tmp_path)).publish([item]))[0].error is None
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "d/f").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o750


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where link is not supported a look and a rename take its place; a foreign file is still never
    overwritten."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(destination_module.os, "link", refused)
    first, second = staged(tmp_path, "a", b"rows\n"), staged(tmp_path, "b", b"rows\n")
    second = Publication("b", second.staged_path, second.path, "0" * 64, second.size_bytes)
    (tmp_path / second.path).parent.mkdir(parents=True)
    (tmp_path / second.path).write_bytes(b"theirs")
    one, two = wait(FolderDestination(str(tmp_path)).publish([first, second]))
    assert one.error is None
    assert (tmp_path / first.path).read_bytes() == b"rows\n"
    assert isinstance(two.error, PathOccupied)
    assert left(tmp_path) == ["b.part.json", "b.staged"]


def test_each_folder_is_synced_once_and_before_staged_names_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch into one folder costs one sync of it and one of each folder that got a new child; only then is
    staging cleared."""
    items = [staged(tmp_path, f"k-{n}", b"rows\n") for n in range(5)]
    synced: list[str] = []

    def sync(path: str) -> None:
        assert all(Path(item.staged_path).exists() for item in items)
        synced.append(os.path.relpath(path, tmp_path))

    monkeypatch.setattr(destination_module, "sync_folder", sync)
    wait(FolderDestination(str(tmp_path)).publish(items))
    assert sorted(synced) == [".", "web", "web/2026"]
    assert left(tmp_path) == []


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, DiskFull), (errno.EROFS, StorageError)])
def test_faults_of_the_disk_are_ours_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StorageError]
) -> None:
    """A full or read-only disk stops the batch; what was staged is still there."""
    item = staged(tmp_path, "k", b"rows\n")

    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(destination_module.os, "mkdir", fails)
    with pytest.raises(kind):
        wait(FolderDestination(str(tmp_path)).publish([item]))
    assert left(tmp_path) == ["k.part.json", "k.staged"]


def test_stale_staging_lists_our_own_leftovers_only(tmp_path: Path) -> None:
    """Files of attempts that are still wanted, and files we did not name, are never offered for deletion."""
    assert stale_staging(str(tmp_path), set()) == []
    for key in ("a-1", "b-2"):
        staged(tmp_path, key, b"rows\n")
    area = tmp_path / ".orchestrator" / "staging"
    (area / "b-2.part").write_bytes(b"")
    (area / "notes.txt").write_text("mine")
    assert stale_staging(str(tmp_path), {"a-1"}) == [
        str(area / name) for name in ("b-2.part", "b-2.part.json", "b-2.staged")
    ]
