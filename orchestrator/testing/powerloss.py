"""How could the disk stand after power loss?

What was synced is there. Of everything else any part may be: bytes in sectors of 512, in any selection; sizes
that grew over zeros; names made, moved and removed, each for itself. A file system may promise more; nothing
here relies on it. A rename is one step: it happened or it did not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.testing.disklog import (
    Cut,
    DiskLog,
    FolderMade,
    FolderSynced,
    Marked,
    Moved,
    Named,
    Op,
    Removed,
    Synced,
    Wrote,
)
from orchestrator.testing.loop import SeededRng

__all__ = ["WORST", "Bytes", "Disk", "Fate", "Names", "Unsure", "random_fates", "walk"]

SECTOR_BYTES = 512


class Names(StrEnum):
    """What becomes of names that were made, moved or removed and not synced."""

    NONE = "as they were"
    ALL = "all changes"
    REMOVALS = "only removals"
    SOME = "some changes"


class Bytes(StrEnum):
    """What becomes of bytes that were written and not synced."""

    NONE = "as they were"
    ALL = "all written"
    SIZES = "zeros where the file grew"
    TORN = "some sectors"
    PREFIX = "the first writes, the last of them half"
    MIXED = "each file another way"


@dataclass(frozen=True, slots=True)
class Fate:
    """One way of losing what was not synced; ``seed`` decides where chance is asked."""

    names: Names
    bytes: Bytes
    seed: int = 0


WORST = (
    Fate(Names.NONE, Bytes.NONE),
    Fate(Names.ALL, Bytes.ALL),
    Fate(Names.ALL, Bytes.NONE),
    Fate(Names.ALL, Bytes.SIZES),
    Fate(Names.NONE, Bytes.ALL),
    Fate(Names.REMOVALS, Bytes.NONE),
)
"""The ends of every scale: nothing, everything, names without bytes, bytes without names, removals alone."""


def random_fates(seed: int, count: int) -> tuple[Fate, ...]:
    """Fates in between: the same for the same seed."""
    return tuple(Fate(Names.SOME, Bytes.MIXED, seed * 1000 + n) for n in range(count))


@dataclass(frozen=True, slots=True)
class Disk:
    """Files by full path, and folders; what a next process finds."""

    files: dict[str, bytes]
    folders: frozenset[str]

    def write(self, root: str, target: str) -> None:
        """Builds the disk again below ``target``; ``root`` is where it stood."""
        for folder in sorted(self.folders):
            os.makedirs(target + folder.removeprefix(root), exist_ok=True)
        for path, content in self.files.items():
            with open(target + path.removeprefix(root), "wb") as file:
                file.write(content)


class Unsure:
    """The disk at one moment of a log: what is certain, and what hangs in the air. ``take`` goes one step
    on."""

    def __init__(self, log: DiskLog) -> None:
        self._root = log.root
        self._certain: dict[int, bytes] = {
            number: log.first_files[path] for path, number in log.first_numbers.items()
        }
        self._names: dict[str, int] = dict(log.first_numbers)
        self._folders: set[str] = set(log.first_folders)
        self._bytes_pending: dict[int, list[Wrote | Cut]] = {}
        self._names_pending: list[Named | Removed | Moved | FolderMade] = []

    def take(self, op: Op) -> None:
        match op:
            case Wrote() | Cut():
                self._bytes_pending.setdefault(op.file, []).append(op)
            case Synced():
                pending = self._bytes_pending.pop(op.file, ())
                self._certain[op.file] = _applied(self._certain.get(op.file, b""), pending)
            case Named() | Removed() | Moved() | FolderMade():
                self._names_pending.append(op)
            case FolderSynced():
                mine = [change for change in self._names_pending if _folder_of(change) == op.path]
                self._names_pending = [c for c in self._names_pending if _folder_of(c) != op.path]
                for change in mine:
                    _rename(self._names, self._folders, change)
            case Marked():
                pass

    @property
    def pending(self) -> bool:
        """Whether fates differ at all."""
        return bool(self._bytes_pending or self._names_pending)

    def disk(self, fate: Fate) -> Disk:
        """What is left when the power goes now, in this way."""
        rng = SeededRng(f"fate {fate.seed}")
        names, folders = dict(self._names), set(self._folders)
        for change in self._names_pending:
            if _happens(change, fate.names, rng):
                _rename(names, folders, change)
        files = {}
        for path, number in names.items():
            if _stands(os.path.dirname(path), folders, self._root):
                files[path] = self._content(number, fate, rng)
        kept = frozenset(folder for folder in folders if _stands(folder, folders, self._root))
        return Disk(files, kept)

    def _content(self, number: int, fate: Fate, rng: SeededRng) -> bytes:
        certain = self._certain.get(number, b"")
        pending = self._bytes_pending.get(number)
        if not pending:
            return certain
        return _applied(certain, _left(pending, fate.bytes, len(certain), rng))


def walk(log: DiskLog, *, upto: int | None = None) -> Iterator[tuple[int, Unsure]]:
    """Every moment of a log, from before the first step: how many steps were taken, and the disk then. The
    disk is the same object each time."""
    unsure = Unsure(log)
    yield 0, unsure
    for number, op in enumerate(log.ops[:upto], 1):
        unsure.take(op)
        yield number, unsure


def _folder_of(change: Named | Removed | Moved | FolderMade) -> str:
    return os.path.dirname(change.target if isinstance(change, Moved) else change.path)


def _rename(names: dict[str, int], folders: set[str], change: Named | Removed | Moved | FolderMade) -> None:
    match change:
        case Named():
            names[change.path] = change.file
        case Removed():
            names.pop(change.path, None)
        case Moved():
            if names.get(change.source) == change.file:
                del names[change.source]
            names[change.target] = change.file
        case FolderMade():
            folders.add(change.path)


def _stands(folder: str, folders: set[str], root: str) -> bool:
    """Whether a folder and all above it, up to the root, have their names."""
    while folder != root:
        if folder not in folders:
            return False
        folder = os.path.dirname(folder)
    return True


def _happens(change: Op, names: Names, rng: SeededRng) -> bool:
    match names:
        case Names.NONE:
            return False
        case Names.ALL:
            return True
        case Names.REMOVALS:
            return isinstance(change, Removed)
        case Names.SOME:
            return rng.random() < 0.5


def _left(pending: Sequence[Wrote | Cut], how: Bytes, size: int, rng: SeededRng) -> Iterator[Wrote | Cut]:
    """What is left of the pending steps of one file whose certain size is ``size``."""
    kinds: tuple[Bytes, ...] = (Bytes.NONE, Bytes.ALL, Bytes.SIZES, Bytes.TORN, Bytes.PREFIX)
    if how is Bytes.MIXED:
        how = kinds[int(rng.random() * len(kinds))]
    match how:
        case Bytes.NONE:
            return
        case Bytes.ALL:
            yield from pending
        case Bytes.SIZES:
            yield from _zeros(pending, size)
        case Bytes.TORN:
            yield from _sectors(pending, lambda: rng.random() < 0.5)
        case Bytes.PREFIX:
            whole = int(rng.random() * len(pending))
            yield from pending[:whole]
            yield from _half(pending[whole], rng)
        case Bytes.MIXED:
            raise AssertionError("decided above")


def _zeros(pending: Sequence[Wrote | Cut], size: int) -> Iterator[Wrote | Cut]:
    end = max((op.at_bytes + len(op.content) for op in pending if isinstance(op, Wrote)), default=size)
    if end > size:
        yield Cut(pending[0].file, end)


def _sectors(pending: Sequence[Wrote | Cut], kept: Callable[[], bool]) -> Iterator[Wrote | Cut]:
    for op in pending:
        if isinstance(op, Cut):
            if kept():
                yield op
            continue
        at, end = op.at_bytes, op.at_bytes + len(op.content)
        while at < end:
            border = min(end, (at // SECTOR_BYTES + 1) * SECTOR_BYTES)
            if kept():
                yield Wrote(op.file, at, op.content[at - op.at_bytes : border - op.at_bytes])
            at = border


def _half(op: Wrote | Cut, rng: SeededRng) -> Iterator[Wrote | Cut]:
    if isinstance(op, Wrote):
        border = op.at_bytes + int(rng.random() * len(op.content))
        border -= border % SECTOR_BYTES
        if border > op.at_bytes:
            yield Wrote(op.file, op.at_bytes, op.content[: border - op.at_bytes])


def _applied(content: bytes, ops: Sequence[Wrote | Cut] | Iterator[Wrote | Cut]) -> bytes:
    held = bytearray(content)
    for op in ops:
        if isinstance(op, Cut):
            missing = op.size_bytes - len(held)
            if missing < 0:
                del held[op.size_bytes :]
            held.extend(bytes(max(0, missing)))
        else:
            held.extend(bytes(max(0, op.at_bytes - len(held))))
            held[op.at_bytes : op.at_bytes + len(op.content)] = op.content
    return bytes(held)
