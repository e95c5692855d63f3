"""Is a stored slice what its row in the ledger says: file, rows, remote task, window?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from orchestrator.core.job import JobIdentity
from orchestrator.core.model import Receipt, Slice, SliceState, slice_id
from orchestrator.core.reasons import Reason, mv_line
from orchestrator.core.window import Window
from orchestrator.engine.context import JobContext
from orchestrator.engine.finding import (
    ALLOW_READING,
    UNREADABLE,
    Finding,
    look_again_line,
    redo_line,
    run_line,
)
from orchestrator.engine.marking import Marking
from orchestrator.errors import StorageError

__all__ = ["FileAudit", "Files", "unpadded"]


@dataclass(slots=True)
class Files:
    """How many files were looked at so far, and how many of them were read whole."""

    checked: int = 0
    read: int = 0
    read_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Flaw:
    """What is wrong with a slice, and the slice as it is to be marked."""

    problem: str
    slice: Slice
    reason: Reason = Reason.DAMAGED


@dataclass(slots=True)
class FileAudit:
    """Looks at the slices of one job or of one of its streams, and marks those that are not what they should
    be. ``identity`` is the job's as the manifest has it."""

    context: JobContext
    identity: JobIdentity
    marking: Marking
    files: Files
    jobs_path: str

    async def finding_of(self, slice_: Slice, *, whole: bool) -> Finding | None:
        """What is wrong with a slice, None when it is sound as far as was looked: a file is read only where
        ``whole`` says so. One that cannot be read is never marked. Raises what commits raise."""
        job = self.context.job
        flaw = self._row_flaw(slice_)
        if flaw is None and slice_.state is SliceState.DONE and slice_.receipt is not None:
            try:
                flaw = await self._file_flaw(slice_, slice_.receipt, whole=whole)
            except StorageError:
                return Finding(
                    job.name, slice_.window, slice_.id, slice_.path, UNREADABLE, advice=ALLOW_READING
                )
        if flaw is None:
            return None
        marked = await self.marking.mark(job, flaw.slice, flaw.reason)
        mend = run_line(self.jobs_path, job) if marked else redo_line(self.jobs_path, job, slice_.id)
        if flaw.reason is Reason.PATH_OCCUPIED:
            mend = f"{mv_line(slice_.path)} && {mend}"
        return Finding(job.name, slice_.window, slice_.id, slice_.path, flaw.problem, marked, mend)

    def is_as_made(self, slice_: Slice) -> bool:
        """Whether its window, stream and generation are the ones its id was made of."""
        return slice_.id == self._id_of(slice_, slice_.window, slice_.logstream)

    async def disowned(self, slice_: Slice) -> Finding:
        """A slice that is not as it was made. What it was made for is found again in its receipt or its
        remote task, and marked; if nowhere, the row ends."""
        job, true = self.context.job, self._as_made(slice_)
        if true is not None:
            marked = await self.marking.mark(job, true, Reason.DAMAGED)
        else:
            marked = await self.marking.disown(slice_)
        window = true.window if true is not None else slice_.window
        mend = run_line(self.jobs_path, job) if marked else look_again_line(self.jobs_path, job)
        return Finding(job.name, window, slice_.id, slice_.path, "ledger row altered", marked, mend)

    def _as_made(self, slice_: Slice) -> Slice | None:
        for window in _candidates(slice_):
            for stream in dict.fromkeys((slice_.logstream, self.context.job.identity.logstream)):
                if slice_.id == self._id_of(slice_, window, stream):
                    return replace(slice_, window=window, logstream=stream)
        return None

    def _id_of(self, slice_: Slice, window: Window, logstream: str) -> str:
        job = replace(self.context.job, identity=self.identity)
        return slice_id(job, logstream, window, slice_.generation, slice_.part)

    def _row_flaw(self, slice_: Slice) -> _Flaw | None:
        receipt = slice_.receipt
        if slice_.state is not SliceState.DONE or receipt is None:
            return None
        if slice_.task is None:
            return _Flaw("no remote task", slice_)
        adds_up = receipt.served_rows - receipt.dropped_rows == receipt.stored_rows
        if adds_up and slice_.published_rows == receipt.stored_rows:
            return None
        # Neither figure is believed; a file with fewer rows must not take the place of this one.
        rows = min(slice_.published_rows or receipt.stored_rows, receipt.stored_rows)
        return _Flaw("rows do not add up", replace(slice_, published_rows=rows))

    async def _file_flaw(self, slice_: Slice, receipt: Receipt, *, whole: bool) -> _Flaw | None:
        place = self.context.destination
        self.files.checked += 1
        sha256 = receipt.stored_sha256 if whole else None
        found = await place.check(slice_.path, size_bytes=receipt.stored_bytes, sha256=sha256)
        if whole and found in ("", "digest differs"):
            self.files.read += 1
            self.files.read_bytes += receipt.stored_bytes
        if found == "not a file":
            # What stands there is not ours: nothing may be published over it, nor taken for staged.
            return _Flaw(found, replace(slice_, receipt=None), Reason.PATH_OCCUPIED)
        if found or not whole:
            return _Flaw(found, slice_) if found else None
        rows = await place.rows(
            slice_.path,
            form=receipt.form,
            time_field=self.context.job.time_field,
            expected=receipt.stored_rows,
        )
        if rows is None or rows == receipt.stored_rows:
            return None
        return _Flaw("rows differ", replace(slice_, published_rows=rows))


def _candidates(slice_: Slice) -> Iterator[Window]:
    yield slice_.window
    if slice_.receipt is not None and slice_.receipt.kept is not None:
        yield slice_.receipt.kept
    if slice_.task is not None:
        yield from unpadded(slice_.task.window)


def unpadded(asked: Window) -> Iterable[Window]:
    """The windows that a remote task which asked for ``asked`` may have been about: a request may begin and
    end a second too far out."""
    for start_s in (asked.start_s, asked.start_s + 1):
        for end_s in (asked.end_s, asked.end_s - 1):
            if start_s < end_s:
                yield Window(start_s, end_s)
