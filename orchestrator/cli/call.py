"""What does each command do? Read the job file, ask the house, hand the answer to print or document.

Commands that judge a window (run, status, gaps, verify) exit with what they find; those that only show exit
0.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.app.library import jobs_words, verification
from orchestrator.app.reading import JobStatus, job_status, manifest_to_read
from orchestrator.cli import results, values
from orchestrator.cli.checking import chosen, read_job_file, remembered
from orchestrator.cli.ending import Stage, cleaned, complain
from orchestrator.cli.fleets import masked, show_fleets
from orchestrator.cli.outfile import Outfile
from orchestrator.core.fleets import Found
from orchestrator.core.job import JobFile
from orchestrator.core.model import Fault
from orchestrator.core.report import exit_of_gaps
from orchestrator.errors import ExitCode, UsageError
from orchestrator.logs import Redaction
from orchestrator.ports.store import JournalLine, LedgerRow

if TYPE_CHECKING:
    from orchestrator.engine.audit import VerifyReport

__all__ = ["complained", "exit_of", "gaps", "manifest", "settled_to_of", "story", "verify"]

NOTHING_COUNTED = (
    "verify --recount: the service could not count a single slice, so nothing is known of lines that came "
    "late; perhaps it can later, perhaps the logstore has no index"
)
"""A count that cannot be had disagrees with nothing: the exit stays what the files say."""
_QUOTED = frozenset({"message", "failed_code", "failed_message", "remote_state"})
"""What a line of the journal keeps of the service's own words."""


def gaps(stage: Stage) -> int:
    """List what is not proven stored, from the manifest alone."""
    known = remembered(stage)
    job_file = known.job_file
    statuses = asyncio.run(_looked_up(job_file))
    error = complained(stage, [item.error for item in statuses])
    code = exit_of(statuses, known.found)
    found = [gap for item in statuses for gap in item.gaps]
    if stage.document:
        stage.document.stream("gaps", (values.gap_json(gap) for gap in found))
        settled_to = settled_to_of(statuses)
        complete = code == ExitCode.COMPLETE
        stage.document.end(code, complete=complete, settled_to=settled_to, error=error)
    elif found:
        results.show_gaps(stage.out, found, {job.name: job.timezone for job in job_file.jobs})
    elif code == ExitCode.COMPLETE:
        stage.out.line("no gaps: every asked window is proven stored")
    if not stage.document:
        fleets = [masked(item, stage.redaction.own_words) for item in known.found]
        show_fleets(stage.out, fleets, jobs_words(job_file))
    return code


def manifest(stage: Stage, *, format: str, output: str) -> int:
    """Print the ledger in ``format``, to stdout or to the file ``output``."""
    if format == "parquet":
        from orchestrator.dataplane.extras import need_parquet

        need_parquet()
        if not output and sys.stdout.isatty():
            raise UsageError("Parquet is nothing to look at", hint="give -o FILE, or a pipe that reads it")
    if stage.document and (output or format != "table"):
        raise UsageError("--json goes with neither --format nor --output", hint="use --format jsonl -o FILE")
    job_file = chosen(stage)
    names = [job.name for job in job_file.jobs] if stage.asked.jobs else []

    async def printed() -> None:
        async with manifest_to_read(job_file.manifest) as reader:
            rows = _shown(reader.ledger(names), stage.redaction)
            if stage.document:
                await stage.document.stream_async("rows", _ledger_values(rows))
            elif format == "parquet":
                await _write_parquet(stage, output, rows)
            elif output:
                await _write_file(output, _ledger_chunks(rows, format))
            elif format == "table":
                await results.show_ledger(stage.out, rows)
            else:
                async for text in _ledger_chunks(rows, format):
                    stage.out.write(text)
                    if stage.out.broken:
                        break

    asyncio.run(printed())
    if stage.document:
        stage.document.end(ExitCode.COMPLETE, complete=True)
    return ExitCode.COMPLETE


def story(stage: Stage, wanted: str) -> int:
    """Tell everything that ever happened to the slice meant by ``wanted``."""
    from orchestrator.app.fleets import as_remembered
    from orchestrator.app.story import Told, story_of

    job_file = read_job_file(stage)

    async def told() -> tuple[Told, dict[str, str]]:
        async with manifest_to_read(job_file.manifest) as reader:
            jobs = (await as_remembered(job_file, reader)).job_file.jobs
            zones = {job.name: job.timezone for job in jobs}
            return await story_of(job_file.manifest, wanted, reader), zones

    found, zones = asyncio.run(told())
    found = replace(found, lines=tuple(_cleaned(line, stage.redaction) for line in found.lines))
    if stage.document:
        stage.document.put("slice", values.slice_json(found.slice) if found.slice else {"slice": found.id})
        stage.document.stream("family", (values.relative_json(item) for item in found.family))
        stage.document.stream("remote_tasks", (values.task_json(task) for task in found.tasks))
        stage.document.stream("story", (values.line_json(line) for line in found.lines))
        stage.document.end(ExitCode.COMPLETE, complete=True)
    else:
        results.show_story(stage.out, found, zones.get(found.job, "UTC"))
    return ExitCode.COMPLETE


