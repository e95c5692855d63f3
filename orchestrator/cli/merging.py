"""What does ``merge`` do? One ordered stream or file out of the stored ones, or nothing and the reason."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from orchestrator.app.library import jobs_words
from orchestrator.app.merging import Archive, archive
from orchestrator.cli import values
from orchestrator.cli.checking import chosen
from orchestrator.cli.ending import Stage, complain
from orchestrator.cli.packedfile import PackedFile
from orchestrator.cli.print import bytes_text, counted, window_text
from orchestrator.cli.results import show_gaps
from orchestrator.cli.stdout import Stderr
from orchestrator.core.job import JobFile
from orchestrator.core.reasons import shell_word
from orchestrator.core.report import Gap, exit_of_gaps
from orchestrator.core.window import iso_utc
from orchestrator.dataplane.merge import Merge, form_of
from orchestrator.dataplane.rowform import Merged, framed
from orchestrator.dataplane.spill import Spill
from orchestrator.errors import ExitCode, IntegrityError, UsageError

__all__ = ["merge"]

STDOUT = "-"


def merge(stage: Stage, *, to: str, form: str, allow_gaps: bool, follow: bool, force: bool) -> int:
    """Write the rows of one job's window in time order to the file ``to``, or to stdout for ``-``."""
    if stage.document and to == STDOUT:
        raise UsageError("--json goes with -o FILE only: stdout carries the rows", hint="leave --json out")
    if not to:
        raise UsageError("no place to write to", hint="give -o FILE, or -o - for stdout")
    job_file = chosen(stage)
    if len(job_file.jobs) != 1:
        names = ", ".join(job.name for job in job_file.jobs[:5])
        raise UsageError(
            f"one job at a time: {names or 'no run has looked up yet which jobs there are'}",
            hint="give --job the full name of one job",
        )
    (job,) = job_file.jobs
    if job.window is None:
        raise UsageError(
            f"job {job.name} has nothing due yet", hint="`orchestrator status` says when it will"
        )
    with archive(job_file.manifest, job, job.window, jobs_words(job_file)) as found:
        gaps = found.status.gaps
        code = exit_of_gaps(gaps)
        _put_gaps(stage, found)
        if code != ExitCode.COMPLETE and not allow_gaps:
            _refuse(stage, found, code)
            return code
        _tell_gaps(gaps, job.name, job.timezone)
        done = _Merging(stage, job_file, found, to, Merged(form), follow=follow)
        if to == STDOUT:
            done.to_stdout()
        else:
            done.to_file(force=force)
        return code


def _put_gaps(stage: Stage, found: Archive) -> None:
    if stage.document:
        stage.document.put("job", found.job.name)
        for key, value in values.window_json(found.window).items():
            stage.document.put(key, value)
        stage.document.stream("gaps", (values.gap_json(gap) for gap in found.status.gaps))


def _refuse(stage: Stage, found: Archive, code: int) -> None:
    """Nothing is written: each gap with what mends it, on stderr."""
    open_gaps = [gap for gap in found.status.gaps if gap.accepted is None]
    _tell_gaps(open_gaps, found.job.name, found.job.timezone)
    message = (
        f"job {found.job.name}: {counted(len(open_gaps), 'gap')} in {found.window!r}, so nothing is merged"
    )
    complain(stage.redaction, message, "mend the gaps above, or give --allow-gaps to merge what is stored")
    if stage.document:
        stage.document.end(code, settled_to=found.status.settled_to)


def _tell_gaps(gaps: tuple[Gap, ...] | list[Gap], job: str, timezone: str) -> None:
    show_gaps(Stderr(), gaps, {job: timezone})


class _Merging:
    def __init__(
        self, stage: Stage, job_file: JobFile, found: Archive, to: str, form: Merged, *, follow: bool
    ) -> None:
        self._stage = stage
        self._found = found
        self._to = to
        self._asked = form
        self._follow = follow
        self._reserve_bytes = job_file.limits.disk_reserve_bytes
        self._words = f"{jobs_words(job_file)} --job {shell_word(found.job.name)}"
        self._extent = found.extent("" if to == STDOUT else to)
        if self._extent.unbacked:
            first, *others = self._extent.unbacked
            more = f" and {counted(len(others), 'more window')}" if others else ""
            span = f"--from {iso_utc(first.start_s)} --to {iso_utc(first.end_s)}"
            raise IntegrityError(
                f"the ledger calls {first!r}{more} covered and names no file for it",
                hint=f"orchestrator forget {self._words} {span} && orchestrator run {self._words}",
            )

    def to_stdout(self) -> None:
        out = self._stage.out
        with self._one_moment():
            _, pieces = self._begun(tempfile.gettempdir())
            for piece in pieces:
                out.write_bytes(piece)
                if out.broken:
                    return

    def to_file(self, *, force: bool) -> None:
        file = PackedFile(self._to, replace=force, reserve_bytes=self._reserve_bytes)
        try:
            with self._one_moment():
                merge, pieces = self._begun(str(file.path.parent))
                for piece in pieces:
                    file.write(piece)
            file.finish()
        finally:
            file.discard()
        self._summarise(merge, file)

    def _begun(self, folder: str) -> tuple[Merge, Iterator[bytes]]:
        """Rows that are out of order wait in ``folder``, in files without a name."""
        found, time_field = self._found, self._found.job.time_field
        form = form_of(found.sources, self._asked, time_field)
        spill = Spill(folder, self._reserve_bytes)
        merge = Merge(found.sources(), form, spill, time_field=time_field, follow=self._follow)
        return merge, framed(merge.pieces(), form)

    @contextmanager
    def _one_moment(self) -> Iterator[None]:
        """A run that exports slices anew may change the ledger, and with it the files, under a merge."""
        try:
            yield
            changed = self._found.given.mark != self._extent.mark and not self._stage.out.broken
        except IntegrityError as error:
            if self._found.extent().mark != self._extent.mark:
                raise _changed() from error
            if type(error) is not IntegrityError:
                raise
            mend = f"orchestrator verify {self._words}; orchestrator run {self._words}"
            raise IntegrityError(error.message, hint=mend) from error
        if changed:
            raise _changed()

    def _summarise(self, merge: Merge, file: PackedFile) -> None:
        status, document = self._found.status, self._stage.document
        if document:
            summary: dict[str, Any] = {
                "output": self._asked.value,
                "path": os.fspath(file.path),
                "rows": merge.rows,
                "files": merge.files,
                "bytes": file.size_bytes,
                "sha256": file.sha256,
            }
            for key, value in summary.items():
                document.put(key, value)
            code = exit_of_gaps(status.gaps)
            document.end(code, complete=status.complete, settled_to=status.settled_to)
            return
        rows, files = counted(merge.rows, "row"), counted(merge.files, "file")
        window = window_text(self._found.window, self._found.job.timezone)
        self._stage.out.line(f"{rows} of {files}, {window}")
        self._stage.out.line(f"  {bytes_text(file.size_bytes)}, sha256 {file.sha256}: {file.path}")


def _changed() -> IntegrityError:
    return IntegrityError(
        "slices were exported anew or forgotten while they were merged, so the rows are not of one moment",
        hint="merge again; nothing of the archive is damaged",
    )
