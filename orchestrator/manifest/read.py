"""What does the manifest answer: every question of ``ManifestReader`` but the ledger, as a function of a
connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice, pairwise

from orchestrator.core.columns import Column, ColumnType
from orchestrator.core.estimating import Past
from orchestrator.core.job import JobIdentity
from orchestrator.core.model import LIVE_STATES, RemoteTask, Slice, SliceState
from orchestrator.core.window import Window, WindowSet, intersect
from orchestrator.errors import ManifestDamaged, UsageError
from orchestrator.manifest.apply import ALL_STREAMS, EVER
from orchestrator.manifest.named import sql
from orchestrator.manifest.rows import acceptance_of, identity_of, line_of, slice_of, task_of
from orchestrator.ports.store import Acceptance, JobCounts, JournalLine, SliceIds

__all__ = [
    "acceptances",
    "admissible",
    "by_uuid",
    "children",
    "columns",
    "counts",
    "coverage",
    "created_at",
    "in_doubt_since",
    "job_identity",
    "jobs",
    "lately",
    "like",
    "listings",
    "live",
    "manifest_id",
    "next_due_at",
    "next_number",
    "one_slice",
    "orphans",
    "quick_check",
    "replaced",
    "replacing",
    "run_times_s",
    "slices",
    "story",
    "strays_sought_at",
    "surplus",
    "tasks_ever",
    "tasks_of_number",
    "tasks_of_slice",
    "tasks_of_uuid",
    "told_of",
    "totals",
    "unfinished",
    "unfinished_spans",
    "waited",
]

_ROWS_AT_ONCE = 1000
_BEFORE_ALL_S = -(2**62)


def manifest_id(connection: sqlite3.Connection) -> str:
    """16 hex digits. Raises ManifestDamaged when the manifest has lost them."""
    return str(_meta(connection, "manifest_id"))


def next_number(connection: sqlite3.Connection) -> int:
    """The first intent number never used. Raises ManifestDamaged when the manifest has lost it."""
    return int(_meta(connection, "next_number"))


def created_at(connection: sqlite3.Connection) -> float:
    """When the manifest was made, UTC epoch seconds. Raises ManifestDamaged when it does not know."""
    return float(_meta(connection, "created_at"))


def _meta(connection: sqlite3.Connection, key: str) -> str | int | float:
    row = connection.execute(sql("meta"), {"key": key}).fetchone()
    if row is None:
        raise ManifestDamaged(f"the manifest lacks its {key}")
    value: str | int | float = row[0]
    return value


def jobs(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Names of jobs with an identity or with slices, in order."""
    return tuple(row[0] for row in connection.execute(sql("jobs")))


def job_identity(connection: sqlite3.Connection, job: str) -> JobIdentity | None:
    """None for a job that was never declared, or was forgotten."""
    row = connection.execute(sql("job_identity"), {"job": job}).fetchone()
    return None if row is None else identity_of(row)


def columns(connection: sqlite3.Connection, job: str) -> tuple[Column, ...] | None:
    """The columns of the job's tables in their order; None when none are known."""
    rows = connection.execute(sql("columns"), {"job": job}).fetchall()
    return tuple(Column(row["name"], ColumnType(row["type"])) for row in rows) or None


def one_slice(connection: sqlite3.Connection, slice_id: str) -> Slice | None:
    """The slice with its current remote task; None when there is none of that id."""
    row = connection.execute(sql("slice"), {"id": slice_id}).fetchone()
    return None if row is None else slice_of(row)


def _all_of(connection: sqlite3.Connection, ids: Iterable[str]) -> tuple[Slice, ...]:
    found = (one_slice(connection, slice_id) for slice_id in ids)
    return tuple(piece for piece in found if piece is not None)


def _key(connection: sqlite3.Connection, job: str) -> int | None:
    row = connection.execute(sql("job_key"), {"job": job}).fetchone()
    return None if row is None else int(row[0])


def live(connection: sqlite3.Connection, job: str) -> tuple[Slice, ...]:
    """Seven short index ranges, however many slices are planned or done."""
    return slices(connection, job, tuple(LIVE_STATES), window=None, limit=-1, after="")


