"""Looking for the remote tasks of doubtful creates in the service's list: what a walk may conclude.

The list has no filter by name, is paged by number while others create and delete, may lag behind creates,
repeat items, miss some, and lower the page size without saying so (bls-api.md 2.3, 10.4, 10.5). So: *found*
is a fact after one walk; *absent* needs two walks in a row of which the second shows nothing that the first
had missed, begun late enough after the create.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.core.job import JobIdentity
from orchestrator.core.model import RemoteState, RemoteTask, RemoteTaskStatus, TaskPage

__all__ = [
    "Doubt",
    "PageCursor",
    "absence_provable_at",
    "advance",
    "found",
    "matches",
    "missed",
    "reaches_back_to",
]

SETTLING_S = 15.0
"""The least time between a create's answer and a walk that may prove its absence."""
REACH_BACK_S = 900.0
"""A walk goes back in ``createdTime`` this far before the oldest doubtful intent: clocks and lags differ."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """One intent whose create may or may not have happened."""

    slice_id: str
    task: RemoteTask
    identity: JobIdentity


def matches(doubt: Doubt, status: RemoteTaskStatus) -> bool:
    """Whether ``status`` is the remote task of this intent: equal name, project, logstore and window, as far
    as echoed."""
    task, identity = doubt.task, doubt.identity
    return (
        status.name == task.name
        and status.project in ("", identity.project)
        and status.logstore in ("", identity.logstore)
        and status.start_s in (None, task.window.start_s)
        and status.end_s in (None, task.window.end_s)
    )


def absence_provable_at(task: RemoteTask, longest_listing_lag_s: float) -> float:
    """From when on a walk that does not show the task proves that it does not exist (our wall clock). After
    an answer the list has a settling time; without one the create could be executed until its signature
    expires, and be listed later."""
    settling_s = max(SETTLING_S, 3.0 * longest_listing_lag_s)
    latest_effect_at = task.answered_at if task.expires_at is None else task.expires_at
    return (latest_effect_at if latest_effect_at is not None else task.intent_at) + settling_s


@dataclass(frozen=True, slots=True)
class PageCursor:
    """How far one walk has come. ``seen`` counts items as served, duplicates included."""

    page_no: int = 1
    seen: int = 0
    finished: bool = False


def advance(cursor: PageCursor, page: TaskPage, *, fresh: int, stop: bool) -> PageCursor:
    """The next page to ask for; ``fresh`` is how many uuids of this page were new. The end is an empty page,
    ``total`` items seen, or ``stop``; without a total also a page with nothing new. A short page proves
    nothing: a page size may be lowered in silence."""
    seen = cursor.seen + len(page.tasks)
    if stop or not page.tasks:
        return PageCursor(cursor.page_no, seen, finished=True)
    finished = seen >= page.total if page.total is not None else fresh == 0
    return PageCursor(cursor.page_no + 1, seen, finished=finished)


def reaches_back_to(page: TaskPage, oldest_at: float) -> bool:
    """Whether every item of a page (createdTime descending) is older than needed, so that later pages are
    too."""
    dates = [status.created_at for status in page.tasks]
    return bool(dates) and all(at is not None and at < oldest_at for at in dates)


def found(
    doubts: Iterable[Doubt], walked: Mapping[str, RemoteTaskStatus]
) -> dict[int, tuple[RemoteTaskStatus, ...]]:
    """Remote tasks of each doubtful number: those that can still yield a file first, among them the
    oldest."""
    by_name: dict[str, list[RemoteTaskStatus]] = {}
    for status in walked.values():
        by_name.setdefault(status.name, []).append(status)
    result: dict[int, tuple[RemoteTaskStatus, ...]] = {}
    for doubt in doubts:
        mine = [status for status in by_name.get(doubt.task.name, ()) if matches(doubt, status)]
        if mine:
            result[doubt.task.number] = tuple(sorted(mine, key=_preference))
    return result


def _preference(status: RemoteTaskStatus) -> tuple[bool, float, str]:
    return status.state in (RemoteState.FAILED, RemoteState.EXPIRED), status.created_at or 0.0, status.uuid


def missed(
    before: Mapping[str, RemoteTaskStatus], after: Mapping[str, RemoteTaskStatus], begun_at: float
) -> frozenset[str]:
    """What the later walk shows though the earlier one, begun at ``begun_at`` (server time), should have
    shown it."""
    return frozenset(
        uuid
        for uuid, status in after.items()
        if uuid not in before and (status.created_at is None or status.created_at < begun_at)
    )
