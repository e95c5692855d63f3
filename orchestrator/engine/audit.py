"""What is not covered and why, and whether what is stored still agrees with the ledger."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat

from orchestrator.core import events as ev
from orchestrator.core.job import Job
from orchestrator.core.lifecycle import Rules, transition
from orchestrator.core.model import Evidence, Slice, SliceState
from orchestrator.core.reasons import Reason, describe_reason, mend_line
from orchestrator.core.report import Gap
from orchestrator.core.sampling import picks
from orchestrator.core.streams import is_all, views
from orchestrator.core.window import Window, WindowSet, intersect, iso_utc, normalise, subtract
from orchestrator.engine.context import JobContext
from orchestrator.engine.counting import Counting
from orchestrator.engine.recounting import Recount, recounted, stored_rows
from orchestrator.engine.stages.divide import gather
from orchestrator.engine.transaction import Transaction
from orchestrator.errors import ExitCode
from orchestrator.ports.store import Acceptance, ManifestReader, ManifestWriter
from orchestrator.ports.time import Clock, Rng

__all__ = ["Finding", "VerifyReport", "covered_of", "gaps_of", "listed_coverage", "signed_of", "verify"]

PAGE = 500
ALL_STREAMS = "*"
"""How coverage of all streams together is called; for a job with patterns: where its streams add up."""


async def all_slices(
    manifest: ManifestReader, job: str, states: Sequence[SliceState], window: Window | None = None
) -> AsyncIterator[Slice]:
    """Slices in ``states``, page by page."""
    after = ""
    while True:
        page = await manifest.slices(job, states, window=window, limit=PAGE, after=after)
        for slice_ in page:
            yield slice_
        if len(page) < PAGE:
            return
        after = page[-1].id


async def covered_of(job: Job, manifest: ManifestReader) -> WindowSet:
    """What the manifest holds proven stored for the job: with patterns of streams what is of every listed
    stream, and, where the streams are to be all there are, has been found to add up."""
    if not job.stream_patterns or job.one_stream:
        return await manifest.coverage(job.name, job.identity.logstream or ALL_STREAMS)
    covered = await listed_coverage(job, manifest)
    return intersect(covered, await manifest.coverage(job.name)) if is_all(job) else covered


async def listed_coverage(job: Job, manifest: ManifestReader) -> WindowSet:
    """What is proven stored of every listed stream."""
    covered: WindowSet | None = None
    for view in views(job):
        own = await manifest.coverage(job.name, view.identity.logstream)
        covered = own if covered is None else intersect(covered, own)
    return covered or ()


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


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement. ``problem`` is ``missing``, ``size differs``, ``digest differs``, ``rows do not add
    up``, ``covered without a slice``, ``stored but not covered``, ``the service has n more lines`` or ``the
    service has n fewer lines``. ``mend`` is the command that does, "" where none can."""

    job: str
    window: Window
    slice: str
    path: str
    problem: str
    marked: bool = False
    mend: str = ""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What an audit looked at and what it found; ``exit`` is 4 with any finding. Of ``files_checked`` files
    ``files_read`` were read whole, ``bytes_read`` together; of the others only presence and size were looked
    at. Of the slices counted anew, ``uncounted`` are those the service could not count."""

    exit: int
    files_checked: int
    files_read: int
    bytes_read: int
    findings: tuple[Finding, ...]
    recounted: int = 0
    uncounted: int = 0

    @property
    def files_looked_at(self) -> int:
        """Files whose content this audit says nothing about: of a sample those not picked, and those that
        are missing or have another size, which there is no point in reading."""
        return self.files_checked - self.files_read


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
    """Hold every stored file against the ledger: presence, size and rows; the digest too of ``share`` (0 to
    1) of every job's files, picked at random by ``rng`` and one at least unless ``share`` is 0; and coverage
    against slices. With a ``writer`` damaged windows are marked uncovered, so that the next run exports them
    anew. Deletes nothing.

    With ``queries``, so many at once, the service counts again what is stored. More lines than stored are
    not marked: what stands stays covered until ``redo`` has something better. ``jobs_path`` is what a shell
    is to be told of the job file, quoted already.
    """
    files, findings = _Files(), list[Finding]()
    counted = uncounted = 0
    for context in contexts:
        picked = await _picks(context.job, manifest, share, rng)
        counting = Counting(context.counts, context.job.identity)
        for view in _by_view(context):
            found, proven = await _slices_checked(view, manifest, picked, files, writer, clock, jobs_path)
            findings += found
            findings += await _ledger_findings(view, manifest, proven, jobs_path)
            if queries and view.job.window is not None:
                sound = _Sound(view, manifest, {finding.slice for finding in findings})
                stream = view.job.identity.logstream
                async for item in recounted(sound.slices(), stream, counting):
                    if item.lines is None:
                        uncounted += 1
                    else:
                        findings.append(_disagreement(view.job, item, item.lines, jobs_path))
                counted += sound.seen
    exit_code = ExitCode.INTEGRITY if findings else ExitCode.COMPLETE
    return VerifyReport(
        exit_code, files.checked, files.read, files.read_bytes, tuple(findings), counted, uncounted
    )


@dataclass(slots=True)
class _Files:
    """How many files were looked at so far, and how many of them were read whole."""

    checked: int = 0
    read: int = 0
    read_bytes: int = 0


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


async def _slices_checked(
    context: JobContext,
    manifest: ManifestReader,
    picked: Iterator[bool],
    files: _Files,
    writer: ManifestWriter | None,
    clock: Clock,
    jobs_path: str,
) -> tuple[list[Finding], list[Window]]:
    """What is wrong with the stored slices of one view, and the windows that the others prove."""
    job, findings, proven = context.job, list[Finding](), list[Window]()
    async for slice_ in _stored_slices(job, manifest):
        problem = ""
        if slice_.state is SliceState.DONE and slice_.receipt is not None:
            problem = await _problem(context, slice_, files, whole=next(picked))
        marked = bool(problem) and writer is not None and await _mark(writer, job, slice_, clock)
        if problem:
            mend = _mend(jobs_path, job, "" if marked else slice_.id)
            findings.append(Finding(job.name, slice_.window, slice_.id, slice_.path, problem, marked, mend))
        if not marked and not slice_.whole:
            _append(proven, slice_.window)
    if job.window is not None:
        # A divided second is stored when its parts together are: they alone prove nothing.
        for whole in await manifest.divided(job.name, job.window):
            mine = not job.one_stream or whole.logstream == job.identity.logstream
            if mine and whole.evidence is Evidence.COUNT and await gather(whole.id, manifest) is not None:
                proven.append(whole.window)
    return findings, proven


async def _stored_slices(job: Job, manifest: ManifestReader) -> AsyncIterator[Slice]:
    states = (SliceState.DONE, SliceState.EMPTY, SliceState.DELIVERED)
    async for slice_ in all_slices(manifest, job.name, states, job.window):
        if not job.one_stream or slice_.logstream == job.identity.logstream:
            yield slice_


@dataclass(slots=True)
class _Sound:
    """The stored slices of a context whose files are what the ledger says; a divided second has no slice that
    could be counted for itself."""

    context: JobContext
    manifest: ManifestReader
    damaged: set[str]
    seen: int = 0

    async def slices(self) -> AsyncIterator[Slice]:
        async for slice_ in _stored_slices(self.context.job, self.manifest):
            if not slice_.whole and slice_.id not in self.damaged:
                self.seen += 1
                yield slice_


def _disagreement(job: Job, found: Recount, lines: int, jobs_path: str) -> Finding:
    slice_ = found.slice
    more = lines - stored_rows(slice_)
    problem = f"the service has {abs(more)} {'more' if more > 0 else 'fewer'} lines"
    mend = _mend(jobs_path, job, slice_.id) if more > 0 else ""
    return Finding(job.name, slice_.window, slice_.id, slice_.path, problem, mend=mend)


def _mend(jobs_path: str, job: Job, slice_id: str) -> str:
    """A run exports anew what is marked; a redo what is named."""
    if not slice_id:
        return f"orchestrator run {jobs_path} --job {job.name}"
    return f"orchestrator redo {jobs_path} --job {job.name} --slice {slice_id}"


def _by_view(context: JobContext) -> list[JobContext]:
    """One context per stream where a job has several; what vanished streams left is still to be there."""
    return [replace(context, job=view) for view in views(context.job, gone=True)]


def _append(proven: list[Window], window: Window) -> None:
    """Slices come by start: what touches the last piece lengthens it, so the list stays short."""
    if proven and window.start_s <= proven[-1].end_s:
        proven[-1] = Window(proven[-1].start_s, max(proven[-1].end_s, window.end_s))
    else:
        proven.append(window)


async def _problem(context: JobContext, slice_: Slice, files: _Files, *, whole: bool) -> str:
    receipt = slice_.receipt
    files.checked += 1
    if receipt is None:
        return ""
    if receipt.served_rows - receipt.dropped_rows != receipt.stored_rows:
        return "rows do not add up"
    sha256 = receipt.stored_sha256 if whole else None
    found = await context.destination.check(slice_.path, size_bytes=receipt.stored_bytes, sha256=sha256)
    if whole and found in ("", "digest differs"):
        files.read += 1
        files.read_bytes += receipt.stored_bytes
    return found


async def _mark(writer: ManifestWriter, job: Job, slice_: Slice, clock: Clock) -> bool:
    now = clock.now()
    event = ev.Marked(slice_.id, Reason.DAMAGED)
    transaction = Transaction(now)
    transaction.add(slice_, event, transition(slice_, event, now, Rules(job)))
    await writer.commit(transaction.changes())
    return True


async def _ledger_findings(
    context: JobContext, manifest: ManifestReader, proven: list[Window], jobs_path: str
) -> list[Finding]:
    job = context.job
    if job.window is None:
        return []
    stored = intersect(normalise(proven), (job.window,))
    covered = intersect(await covered_of(job, manifest), (job.window,))

    def finding(piece: Window, problem: str, command: str) -> Finding:
        span = f"--from {iso_utc(piece.start_s)} --to {iso_utc(piece.end_s)}"
        mend = f"orchestrator {command} {jobs_path} --job {job.name} {span}"
        return Finding(job.name, piece, "", "", problem, mend=mend)

    unbacked = [finding(piece, "covered without a slice", "forget") for piece in subtract(covered, stored)]
    return unbacked + [finding(piece, "stored but not covered", "run") for piece in subtract(stored, covered)]
