"""What the staging area holds: fetched bytes, how far they are safe, and artifacts that wait to be published.

For one attempt key, inside ``<destination>/.orchestrator/staging``:

    <key>.part        wire bytes, in order
    <key>.part.json   how much of them is safe; once done, the digest and the receipt
    <key>.draft       an artifact being written
    <key>.staged      the finished artifact
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import orjson

from orchestrator.core.model import Receipt, Ticket
from orchestrator.core.window import Window
from orchestrator.errors import DiskFull, StorageError, UsageError

__all__ = [
    "FOLDER",
    "SUFFIXES",
    "AppendFile",
    "Progress",
    "StagingArea",
    "fdatasync",
    "fingerprint",
    "receipt_from_record",
    "receipt_to_record",
    "size_of",
    "storage_faults",
    "sync_folder",
    "write_all",
]

FOLDER: Final = os.path.join(".orchestrator", "staging")
SUFFIXES: Final = (".part", ".part.json", ".part.json.new", ".draft", ".staged")
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_KEY: Final = re.compile(r"[a-z0-9-]{1,128}")


@contextmanager
def storage_faults(path: str) -> Iterator[None]:
    """Turns what the operating system says about files into DiskFull or StorageError, naming the path."""
    try:
        yield
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else path
        if error.errno in _FULL:
            raise DiskFull(f"no room left for {where}: {error.strerror}") from error
        raise StorageError(f"{where}: {error.strerror or error}") from error


def fdatasync(descriptor: int) -> None:
    """Durable content; the platforms without fdatasync have fsync."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def sync_folder(path: str) -> None:
    """Makes names created, renamed or removed in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes) -> None:
    """All of it: the system may take a part."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _empty(folder: str) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


@dataclass(frozen=True, slots=True)
class Progress:
    """The sidecar. ``offset_bytes`` of the part are durable; ``sha256`` is "" until all is fetched;
    ``receipt`` is set when the artifact stands, for the ticket that ``fingerprint`` describes. ``alone``:
    asking for this file in pieces went wrong."""

    offset_bytes: int = 0
    etag: str = ""
    total_bytes: int | None = None
    wire_bytes: int = 0
    sha256: str = ""
    receipt: dict[str, Any] | None = field(default=None)
    fingerprint: str = ""
    alone: bool = False


@dataclass(frozen=True, slots=True)
class StagingArea:
    """The files of one attempt."""

    folder: str
    key: str

    @classmethod
    def of(cls, ticket: Ticket) -> StagingArea:
        """Raises UsageError when the destination is no folder or the key could not be a file name."""
        url = ticket.destination.url
        if not os.path.isabs(url):
            raise UsageError(f"{url} is no absolute folder")
        if not _KEY.fullmatch(ticket.attempt_key):
            raise UsageError(f"attempt key {ticket.attempt_key!r} may hold a-z, 0-9 and - only")
        return cls(os.path.join(url, FOLDER), ticket.attempt_key)

    @property
    def part(self) -> str:
        return self._path(".part")

    @property
    def sidecar(self) -> str:
        return self._path(".part.json")

    @property
    def draft(self) -> str:
        return self._path(".draft")

    @property
    def staged(self) -> str:
        return self._path(".staged")

    def _path(self, suffix: str) -> str:
        return os.path.join(self.folder, self.key + suffix)

    def prepare(self, certain: set[str]) -> None:
        """Makes the folder, durably, and adds it to ``certain``: those that need no more than a look. One
        that stands empty may be all that a process did before it died: it is synced again."""
        missing: list[str] = []
        at = self.folder
        while not os.path.isdir(at):
            missing.append(at)
            at = os.path.dirname(at)
        if not missing and (self.folder in certain or not _empty(self.folder)):
            certain.add(self.folder)
            return
        for path in reversed(missing):
            with suppress(FileExistsError):
                os.mkdir(path)
        above = os.path.dirname(self.folder)
        for path in sorted({above, os.path.dirname(above), *map(os.path.dirname, missing)}, key=len):
            sync_folder(path)
        certain.add(self.folder)

    def load(self) -> Progress | None:
        """What an earlier call recorded; None when nothing usable is there. What it speaks of is durable:
        whoever died right after recording it may not have come to sync the folder."""
        if os.path.lexists(self.sidecar):
            sync_folder(self.folder)
        try:
            with open(self.sidecar, "rb") as file:
                found = orjson.loads(file.read())
            progress = Progress(**found)
            total = progress.total_bytes
            usable = (
                isinstance(progress.offset_bytes, int)
                and progress.offset_bytes >= 0
                and isinstance(progress.etag, str)
                and isinstance(progress.sha256, str)
                and isinstance(progress.wire_bytes, int)
                and (total is None or isinstance(total, int))
            )
        except (FileNotFoundError, orjson.JSONDecodeError, TypeError):
            return None
        return progress if usable else None

    def save(self, progress: Progress, *, durable: bool = True) -> None:
        """Durable when it returns. What it speaks of must be durable before.

        Without ``durable`` it outlives the process and not the machine: what a power cut leaves of it cannot
        be read, and is taken for nothing.
        """
        fresh = self.sidecar + ".new" if durable else self.sidecar
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o666)
        try:
            write_all(descriptor, orjson.dumps(asdict(progress)))
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if durable:
            os.replace(fresh, self.sidecar)
            sync_folder(self.folder)

    def discard(self) -> None:
        """Deletes every trace; absent is fine."""
        for suffix in SUFFIXES:
            with suppress(FileNotFoundError):
                os.unlink(self._path(suffix))


