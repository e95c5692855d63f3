"""What does one commit write: a ``Changes`` in one transaction, and the amendments a person orders."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from orchestrator.core.columns import Column
from orchestrator.core.model import LIVE_STATES, SliceState
from orchestrator.core.window import LATEST_S, Window, WindowSet, intersect, normalise, subtract, union
from orchestrator.manifest.named import places, sql
from orchestrator.manifest.rows import (
    Parameters,
    acceptance_of,
    entry_parameters,
    job_parameters,
    slice_parameters,
    task_parameters,
)
from orchestrator.manifest.written import Written
from orchestrator.ports.store import Acceptance, Changes, Covered, Forgotten, JournalEntry

__all__ = ["ALL_STREAMS", "EVER", "accept", "forget", "forgettable", "transaction", "write_changes"]

ALL_STREAMS = "*"
EVER = Window(-LATEST_S, 2 * LATEST_S)
"""Meets every window there can be."""
_UNFINISHED = frozenset({SliceState.PLANNED, *LIVE_STATES})
_HANDED_ON = frozenset({SliceState.CUT, SliceState.SUPERSEDED, SliceState.ABANDONED})


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything inside is committed together, or rolled back whatever was raised."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # After some failures, a full disk among them, SQLite itself has rolled back.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def write_changes(connection: sqlite3.Connection, changes: Changes, written: Written | None = None) -> None:
    """Writes ``changes`` inside the caller's transaction; what ``written`` knows to stand there already is
    left alone. The caller has that forgotten when the transaction fails.

    A slice that was cut is written before the others, so that a remote task it handed to its child ends with
    the child. Remote tasks go before the slices that point at them; an intent without uuid gives way to the
    row that has the uuid unless a slice still points at it.
    """
    written = Written() if written is None else written
    keys = _job_keys(connection, changes, written)
    for job in changes.jobs:
        connection.execute(sql("declare_job"), job_parameters(job))
    slices = sorted(changes.slices, key=lambda piece: piece.state is not SliceState.CUT)
    rows = [slice_parameters(piece, keys[piece.job]) for piece in slices]
    current = [task_parameters(task, keys[task.job]) for task in written.changed(slices)]
    further = [task_parameters(task, keys[task.job]) for task in changes.tasks]
    _put_current(connection, current)
    _put_slices(connection, rows)
    for task in further:
        _run(connection, "put_task", task)
    written.note(slices, changes.tasks)
    for item in changes.outlived:
        if not item.kept:
            connection.execute(sql("outlive"), {"id": item.slice_id})
        connection.execute(sql("end_replacing"), {"id": item.slice_id, "job": keys[item.job]})
    if current or further:
        _end_intents(connection, [*current, *further])
    for job_name, columns in changes.columns:
        _set_columns(connection, job_name, keys[job_name], columns)
    for covered in _merged(changes.covered):
        _cover(connection, keys[covered.job], covered)
        _end_acceptances(connection, keys[covered.job], covered)
    for uncovered in _merged(changes.uncovered):
        _uncover(connection, keys[uncovered.job], uncovered)
    statement, in_place = places("journal")
    rows_of_journal = (in_place(entry_parameters(entry, keys[entry.job])) for entry in changes.journal)
    connection.executemany(statement, rows_of_journal)


def _set_columns(connection: sqlite3.Connection, name: str, key: int, columns: Sequence[Column]) -> None:
    if not connection.execute(sql("columns"), {"job": name}).fetchone():
        rows = [
            {"job": key, "place": place, "name": column.name, "type": column.type.value}
            for place, column in enumerate(columns)
        ]
        connection.executemany(sql("add_column"), rows)


def _run(connection: sqlite3.Connection, name: str, values: Parameters) -> int:
    """How many rows the statement changed."""
    statement, in_place = places(name)
    return connection.execute(statement, in_place(values)).rowcount


def _put_current(connection: sqlite3.Connection, tasks: Sequence[Parameters]) -> None:
    """Most have their row and only tell more: an update leaves alone what the indexes are made of."""
    for task in tasks:
        if not (task["uuid"] and _run(connection, "change_task", task)):
            _run(connection, "put_task", task)
            _run(connection, "hold_task", task)


def _put_slices(connection: sqlite3.Connection, rows: Sequence[Parameters]) -> None:
    """Those with a remote task have their row: what a slice is about never changes, so most indexes need not
    be looked at."""
    for row in rows:
        if row["task_number"] is None or not _run(connection, "change_slice", row):
            _run(connection, "put_slice", row)


def _end_intents(connection: sqlite3.Connection, tasks: Sequence[Parameters]) -> None:
    """Intents without uuid give way, and their numbers are used up."""
    for task in tasks:
        if task["uuid"]:
            _run(connection, "drop_bare_intent", task)
    highest = max(task["number"] for task in tasks)
    connection.execute(sql("raise_next_number"), {"number": highest + 1})


def _job_keys(connection: sqlite3.Connection, changes: Changes, written: Written) -> dict[str, int]:
    names = {entry.job for entry in changes.journal}
    names.update(job.name for job in changes.jobs)
    names.update(task.job for task in changes.tasks)
    names.update(item.job for item in (*changes.covered, *changes.uncovered))
    names.update(item.job for item in changes.outlived)
    names.update(name for name, _ in changes.columns)
    for piece in changes.slices:
        names.add(piece.job)
        if piece.task is not None:
            names.add(piece.task.job)
    for name in sorted(names - written.keys.keys()):
        written.keys[name] = job_key(connection, name)
    return written.keys


def job_key(connection: sqlite3.Connection, job: str) -> int:
    """The key of ``job``, made when the name is new."""
    connection.execute(sql("add_job"), {"job": job})
    return int(connection.execute(sql("job_key"), {"job": job}).fetchone()[0])


def _merged(items: Iterable[Covered]) -> Iterator[Covered]:
    """The same seconds in as few pieces as possible: neighbouring slices mostly end in one commit."""
    windows: dict[tuple[str, str], list[Window]] = {}
    for item in items:
        windows.setdefault((item.job, item.logstream or ALL_STREAMS), []).append(item.window)
    for (job, logstream), parts in windows.items():
        for window in normalise(parts):
            yield Covered(job, logstream, window)


def _cover(connection: sqlite3.Connection, job: int, covered: Covered) -> None:
    touched = _touching(connection, job, covered)
    _replace_ranges(connection, job, covered.logstream, touched, union(touched, (covered.window,)))


def _uncover(connection: sqlite3.Connection, job: int, uncovered: Covered) -> None:
    touched = _touching(connection, job, uncovered)
    _replace_ranges(connection, job, uncovered.logstream, touched, subtract(touched, (uncovered.window,)))


def _touching(connection: sqlite3.Connection, job: int, item: Covered) -> WindowSet:
    parameters = {
        "job": job,
        "logstream": item.logstream or ALL_STREAMS,
        "start_s": item.window.start_s,
        "end_s": item.window.end_s,
    }
    return tuple(Window(row[0], row[1]) for row in connection.execute(sql("touching_ranges"), parameters))


def _replace_ranges(
    connection: sqlite3.Connection, job: int, logstream: str, old: WindowSet, new: WindowSet
) -> None:
    place = {"job": job, "logstream": logstream or ALL_STREAMS}
    gone, come = set(old) - set(new), set(new) - set(old)
    connection.executemany(sql("drop_range"), [{**place, "start_s": window.start_s} for window in gone])
    connection.executemany(
        sql("add_range"), [{**place, "start_s": window.start_s, "end_s": window.end_s} for window in come]
    )


def accept(connection: sqlite3.Connection, acceptance: Acceptance) -> None:
    """Signs off a window of a job and journals it. Inside the caller's transaction."""
    key = job_key(connection, acceptance.job)
    _insert_acceptance(connection, key, acceptance)
    detail: dict[str, str | int | float | None] = {
        "from_s": acceptance.window.start_s,
        "to_s": acceptance.window.end_s,
        "reason": acceptance.reason,
        "by": acceptance.by,
        "logstream": acceptance.logstream,
    }
    entry = JournalEntry(acceptance.at, acceptance.job, "", "accepted", detail)
    connection.execute(sql("journal"), entry_parameters(entry, key))


