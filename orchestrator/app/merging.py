"""Which stored files make up a window of a job? What the ledger says, for a merge that reads it without a
lock and while a run goes on."""

from __future__ import annotations

import asyncio
import os
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final
from zlib import crc32

from orchestrator.app.reading import JobStatus, job_status, manifest_to_read
from orchestrator.core.job import Job
from orchestrator.core.model import Receipt, Slice, SliceState
from orchestrator.core.window import Window, WindowSet, intersect, normalise, subtract
from orchestrator.dataplane.stored import Source, shape_named
from orchestrator.errors import IntegrityError, UsageError
from orchestrator.ports.store import ManifestReader

__all__ = ["Archive", "Extent", "archive"]

PAGE: Final = 500
_READ_STATES: Final = (SliceState.DONE, SliceState.EMPTY, SliceState.DELIVERED, SliceState.FAILED)


@dataclass(frozen=True, slots=True)
class Extent:
    """All files of what was covered when the ledger was opened. ``mark`` is another one when other files are
    named. ``unbacked`` is what the ledger calls covered without naming a file, or emptiness, for it."""

    files: int = 0
    rows: int = 0
    mark: int = 0
    unbacked: WindowSet = ()

    def with_file(self, source: Source) -> Extent:
        mark = self.mark ^ crc32(f"{source.slice} {source.sha256}".encode())
        return Extent(self.files + 1, self.rows + source.rows, mark, self.unbacked)


class Archive:
    """The stored files of one job's window. ``status`` says what is covered and which gaps there are.

    The ledger is read page by page while a run may change it: ``given`` is the extent of the files handed out
    last, to be held against what ``extent`` said before.
    """

    def __init__(self, job: Job, window: Window, status: JobStatus, pages: _Pages) -> None:
        self.job = job
        self.window = window
        self.status = status
        self.given = Extent()
        self._pages = pages

    def sources(self) -> Iterator[Source]:
        """The files by the start of their windows. Of a window that is a gap the fullest file, if the ledger
        has one."""
        self.given = Extent()
        for page in self._pages.all():
            for item in page:
                if isinstance(item, Source):
                    if self._is_covered(item.window):
                        self.given = self.given.with_file(item)
                    yield item

    def extent(self, taken: str = "") -> Extent:
        """From the ledger alone. Raises UsageError when one of the files is ``taken``."""
        found = Extent()
        proven: list[Window] = []
        place = os.path.realpath(taken) if taken else ""
        for page in self._pages.all():
            for item in page:
                if isinstance(item, Source):
                    if self._is_covered(item.window):
                        found = found.with_file(item)
                    if place and os.path.realpath(item.path) == place:
                        raise UsageError(
                            f"{taken} is a file of the archive itself", hint="choose another -o FILE"
                        )
                window = item.window
                if proven and window.start_s <= proven[-1].end_s:
                    proven[-1] = Window(proven[-1].start_s, max(proven[-1].end_s, window.end_s))
                else:
                    proven.append(window)
        return replace(found, unbacked=subtract(self.status.covered, proven))

    def _is_covered(self, window: Window) -> bool:
        covered = self.status.covered
        start_s = max(window.start_s, self.window.start_s)
        place = bisect_right(covered, start_s, key=lambda piece: piece.start_s) - 1
        return place >= 0 and min(window.end_s, self.window.end_s) <= covered[place].end_s


@dataclass(frozen=True, slots=True)
class _Nothing:
    """A window proven to hold no row."""

    window: Window


@contextmanager
def archive(manifest: str, job: Job, window: Window, jobs_words: str) -> Iterator[Archive]:
    """Open the ledger at ``manifest`` to read. The loop inside runs only while the ledger is asked. Raises
    UsageError when the job exports something else now, ManifestDamaged, ManifestTooNew, StorageError."""
    from orchestrator.engine.takeup import check_identity

    with asyncio.Runner() as runner:
        opening = manifest_to_read(manifest)
        reader = runner.run(opening.__aenter__())
        try:
            runner.run(check_identity(job, reader))
            status = runner.run(job_status(job, reader, jobs_words))
            yield Archive(job, window, status, _Pages(runner, reader, job, window, status))
        finally:
            runner.run(opening.__aexit__(None, None, None))


