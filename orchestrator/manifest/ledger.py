"""Which ledger rows come next: pages of whole seconds, so that the order is exact and memory flat."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from orchestrator.core.job import JobIdentity
from orchestrator.core.model import SliceState
from orchestrator.core.window import Window, subtract
from orchestrator.manifest.named import sql
from orchestrator.manifest.read import acceptances, job_identity
from orchestrator.ports.store import Acceptance, LedgerRow

__all__ = ["BEFORE_ALL_S", "LedgerPage", "ledger_page"]

BEFORE_ALL_S = -(2**62)
_SLICES_AT_ONCE = 500
_SETTLED = {SliceState.DONE, SliceState.EMPTY, SliceState.DELIVERED, SliceState.CUT, SliceState.SUPERSEDED}
"""Nothing to sign off in these: the rows are there, or stand in other slices."""


@dataclass(frozen=True, slots=True)
class LedgerPage:
    """``rows`` in order; ``last_s`` is where the next page begins after, None when this was the last."""

    rows: tuple[LedgerRow, ...]
    last_s: int | None


def ledger_page(connection: sqlite3.Connection, job: str, after_s: int) -> LedgerPage:
    """Rows of the next slices of ``job`` that start after ``after_s``. Slices neither move nor change their
    start, so pages read one after the other show every slice that was there all the time exactly once."""
    key_row = connection.execute(sql("job_key"), {"job": job}).fetchone()
    if key_row is None:
        return LedgerPage((), None)
    place = {"job": key_row[0], "after_s": after_s, "limit": _SLICES_AT_ONCE}
    found = connection.execute(sql("ledger_page"), place).fetchall()
    if not found:
        return LedgerPage((), None)
    last_s = found[-1]["start_s"]
    found += connection.execute(
        sql("ledger_rest_of_second"), {"job": key_row[0], "start_s": last_s, "after": found[-1]["id"]}
    )
    identity = job_identity(connection, job) or JobIdentity("", "", "", "", "")
    signed = acceptances(connection, job)
    ordered: list[tuple[tuple[int, int, str, str], LedgerRow]] = []
    for piece in found:
        rows = connection.execute(sql("ledger_rows"), {"id": piece["id"]}).fetchall()
        carrier = _carrier(rows)
        for number, row in enumerate(rows):
            order = (row["start_s"], row["t_number"] or 0, row["slice"], row["t_uuid"] or "")
            ordered.append((order, _row(row, job, identity, signed, carries=number == carrier)))
    ordered.sort(key=lambda pair: pair[0])
    return LedgerPage(tuple(row for _, row in ordered), last_s)


def _carrier(rows: list[sqlite3.Row]) -> int:
    """Which of a slice's rows speaks of its file: its current remote task, else its latest. So sums count it
    once."""
    for number, row in enumerate(rows):
        if row["t_number"] == row["task_number"] and row["t_uuid"] == row["task_uuid"]:
            return number
    return len(rows) - 1


def _row(
    row: sqlite3.Row, job: str, identity: JobIdentity, signed: tuple[Acceptance, ...], *, carries: bool
) -> LedgerRow:
    def of_file(column: str) -> int | str | None:
        value: int | str | None = row[column] if carries else None
        return value

    return LedgerRow(
        job=job,
        region=identity.service,
        project=identity.project,
        logstore=identity.logstore,
        logstream=row["logstream"],
        query=identity.query,
        slice=row["slice"],
        slice_start=row["start_s"],
        slice_end=row["end_s"],
        state=row["state"],
        attempt=row["attempt"] if row["t_number"] is None else row["t_attempt"],
        task_name=row["t_name"],
        uuid=row["t_uuid"] or None,
        task_state=row["t_state"] or None,
        limit=row["t_row_limit"],
        order=row["t_row_order"],
        format=row["t_format"],
        evidence=row["evidence"] if carries else "none",
        counted_at=row["counted_at"],
        expected_lines=row["expected_lines"],
        written_rows=row["t_written_rows"],
        served_rows=_number(of_file("served_rows")),
        dropped_rows=_number(of_file("dropped_rows")),
        stored_rows=_number(of_file("stored_rows")),
        path=_word(of_file("path")),
        form=_word(of_file("form")),
        fetched_bytes=_number(of_file("fetched_bytes")),
        fetched_sha256=_word(of_file("fetched_sha256")),
        stored_bytes=_number(of_file("stored_bytes")),
        stored_sha256=_word(of_file("stored_sha256")),
        request_id=row["t_request_id"] or None,
        created_at=row["t_created_at"],
        finished_at=row["t_finished_at"],
        reason=row["reason"] or None,
        accepted_by=_accepted_by(row, signed),
    )


def _number(value: int | str | None) -> int | None:
    return value if isinstance(value, int) else None


def _word(value: int | str | None) -> str | None:
    return str(value) if value else None


def _accepted_by(row: sqlite3.Row, signed: tuple[Acceptance, ...]) -> str | None:
    """Who signed the slice's window off, when it is a gap and every second of it is signed; the latest
    signer's name."""
    if row["state"] in _SETTLED:
        return None
    window = Window(row["start_s"], row["end_s"])
    meeting = [item for item in signed if item.window.meets(window) and item.speaks_of(row["logstream"])]
    if not meeting or subtract((window,), (item.window for item in meeting)):
        return None
    return max(meeting, key=lambda item: item.at).by
