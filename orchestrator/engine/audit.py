"""What is not covered and why, and whether what is stored still agrees with the ledger."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat

from orchestrator.core.job import Job
from orchestrator.core.model import Slice, SliceState
from orchestrator.core.reasons import Reason, describe_reason, mend_line
from orchestrator.core.report import Gap
from orchestrator.core.sampling import picks
from orchestrator.core.streams import is_all, views
from orchestrator.core.window import Window, WindowSet, intersect, subtract
from orchestrator.engine.context import JobContext
from orchestrator.engine.count_audit import CountAudit
from orchestrator.engine.counting import Counting
from orchestrator.engine.coverage import ALL_STREAMS, all_slices, covered_of, listed_coverage
from orchestrator.engine.file_audit import FileAudit, Files
from orchestrator.engine.finding import UNREADABLE, Finding, VerifyReport
from orchestrator.engine.ledger_audit import LedgerAudit, stored_slices
from orchestrator.engine.marking import Marking
from orchestrator.errors import ExitCode
from orchestrator.ports.store import Acceptance, ManifestReader, ManifestWriter
from orchestrator.ports.time import Clock, Rng

__all__ = [
    "Finding",
    "VerifyReport",
    "all_slices",
    "covered_of",
    "gaps_of",
    "listed_coverage",
    "signed_of",
    "verify",
]


async def gaps_of(
    job: Job, manifest: ManifestReader, window: Window | None, jobs_path: str
) -> tuple[Gap, ...]:
    """Every part of ``window`` (the job's own when None) that is not proven stored, with its reason; oldest
    first. Together with the coverage they are the window exactly. ``jobs_path`` is what a shell is to be told
    of the job file, quoted already."""
    asked = window or job.window
    if asked is None:
        return ()
    signed = await manifest.acceptances(job.name)
    parts = await _parts(job, manifest, asked, signed, jobs_path)
    if any(part.missing for part in parts.values()):
        async for slice_ in all_slices(manifest, job.name, (SliceState.FAILED,), asked):
            stream = slice_.logstream if job.stream_patterns else job.identity.logstream
            if stream in parts:
                parts[stream].explain(slice_)
    found = (gap for part in parts.values() for gap in part.all_gaps())
    return tuple(sorted(found, key=lambda gap: (gap.window, gap.logstream)))


async def _parts(
    job: Job, manifest: ManifestReader, asked: Window, signed: Sequence[Acceptance], jobs_path: str
) -> dict[str, _Explaining]:
    """What is missing, by log stream. With patterns of streams "" stands for what is stored of every listed
    one and is less than all, or not compared yet; for everything, while no stream is known."""
    parts: dict[str, _Explaining] = {}
    for view in views(job):
        missing = subtract((asked,), await covered_of(view, manifest))
        stream = view.identity.logstream
        parts[stream] = _Explaining(view, missing, signed_of(job, stream, signed), jobs_path)
    if not parts:
        parts[""] = _Explaining(job, (asked,), signed_of(job, "", signed), jobs_path)
    elif is_all(job) and not job.one_stream:
        stored = intersect((asked,), await listed_coverage(job, manifest))
        unproven = subtract(stored, await manifest.coverage(job.name))
        of_all = signed_of(job, "", signed)
        parts[""] = _Explaining(job, unproven, of_all, jobs_path, reason=Reason.NOT_COMPARED)
    return parts


def signed_of(job: Job, logstream: str, signed: Sequence[Acceptance]) -> Sequence[Acceptance]:
    """The acceptances that speak of one log stream of a job with patterns of them, "" for what is missing of
    all together; all there are of any other job."""
    if not job.stream_patterns:
        return signed
    return [item for item in signed if item.speaks_of(logstream)]


@dataclass(slots=True)
class _Explaining:
    """Missing windows of one log stream, or of all, while failed slices come by that say why. ``reason`` is
    that of what no slice explains."""

    job: Job
    missing: WindowSet
    signed: Sequence[Acceptance]
    jobs_path: str
    reason: Reason = Reason.NOT_EXPORTED
    explained: list[Window] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)

    def explain(self, slice_: Slice) -> None:
        """Slices come by start; where two overlap, the earlier one's reason stands."""
        start_s = max(slice_.window.start_s, self.explained[-1].end_s if self.explained else 0)
        if start_s >= slice_.window.end_s:
            return
        self.explained.append(Window(start_s, slice_.window.end_s))
        for piece in _within(self.missing, self.explained[-1]):
            self.gaps += _gaps(self.job, piece, slice_, self.signed, self.jobs_path)

    def all_gaps(self) -> list[Gap]:
        rest = subtract(self.missing, self.explained)
        left = (_gaps(self.job, p, None, self.signed, self.jobs_path, reason=self.reason) for p in rest)
        return [*self.gaps, *(gap for gaps in left for gap in gaps)]


def _within(pieces: WindowSet, window: Window) -> list[Window]:
    """The parts of a window set that lie inside ``window``, found by bisection."""
    found: list[Window] = []
    at = max(0, bisect_right(pieces, window.start_s, key=lambda piece: piece.start_s) - 1)
    while at < len(pieces) and pieces[at].start_s < window.end_s:
        start_s, end_s = max(pieces[at].start_s, window.start_s), min(pieces[at].end_s, window.end_s)
        if start_s < end_s:
            found.append(Window(start_s, end_s))
        at += 1
    return found


def _gaps(
    job: Job,
    piece: Window,
    slice_: Slice | None,
    signed: Sequence[Acceptance],
    jobs_path: str,
    *,
    reason: str = Reason.NOT_EXPORTED,
) -> list[Gap]:
    """One piece of a failed slice, or of what was never tried, parted by what was accepted of it."""
    reason = slice_.reason if slice_ is not None else reason
    text = describe_reason(reason)
    own = "" if job.stream_patterns and not job.one_stream else job.identity.logstream
    stream = (slice_.logstream if slice_ is not None else "") or own or ALL_STREAMS
    return [
        Gap(
            job=job.name,
            window=window,
            logstream=stream,
            reason=reason,
            mendable=text.mendable,
            mend=mend_line(
                reason,
                jobs=jobs_path,
                job=job.name,
                window=window,
                slice_id=slice_.id if slice_ is not None else "",
                path=slice_.path if slice_ is not None else "",
                logstream=stream if job.stream_patterns else "",
                accepted=accepted is not None,
            ),
            accepted=accepted,
            advice="" if accepted is not None else text.advice,
            slice=slice_.id if slice_ is not None else "",
            path=slice_.path if slice_ is not None else "",
        )
        for window, accepted in _parted(piece, signed)
    ]


def _parted(piece: Window, signed: Sequence[Acceptance]) -> list[tuple[Window, str | None]]:
    """The piece cut where acceptances begin and end, each part with the latest word on it."""
    parts: list[tuple[Window, str | None]] = []
    rest: WindowSet = (piece,)
    for acceptance in sorted(signed, key=lambda item: item.at, reverse=True):
        parts += [(part, acceptance.reason) for part in intersect(rest, (acceptance.window,))]
        rest = subtract(rest, (acceptance.window,))
    return parts + [(part, None) for part in rest]


async def verify(
    contexts: Sequence[JobContext],
    manifest: ManifestReader,
    *,
    share: float,
    rng: Rng,
    writer: ManifestWriter | None,
    clock: Clock,
    queries: int = 0,
    jobs_path: str = "jobs.toml",
) -> VerifyReport:
    """Hold every stored file against the ledger: presence, size and rows; of ``share`` (0 to 1) of every
    job's files, picked at random by ``rng`` and one at least unless ``share`` is 0, the digest too, and the
    rows in it; and the ledger against itself. With a ``writer`` what disagrees is marked uncovered, so that
    the next run mends it, and what is stored and was read is covered again. Deletes nothing.

    With ``queries``, so many at once, the service counts again what is stored. More lines than stored are
    not marked: what stands stays covered until ``redo`` has something better. ``jobs_path`` is what a shell
    is to be told of the job file, quoted already.
    """
    files, findings = Files(), list[Finding]()
    marking = Marking(manifest, writer, clock)
    counted = uncounted = 0
    for context in contexts:
        picked = await _picks(context.job, manifest, share, rng)
        counting = Counting(context.counts, context.job.identity)
        identity = await manifest.job_identity(context.job.name) or context.job.identity
        for view in _by_view(context):
            audit = FileAudit(view, identity, marking, files, jobs_path)
            ledger = LedgerAudit(view.job, identity, manifest, marking, jobs_path)
            found = await _looked_at(audit, ledger, picked)
            findings += found
            if queries and view.job.window is not None:
                recount = CountAudit(view.job, manifest, jobs_path, {finding.slice for finding in found})
                findings += await recount.findings(counting)
                counted += recount.counted
                uncounted += recount.uncounted
    exits = [ExitCode.STORAGE if item.problem == UNREADABLE else ExitCode.INTEGRITY for item in findings]
    return VerifyReport(
        ExitCode.worst([ExitCode.COMPLETE, *exits]),
        files.checked,
        files.read,
        files.read_bytes,
        tuple(findings),
        counted,
        uncounted,
    )


async def _picks(job: Job, manifest: ManifestReader, share: float, rng: Rng) -> Iterator[bool]:
    """Which of the job's files are read whole, in the order in which they come. A true sample has to know how
    many there are."""
    if share in (0.0, 1.0):
        return repeat(share == 1.0)
    streams = {view.identity.logstream for view in views(job, gone=True)}
    files = 0
    async for slice_ in all_slices(manifest, job.name, (SliceState.DONE,), job.window):
        mine = not job.stream_patterns or slice_.logstream in streams
        files += mine and slice_.receipt is not None
    return picks(share, files, rng.random)


async def _looked_at(audit: FileAudit, ledger: LedgerAudit, picked: Iterator[bool]) -> list[Finding]:
    """What is wrong with the stored slices of one view, and with what the ledger makes of the others."""
    findings: list[Finding] = []
    strange: list[Slice] = []
    async for slice_ in stored_slices(ledger.job, ledger.manifest, ledger.job.window):
        if not audit.is_as_made(slice_):
            strange.append(slice_)  # marked later: it may move, and pages go on from where they ended
            continue
        file = slice_.state is SliceState.DONE and slice_.receipt is not None
        read = next(picked) if file else True
        finding = await audit.finding_of(slice_, whole=read)
        if finding is not None:
            findings.append(finding)
        if finding is None or not finding.marked:
            ledger.add(slice_, read=read and finding is None)
    for slice_ in strange:
        finding = await audit.disowned(slice_)
        findings.append(finding)
        if not finding.marked:
            ledger.told(finding.window)
    return findings + await ledger.findings({finding.slice for finding in findings})


def _by_view(context: JobContext) -> list[JobContext]:
    """One context per stream where a job has several; what vanished streams left is still to be there."""
    return [replace(context, job=view) for view in views(context.job, gone=True)]
