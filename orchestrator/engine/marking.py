"""How is written down what an audit found, so that the next run mends it?

Nothing here deletes a file or asks the service. Each of these is one commit; without a writer none is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from orchestrator.core import events as ev
from orchestrator.core.job import Job
from orchestrator.core.lifecycle import Rules, transition
from orchestrator.core.model import Evidence, Slice, SliceState, slice_id
from orchestrator.core.reasons import Reason
from orchestrator.core.window import Window
from orchestrator.engine.coverage import ALL_STREAMS
from orchestrator.engine.transaction import Transaction
from orchestrator.ports.store import Changes, Covered, JournalEntry, ManifestReader, ManifestWriter
from orchestrator.ports.time import Clock

__all__ = ["Marking"]


@dataclass(frozen=True, slots=True)
class Marking:
    """Writes for one audit; ``writer`` is None where it must only tell. All methods say whether they wrote.
    Raises what commits raise."""

    manifest: ManifestReader
    writer: ManifestWriter | None
    clock: Clock

    async def mark(self, job: Job, slice_: Slice, reason: str) -> bool:
        """A stored slice, or a second that was divided, is covered no more: a gap for ``reason``."""
        if self.writer is None:
            return False
        now = self.clock.now()
        event = ev.Marked(slice_.id, reason)
        transaction = Transaction(now)
        transaction.add(slice_, event, transition(slice_, event, now, Rules(job)))
        await self.writer.commit(transaction.changes())
        return True

    async def disown(self, slice_: Slice) -> bool:
        """A row of the ledger that is about no window of ours any more ends; what it may have covered is
        looked at as coverage without a slice."""
        if self.writer is None:
            return False
        after = replace(slice_, state=SliceState.ABANDONED, receipt=None, best=None, evidence=Evidence.NONE)
        await self._commit(Changes(slices=(after,), journal=(self._entry(after, "disowned"),)))
        return True

    async def expect(self, job: Job, windows: Iterable[Window], uncovered: Window) -> bool:
        """Covered, but no slice holds it: the window is uncovered, and each of ``windows`` in it becomes a
        slice that failed, so that the next run exports it. A slice that once was there remembers where its
        file stands."""
        if self.writer is None:
            return False
        failed = [await self._failed(job, window) for window in windows]
        stream = job.identity.logstream
        detail = {"from_s": uncovered.start_s, "to_s": uncovered.end_s}
        lost = JournalEntry(self.clock.now(), job.name, "", "uncovered", dict(detail))
        entries = [self._entry(slice_, "marked") for slice_ in failed]
        await self._commit(
            Changes(
                slices=tuple(failed),
                uncovered=(Covered(job.name, stream or ALL_STREAMS, uncovered),),
                journal=(lost, *entries),
            )
        )
        return True

    async def _failed(self, job: Job, window: Window) -> Slice:
        stream = job.identity.logstream
        id_ = slice_id(job, stream, window)
        known = await self.manifest.slice(id_)
        slice_ = known or Slice(id_, job.name, stream, window)
        if not slice_.published_path:
            slice_ = replace(slice_, published_path=await self._told_path(id_))
        return replace(
            slice_,
            state=SliceState.FAILED,
            reason=Reason.DAMAGED,
            evidence=Evidence.NONE,
            updated_at=self.clock.now(),
        )

    async def _told_path(self, id_: str) -> str:
        """Where the journal says that the slice's file was published last."""
        told = [line.entry for line in await self.manifest.story(id_) if line.entry.event == "published"]
        return str(told[-1].detail.get("path") or "") if told else ""

    async def cover_again(self, job: Job, windows: Iterable[Window]) -> bool:
        """Stored, as an audit has just seen, but not covered: it is again."""
        if self.writer is None:
            return False
        stream = job.identity.logstream or ALL_STREAMS
        now, pieces = self.clock.now(), tuple(windows)
        entries = [
            JournalEntry(now, job.name, "", "covered_again", {"from_s": piece.start_s, "to_s": piece.end_s})
            for piece in pieces
        ]
        covered = tuple(Covered(job.name, stream, piece) for piece in pieces)
        await self._commit(Changes(covered=covered, journal=tuple(entries)))
        return True

    async def give_way(self, job: Job, loser: Slice, left: Iterable[Window]) -> bool:
        """Others hold the window of ``loser``, all but what is ``left``: it ends as superseded. Its file goes
        with the next run, once what is left is stored too."""
        if self.writer is None:
            return False
        receipt = loser.receipt
        after = replace(
            loser,
            state=SliceState.SUPERSEDED,
            reason=Reason.REPLACED,
            evidence=Evidence.NONE,
            path="",
            published_path=loser.published_path or loser.path,
            published_sha256=loser.published_sha256 or (receipt.stored_sha256 if receipt else ""),
            receipt=None,
            best=None,
            updated_at=self.clock.now(),
        )
        rest = [replace(await self._failed(job, window), parent=loser.id) for window in left]
        stream = job.identity.logstream or ALL_STREAMS
        await self._commit(
            Changes(
                slices=(after, *rest),
                uncovered=tuple(Covered(job.name, stream, slice_.window) for slice_ in rest),
                journal=(self._entry(after, "stored_twice"), *(self._entry(one, "marked") for one in rest)),
            )
        )
        return True

    def _entry(self, slice_: Slice, event: str) -> JournalEntry:
        detail: dict[str, str | int | float | None] = {"state": slice_.state.value}
        if slice_.reason:
            detail["reason"] = slice_.reason
        return JournalEntry(self.clock.now(), slice_.job, slice_.id, event, detail)

    async def _commit(self, changes: Changes) -> None:
        if self.writer is not None:
            await self.writer.commit(changes)
