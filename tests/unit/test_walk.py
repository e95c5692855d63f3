"""What a walk of the list may conclude."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.core.job import JobIdentity, Order, ServedFormat
from orchestrator.core.model import RemoteTask, RemoteTaskStatus, TaskPage
from orchestrator.core.walk import (
    Doubt,
    PageCursor,
    absence_provable_at,
    advance,
    found,
    matches,
    missed,
    reaches_back_to,
)
from orchestrator.core.window import Window

TASK = RemoteTask(7, "o-aa-7", "s", "job", 1, Window(100, 200), 100, Order.ASC, ServedFormat.JSON, 50.0)
DOUBT = Doubt("s", TASK, JobIdentity("bj", "shop", "web", "", "match *"))
STATUS = RemoteTaskStatus("u1", "o-aa-7", "RUNNING", "shop", "web", start_s=100, end_s=200, created_at=60.0)


@pytest.mark.parametrize(
    ("status", "ours"),
    [
        (STATUS, True),
        (replace(STATUS, project="", logstore="", start_s=None, end_s=None), True),
        (replace(STATUS, name="o-aa-70"), False),
        (replace(STATUS, project="other"), False),
        (replace(STATUS, logstore="web-2"), False),
        (replace(STATUS, start_s=101), False),
        (replace(STATUS, end_s=201), False),
    ],
)
def test_only_a_remote_task_equal_in_all_that_is_echoed_is_adopted(
    status: RemoteTaskStatus, ours: bool
) -> None:
    """Name, project, logstore and window must agree as far as the service echoes them."""
    assert matches(DOUBT, status) is ours


def test_of_several_remote_tasks_of_one_name_a_usable_old_one_comes_first() -> None:
    """Twins are sorted so that the one that can still yield a file is adopted and the rest is surplus."""
    dead = replace(STATUS, uuid="u0", state="FAILED", created_at=10.0)
    young = replace(STATUS, uuid="u2", created_at=70.0)
    walked = {s.uuid: s for s in (dead, young, STATUS, replace(STATUS, uuid="x", name="foreign"))}
    assert [s.uuid for s in found([DOUBT], walked)[7]] == ["u1", "u2", "u0"]
    assert found([replace(DOUBT, task=replace(TASK, number=8, name="o-aa-8"))], walked) == {}


@pytest.mark.parametrize(
    ("task", "lag_s", "at"),
    [
        (replace(TASK, answered_at=60.0), 0.0, 75.0),
        (replace(TASK, answered_at=60.0), 10.0, 90.0),
        (replace(TASK, expires_at=90.0), 0.0, 105.0),
        (replace(TASK, answered_at=60.0, expires_at=90.0), 0.0, 105.0),
        (TASK, 0.0, 65.0),
    ],
)
def test_absence_is_provable_only_after_answer_or_signature_and_settling_time(
    task: RemoteTask, lag_s: float, at: float
) -> None:
    """A list that lags and a create that may still be executed both delay the proof of absence."""
    assert absence_provable_at(task, lag_s) == at


def page(n: int, *, size: int | None = None, total: int | None = None) -> TaskPage:
    """A page of n items."""
    return TaskPage(tuple(replace(STATUS, uuid=f"u{i}") for i in range(n)), size, total)


@pytest.mark.parametrize(
    ("cursor", "served", "fresh", "stop", "expected"),
    [
        (PageCursor(), page(0), 0, False, PageCursor(1, 0, finished=True)),
        (PageCursor(), page(100, size=100, total=250), 100, False, PageCursor(2, 100)),
        (PageCursor(3, 200), page(50, size=100, total=250), 50, False, PageCursor(4, 250, finished=True)),
        (PageCursor(), page(50, size=100, total=250), 50, False, PageCursor(2, 50)),
        (PageCursor(), page(50, size=50), 50, False, PageCursor(2, 50)),
        (PageCursor(), page(5), 5, False, PageCursor(2, 5)),
        (PageCursor(2, 5), page(5), 0, False, PageCursor(3, 10, finished=True)),
        (PageCursor(), page(100), 100, True, PageCursor(1, 100, finished=True)),
    ],
)
def test_a_walk_ends_where_the_list_ends_and_not_at_a_lowered_page_size(
    cursor: PageCursor, served: TaskPage, fresh: int, stop: bool, expected: PageCursor
) -> None:
    """A short page does not end the walk; an empty one, the total, or a page without anything new does."""
    assert advance(cursor, served, fresh=fresh, stop=stop) == expected


def test_a_walk_may_stop_only_when_a_whole_page_is_older_than_needed() -> None:
    """One undated or younger item keeps the walk going."""
    old = TaskPage((replace(STATUS, created_at=1.0), replace(STATUS, created_at=2.0)))
    assert reaches_back_to(old, 5.0)
    assert not reaches_back_to(old, 2.0)
    assert not reaches_back_to(TaskPage((replace(STATUS, created_at=None),)), 5.0)
    assert not reaches_back_to(TaskPage(()), 5.0)


def test_a_second_walk_tells_what_the_first_had_missed() -> None:
    """Only what is older than the first walk, or undated, counts as missed."""
    before = {"a": STATUS}
    after = {
        "a": STATUS,
        "old": replace(STATUS, uuid="old", created_at=5.0),
        "undated": replace(STATUS, uuid="undated", created_at=None),
        "young": replace(STATUS, uuid="young", created_at=500.0),
    }
    assert missed(before, after, 100.0) == {"old", "undated"}