def slices(
    connection: sqlite3.Connection,
    job: str,
    states: Sequence[SliceState],
    *,
    window: Window | None,
    limit: int,
    after: str,
) -> tuple[Slice, ...]:
    """Raises UsageError when ``after`` names no slice: a page that silently ended there would hide the
    rest."""
    key = _key(connection, job)
    if key is None:
        return ()
    asked = window or EVER
    position = (_BEFORE_ALL_S, "")
    if after:
        row = connection.execute(sql("start_of"), {"id": after}).fetchone()
        if row is None:
            raise UsageError(f"slice {after} is no longer in the manifest", hint="start the listing anew")
        position = (row[0], after)
    # No slice that starts earlier than this can reach into the window.
    position = max(position, (_earliest_s(connection, key, asked), ""))
    span = {"job": key, "from_s": asked.start_s, "to_s": asked.end_s, "limit": limit}
    found: list[tuple[int, str]] = []
    for state in set(states):
        parameters = {**span, "state": state.value, "after_s": position[0], "after": position[1]}
        found.extend((row[0], row[1]) for row in connection.execute(sql("ids_in_state"), parameters))
    ordered = sorted(found)
    return _all_of(connection, (slice_id for _, slice_id in (ordered if limit < 0 else ordered[:limit])))


def _earliest_s(connection: sqlite3.Connection, key: int, window: Window) -> int:
    return window.start_s - int(connection.execute(sql("longest_slice"), {"job": key}).fetchone()[0])


def unfinished(
    connection: sqlite3.Connection, job: str, window: Window | None, logstream: str | None = None
) -> WindowSet:
    """Merged while it is read: memory goes with the answer, not with the number of slices."""
    key = _key(connection, job)
    if key is None:
        return ()
    asked = window or EVER
    earliest_s = _earliest_s(connection, key, asked)
    span = {
        "job": key,
        "earliest_s": earliest_s,
        "from_s": asked.start_s,
        "to_s": asked.end_s,
        "logstream": logstream,
    }
    merged: list[Window] = []
    cursor = connection.execute(sql("unfinished"), span)
    cursor.arraysize = _ROWS_AT_ONCE
    while rows := cursor.fetchmany():
        for start_s, end_s in rows:
            if merged and start_s <= merged[-1].end_s:
                merged[-1] = Window(merged[-1].start_s, max(end_s, merged[-1].end_s))
            else:
                merged.append(Window(start_s, end_s))
    return tuple(merged)


def unfinished_spans(
    connection: sqlite3.Connection, job: str, edges: Sequence[int], logstream: str | None
) -> WindowSet:
    """Two figures per stretch between ``edges``, whatever lies in it."""
    key = _key(connection, job)
    if key is None:
        return ()
    earliest_s = _earliest_s(connection, key, Window(edges[0], edges[-1]))
    found: list[Window] = []
    for from_s, to_s in pairwise((earliest_s, *edges)):
        span = {"job": key, "from_s": from_s, "to_s": to_s, "after_s": edges[0], "logstream": logstream}
        start_s, end_s = connection.execute(sql("unfinished_span"), span).fetchone()
        if start_s is not None:
            found.append(Window(start_s, end_s))
    return intersect(found, (Window(edges[0], edges[-1]),))


def admissible(
    connection: sqlite3.Connection,
    job: str,
    now: float,
    limit: int,
    *,
    without: SliceIds = (),
    whole_end: int = 0,
) -> tuple[Slice, ...]:
    """Two indexes answer: the planned slices that never waited in order of time, and the few whose wait is
    over. Only what is wanted of them is read."""
    key = _key(connection, job)
    if key is None or limit <= 0:
        return ()
    found: list[tuple[int, str]] = []
    for name in ("ready", "due"):
        rows = connection.execute(sql(name), {"job": key, "now": now})
        wanted = ((row[0], row[1]) for row in rows if row[1] not in without)
        found += islice(wanted, max(limit, whole_end) + 1)
    most = whole_end if limit < len(found) <= whole_end else limit
    return _all_of(connection, (slice_id for _, slice_id in sorted(found)[:most]))


def surplus(connection: sqlite3.Connection, job: str) -> tuple[RemoteTask, ...]:
    """Remote tasks that were let go and are not known to be deleted."""
    key = _key(connection, job)
    return (
        () if key is None else tuple(task_of(row) for row in connection.execute(sql("surplus"), {"job": key}))
    )


def waited(connection: sqlite3.Connection, job: str) -> tuple[Slice, ...]:
    """Planned slices with a wait behind or before them, oldest window first."""
    key = _key(connection, job)
    if key is None:
        return ()
    found = [(row["start_s"], row["id"]) for row in connection.execute(sql("waited"), {"job": key})]
    return _all_of(connection, (slice_id for _, slice_id in sorted(found)))


def parts(connection: sqlite3.Connection, whole: str) -> tuple[Slice, ...]:
    """The slices an overfull second was divided into, by id."""
    found = connection.execute(sql("parts"), {"whole": whole})
    return _all_of(connection, sorted(row["id"] for row in found))


