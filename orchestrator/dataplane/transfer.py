"""The worker's whole job: from a ticket to a staged artifact and its receipt (design: Data plane).

Bytes are fetched, digested and surveyed in one go; what must change (clip, cut, other form) is rewritten in a
second pass from the part file. Memory does not grow with the file: one block per stage, and at most one row.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from orchestrator.core.columns import Table
from orchestrator.core.job import Output
from orchestrator.core.model import ColumnsFound, LinkExpired, Receipt, Ticket
from orchestrator.dataplane.bandwidth import Bandwidth
from orchestrator.dataplane.clip import Verdict, judge, needs_order, needs_turn, turn_ms
from orchestrator.dataplane.convert import Form, stored_form
from orchestrator.dataplane.decode import decoded
from orchestrator.dataplane.discovering import Discovery
from orchestrator.dataplane.disk import DiskBudget
from orchestrator.dataplane.draft import Draft
from orchestrator.dataplane.error_answer import refuse_complaint
from orchestrator.dataplane.fetch import Fetch
from orchestrator.dataplane.glance import Glance
from orchestrator.dataplane.held import HeldFile
from orchestrator.dataplane.inflow import Inflow, Run, at_once, driven, finished
from orchestrator.dataplane.leftovers import Leftovers, found
from orchestrator.dataplane.rows import RowStream
from orchestrator.dataplane.secondpass import SecondPass
from orchestrator.dataplane.sniff import Packing, Shape
from orchestrator.dataplane.staging import (
    AppendFile,
    Progress,
    StagingArea,
    fingerprint,
    receipt_to_record,
    storage_faults,
)
from orchestrator.dataplane.survey import Survey, served_shape
from orchestrator.dataplane.surveyor import Surveyors
from orchestrator.dataplane.tabling import NotInOrder
from orchestrator.dataplane.writing import writing_of
from orchestrator.errors import BrokenBody, IntegrityError, LinkRefused, OrchestratorError
from orchestrator.ports.control import Boundary
from orchestrator.ports.service import FileSource

__all__ = ["transfer"]

T = TypeVar("T")

_WORTH_MARKING_BYTES: Final = 1 << 20
"""Fetching less again costs less than recording that it was fetched."""


async def transfer(
    ticket: Ticket,
    source: FileSource,
    *,
    run: Run,
    boundary: Boundary,
    disk: DiskBudget,
    bandwidth: Bandwidth,
    surveyors: Surveyors,
    leftovers: Leftovers,
    tables: asyncio.Semaphore,
) -> Receipt | LinkExpired | ColumnsFound:
    """Fetch, check, clip or cut, convert and stage one file; as promised by
    ``ports.files.DataPlane.transfer``.

    A call with an attempt key seen before goes on where the earlier one stopped; when that one got as far as
    its receipt, the receipt is returned and nothing is fetched. ``tables`` is passed for as long as a large
    Parquet file is written. Fault points: ``transfer.chunk``, ``transfer.offset_recorded``,
    ``transfer.staged``.
    """
    work = _Transfer(ticket, source, run, boundary, disk, bandwidth, surveyors, leftovers, tables)
    try:
        return await work.outcome()
    finally:
        disk.release(ticket.attempt_key)


class _Transfer:
    def __init__(
        self,
        ticket: Ticket,
        source: FileSource,
        run: Run,
        boundary: Boundary,
        disk: DiskBudget,
        bandwidth: Bandwidth,
        surveyors: Surveyors,
        leftovers: Leftovers,
        tables: asyncio.Semaphore,
    ) -> None:
        self._ticket = ticket
        self._source = source
        self._run = run
        self._boundary = boundary
        self._disk = disk
        self._bandwidth = bandwidth
        self._leftovers = leftovers
        self._tables = tables
        self._area = StagingArea.of(ticket)
        self._glance = Glance(ticket, self._area.part, surveyors)
        self._draft = Draft(self._area, self._promise)
        self._inflow = Inflow(
            self._area,
            AppendFile(self._area.part),
            self._glance,
            run=run,
            boundary=boundary,
            recorded=self._renew_promise,
        )
        self._layers: list[Packing] = []
        self._held = False

    @property
    def _part(self) -> AppendFile | HeldFile:
        return self._inflow.part

    async def outcome(self) -> Receipt | LinkExpired | ColumnsFound:
        result = await self._outcome()
        if isinstance(result, Receipt):
            self._leftovers.concluded(self._area)
        return result

    async def _outcome(self) -> Receipt | LinkExpired | ColumnsFound:
        begun = await self._leftovers.begin(self._area, self._run)
        earlier = await finished(self._run(partial(found, self._area, self._ticket))) if begun else None
        if isinstance(earlier, Receipt):
            return earlier
        try:
            expired = await self._fetch(earlier)
            if expired is not None:
                return expired
            if self._held:
                return await finished(self._run(partial(self._all_at_once, asyncio.get_running_loop())))
            return await self._stage()
        except IntegrityError:
            # These bytes are proven useless; a later call must not resume on them.
            await finished(self._run(self._forget))
            raise
        finally:
            self._glance.let_go()
            self._part.close()
            self._draft.close()

    def _all_at_once(self, loop: asyncio.AbstractEventLoop) -> Receipt | ColumnsFound:
        """What is left to do for a small file, on this thread of the pool."""
        pool, self._run = self._run, at_once(loop)
        self._inflow.run = self._run
        self._inflow.part = HeldFile()
        self._draft.hold()
        try:
            self._glance.total_bytes = self._inflow.offset_bytes
            self._promise(self._inflow.offset_bytes)
            with storage_faults(self._area.folder):
                self._area.prepare(self._leftovers.certain)
            self._part.open(0)
            return driven(self._written_and_staged())
        finally:
            self._run = self._inflow.run = pool

    async def _written_and_staged(self) -> Receipt | ColumnsFound:
        await self._inflow.drain()
        return await self._stage()

    def _forget(self) -> None:
        self._part.close()
        with storage_faults(self._area.part):
            self._area.discard()

    # --- fetching ---

    async def _fetch(self, earlier: Progress | None) -> LinkExpired | None:
        fetch = Fetch(
            self._ticket,
            self._source,
            self._inflow,
            run=self._run,
            bandwidth=self._bandwidth,
            admit=self._admit,
            may_hold=not self._discovers,
        )
        try:
            if earlier is not None:
                self._glance.total_bytes = earlier.total_bytes
                await self._inflow.replay(earlier)
            await fetch.until_whole()
            self._held = fetch.held
        except LinkRefused as error:
            return LinkExpired(await self._inflow.stop(), str(error))
        except (asyncio.CancelledError, OrchestratorError):
            await self._inflow.stop()
            raise
        await self._inflow.settle()
        return None

    def _admit(self, have: int, coming: int) -> None:
        self._glance.total_bytes = have + coming
        self._promise(coming)
        with storage_faults(self._area.folder):
            self._area.prepare(self._leftovers.certain)
        self._part.open(have)

    def _renew_promise(self, progress: Progress) -> None:
        """What is written needs no promise any more; and others may have filled the disk meanwhile."""
        self._promise(max(0, (progress.total_bytes or 0) - progress.offset_bytes))

    def _promise(self, coming: int) -> None:
        ticket, area = self._ticket, self._area
        with storage_faults(area.folder):
            self._disk.promise(ticket.attempt_key, area.folder, coming, ticket.disk_reserve_bytes)

    # --- deciding and staging ---

    async def _stage(self) -> Receipt | ColumnsFound:
        ticket = self._ticket
        survey = await finished(self._run(self._glance.finish))
        if survey is not None:
            await finished(
                self._run(partial(refuse_complaint, survey, self._inflow.offset_bytes, self._part.read))
            )
        if survey is None:
            survey = await self._surveyed(Survey(ticket))
        if needs_order(survey, ticket):
            survey = await self._surveyed(Survey(ticket, in_order=True))
        receipt = await self._staged(survey)
        if isinstance(receipt, ColumnsFound):
            return receipt
        if receipt is None:
            raise BrokenBody("the same bytes gave different rows: the staging area is not sound")
        await finished(self._run(partial(self._conclude, receipt)))
        self._boundary.reached("transfer.staged")
        return receipt

    async def _staged(self, survey: Survey) -> Receipt | ColumnsFound | None:
        """The artifact and its receipt; None when fewer or more rows were written than the survey counted."""
        ticket = self._ticket
        verdict = judge(survey, ticket)
        turn: int | None = None
        if needs_turn(verdict, ticket):
            turn = turn_ms(await self._surveyed(Survey(ticket, fine=True)), ticket)
        form, rewrites = self._form(survey, verdict)
        expected = survey.inside if verdict.time_known and verdict.kept == ticket.window else None
        staged: tuple[int, str, int] | None = None
        if survey.rows and verdict.keep is not None and expected != 0:
            if self._discovers:
                return await self._discovered()
            if rewrites:
                verbatim = survey.plain_lines and not verdict.clips
                rows = expected if verdict.clips else survey.rows
                small = self._held or form.shape is not Table.PARQUET
                async with nullcontext() if small else self._tables:
                    staged = await self._rewritten(form, verdict, rows, verbatim=verbatim)
            else:
                await self._mark_whole()
                staged = await finished(self._run(partial(self._taken_over, survey.rows)))
        receipt = replace(self._receipt(survey, verdict, form, staged), turn_ms=turn)
        return receipt if expected is None or receipt.stored_rows == expected else None

    def _form(self, survey: Survey, verdict: Verdict) -> tuple[Form, bool]:
        """The stored form, and whether the bytes must be written anew to get it."""
        layers = tuple(self._layers)
        if self._ticket.output is Output.RAW:
            return stored_form(
                self._ticket, survey.stream.shape, layers, rewritten=verdict.clips
            ), verdict.clips
        form = stored_form(self._ticket, survey.stream.shape, layers, rewritten=True)
        as_served = (
            not layers
            and not form.packings
            and survey.stream.shape is Shape.JSON_LINES
            and survey.plain_lines
        )
        return form, verdict.clips or not as_served

    async def _mark_whole(self, *, always: bool = False) -> None:
        """What follows takes a while: after a crash in it nothing is fetched again."""
        size = self._inflow.offset_bytes
        if (size < _WORTH_MARKING_BYTES and not always) or self._inflow.progress.sha256:
            return
        self._inflow.progress = replace(
            self._inflow.progress, offset_bytes=size, total_bytes=size, sha256=self._inflow.sha256
        )
        await finished(self._run(self._save_whole))
        self._boundary.reached("transfer.offset_recorded")

    def _save_whole(self) -> None:
        self._part.sync()
        with storage_faults(self._area.sidecar):
            self._area.save(self._inflow.progress)

    def _second_pass(self) -> SecondPass:
        return SecondPass(self._run, self._area.part)

    async def _surveyed(self, survey: Survey) -> Survey:
        """A survey of the part file, decoded."""
        await self._mark_whole()
        self._layers = []
        blocks = decoded(self._part.source, self._layers) if self._part.is_open else iter(())
        await self._second_pass().through(blocks, survey.feed, survey.finish)
        return survey

    @property
    def _discovers(self) -> bool:
        """Whether the columns of a table are to be found first."""
        return self._ticket.output in (Output.CSV, Output.PARQUET) and self._ticket.columns is None

    async def _discovered(self) -> ColumnsFound:
        """What the part file suggests; it stays, whole, for the next call."""
        await self._mark_whole(always=True)
        discovery, stream = Discovery(), RowStream(served_shape(self._ticket), self._ticket.time_field)

        def look(region: bytes) -> None:
            if region:
                discovery.look(region, stream.shape, stream.columns)

        await self._second_pass().through(
            decoded(self._part.source), lambda plain: look(stream.feed(plain)), lambda: look(stream.finish())
        )
        return ColumnsFound(discovery.columns())

    async def _rewritten(
        self, form: Form, verdict: Verdict, rows: int | None, *, verbatim: bool
    ) -> tuple[int, str, int]:
        """Writes the artifact; returns its size, digest and rows, which shall be ``rows``. Half an artifact
        is of no use and does not stay, least of all on a full disk."""
        await self._mark_whole()
        keep = verdict.keep if verdict.clips else None
        grows = bool(self._layers) or not (form.packings or form.shape is Table.PARQUET)
        coming = self._inflow.offset_bytes if grows else 0
        becomes = partial(writing_of, self._ticket, form, keep, self._draft.write, verbatim=verbatim)
        ordered, quick = True, rows is not None
        try:
            while True:
                try:
                    writing = becomes(ordered=ordered, quick=quick)
                    await self._second_pass().rewrite(self._part.source, writing, self._draft, coming)
                except NotInOrder:
                    ordered = False
                    continue
                if not quick or writing.rows == rows:
                    return writing.size_bytes, writing.sha256, writing.rows
                quick = False
        except (asyncio.CancelledError, OrchestratorError):
            await finished(self._run(self._draft.drop))
            raise

    def _taken_over(self, rows: int) -> tuple[int, str, int]:
        """The part file itself becomes the artifact."""
        self._part.become(self._area.staged)
        return self._inflow.offset_bytes, self._inflow.sha256, rows

    def _receipt(
        self, survey: Survey, verdict: Verdict, form: Form, staged: tuple[int, str, int] | None
    ) -> Receipt:
        stored_bytes, stored_sha256, stored_rows = staged or (0, hashlib.sha256().hexdigest(), 0)
        return Receipt(
            staged_path=self._area.staged if stored_rows else "",
            form=form.name,
            extension=form.extension,
            fetched_bytes=self._inflow.offset_bytes,
            fetched_sha256=self._inflow.sha256,
            stored_bytes=stored_bytes if stored_rows else 0,
            stored_sha256=stored_sha256,
            served_rows=survey.rows,
            dropped_rows=survey.rows - stored_rows,
            stored_rows=stored_rows,
            kept=verdict.kept,
            truncated=verdict.truncated,
            time_known=verdict.time_known,
            wire_bytes=self._inflow.progress.wire_bytes,
            start_met=survey.start_met,
            inside_rows=survey.inside if verdict.time_known else None,
        )

    def _conclude(self, receipt: Receipt) -> None:
        """Record the receipt beside its durable artifact; the fetched bytes are no longer needed then."""
        area, held = self._area, isinstance(self._part, HeldFile)
        self._part.close()
        with storage_faults(area.sidecar):
            if not receipt.staged_path:
                area.discard()
                return
            area.save(
                replace(
                    self._inflow.progress,
                    offset_bytes=receipt.fetched_bytes,
                    sha256=receipt.fetched_sha256,
                    receipt=receipt_to_record(receipt),
                    fingerprint=fingerprint(self._ticket),
                ),
                durable=not held,
            )
            if not held:
                with suppress(FileNotFoundError):
                    os.unlink(area.part)