@dataclass(frozen=True, slots=True)
class _Dropping:
    """What one ``forget`` is about: the slices that meet its window, and all that loses its coverage."""

    slices: tuple[sqlite3.Row, ...]
    windows: WindowSet

    @property
    def unfinished(self) -> list[str]:
        return [row["id"] for row in self.slices if row["state"] in _UNFINISHED]


def _dropping(connection: sqlite3.Connection, key: int, asked: Window) -> _Dropping:
    """A slice goes whole, and its coverage with it: nothing stays covered without its ledger row. What a
    slice handed on to others is theirs."""
    longest_s = connection.execute(sql("longest_slice"), {"job": key}).fetchone()[0]
    span = {"job": key, "earliest_s": asked.start_s - longest_s, "from_s": asked.start_s, "to_s": asked.end_s}
    rows = tuple(connection.execute(sql("slices_meeting"), span).fetchall())
    settled = [Window(row["start_s"], row["end_s"]) for row in rows if row["state"] not in _HANDED_ON]
    return _Dropping(rows, normalise([asked, *settled]))


def _covered_within(
    connection: sqlite3.Connection, job: str, key: int, windows: WindowSet
) -> list[tuple[Covered, WindowSet]]:
    """For each stream and window what is covered in it."""
    streams = [row[0] for row in connection.execute(sql("covered_streams"), {"job": key}).fetchall()]
    items = [Covered(job, logstream, part) for logstream in streams for part in windows]
    return [(item, intersect(_touching(connection, key, item), (item.window,))) for item in items]