def verify(stage: Stage, *, share: float, mark: bool, recount: bool) -> int:
    """Hold the stored files against the ledger, ``share`` of them byte by byte, and the ledger against the
    service."""
    from orchestrator.cli.watching import logged

    job_file = chosen(stage)

    async def verified() -> VerifyReport:
        with logged(stage) as outside:
            return await verification(
                job_file,
                outside,
                share=share,
                mark=mark,
                recount=recount,
                jobs_path=jobs_words(job_file),
                wait_s=stage.asked.wait_s,
            )

    report = asyncio.run(verified())
    error = complained(stage, [fault for _, fault in report.not_checked])
    if report.counted_nothing:
        print(NOTHING_COUNTED, file=sys.stderr)
    if stage.document:
        stage.document.put("files_checked", report.files_checked)
        stage.document.put("files_read", report.files_read)
        stage.document.put("files_looked_at", report.files_looked_at)
        stage.document.put("bytes_checked", report.bytes_read)
        stage.document.put("slices_recounted", report.recounted if recount else None)
        stage.document.put("slices_uncounted", report.uncounted if recount else None)
        stage.document.put("counted_nothing", report.counted_nothing if recount else None)
        stage.document.stream("findings", (values.finding_json(item) for item in report.findings))
        stage.document.put("not_checked", [job for job, _ in report.not_checked])
        stage.document.end(report.exit, complete=not report.findings, error=error)
    elif len(report.not_checked) < len(job_file.jobs):
        results.show_verify(stage.out, report)
    return int(report.exit)


async def _looked_up(job_file: JobFile) -> list[JobStatus]:
    words = jobs_words(job_file)
    async with manifest_to_read(job_file.manifest) as reader:
        return [await job_status(job, reader, words) for job in job_file.jobs]


def exit_of(statuses: Sequence[JobStatus], founds: Sequence[Found]) -> int:
    """The same as of a run that found nothing to do. A fleet that no run has looked up yet is not
    complete."""
    unknown = [ExitCode.INCOMPLETE for found in founds if not found.jobs]
    found = [ExitCode.USAGE if item.error else exit_of_gaps(item.gaps) for item in statuses]
    return ExitCode.worst([*found, *unknown])


def complained(stage: Stage, faults: Iterable[Fault | None]) -> dict[str, Any] | None:
    """Every fault that there is, told on stderr; the first as the value of ``error``."""
    told = [fault for fault in (cleaned(stage.redaction, each) for each in faults) if fault is not None]
    for fault in told:
        complain(stage.redaction, fault.message, fault.hint)
    return values.fault_json(told[0]) if told else None


def settled_to_of(statuses: Sequence[JobStatus]) -> int | None:
    """Up to where every job is proven stored; None when one of them has not begun."""
    settled = [item.settled_to for item in statuses]
    known = [at_s for at_s in settled if at_s is not None]
    return min(known) if known and len(known) == len(settled) else None


def _cleaned(line: JournalLine, redaction: Redaction) -> JournalLine:
    """A line of the journal quotes the service, which may quote what came from the environment."""
    said = {
        name: redaction(value)
        for name, value in line.entry.detail.items()
        if name in _QUOTED and isinstance(value, str)
    }
    return replace(line, entry=replace(line.entry, detail={**line.entry.detail, **said}))


async def _shown(rows: AsyncIterator[LedgerRow], redaction: Redaction) -> AsyncIterator[LedgerRow]:
    """The rows without what came from the environment into the job's identity. Paths stay as they are: a
    ledger that does not say where the files are is none."""
    hide = redaction.own_words
    async for row in rows:
        yield replace(
            row,
            region=hide(row.region),
            project=hide(row.project),
            logstore=hide(row.logstore),
            logstream=hide(row.logstream),
            query=hide(row.query),
        )


async def _ledger_values(rows: AsyncIterator[LedgerRow]) -> AsyncIterator[dict[str, Any]]:
    from orchestrator.manifest.export import cells

    async for row in rows:
        yield cells(row)


async def _ledger_chunks(rows: AsyncIterator[LedgerRow], format: str) -> AsyncIterator[str]:
    from orchestrator.manifest.export import ledger_text

    async for chunk in ledger_text(rows, format):
        yield chunk.decode("utf-8", "surrogateescape")


async def _write_parquet(stage: Stage, output: str, rows: AsyncIterator[LedgerRow]) -> None:
    from orchestrator.manifest.ledgertable import ledger_parquet

    if not output:
        async for piece in ledger_parquet(rows):
            stage.out.write_bytes(piece)
        return
    file = Outfile(output)
    try:
        async for piece in ledger_parquet(rows):
            file.write_bytes(piece)
        file.finish()
    finally:
        file.discard()


async def _write_file(path: str, chunks: AsyncIterator[str]) -> None:
    file = Outfile(path)
    try:
        async for text in chunks:
            file.write(text)
        file.finish()
    finally:
        file.discard()