def divided(connection: sqlite3.Connection, job: str, window: Window) -> tuple[Slice, ...]:
    """The slices of divided seconds, by id."""
    key = _key(connection, job)
    if key is None:
        return ()
    names = {"job": key, "start_s": window.start_s, "end_s": window.end_s}
    found = connection.execute(sql("divided"), names)
    return _all_of(connection, sorted(row["whole"] for row in found))


def holding(connection: sqlite3.Connection, job: str) -> tuple[Slice, ...]:
    """Divided slices with a published file, by id."""
    key = _key(connection, job)
    if key is None:
        return ()
    found = connection.execute(sql("holding"), {"job": key})
    return _all_of(connection, sorted(row["id"] for row in found))


def next_due_at(connection: sqlite3.Connection, job: str) -> float | None:
    """The first entry of an index; None when nothing is planned."""
    due_at: float | None = connection.execute(sql("next_due_at"), {"job": job}).fetchone()[0]
    return due_at


def coverage(connection: sqlite3.Connection, job: str, logstream: str) -> WindowSet:
    """The merged ranges of one stream, as they are stored."""
    parameters = {"job": job, "logstream": logstream or ALL_STREAMS}
    return tuple(Window(row[0], row[1]) for row in connection.execute(sql("coverage"), parameters))


def counts(connection: sqlite3.Connection, job: str) -> JobCounts:
    """Counter rows; no slice is touched."""
    key = _key(connection, job)
    if key is None:
        return JobCounts({})
    by_state = {
        SliceState(row["state"]): row["n"] for row in connection.execute(sql("slice_counts"), {"job": key})
    }
    return JobCounts(by_state, *connection.execute(sql("counters"), {"job": key}).fetchone())


def totals(connection: sqlite3.Connection, job: str, window: Window) -> JobCounts:
    """The counter rows where the window holds every slice there is; else one index range of slices, and their
    remote tasks."""
    key = _key(connection, job)
    if key is None:
        return JobCounts({})
    longest_s = connection.execute(sql("longest_slice"), {"job": key}).fetchone()[0]
    edges = {"start_s": window.start_s, "end_s": window.end_s, "earliest_s": window.end_s - longest_s}
    if connection.execute(sql("slices_outside"), {"job": key, **edges}).fetchone() is None:
        every = counts(connection, job)
        stray = connection.execute(sql("stray_remote_tasks"), {"job": key}).fetchone()[0]
        return replace(every, remote_tasks=every.remote_tasks - stray)
    span = {"job": key, "start_s": window.start_s, "end_s": window.end_s}
    rows = connection.execute(sql("totals"), span).fetchall()
    return JobCounts(
        slices={SliceState(row["state"]): row["n"] for row in rows},
        lines=sum(row["lines"] for row in rows),
        stored_bytes=sum(row["stored_bytes"] for row in rows),
        fetched_bytes=sum(row["fetched_bytes"] for row in rows),
        files=sum(row["files"] for row in rows),
        remote_tasks=connection.execute(sql("total_remote_tasks"), span).fetchone()[0],
    )


def by_uuid(connection: sqlite3.Connection, uuid: str) -> Slice | None:
    """The slice that holds the remote task with this uuid, be it its current one or not."""
    row = connection.execute(sql("slice_of_uuid"), {"uuid": uuid}).fetchone()
    return None if row is None else one_slice(connection, row[0])


def tasks_of_uuid(connection: sqlite3.Connection, uuid: str) -> tuple[RemoteTask, ...]:
    """Rows with this uuid, those of forgotten slices included."""
    return tuple(task_of(row) for row in connection.execute(sql("tasks_of_uuid"), {"uuid": uuid}))


def tasks_of_slice(connection: sqlite3.Connection, slice_id: str) -> tuple[RemoteTask, ...]:
    """Every remote task of a slice, by number."""
    return tuple(task_of(row) for row in connection.execute(sql("tasks_of_slice"), {"id": slice_id}))


def tasks_ever(connection: sqlite3.Connection, slice_id: str) -> tuple[RemoteTask, ...]:
    """Every remote task a slice ever had, by number; those from before it was forgotten too."""
    return tuple(task_of(row) for row in connection.execute(sql("tasks_ever"), {"id": slice_id}))


def tasks_of_number(connection: sqlite3.Connection, number: int) -> tuple[RemoteTask, ...]:
    """Every row under one intent number."""
    return tuple(task_of(row) for row in connection.execute(sql("tasks_of_number"), {"number": number}))


def children(connection: sqlite3.Connection, slice_id: str) -> tuple[Slice, ...]:
    """Slices that were made of this one, by window."""
    return _all_of(connection, (row["id"] for row in connection.execute(sql("children"), {"id": slice_id})))