def forgettable(connection: sqlite3.Connection, job: str, window: Window | None) -> Forgotten:
    """What ``forget`` would drop; writes nothing."""
    row = connection.execute(sql("job_key"), {"job": job}).fetchone()
    if row is None:
        return Forgotten(0, (), (), 0)
    dropping = _dropping(connection, row[0], window or EVER)
    lost = [part for _, parts in _covered_within(connection, job, row[0], dropping.windows) for part in parts]
    tasks = [connection.execute(sql("tasks_ever"), {"id": id_}).fetchall() for id_ in dropping.unfinished]
    return Forgotten(
        slices=len(dropping.slices),
        paths=tuple(
            row["path"] for row in dropping.slices if row["state"] == SliceState.DONE and row["path"]
        ),
        uncovered=normalise(lost),
        let_go=sum(bool(task["uuid"]) and not task["deleted"] for group in tasks for task in group),
    )


def forget(connection: sqlite3.Connection, job: str, window: Window | None, at: float) -> WindowSet:
    """Drops coverage, slices, receipts and acceptances of ``job`` that meet ``window`` (None: all of them,
    and its identity).

    Remote tasks keep their rows, so their names and numbers stay ours; those of unfinished slices become
    surplus, and a create under way is looked for like any other doubt. Returns the windows that are no longer
    covered.
    """
    key = job_key(connection, job)
    asked = window or EVER
    dropping = _dropping(connection, key, asked)
    for slice_id in dropping.unfinished:
        connection.execute(sql("unfinished_tasks"), {"id": slice_id})
        connection.execute(sql("doubt_task"), {"id": slice_id, "at": at})
    for row in dropping.slices:
        connection.execute(sql("forget_tasks"), {"id": row["id"]})
        connection.execute(sql("drop_slice"), {"id": row["id"]})
        parts: dict[str, str | int | float | None] = {"from_s": row["start_s"], "to_s": row["end_s"]}
        entry = JournalEntry(at, job, row["id"], "forgotten", {"state": row["state"], **parts})
        connection.execute(sql("journal"), entry_parameters(entry, key))
    lost: list[Window] = []
    for item, parts_lost in _covered_within(connection, job, key, dropping.windows):
        _uncover(connection, key, item)
        lost.extend(parts_lost)
    _drop_acceptances(connection, key, job, asked)
    if window is None:
        connection.execute(sql("undeclare_job"), {"job": job})
        connection.execute(sql("drop_columns"), {"job": key})
    detail: dict[str, str | int | float | None] = {"slices": len(dropping.slices)}
    if window is not None:
        detail |= {"from_s": window.start_s, "to_s": window.end_s}
    connection.execute(sql("journal"), entry_parameters(JournalEntry(at, job, "", "forgotten", detail), key))
    return normalise(lost)


def _end_acceptances(connection: sqlite3.Connection, key: int, covered: Covered) -> None:
    """What is stored after all needs nobody's word any more: should it get lost, that is a new gap."""
    span = {"job": key, "start_s": covered.window.start_s, "end_s": covered.window.end_s}
    if connection.execute(sql("acceptances_meeting"), span).fetchone() is not None:
        _drop_acceptances(connection, key, covered.job, covered.window, covered.logstream)


def _drop_acceptances(
    connection: sqlite3.Connection, key: int, job: str, window: Window, logstream: str | None = None
) -> None:
    """Of every log stream, or of what coverage of ``logstream`` fills: what is missing of all together is
    covered as ``*``."""
    stream = "" if logstream == ALL_STREAMS else logstream
    for row in connection.execute(sql("acceptances"), {"job": job}).fetchall():
        acceptance = acceptance_of(row, job)
        if acceptance.window.meets(window) and (stream is None or acceptance.speaks_of(stream)):
            connection.execute(sql("drop_acceptance"), {"number": row["number"]})
            for rest in subtract((acceptance.window,), (window,)):
                _insert_acceptance(connection, key, replace(acceptance, window=rest))


def _insert_acceptance(connection: sqlite3.Connection, key: int, acceptance: Acceptance) -> None:
    parameters = {
        "job": key,
        "start_s": acceptance.window.start_s,
        "end_s": acceptance.window.end_s,
        "reason": acceptance.reason,
        "by_whom": acceptance.by,
        "at": acceptance.at,
        "logstream": acceptance.logstream,
    }
    connection.execute(sql("accept"), parameters)
