"""Does everything hold that was promised? Asked of the files, of the ledger and of the service, never of the
engine.

After every life, also one that a crash ended: each file under a final name is whole, is what the ledger says,
and holds exactly the rows of its slice. Over the lives: what was verified is not fetched again. At the end:
nothing lost, nothing twice, nobody's task orphaned, doubled or touched, no ceiling broken.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import zstandard

from orchestrator.core.model import Evidence, Part, RemoteTask, Slice, SliceState
from orchestrator.emulator.remote_task import Task
from orchestrator.testing.loop import VirtualTime, run_virtual
from orchestrator.testing.trial import JOB, Installation, Trial

__all__ = ["PROMISES", "Findings", "Inspector"]

PROMISES = {
    "lost": "lines lost",
    "twice": "lines twice",
    "unproven": "files visible that are not proven",
    "refetched": "verified files fetched again",
    "twins": "remote tasks of one name alive",
    "orphans": "remote tasks of ours that no manifest knows, or marks",
    "trespasses": "remote tasks of others touched",
    "ceilings": "ceilings broken",
    "misreported": "lives that ended otherwise than they said",
    "restless": "further runs that found something to do",
    "incomplete": "exports not complete",
    "defects": "defects raised",
}
"""Every promise that is watched, and how a broken one is counted."""
_STAGING = ".orchestrator"
_MOST_NOTES = 12
_FINAL = frozenset({SliceState.SETTLING, SliceState.DONE})


@dataclass(slots=True)
class Findings:
    """``broken`` counts by promise, ``notes`` say where, shortly and not all of them."""

    broken: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add(self, promise: str, count: int, note: str) -> None:
        """Counts what broke a promise; nothing when there is nothing."""
        if count > 0:
            self.broken[promise] += count
            if len(self.notes) < _MOST_NOTES:
                self.notes.append(f"{promise}: {note[:300]}")


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a manifest holds."""

    slices: tuple[Slice, ...]
    surplus: tuple[RemoteTask, ...]
    known: dict[str, tuple[RemoteTask, ...]]


@dataclass(frozen=True, slots=True)
class _Fetches:
    requests: int
    round: int
    final: bool


