"""How do the nouns of ``core.model`` lie in the tables: values to parameters, rows to values, exactly both
ways."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict
from typing import Any

import orjson

from orchestrator.core.job import Job, JobIdentity, Order, ServedFormat
from orchestrator.core.model import Evidence, Part, Receipt, RemoteTask, Slice, SliceState
from orchestrator.core.window import Window
from orchestrator.errors import ManifestDamaged
from orchestrator.ports.store import Acceptance, JournalEntry, JournalLine

__all__ = [
    "Parameters",
    "acceptance_of",
    "entry_parameters",
    "identity_of",
    "job_parameters",
    "line_of",
    "slice_of",
    "slice_parameters",
    "task_of",
    "task_parameters",
]

Row = sqlite3.Row
Parameters = dict[str, Any]
"""Values of a statement by name."""

_GREATEST = 2**63 - 1
_NO_RECEIPT: Parameters = dict.fromkeys(
    (
        "staged_path",
        "form",
        "extension",
        "fetched_bytes",
        "fetched_sha256",
        "stored_bytes",
        "stored_sha256",
        "served_rows",
        "dropped_rows",
        "stored_rows",
        "kept_start_s",
        "kept_end_s",
        "truncated",
        "time_known",
        "wire_bytes",
        "turn_ms",
    )
)


def job_parameters(job: Job) -> Parameters:
    """Identity and form. Destinations and commands stay out: values of ``${NAME}`` may stand in them."""
    form = {
        "format": job.format,
        "order": job.order,
        "deliver": job.deliver,
        "output": job.output,
        "compression": job.compression,
        "layout": job.layout,
        "timezone": job.timezone,
        "align": job.align,
        "max_lines": job.max_lines,
    }
    return {"job": job.name, **asdict(job.identity), "form": orjson.dumps(form).decode()}


def identity_of(row: Row) -> JobIdentity:
    """The identity in a row of ``job_identity``."""
    return JobIdentity(row["service"], row["project"], row["logstore"], row["logstream"], row["query"])


def slice_parameters(piece: Slice, job_key: int) -> Parameters:
    """Parameters of ``put_slice``. Raises ValueError when the slice carries a remote task that belongs to
    another one."""
    task = piece.task
    if task is not None and (task.slice_id != piece.id or task.job != piece.job):
        owner = f"slice {task.slice_id} of {task.job}"
        raise ValueError(f"slice {piece.id} of {piece.job} carries remote task {task.number} of {owner}")
    return {
        "id": piece.id,
        "job": job_key,
        "logstream": piece.logstream,
        "start_s": piece.window.start_s,
        "end_s": piece.window.end_s,
        "state": piece.state.value,
        "generation": piece.generation,
        "attempt": piece.attempt,
        "throttled": piece.throttled,
        "refetched": piece.refetched,
        "fetch_round": piece.fetch_round,
        "expiries": piece.expiries,
        "padded": piece.padded,
        "not_before_at": piece.not_before_at,
        "expected_lines": _storable(piece.expected_lines),
        "counted_at": piece.counted_at,
        "recount": _storable(piece.recount),
        "recounted_at": piece.recounted_at,
        "evidence": piece.evidence.value,
        "reason": _text(piece.reason),
        "path": piece.path,
        "published_path": piece.published_path,
        "published_sha256": piece.published_sha256,
        "published_rows": piece.published_rows,
        "parent": piece.parent,
        "replaces": piece.replaces,
        "whole": piece.whole,
        "part": piece.part.value,
        "edge_ms": piece.edge_ms,
        "task_number": None if task is None else task.number,
        "task_uuid": None if task is None else _text(task.uuid),
        "updated_at": piece.updated_at,
        **(_NO_RECEIPT if piece.receipt is None else _receipt_parameters(piece.receipt)),
        "best": None if piece.best is None else orjson.dumps(_receipt_parameters(piece.best)).decode(),
    }


def _receipt_parameters(receipt: Receipt) -> Parameters:
    return {
        "staged_path": receipt.staged_path,
        "form": receipt.form,
        "extension": receipt.extension,
        "fetched_bytes": receipt.fetched_bytes,
        "fetched_sha256": receipt.fetched_sha256,
        "stored_bytes": receipt.stored_bytes,
        "stored_sha256": receipt.stored_sha256,
        "served_rows": receipt.served_rows,
        "dropped_rows": receipt.dropped_rows,
        "stored_rows": receipt.stored_rows,
        "kept_start_s": None if receipt.kept is None else receipt.kept.start_s,
        "kept_end_s": None if receipt.kept is None else receipt.kept.end_s,
        "truncated": receipt.truncated,
        "time_known": receipt.time_known,
        "wire_bytes": receipt.wire_bytes,
        "turn_ms": receipt.turn_ms,
    }


def _receipt_of(row: Row | dict[str, Any]) -> Receipt:
    kept = None if row["kept_start_s"] is None else Window(row["kept_start_s"], row["kept_end_s"])
    return Receipt(
        staged_path=row["staged_path"],
        form=row["form"],
        extension=row["extension"],
        fetched_bytes=row["fetched_bytes"],
        fetched_sha256=row["fetched_sha256"],
        stored_bytes=row["stored_bytes"],
        stored_sha256=row["stored_sha256"],
        served_rows=row["served_rows"],
        dropped_rows=row["dropped_rows"],
        stored_rows=row["stored_rows"],
        kept=kept,
        truncated=bool(row["truncated"]),
        time_known=bool(row["time_known"]),
        wire_bytes=row["wire_bytes"],
        turn_ms=row["turn_ms"],
    )


def slice_of(row: Row) -> Slice:
    """The slice in a row of the statement ``slice``. Raises ManifestDamaged for a row nobody of ours can have
    written."""
    try:
        return Slice(
            id=row["id"],
            job=row["job_name"],
            logstream=row["logstream"],
            window=Window(row["start_s"], row["end_s"]),
            state=SliceState(row["state"]),
            generation=row["generation"],
            attempt=row["attempt"],
            throttled=row["throttled"],
            refetched=row["refetched"],
            fetch_round=row["fetch_round"],
            expiries=row["expiries"],
            padded=bool(row["padded"]),
            not_before_at=row["not_before_at"],
            expected_lines=row["expected_lines"],
            counted_at=row["counted_at"],
            recount=row["recount"],
            recounted_at=row["recounted_at"],
            evidence=Evidence(row["evidence"]),
            reason=row["reason"],
            path=row["path"],
            published_path=row["published_path"],
            published_sha256=row["published_sha256"],
            published_rows=row["published_rows"],
            parent=row["parent"],
            replaces=row["replaces"],
            whole=row["whole"],
            part=Part(row["part"]),
            edge_ms=row["edge_ms"],
            task=None if row["t_number"] is None else _task(row, "t_", row["id"]),
            receipt=None if row["form"] is None else _receipt_of(row),
            best=None if row["best"] is None else _receipt_of(orjson.loads(row["best"])),
            updated_at=row["updated_at"],
        )
    except (ValueError, TypeError, KeyError) as error:
        raise ManifestDamaged(f"slice {row['id']!r} cannot be read: {error}") from error


def task_parameters(task: RemoteTask, job_key: int) -> Parameters:
    """Parameters of ``put_task``. Words and numbers that came from the service are made storable first."""
    return {
        "number": task.number,
        "uuid": _text(task.uuid),
        "name": task.name,
        "slice_id": task.slice_id,
        "job": job_key,
        "attempt": task.attempt,
        "start_s": task.window.start_s,
        "end_s": task.window.end_s,
        "row_limit": task.limit,
        "row_order": task.order.value,
        "format": task.format.value,
        "intent_at": task.intent_at,
        "state": _text(task.state),
        "request_id": _text(task.request_id),
        "answered_at": task.answered_at,
        "expires_at": task.expires_at,
        "created_at": task.created_at,
        "finished_at": task.finished_at,
        "written_rows": _storable(task.written_rows),
        "failed_code": _text(task.failed_code),
        "failed_message": _text(task.failed_message),
        "surplus": task.surplus,
        "deleted": task.deleted,
    }


def task_of(row: Row) -> RemoteTask:
    """The remote task in a row of ``remote_tasks``. Raises ManifestDamaged."""
    try:
        return _task(row, "", row["slice_id"])
    except (ValueError, TypeError) as error:
        raise ManifestDamaged(f"remote task {row['number']!r} cannot be read: {error}") from error


def _task(row: Row, prefix: str, slice_id: str) -> RemoteTask:
    return RemoteTask(
        number=row[prefix + "number"],
        name=row[prefix + "name"],
        slice_id=slice_id,
        job=row["job_name"],
        attempt=row[prefix + "attempt"],
        window=Window(row[prefix + "start_s"], row[prefix + "end_s"]),
        limit=row[prefix + "row_limit"],
        order=Order(row[prefix + "row_order"]),
        format=ServedFormat(row[prefix + "format"]),
        intent_at=row[prefix + "intent_at"],
        uuid=row[prefix + "uuid"],
        state=row[prefix + "state"],
        request_id=row[prefix + "request_id"],
        answered_at=row[prefix + "answered_at"],
        expires_at=row[prefix + "expires_at"],
        created_at=row[prefix + "created_at"],
        finished_at=row[prefix + "finished_at"],
        written_rows=row[prefix + "written_rows"],
        failed_code=row[prefix + "failed_code"],
        failed_message=row[prefix + "failed_message"],
        surplus=bool(row[prefix + "surplus"]),
        deleted=bool(row[prefix + "deleted"]),
    )


def entry_parameters(entry: JournalEntry, job_key: int) -> Parameters:
    """Parameters of ``journal``; the detail is stored as JSON."""
    return {
        "at": entry.at,
        "job": job_key,
        "slice_id": entry.slice_id,
        "event": entry.event,
        "detail": _detail(entry.detail),
    }


def _detail(detail: dict[str, str | int | float | None]) -> str:
    try:
        return orjson.dumps(detail).decode()
    except orjson.JSONEncodeError:  # a lone surrogate, or a number beyond 64 bits
        storable = {
            _text(key): _text(value)
            if isinstance(value, str)
            else _storable(value)
            if isinstance(value, int)
            else value
            for key, value in detail.items()
        }
        return orjson.dumps(storable).decode()


def line_of(row: Row) -> JournalLine:
    """The journal line in a row of ``story``. Raises ManifestDamaged."""
    try:
        detail = orjson.loads(row["detail"])
    except orjson.JSONDecodeError as error:
        raise ManifestDamaged(f"journal entry {row['number']} cannot be read: {error}") from error
    return JournalLine(
        row["number"], JournalEntry(row["at"], row["job_name"], row["slice_id"], row["event"], detail)
    )


def acceptance_of(row: Row, job: str) -> Acceptance:
    """The acceptance in a row of ``acceptances``."""
    window = Window(row["start_s"], row["end_s"])
    return Acceptance(job, window, row["reason"], row["by_whom"], row["at"], row["logstream"])


def _text(text: str) -> str:
    """``text`` with lone surrogates replaced: a foreign answer may hold some, UTF-8 cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _storable(number: int | None) -> int | None:
    """``number`` clamped to what 64 bits hold: a foreign answer may say anything."""
    return None if number is None else max(-_GREATEST, min(number, _GREATEST))
