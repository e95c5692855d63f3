"""What did the program do to the disk, in which order?

One log for everything below a folder: bytes written, files cut, files and folders synced, names made, moved
and removed. ``oswatch`` and ``sqlitewatch`` write it, ``powerloss`` asks what is left of it when the power
goes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = [
    "Cut",
    "DiskLog",
    "FolderMade",
    "FolderSynced",
    "Marked",
    "Moved",
    "Named",
    "Op",
    "Removed",
    "Synced",
    "Wrote",
    "contents",
]

_FLEETING = ("-shm",)
"""Ends of names that mean nothing after the last process: SQLite's shared memory is made anew."""


@dataclass(frozen=True, slots=True)
class Wrote:
    """Bytes handed to the system for a file; on disk only after its next ``Synced``."""

    file: int
    at_bytes: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """A file's size was set."""

    file: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Synced:
    """All that was done to a file's content before is on disk; its name need not be."""

    file: int


@dataclass(frozen=True, slots=True)
class Named:
    """A file has a (further) name; on disk only after the folder of the name was synced."""

    path: str
    file: int


@dataclass(frozen=True, slots=True)
class Removed:
    """A name is gone."""

    path: str


@dataclass(frozen=True, slots=True)
class Moved:
    """A file changed its name in one step; certain once the folder of the new name was synced."""

    source: str
    target: str
    file: int


@dataclass(frozen=True, slots=True)
class FolderMade:
    """A folder has its name; certain once the folder above was synced."""

    path: str


@dataclass(frozen=True, slots=True)
class FolderSynced:
    """Names made, moved and removed in this folder before are on disk."""

    path: str


@dataclass(frozen=True, slots=True)
class Marked:
    """Nothing happened to the disk: a reader's own bookmark."""

    label: object


Op = Wrote | Cut | Synced | Named | Removed | Moved | FolderMade | FolderSynced | Marked


class DiskLog:
    """Everything done below ``root`` since this log began. What stood there before counts as synced.

    Files are numbers, so that a file keeps its content under whatever name. Folders are never moved.
    """

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)
        self.ops: list[Op] = []
        self.first_files: dict[str, bytes] = contents(self.root)
        self.first_folders: frozenset[str] = frozenset(_folders(self.root))
        self.first_numbers: dict[str, int] = {path: n for n, path in enumerate(sorted(self.first_files))}
        self._names = dict(self.first_numbers)
        self._next = len(self._names)

    def below(self, path: str | os.PathLike[str]) -> str | None:
        """The full path when this log keeps it, else None. Links on the way are resolved, the last name is
        not."""
        full = os.path.abspath(os.fspath(path))
        full = os.path.join(os.path.realpath(os.path.dirname(full)), os.path.basename(full))
        inside = full == self.root or full.startswith(self.root + os.sep)
        return full if inside and not full.endswith(_FLEETING) else None

    def file(self, path: str) -> int:
        """The file of a name. Raises LookupError when it came to be behind this log's back."""
        try:
            return self._names[path]
        except KeyError:
            raise LookupError(f"{path} was made unseen") from None

    def known(self, path: str) -> bool:
        return path in self._names

    def made(self, path: str) -> int:
        """A new, empty file."""
        self._next += 1
        self.named(path, self._next)
        return self._next

    def named(self, path: str, file: int) -> None:
        self._names[path] = file
        self.ops.append(Named(path, file))

    def moved(self, source: str, target: str) -> None:
        file = self._names.pop(source)
        self._names[target] = file
        self.ops.append(Moved(source, target, file))

    def removed(self, path: str) -> None:
        del self._names[path]
        self.ops.append(Removed(path))

    def note(self, op: Op) -> None:
        """Whatever changes no name."""
        self.ops.append(op)

    def mark(self, label: object) -> None:
        self.ops.append(Marked(label))


def contents(root: str) -> dict[str, bytes]:
    """Every file below a folder, by full path, but for what means nothing after the last process."""
    found = {}
    for path in _files(root):
        with open(path, "rb") as file:
            found[path] = file.read()
    return found


def _files(root: str) -> Iterator[str]:
    for folder, _, names in os.walk(root):
        for name in names:
            if not name.endswith(_FLEETING):
                yield os.path.join(folder, name)


def _folders(root: str) -> Iterator[str]:
    for folder, _, _ in os.walk(root):
        yield folder