class Inspector:
    """Looks at one trial after every life and at its end; ``findings`` collects."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.findings = Findings()
        self._rows: dict[tuple[Path, int, int], tuple[str, Counter[str]]] = {}
        self._verified: dict[str, _Fetches] = {}

    # --- after every life ---

    def after_life(self) -> None:
        """Files and fetches, now."""
        for installation in self.trial.installations:
            ledger = self.ledger(installation)
            self._files(installation, ledger)
            self._fetches(installation, ledger)

    def _files(self, installation: Installation, ledger: Ledger) -> None:
        claims: dict[str, list[Slice]] = {}
        for slice_ in ledger.slices:
            for claimed in {slice_.path, slice_.published_path} - {""}:
                claims.setdefault(claimed, []).append(slice_)
        for path in self.visible(installation):
            digest, rows = self._content(path)
            wrong = [
                self._wrong(installation, ledger, slice_, path, digest, rows)
                for slice_ in claims.get(str(path), [])
            ]
            if not wrong or all(wrong):
                why = wrong[0] if wrong else "no slice calls it its own"
                self.findings.add("unproven", 1, f"{path.name} of the {installation.name}: {why}")

    def _wrong(
        self,
        installation: Installation,
        ledger: Ledger,
        slice_: Slice,
        path: Path,
        digest: str,
        rows: Counter[str],
    ) -> str:
        """Why a file cannot stand for a slice; "" when it can."""
        receipt = slice_.receipt
        stands = slice_.published_path == str(path) and slice_.published_sha256 == digest
        if stands and slice_.state is not SliceState.DONE:
            return ""  # the file of an earlier run, until a better one takes its place
        if slice_.state in _FINAL and slice_.path == str(path) and receipt is not None:
            if receipt.stored_sha256 != digest:
                return f"{_label(slice_)} has another digest"
            truth = self.truth_of(installation, slice_)
            if rows == truth:
                return ""
            if not _says_to_be_short(slice_, ledger) or rows - truth:
                lost, extra = (truth - rows).total(), (rows - truth).total()
                return f"{_label(slice_)} lacks {lost} rows and has {extra} too many"
            return ""
        if slice_.published_path == str(path):
            return "" if slice_.published_sha256 == digest else f"{_label(slice_)} published another digest"
        return f"{_label(slice_)} has no intent for it"

    def _fetches(self, installation: Installation, ledger: Ledger) -> None:
        """What is settled or settling, or staged and only waiting for a count, needs no byte any more."""
        requests = self.trial.world.witness.file_requests
        for slice_ in ledger.slices:
            uuid = slice_.task.uuid if slice_.task is not None else ""
            staged = slice_.state is SliceState.TRANSFERRING and slice_.receipt is not None
            if not uuid or not (slice_.state in _FINAL or staged):
                continue
            before = self._verified.get(uuid)
            now = _Fetches(requests[uuid], slice_.fetch_round, slice_.state in _FINAL)
            if before is not None and (before.final or before.round == now.round):
                count = now.requests - before.requests
                self.findings.add(
                    "refetched", count, f"{_label(slice_)} of the {installation.name}, {uuid[:8]}"
                )
            self._verified[uuid] = now

    # --- at the end ---

    def at_end(self) -> None:
        """Everything that must be true of an episode that is over."""
        for installation in self.trial.installations:
            ledger = self.ledger(installation)
            self.findings.add("incomplete", not installation.complete, _why(installation))
            self._archive(installation, ledger)
            self._left_at_service(installation, ledger)
            self._ceilings(installation)
            trespasses = installation.seen.trespasses
            self.findings.add("trespasses", trespasses.total(), ", ".join(sorted(trespasses)[:3]))
        witness, limits = self.trial.world.witness, self.trial.scenario.limits
        over = witness.max_queries_at_once - limits.queries
        self.findings.add("ceilings", over, f"{witness.max_queries_at_once} queries at once")
        over = witness.max_files_at_once - limits.downloads
        if len(self.trial.installations) == 1 or not self.trial.scenario.export.wired:
            self.findings.add("ceilings", over, f"{witness.max_files_at_once} downloads at once")

    def _archive(self, installation: Installation, ledger: Ledger) -> None:
        """The archive against the truth: slice by slice for what is covered, and as a whole."""
        standing: Counter[str] = Counter()
        for path in self.visible(installation):
            standing += self._content(path)[1]
        truth: Counter[str] = Counter()
        for slice_ in ledger.slices:
            if slice_.state in (SliceState.DONE, SliceState.EMPTY):
                mine = self.truth_of(installation, slice_)
                truth += mine
                self._proof(installation, slice_, mine)
                receipt = slice_.receipt
                stored = receipt.stored_rows if receipt is not None else 0
                if stored != mine.total():
                    note = f"{_label(slice_)} stored {stored} of {mine.total()} rows"
                    self.findings.add("lost", mine.total() - stored, note)
        if not installation.complete:
            standing = Counter({row: n for row, n in standing.items() if row in truth})
        extra, lost = standing - truth, truth - standing
        self.findings.add("twice", extra.total(), f"{installation.name}: {_example(extra)}")
        self.findings.add("lost", lost.total(), f"{installation.name}: {_example(lost)}")
        if installation.complete and not self.trial.lines.late:
            scenario = self.trial.scenario
            start_ms, end_ms = scenario.window.start_s * 1000, scenario.window.end_s * 1000
            whole = self.trial.lines.cells(start_ms, end_ms, scenario.export.logstream)
            outside, doubled = whole - truth, truth - whole
            self.findings.add("lost", outside.total(), f"in no covered slice: {_example(outside)}")
            self.findings.add("twice", doubled.total(), f"in two stored slices: {_example(doubled)}")

    def _proof(self, installation: Installation, slice_: Slice, truth: Counter[str]) -> None:
        """What could be shown when the slice was proved is in it (P1, by its wording)."""
        if not self.trial.lines.late:
            return
        proved_at = slice_.recounted_at or slice_.counted_at
        if proved_at is None:
            return
        visible_ms = (proved_at + self.trial.behaviour.clock_offset_s) * 1000
        shown = self._cells(slice_, visible_ms).total()
        note = f"{_label(slice_)}: {shown} rows could be shown when proved"
        self.findings.add("lost", shown - truth.total(), note)

    def _left_at_service(self, installation: Installation, ledger: Ledger) -> None:
        own = {slice_.task.uuid for slice_ in ledger.slices if slice_.task is not None}
        alive = [task for task in self.trial.world.tasks.tasks() if self._is_ours(installation, task)]
        names = Counter(task.request.name for task in alive)
        twins = [name for name, count in names.items() if count > 1]
        self.findings.add("twins", len(twins), ", ".join(twins[:3]))
        for task in alive:
            known = ledger.known.get(task.uuid, ())
            if not known:
                self.findings.add("orphans", 1, f"{task.request.name} {task.uuid[:8]} is not known")
            elif any(row.deleted for row in known):
                self.findings.add("orphans", 1, f"{task.request.name} {task.uuid[:8]} was called deleted")
            elif task.uuid not in own and not any(row.surplus for row in known):
                self.findings.add(
                    "orphans", 1, f"{task.request.name} {task.uuid[:8]} is nobody's and not marked"
                )
        if self.trial.behaviour.delete_running == "refused":
            return  # what never ends can then never be deleted; it is marked, which was asked above
        left = [task for task in ledger.surplus if any(t.uuid == task.uuid for t in alive)]
        self.findings.add("orphans", len(left), f"{len(left)} let go and never deleted")

    def _is_ours(self, installation: Installation, task: Task) -> bool:
        return task.request.name.rpartition("-")[0] == installation.seen.owner

    def _ceilings(self, installation: Installation) -> None:
        seen, limits = installation.seen, self.trial.scenario.limits
        over = seen.max_outstanding - limits.tasks
        if any("twins" in fault.tags for fault in self.trial.scenario.chosen):
            over = 0  # tasks that were made after their absence was proved, or that nobody can delete
        self.findings.add("ceilings", over, f"{seen.max_outstanding} remote tasks outstanding")
        over = seen.max_requests_in_1s - int(limits.requests_per_s)
        self.findings.add("ceilings", over, f"{seen.max_requests_in_1s} requests let go within a second")
        if len(self.trial.installations) == 1:
            arrived = self.trial.world.witness.max_requests_in_1s
            self.findings.add(
                "ceilings", arrived - int(limits.requests_per_s), f"{arrived} requests within a second"
            )

    def unknown(self) -> bool:
        """Whether a remote task of ours lives that its manifest does not know."""
        ledgers = [self.ledger(installation) for installation in self.trial.installations]
        return any(not rows for ledger in ledgers for rows in ledger.known.values())

    # --- what is looked at ---

    def ledger(self, installation: Installation) -> Ledger:
        """Everything a manifest holds about the job, read by its own reader."""

        async def main(time: VirtualTime) -> Ledger:
            reader = installation.manifest.reopen()
            slices = await reader.slices(JOB, tuple(SliceState), limit=100_000)
            ours = [task.uuid for task in self.trial.world.tasks.tasks() if self._is_ours(installation, task)]
            known = {uuid: await reader.tasks_of_uuid(uuid) for uuid in ours}
            return Ledger(slices, await reader.surplus(JOB), known)

        return run_virtual(main)

    def visible(self, installation: Installation) -> list[Path]:
        """Every file outside the staging folder."""
        return [p for p in installation.files() if _STAGING not in p.relative_to(installation.folder).parts]

    def truth_of(self, installation: Installation, slice_: Slice) -> Counter[str]:
        """The rows a slice's file must hold: those of its window at the moment of the search."""
        trial = self.trial
        visible_ms = float("inf")
        if trial.lines.late:
            uuid = slice_.task.uuid if slice_.task is not None else ""
            counted_at = (slice_.counted_at or 0.0) + trial.behaviour.clock_offset_s
            visible_ms = installation.seen.executed_at.get(uuid, counted_at) * 1000
        return self._cells(slice_, visible_ms)

    def _cells(self, slice_: Slice, visible_ms: float) -> Counter[str]:
        """What a slice is about: its window, or the part of one second on its side of the edge."""
        start_ms, end_ms = slice_.window.start_s * 1000, slice_.window.end_s * 1000
        edge_ms = start_ms + slice_.edge_ms
        if slice_.part is Part.EARLY:
            end_ms = edge_ms
        elif slice_.part is Part.LATE:
            start_ms = edge_ms
        stream = slice_.logstream or self.trial.scenario.export.logstream
        return self.trial.lines.cells(start_ms, end_ms, stream, visible_ms)

    def _content(self, path: Path) -> tuple[str, Counter[str]]:
        """Digest and rows of a file, remembered until it changes."""
        stat = path.stat()
        key = (path, stat.st_size, stat.st_mtime_ns)
        if key not in self._rows:
            content = path.read_bytes()
            try:
                rows = Counter(rows_of(content))
            except (ValueError, zipfile.BadZipFile, zstandard.ZstdError, OSError, EOFError) as broken:
                rows = Counter({f"cannot be read: {type(broken).__name__}": 1})
            self._rows[key] = hashlib.sha256(content).hexdigest(), rows
        return self._rows[key]