def orphans(connection: sqlite3.Connection, job: str, window: Window) -> tuple[RemoteTask, ...]:
    """Remote tasks whose slice is gone though nobody forgot it. Looks at every remote task there is."""
    span = {"job": job, "from_s": window.start_s, "to_s": window.end_s}
    return tuple(task_of(row) for row in connection.execute(sql("orphans"), span))


def like(connection: sqlite3.Connection, text: str, limit: int) -> tuple[str, ...]:
    """Ids of slices, living or only told of, and uuids that begin with ``text``; when there is none, those
    next to it in the alphabet."""
    place = {"text": text, "limit": limit}

    def words(*names: str) -> set[str]:
        return {str(row[0]) for name in names for row in connection.execute(sql(name), place)}

    after = words("ids_from", "told_from", "uuids_from")
    begin = sorted(word for word in after if word.startswith(text))
    return tuple(begin[:limit]) or tuple(sorted(after | words("ids_before", "uuids_before")))


def replaced(connection: sqlite3.Connection, job: str) -> tuple[str, ...]:
    """Ids of slices that newer ones are to replace."""
    key = _key(connection, job)
    if key is None:
        return ()
    return tuple(row["replaces"] for row in connection.execute(sql("replaced"), {"job": key}))


def replacing(connection: sqlite3.Connection, job: str, slice_id: str) -> tuple[Slice, ...]:
    """The slices that are to replace this one, by window."""
    key = _key(connection, job)
    if key is None:
        return ()
    found = connection.execute(sql("replacing"), {"job": key, "id": slice_id})
    return _all_of(connection, [row["id"] for row in found])


def told_of(connection: sqlite3.Connection, slice_id: str) -> str | None:
    """The job of a slice the journal tells of."""
    row = connection.execute(sql("told_of"), {"id": slice_id}).fetchone()
    return None if row is None else str(row[0])


def in_doubt_since(connection: sqlite3.Connection, at: float) -> tuple[RemoteTask, ...]:
    """Remote tasks in doubt now, or whose doubt ended at ``at`` or later; twins included."""
    return tuple(task_of(row) for row in connection.execute(sql("in_doubt_since"), {"at": at}))


def story(connection: sqlite3.Connection, slice_id: str) -> tuple[JournalLine, ...]:
    """What happened to one slice, in the order it was committed."""
    return tuple(line_of(row) for row in connection.execute(sql("story"), {"id": slice_id}))


def listings(connection: sqlite3.Connection, job: str) -> tuple[JournalLine, ...]:
    """What the service's lists had to say about a job's logstore and log streams, in the order of time."""
    return tuple(line_of(row) for row in connection.execute(sql("listings"), {"job": job}))


def strays_sought_at(connection: sqlite3.Connection, job: str) -> float | None:
    """The last time the list was walked to its end for a job's strays."""
    row = connection.execute(sql("strays_sought_at"), {"job": job}).fetchone()
    return None if row is None or row[0] is None else float(row[0])


def lately(connection: sqlite3.Connection, job: str, state: SliceState, limit: int) -> tuple[Past, ...]:
    """One short range of an index, read from its end."""
    key = _key(connection, job)
    if key is None:
        return ()
    found = connection.execute(sql("lately"), {"job": key, "state": state.value, "limit": limit})
    return tuple(
        Past(
            row["expected_lines"],
            row["came_lines"],
            row["stored_rows"] or 0,
            row["stored_bytes"] or 0,
            row["ran_s"],
            row["length_s"],
        )
        for row in found
    )


def run_times_s(connection: sqlite3.Connection, service: str, limit: int) -> tuple[float, ...]:
    """The last stretch of the intents, whoever's they are."""
    span = {"service": service, "from_number": next_number(connection) - limit}
    return tuple(row[0] for row in connection.execute(sql("run_times"), span))


def acceptances(connection: sqlite3.Connection, job: str) -> tuple[Acceptance, ...]:
    """What was signed off for a job, by start."""
    return tuple(acceptance_of(row, job) for row in connection.execute(sql("acceptances"), {"job": job}))


def quick_check(connection: sqlite3.Connection) -> tuple[str, ...]:
    """SQLite's own findings about the file and about references that lead nowhere; empty when all is well."""
    findings = [str(row[0]) for row in connection.execute("PRAGMA quick_check")]
    findings += [
        f"{row[0]} {row[1]} refers to no {row[2]}" for row in connection.execute("PRAGMA foreign_key_check")
    ]
    return tuple(finding for finding in findings if finding != "ok")
