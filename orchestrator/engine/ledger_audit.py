"""Does the ledger agree with itself: is every window covered that is stored, stored that is covered, and
stored once?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from orchestrator.core.job import Job, JobIdentity
from orchestrator.core.model import Evidence, Part, Slice, SliceState, slice_id
from orchestrator.core.reasons import Reason, short_by
from orchestrator.core.window import Window, WindowSet, intersect, normalise, subtract
from orchestrator.engine.coverage import all_slices, covered_of
from orchestrator.engine.file_audit import unpadded
from orchestrator.engine.finding import Finding, look_again_line, run_line
from orchestrator.engine.marking import Marking
from orchestrator.engine.stages.divide import gather
from orchestrator.ports.store import ManifestReader

__all__ = ["LedgerAudit", "divided_seconds", "stored_slices"]

STORED = (SliceState.DONE, SliceState.EMPTY, SliceState.DELIVERED)


async def stored_slices(job: Job, manifest: ManifestReader, window: Window | None) -> AsyncIterator[Slice]:
    """The stored slices of a job, or of the one stream that ``job`` is about, by start."""
    async for slice_ in all_slices(manifest, job.name, STORED, window):
        if not job.one_stream or slice_.logstream == job.identity.logstream:
            yield slice_


async def divided_seconds(job: Job, manifest: ManifestReader, window: Window) -> list[tuple[Slice, int]]:
    """The seconds that were divided and are stored, by start, each with the rows of its parts together."""
    found: list[tuple[Slice, int]] = []
    for whole in await manifest.divided(job.name, window):
        if job.one_stream and whole.logstream != job.identity.logstream:
            continue
        if whole.state is SliceState.SUPERSEDED and whole.evidence is not Evidence.NONE:
            gathered = await gather(whole.id, manifest)
            if gathered is not None:
                found.append((whole, gathered.rows))
    return sorted(found, key=lambda item: item[0].window)


@dataclass(slots=True)
class _Pieces:
    """Windows that come by start: what touches the last one lengthens it, so the list stays short."""

    windows: list[Window] = field(default_factory=list)

    def add(self, window: Window) -> None:
        last = self.windows[-1] if self.windows else None
        if last is not None and last.start_s <= window.start_s <= last.end_s:
            self.windows[-1] = Window(last.start_s, max(last.end_s, window.end_s))
        else:
            self.windows.append(window)


@dataclass(slots=True)
class LedgerAudit:
    """Is told of every sound slice of one job or stream, by start, and then says what does not agree.
    ``identity`` is the job's as the manifest has it."""

    job: Job
    identity: JobIdentity
    manifest: ManifestReader
    marking: Marking
    jobs_path: str
    _lost: list[Window] = field(default_factory=list)
    _proven: _Pieces = field(default_factory=_Pieces)
    _read: _Pieces = field(default_factory=_Pieces)
    _together: list[Slice] = field(default_factory=list)
    _twice: list[list[Slice]] = field(default_factory=list)
    _unread_parts: set[str] = field(default_factory=set)

    def add(self, slice_: Slice, *, read: bool) -> None:
        """A slice that is sound. ``read``: whatever it holds was read, so that it may be covered again."""
        if slice_.whole:  # its second is proven by all its parts together
            if not read:
                self._unread_parts.add(slice_.whole)
            return
        if slice_.replaces:  # waits to take the place of one that stands
            return
        self._proven.add(slice_.window)
        if read:
            self._read.add(slice_.window)
        if slice_.state is SliceState.DONE:
            self._gather_overlaps(slice_)

    def told(self, window: Window) -> None:
        """What is wrong there was said already."""
        self._proven.windows.append(window)

    def _gather_overlaps(self, slice_: Slice) -> None:
        if self._together and slice_.window.start_s < max(one.window.end_s for one in self._together):
            self._together.append(slice_)
            if len(self._together) == 2:
                self._twice.append(self._together)
        else:
            self._together = [slice_]

    async def findings(self, damaged: set[str]) -> list[Finding]:
        """What does not agree. Of the slices ``damaged`` was told already. Raises what commits raise."""
        if self.job.window is None:
            return []
        found = await self._of_divided(self.job.window, damaged)
        for cluster in self._twice:
            found += await self._stored_twice(cluster)
        covered = await covered_of(self.job, self.manifest)
        stored = subtract(self._proven.windows, self._lost)
        read = intersect(stored, self._read.windows)
        found += await self._uncovered(subtract(intersect(stored, (self.job.window,)), covered), read)
        return found + await self._unbacked(covered, stored)

    async def _of_divided(self, window: Window, damaged: set[str]) -> list[Finding]:
        """A divided second is sound when its parts hold what it was proven by, and what they held when they
        were last added up."""
        found: list[Finding] = []
        for whole, rows in await divided_seconds(self.job, self.manifest, window):
            parts = await self.manifest.parts(whole.id)
            short = await self._short(whole, rows, parts)
            if short:
                reason = short_by(short) if rows < (whole.recount or 0) else Reason.DAMAGED
                marked = await self.marking.mark(self.job, whole, reason)
                mend = self._mend(marked=marked)
                problem = "parts do not add up"
                found.append(Finding(self.job.name, whole.window, whole.id, "", problem, marked, mend))
                if marked:
                    continue
            self._proven.windows.append(whole.window)
            if whole.id not in self._unread_parts and not damaged.intersection(part.id for part in parts):
                self._read.windows.append(whole.window)
        return found

    async def _short(self, whole: Slice, rows: int, parts: Sequence[Slice]) -> int:
        """How many rows are wanting, at least; 0 when nothing is."""
        told = [line.entry for line in await self.manifest.story(whole.id) if line.entry.event == "gathered"]
        before = int(told[-1].detail.get("rows") or 0) if told else 0
        short = max(whole.recount or 0, before) - rows
        halves: dict[str, set[Part]] = {}
        for part in parts:
            if part.part and part.state is not SliceState.SUPERSEDED:
                halves.setdefault(part.logstream, set()).add(part.part)
        lopsided = any(len(seen) == 1 for seen in halves.values())
        return max(short, 1) if lopsided else max(short, 0)

    async def _stored_twice(self, cluster: Sequence[Slice]) -> list[Finding]:
        """The latest one gives way whose window the others hold; where there is none, the latest, and what
        it alone held is exported again."""
        found: list[Finding] = []
        standing = list(cluster)
        while _overlap(standing):
            latest = sorted(standing, key=lambda one: (one.updated_at, one.id), reverse=True)
            losers = [one for one in latest if _meets_another(one, standing)]
            loser = next((one for one in losers if not _alone(one, standing)), losers[0])
            left = _alone(loser, standing)
            standing.remove(loser)
            marked = await self.marking.give_way(self.job, loser, left)
            self._lost += left if marked else ()
            found.append(
                Finding(
                    *(self.job.name, loser.window, loser.id, loser.path, "stored twice", marked),
                    mend=self._mend(marked=marked),
                )
            )
        return found

    async def _uncovered(self, pieces: WindowSet, read: WindowSet) -> list[Finding]:
        """Stored, but not covered: whatever was read just now is covered again."""
        if not pieces:
            return []
        sure = intersect(pieces, read)
        again = bool(sure) and await self.marking.cover_again(self.job, sure)
        found = []
        for piece in pieces:
            done = again and not subtract((piece,), sure)
            advice = "nothing is left to do: its files agree, and it is covered again" if done else ""
            mend = "" if done else look_again_line(self.jobs_path, self.job)
            problem = "stored but not covered"
            found.append(Finding(self.job.name, piece, "", "", problem, mend=mend, advice=advice))
        return found

    async def _unbacked(self, covered: WindowSet, stored: WindowSet) -> list[Finding]:
        """Covered, but held by no slice; also beyond the window that is asked for now."""
        asked = self.job.window
        if asked is None:
            return []
        inside = subtract(intersect(covered, (asked,)), stored)
        outside = subtract(covered, (asked,))
        outside = subtract(outside, await self._stored_in(outside))
        found: list[Finding] = []
        for piece in (*inside, *outside):
            windows = await self._to_expect(piece) if asked.holds(piece) else []
            marked = await self.marking.expect(self.job, windows, piece)
            useless = marked and not asked.holds(piece)
            advice = (
                "nothing is left to do: the job does not ask for it, and it is uncovered" if useless else ""
            )
            mend = "" if useless else self._mend(marked=marked)
            problem = "covered without a slice"
            found.append(Finding(self.job.name, piece, "", "", problem, marked, mend, advice))
        return found

    async def _stored_in(self, pieces: WindowSet) -> WindowSet:
        found: list[Window] = []
        for piece in pieces:
            slices = stored_slices(self.job, self.manifest, piece)
            found += [one.window async for one in slices if not one.whole and not one.replaces]
            found += [whole.window for whole, _ in await divided_seconds(self.job, self.manifest, piece)]
        return normalise(found)

    async def _to_expect(self, piece: Window) -> list[Window]:
        """The windows of the slices that are to stand for a piece nobody holds: those of slices that were
        there once, as their remote tasks tell, and the rest as it is. What unfinished or failed slices and
        divided seconds hold is theirs."""
        taken = list(await self.manifest.unfinished(self.job.name, piece, self._stream()))
        failed = all_slices(self.manifest, self.job.name, (SliceState.FAILED,), piece)
        stream = self.job.identity.logstream
        taken += [one.window async for one in failed if one.logstream == stream and not one.whole]
        taken += [whole.window for whole in await self.manifest.divided(self.job.name, piece)]
        once = await self._once_there(piece, taken)
        return [*once, *subtract((piece,), [*taken, *once])]

    async def _once_there(self, piece: Window, taken: Iterable[Window]) -> list[Window]:
        """Windows in ``piece`` of slices that were removed, not ``taken`` by others. A slice's id is made of
        its window: so a remote task shows whether the one it asked for is that."""
        job = replace(self.job, identity=self.identity)
        found: list[Window] = []
        for task in await self.manifest.orphans(self.job.name, piece):
            for window in unpadded(task.window):
                if task.slice_id == slice_id(job, self.job.identity.logstream, window):
                    held = normalise([*taken, *found])
                    if piece.holds(window) and not intersect(held, (window,)):
                        found.append(window)
                    break
        return found

    def _stream(self) -> str | None:
        return self.job.identity.logstream if self.job.one_stream else None

    def _mend(self, *, marked: bool) -> str:
        return run_line(self.jobs_path, self.job) if marked else look_again_line(self.jobs_path, self.job)


def _overlap(slices: Iterable[Slice]) -> bool:
    ordered = sorted(one.window for one in slices)
    return any(one.end_s > other.start_s for one, other in pairwise(ordered))


def _meets_another(one: Slice, slices: Iterable[Slice]) -> bool:
    return any(other is not one and other.window.meets(one.window) for other in slices)


def _alone(one: Slice, slices: Iterable[Slice]) -> WindowSet:
    """What of its window no other one holds."""
    return subtract((one.window,), [other.window for other in slices if other is not one])