def rows_of(content: bytes) -> Iterable[str]:
    """The rows of a file in any form, each as ``lines.cells_of`` has it."""
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    elif content[:4] == b"\x28\xb5\x2f\xfd":
        content = (
            zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content), read_across_frames=True).read()
        )
    elif content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            content = b"".join(archive.read(name) for name in archive.namelist())
    content = content.removeprefix(b"\xef\xbb\xbf")
    if content.startswith(b"["):
        return [_cells(row.values()) for row in orjson.loads(content)]
    if content.startswith(b"{"):
        return [_cells(orjson.loads(line).values()) for line in content.split(b"\n") if line.strip()]
    rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    if rows and not rows[0][0][:1].isdigit():
        rows = rows[1:]
    return [_cells(row) for row in rows if row]


def _cells(values: Iterable[object]) -> str:
    return "\x1f".join(sorted(text for text in map(str, values) if text))


def _says_to_be_short(slice_: Slice, ledger: Ledger) -> bool:
    """One end of a second counts for nothing as long as the second is not whole."""
    whole = slice_.whole if slice_.part else ""
    unproven = (other for other in ledger.slices if other.id == whole and other.evidence is Evidence.NONE)
    return slice_.reason.startswith("short by ") or any(unproven)


def _label(slice_: Slice) -> str:
    uuid = slice_.task.uuid[:8] if slice_.task is not None else "no task"
    return f"slice {slice_.id[:6]} {slice_.window} ({slice_.state}, {uuid})"


def _example(rows: Counter[str]) -> str:
    """How many rows, and the first of them."""
    if not rows:
        return ""
    return f"{rows.total()} rows, e.g. {min(rows)[:100]!r}"


def _why(installation: Installation) -> str:
    report = installation.report
    if report is None:
        return f"the {installation.name} has no report"
    gaps = Counter(gap.reason for gap in report.jobs[0].gaps)
    said = ", ".join(f"{n} × {reason}" for reason, n in gaps.most_common(4))
    error = f" [{report.error.code}: {report.error.message[:120]}]" if report.error is not None else ""
    return f"the {installation.name}: exit {report.exit}, {said}{error}"
