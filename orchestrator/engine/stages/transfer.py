"""Transfer: a finished remote task becomes a staged, checked file. Links are asked for and renewed here,
never by a worker."""

from __future__ import annotations

import asyncio
import hashlib

from orchestrator.core import events as ev
from orchestrator.core.columns import Column
from orchestrator.core.job import Output
from orchestrator.core.layout import render_layout
from orchestrator.core.model import ColumnsFound, LinkExpired, Receipt, RemoteTask, Slice, Ticket
from orchestrator.core.redact import PresignedLink
from orchestrator.core.retry import backoff_s
from orchestrator.core.window import Window, iso_utc
from orchestrator.engine.agreeing import Agreement
from orchestrator.engine.context import JobContext, Room
from orchestrator.engine.faults import fault_of
from orchestrator.errors import LinkRefused, OrchestratorError
from orchestrator.ports.store import ManifestReader

__all__ = ["attempt_key", "fetch", "place"]

_COMPACT = str.maketrans("", "", "-:")
RENEWALS_WITHOUT_PROGRESS = 3
"""Fresh links in a row that bring no byte before the transfer is called failed."""


async def fetch(order: ev.Fetch, context: JobContext, room: Room, agreement: Agreement) -> ev.Event:
    """Carry out one Fetch."""
    slice_, task = order.slice, order.task
    try:
        receipt = await _transfer(slice_, task, context, room, agreement)
    except OrchestratorError as error:
        return ev.TransferFailed(slice_.id, task.number, fault_of(error))
    room.boundary.reached("transfer.receipt")
    path = place(context, slice_, receipt)
    if await _stands_for_more(path, slice_, receipt, room.manifest):
        path = place(context, slice_, receipt, apart=True)
    return ev.Staged(slice_.id, task.number, receipt, path)


async def _stands_for_more(path: str, slice_: Slice, receipt: Receipt, manifest: ManifestReader) -> bool:
    """Whether the file at ``path`` holds more than these rows may replace: it stays until all of its window
    stands elsewhere. A layout without the end of the window leads here."""
    owner: Slice | None = slice_
    part = receipt.kept is not None and receipt.kept != slice_.window
    while owner is not None:
        if part and owner.published_path == path:
            return True
        owner, part = (await manifest.slice(owner.parent) if owner.parent else None), True
    return False


async def _transfer(
    slice_: Slice, task: RemoteTask, context: JobContext, room: Room, agreement: Agreement
) -> Receipt:
    is_table = context.job.output in (Output.CSV, Output.PARQUET)
    safe_bytes, idle = -1, 0
    while True:
        columns = await agreement.columns() if is_table else None
        link = await context.tasks.link(task.uuid)
        result = await room.data_plane.transfer(_ticket(slice_, task, link, columns, context, room))
        if isinstance(result, ColumnsFound):
            await agreement.told(result.columns)
            continue
        if not isinstance(result, LinkExpired):
            return result
        idle = idle + 1 if result.offset_bytes <= safe_bytes else 0
        safe_bytes = max(safe_bytes, result.offset_bytes)
        if idle >= RENEWALS_WITHOUT_PROGRESS:
            raise LinkRefused(
                f"{idle} fresh links in a row did not open for remote task {task.uuid}: {result.why[:300]}"
            )
        room.observer.noted(
            "transfer.link_renewed", job=slice_.job, slice=slice_.id, offset_bytes=result.offset_bytes
        )
        if idle:
            await asyncio.sleep(backoff_s(f"link:{slice_.id}", idle))


def _ticket(
    slice_: Slice,
    task: RemoteTask,
    link: PresignedLink,
    columns: tuple[Column, ...] | None,
    context: JobContext,
    room: Room,
) -> Ticket:
    job, limits = context.job, room.limits
    if job.destination is None:
        raise OrchestratorError(f"job {job.name} has no destination")
    return Ticket(
        slice_id=slice_.id,
        job=slice_.job,
        attempt_key=attempt_key(slice_, task),
        window=slice_.window,
        requested=task.window,
        limit=task.limit,
        order=task.order,
        format=task.format,
        output=job.output,
        compression=job.compression,
        time_field=job.time_field,
        destination=job.destination,
        link=link,
        written_rows=task.written_rows,
        disk_reserve_bytes=limits.disk_reserve_bytes,
        bandwidth_bytes_per_s=limits.bandwidth_bytes_per_s,
        part=slice_.part,
        edge_ms=slice_.edge_ms,
        columns=columns,
    )


def attempt_key(slice_: Slice, task: RemoteTask) -> str:
    """Names the staged file: the same remote task and fetch round find what an earlier process left."""
    return f"{task.name}-{hashlib.sha256(task.uuid.encode()).hexdigest()[:8]}-{slice_.fetch_round}"


def place(context: JobContext, slice_: Slice, receipt: Receipt, *, apart: bool = False) -> str:
    """The final path of a receipt's rows: layout over the window it really holds, plus the extension of its
    form; ``apart`` adds the window's end where the layout does not tell it."""
    job = context.job
    window: Window = receipt.kept or slice_.window
    relative = render_layout(
        job.layout,
        job.name,
        job.identity.project,
        job.identity.logstore,
        window,
        context.zone,
        slice_.logstream,
    )
    folder = job.destination.url.rstrip("/") if job.destination else ""
    part = f"~{slice_.part}" if slice_.part else ""
    end = f"~{iso_utc(window.end_s).translate(_COMPACT)}" if apart else ""
    return f"{folder}/{relative}{part}{end}{receipt.extension}"