def receipt_to_record(receipt: Receipt) -> dict[str, Any]:
    """A receipt as JSON can hold it."""
    return asdict(receipt)


def receipt_from_record(record: dict[str, Any]) -> Receipt:
    """Raises TypeError, ValueError or KeyError when it is none."""
    kept = record["kept"]
    return Receipt(**{**record, "kept": None if kept is None else Window(**kept)})


class AppendFile:
    """A file that grows at its end: the part, or a draft. Calls come from pool threads: a lock keeps a late
    write from meeting a closed file, or another file under the same number."""

    def __init__(self, path: str) -> None:
        self.offset_bytes = 0
        """How many bytes are written, durable or not."""
        self._path = path
        self._descriptor: int | None = None
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        return self._descriptor is not None

    @property
    def source(self) -> str:
        """What ``decode.decoded`` reads."""
        return self._path

    def open(self, keep_bytes: int) -> None:
        """Opens or creates the file, cut to ``keep_bytes``; an open one stays as it is."""
        with self._lock, storage_faults(self._path):
            if self._descriptor is None:
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self._descriptor = os.open(self._path, flags, 0o666)
                self._cut(self._descriptor, keep_bytes)

    def reopen(self, keep_bytes: int) -> bool:
        """Opens an existing file, cut to ``keep_bytes``; False when it is not there or shorter."""
        with self._lock, storage_faults(self._path):
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                return False
            self._descriptor = descriptor
            if os.fstat(descriptor).st_size < keep_bytes:
                return False
            self._cut(descriptor, keep_bytes)
            return True

    def cut(self) -> None:
        """Drops all content, if there is any."""
        with self._lock, storage_faults(self._path):
            self.offset_bytes = 0
            if self._descriptor is not None:
                self._cut(self._descriptor, 0)

    def _cut(self, descriptor: int, keep_bytes: int) -> None:
        os.ftruncate(descriptor, keep_bytes)
        os.lseek(descriptor, keep_bytes, os.SEEK_SET)
        self.offset_bytes = keep_bytes

    def append(self, block: Sequence[bytes], at: int) -> bool:
        """Writes the pieces of ``block`` if they belong at the end as it stands now; False when the file was
        closed or cut meanwhile."""
        with self._lock:
            if self._descriptor is None or at != self.offset_bytes:
                return False
            with storage_faults(self._path):
                for piece in block:
                    write_all(self._descriptor, piece)
            self.offset_bytes += sum(map(len, block))
            return True

    def read(self, start: int, size_bytes: int) -> bytes:
        with self._lock, storage_faults(self._path):
            return os.pread(self._descriptor, size_bytes, start) if self._descriptor is not None else b""

    def sync(self) -> int:
        """Makes what is written so far durable; returns how much that is."""
        with self._lock, storage_faults(self._path):
            offset = self.offset_bytes
            # A descriptor of its own, so that writes go on while the disk works.
            descriptor = os.dup(self._descriptor) if self._descriptor is not None else None
        if descriptor is None:
            return 0
        try:
            with storage_faults(self._path):
                fdatasync(descriptor)
        finally:
            os.close(descriptor)
        return offset

    def close(self) -> None:
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def become(self, path: str) -> None:
        """Stand at ``path`` instead, with durable content."""
        self.sync()
        with storage_faults(path):
            os.replace(self._path, path)


def size_of(path: str) -> int | None:
    """In bytes; None when there is no such file."""
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return None


def fingerprint(ticket: Ticket) -> str:
    """What of a ticket decides what the artifact looks like."""
    asked = (
        asdict(ticket.window),
        asdict(ticket.requested),
        ticket.limit,
        ticket.order,
        ticket.output,
        ticket.compression,
        ticket.time_field,
        ticket.part,
        ticket.edge_ms,
        ticket.columns and [(column.name, column.type) for column in ticket.columns],
    )
    return hashlib.sha256(orjson.dumps(asked)).hexdigest()
