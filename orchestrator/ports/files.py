"""Where bytes become files: the data plane and its destinations."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from orchestrator.core.job import DestinationSpec
from orchestrator.core.model import ColumnsFound, LinkExpired, Receipt, Ticket
from orchestrator.core.redact import PresignedLink
from orchestrator.errors import OrchestratorError
from orchestrator.ports.service import FileAnswer

__all__ = ["DataPlane", "Destination", "PieceSource", "Publication", "PublishOutcome"]


@dataclass(frozen=True, slots=True)
class Publication:
    """Move ``staged_path`` to ``path``. ``replaces_own`` allows an existing file there: the ledger says it is
    ours."""

    key: str
    staged_path: str
    path: str
    sha256: str
    size_bytes: int
    replaces_own: bool = False


@dataclass(frozen=True, slots=True)
class PublishOutcome:
    """``error`` is None when the file stands; ``lost`` when neither staged nor published bytes were found."""

    key: str
    error: OrchestratorError | None = None
    lost: bool = False


class Destination(Protocol):
    """One folder or bucket prefix."""

    async def publish(self, batch: Sequence[Publication]) -> tuple[PublishOutcome, ...]:
        """Idempotent: a file of equal digest already at the path counts as published. A foreign one gives
        PathOccupied and is never overwritten. Renames first, then one sync per folder; when it returns, all
        is durable. Raises DiskFull, StorageError."""
        ...

    async def staged_intact(self, staged_path: str, sha256: str, size_bytes: int) -> bool:
        """Whether a staged artifact is still there, whole."""
        ...

    async def discard(self, staged_path: str) -> None:
        """Delete a staged artifact and its traces; absent is fine."""
        ...

    async def retire(self, path: str, sha256: str) -> bool:
        """Delete a published file of ours that another one has replaced, durably. Absent is fine. False when
        its bytes are not those: then it is left alone."""
        ...

    async def check(self, path: str, *, size_bytes: int, sha256: str | None) -> str:
        """Empty when the published file is as the ledger says, else ``missing``, ``not a file`` (something
        else stands there), ``size differs`` or ``digest differs``."""
        ...

    async def rows(self, path: str, *, form: str, time_field: str, expected: int) -> int | None:
        """How many rows the published file holds; None when it cannot be read as rows. ``form`` and
        ``expected`` are what the ledger says: where the file's line ends come to that, no row is looked at.
        Raises StorageError."""
        ...


class DataPlane(Protocol):
    """Turns a finished remote task into a staged artifact."""

    async def transfer(self, ticket: Ticket) -> Receipt | LinkExpired | ColumnsFound:
        """Fetch (resuming what an earlier call of the same ``attempt_key`` left), check, clip, convert,
        stage. Raises BrokenBody, RowsOutsideWindow, FileMissing, ServiceFault, Unreachable, DiskFull,
        StorageError. Cancelling keeps what was fetched."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class PieceSource(Protocol):
    """A FileSource that can also ask for a piece of a file, so that several connections may bring one."""

    def piece(
        self, link: PresignedLink, *, start_bytes: int, end_bytes: int, etag: str
    ) -> AbstractAsyncContextManager[FileAnswer]:
        """GET from ``start_bytes`` up to and without ``end_bytes``, with If-Range. A body that ends early
        raises Unreachable after its bytes were handed out. Raises ServiceFault for an answer that is not
        exactly that piece of the file with that strong ETag, and what ``FileSource.open`` raises."""
        ...


class DestinationFor(Protocol):
    """Finds the destination a spec names; one per spec and run."""

    def __call__(self, spec: DestinationSpec) -> Destination: ...