_Taken = dict[str, WindowSet]
"""By log stream: what the short files met so far stand for."""


class _Pages:
    """Slices of the window, some hundred at a time, as what a merge needs of them."""

    def __init__(
        self, runner: asyncio.Runner, reader: ManifestReader, job: Job, window: Window, status: JobStatus
    ) -> None:
        self._runner = runner
        self._reader = reader
        self._job = job
        self._window = window
        self._missing = status.missing

    def all(self) -> Iterator[list[Source | _Nothing]]:
        after = ""
        taken: _Taken = {}
        while True:
            slices = self._runner.run(self._page(after))
            yield self._runner.run(self._chosen(slices, taken))
            if len(slices) < PAGE:
                return
            after = slices[-1].id

    async def _page(self, after: str) -> tuple[Slice, ...]:
        return await self._reader.slices(
            self._job.name, _READ_STATES, window=self._window, limit=PAGE, after=after
        )

    async def _chosen(
        self, slices: tuple[Slice, ...], taken: dict[str, WindowSet]
    ) -> list[Source | _Nothing]:
        return [item async for item in self._each(slices, taken)]

    async def _each(
        self, slices: tuple[Slice, ...], taken: dict[str, WindowSet]
    ) -> AsyncIterator[Source | _Nothing]:
        for slice_ in slices:
            match slice_.state:
                case SliceState.EMPTY:
                    yield _Nothing(slice_.window)
                case SliceState.DELIVERED:
                    raise UsageError(
                        f"the files of job {self._job.name} were written by the service and are not here",
                        hint='only files of deliver = "files" can be merged',
                    )
                case SliceState.DONE if not slice_.whole or await self._stands_alone(slice_):
                    yield self._source(slice_, slice_.receipt, intersect((slice_.window,), (self._window,)))
                case SliceState.FAILED if slice_.published_path and not slice_.whole:
                    keep = await self._of_gap(slice_, taken)
                    if keep:
                        yield self._source(slice_, slice_.receipt, keep)
                case _:
                    pass

    async def _stands_alone(self, part: Slice) -> bool:
        """Whether no slice that this part was divided from has a file of the same rows."""
        parent = part.parent
        while parent:
            above = await self._reader.slice(parent)
            if above is None:
                return True
            if above.state is SliceState.DONE or (above.state is SliceState.FAILED and above.published_path):
                return False
            parent = above.parent if above.id != part.whole else ""
        return True

    async def _of_gap(self, slice_: Slice, taken: _Taken) -> WindowSet:
        """What a short file alone holds of its window."""
        receipt = slice_.receipt
        if receipt is None or receipt.stored_sha256 != slice_.published_sha256 or not receipt.form:
            return ()
        stream = slice_.logstream
        keep = intersect((slice_.window,), (self._window,))
        keep = subtract(intersect(keep, self._missing), taken.get(stream, ()))
        stored = await self._reader.slices(
            self._job.name, (SliceState.DONE,), window=slice_.window, limit=PAGE
        )
        keep = subtract(keep, [item.window for item in stored if item.logstream == stream or not stream])
        taken[stream] = normalise([*taken.get(stream, ())[-1:], *keep])
        return keep

    def _source(self, slice_: Slice, receipt: Receipt | None, keep: WindowSet) -> Source:
        path = slice_.published_path or slice_.path
        if receipt is None or not path or self._job.destination is None:
            raise IntegrityError(f"the ledger names no file for slice {slice_.id}, which it calls stored")
        try:
            shape = shape_named(receipt.form)
        except ValueError:
            raise UsageError(
                f"{path} is {receipt.form}, which this version does not merge",
                hint="merge with the version that wrote it",
            ) from None
        return Source(
            slice=slice_.id,
            path=os.path.join(self._job.destination.url, path),
            size_bytes=receipt.stored_bytes,
            sha256=receipt.stored_sha256,
            rows=receipt.stored_rows,
            shape=shape,
            window=slice_.window,
            keep=keep,
        )
