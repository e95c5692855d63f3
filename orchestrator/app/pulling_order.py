"""In which order do the stored files of a running export become readable?

From the manifest as it advances, and from nothing else: a file counts when its window is covered, which is
durable. Pieces come in time order without a second left out or told twice, while later slices still run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from dataclasses import dataclass

from orchestrator.core.events import Event
from orchestrator.core.job import Job
from orchestrator.core.model import Receipt, Slice, SliceState
from orchestrator.core.window import Window
from orchestrator.dataplane.stored import Source, shape_named
from orchestrator.engine.coverage import all_slices, covered_of
from orchestrator.ports.store import ManifestReader

__all__ = ["Hole", "Stored", "Unrolling"]

_TELLING = frozenset(
    {SliceState.DONE, SliceState.EMPTY, SliceState.FAILED, SliceState.SUPERSEDED, SliceState.DELIVERED}
)
"""What a slice that comes to stand here may add: coverage, or a gap."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The files of one window, all of it proven stored: none where it holds no row. More than one only where
    a single second had to be divided: their rows lie between each other's."""

    window: Window
    files: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Hole:
    """A window that is not proven stored, and why. ``files`` hold what of it there is."""

    window: Window
    reason: str
    files: tuple[Source, ...] = ()


class Unrolling:
    """An Observer that is told of every commit, and the pieces that follow from them.

    ``over`` says how far a run has ended and which gaps it left; ``stop`` that nobody wants any more.
    """

    def __init__(self, job: Job, manifest: ManifestReader) -> None:
        self._job = job
        self._manifest = manifest
        self._woken = asyncio.Event()
        self._failed: dict[str, Hole] = {}
        self._left: list[Hole] = []
        self._over_until_s = 0
        self._told_until_s = 0
        self._moved = asyncio.Event()
        self._stopped = False

    def changed(self, before: Slice | None, after: Slice, event: Event | None) -> None:
        if after.state is SliceState.FAILED:
            self._failed[after.id] = Hole(after.window, after.reason)
        elif after.id in self._failed:
            del self._failed[after.id]
        if after.state in _TELLING:
            self._woken.set()

    def noted(self, name: str, **detail: str | float | None) -> None:
        """Only slices count."""

    def over(self, gaps: Iterable[Hole], until_s: int) -> None:
        """A run over all before ``until_s`` has ended: what is not covered there is in ``gaps``, or was not
        tried."""
        self._left += gaps
        self._over_until_s = until_s
        self._woken.set()

    async def wants(self, from_s: int) -> None:
        """Returns when all before ``from_s`` is told, and what follows is waited for."""
        while self._told_until_s < from_s:
            self._moved.clear()
            await self._moved.wait()

    def stop(self) -> None:
        """The pieces end here."""
        self._stopped = True
        self._woken.set()

    async def pieces(self, window: Window) -> AsyncGenerator[Stored | Hole, None]:
        """The window piece by piece; ends early where a run left the rest untried. Whoever wants nothing
        behind a hole stops there. Raises StorageError."""
        at_s = window.start_s
        while at_s < window.end_s and not self._is_stopped():
            self._told_until_s = at_s
            self._moved.set()
            self._woken.clear()
            known_over = at_s < self._over_until_s
            covered = await covered_of(self._job, self._manifest)
            piece = next((part for part in covered if part.start_s <= at_s < part.end_s), None)
            if piece is not None:
                part = Window(at_s, min(piece.end_s, window.end_s))
                async for stored in self._stored(part):
                    if self._is_stopped():
                        return
                    yield stored
                at_s = part.end_s
                continue
            next_s = min((part.start_s for part in covered if part.start_s > at_s), default=window.end_s)
            hole = self._hole(at_s, min(next_s, window.end_s))
            if hole is not None:
                yield Hole(hole.window, hole.reason, await self._short_files(hole.window))
                at_s = hole.window.end_s
            elif known_over:
                return
            else:
                await self._woken.wait()

    def _is_stopped(self) -> bool:
        return self._stopped

    def _hole(self, at_s: int, until_s: int) -> Hole | None:
        """What is known for sure to be missing from ``at_s`` on."""
        for hole in (*self._failed.values(), *self._left):
            if hole.window.start_s <= at_s < hole.window.end_s:
                return Hole(Window(at_s, min(hole.window.end_s, until_s)), hole.reason)
        return None

    async def _stored(self, window: Window) -> AsyncIterator[Stored]:
        """The files of a covered window, neighbours apart, those of one window together; what is behind the
        last row is told as well, without a file."""
        group: list[Slice] = []
        told_s = window.start_s
        async for slice_ in all_slices(self._manifest, self._job.name, (SliceState.DONE,), window):
            if not _has_rows(slice_):
                continue
            if group and slice_.window.start_s >= max(member.window.end_s for member in group):
                yield self._together(group)
                group = []
            group.append(slice_)
        if group:
            last = self._together(group)
            told_s = last.window.end_s
            yield last
        if told_s < window.end_s:
            yield Stored(Window(told_s, window.end_s), ())

    def _together(self, group: list[Slice]) -> Stored:
        window = Window(group[0].window.start_s, max(member.window.end_s for member in group))
        return Stored(window, self._files(group))

    async def _short_files(self, window: Window) -> tuple[Source, ...]:
        """What there is of a window that is not covered: the fullest file of a slice that stayed short, and
        parts of a second whose siblings failed."""
        states = (SliceState.DONE, SliceState.FAILED)
        found = [slice_ async for slice_ in all_slices(self._manifest, self._job.name, states, window)]
        return self._files([slice_ for slice_ in found if _has_rows(slice_) and slice_.published_path])

    def _files(self, slices: Iterable[Slice]) -> tuple[Source, ...]:
        return tuple(_source(slice_, slice_.receipt) for slice_ in slices if slice_.receipt is not None)


def _source(slice_: Slice, receipt: Receipt) -> Source:
    return Source(
        slice=slice_.id,
        path=slice_.published_path or slice_.path,
        size_bytes=receipt.stored_bytes,
        sha256=receipt.stored_sha256,
        rows=receipt.stored_rows,
        shape=shape_named(receipt.form),
        window=slice_.window,
        keep=(slice_.window,),
    )


def _has_rows(slice_: Slice) -> bool:
    receipt = slice_.receipt
    return bool(slice_.path) and receipt is not None and receipt.stored_rows > 0
