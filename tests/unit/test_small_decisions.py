"""Admission, backoff, reasons and exit codes: small tables that much depends on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.core.admission import (
    Candidate,
    Quota,
    largest_first,
    most_unfetched,
    next_job,
    room_for_creates,
)
from orchestrator.core.model import Slice
from orchestrator.core.reasons import Reason, describe_reason, short_by
from orchestrator.core.report import Gap, exit_of_gaps, is_of_lost_logstore, of_lost_logstore
from orchestrator.core.retry import backoff_s
from orchestrator.core.window import Window
from orchestrator.errors import ExitCode


def test_what_leaves_retention_within_a_day_goes_first() -> None:
    """The soonest first, whatever its priority; what has more than a day goes by the other rules."""
    urgent = Candidate("a", 9, 0, 10, leaves_in_s=2 * 86_400.0)
    leaving = Candidate("b", 0, 9, 50, leaves_in_s=80_000.0)
    sooner = Candidate("c", 0, 9, 40, leaves_in_s=70_000.0)
    assert next_job([urgent, leaving, sooner]) == sooner
    assert next_job([urgent, leaving]) == leaving
    assert next_job([urgent, Candidate("d", 0, 0, 0, leaves_in_s=86_400.0)]) == urgent


def test_the_job_that_goes_next_is_preferred_then_idle_then_old() -> None:
    """Priority beats fairness, fairness beats age."""
    busy_urgent = Candidate("a", 1, 9, 50)
    idle = Candidate("b", 0, 0, 90)
    idle_old = Candidate("c", 0, 0, 10)
    assert next_job([idle, busy_urgent, idle_old]) == busy_urgent
    assert next_job([idle, idle_old]) == idle_old
    assert next_job([]) is None


@pytest.mark.parametrize(
    ("outstanding", "unfetched", "room"), [(0, 0, 20), (19, 8, 1), (20, 0, 0), (25, 0, 0), (0, 9, 0)]
)
def test_room_for_creates_ends_at_the_ceiling_and_while_files_pile_up(
    outstanding: int, unfetched: int, room: int
) -> None:
    """No create is admitted above ``tasks``, nor while more files wait than may."""
    assert room_for_creates(outstanding=outstanding, tasks=20, unfetched=unfetched, most_unfetched=8) == room


@pytest.mark.parametrize(
    ("run_s", "fetch_s", "most"),
    [(None, 1.0, 8), (2.0, None, 8), (2.0, 0.0, 8), (60.0, 60.0, 8), (2.0, 0.5, 16), (600.0, 1.0, 20)],
)
def test_files_may_wait_that_are_fetched_before_the_next_remote_task_ends(
    run_s: float | None, fetch_s: float | None, most: int
) -> None:
    """Twice the downloads while nothing is known or fetching is slow; as many as are fetched during one run
    time where it is quick, and never more than ``tasks``."""
    assert most_unfetched(tasks=20, downloads=4, run_s=run_s, fetch_s=fetch_s) == most


def test_the_last_slices_go_largest_first() -> None:
    """What takes longest begins first, and of unknown size are the longest of all; equal ones keep the order
    of time."""
    sizes = [5, None, 9, 5, 7]
    slices = [Slice(str(n), "a", "", Window(n, n + 1), expected_lines=lines) for n, lines in enumerate(sizes)]
    assert [slice_.id for slice_ in largest_first(slices)] == ["1", "2", "4", "0", "3"]


def test_files_that_expire_unfetched_halve_the_quota_and_stored_ones_bring_it_back() -> None:
    """Halved at most once a minute and never below one; back at the ceiling after as many stored files as it
    takes, and never above."""
    quota = Quota(8).expired(100.0)
    assert (quota.tasks, quota.expired(159.0).tasks, quota.expired(160.0).tasks) == (4, 4, 2)
    for minute in range(9):
        quota = quota.expired(1_000.0 + 60 * minute)
    assert quota.tasks == 1
    grown = [quota := quota.stored() for _ in range(200)]
    assert [q.tasks for q in grown] == sorted(q.tasks for q in grown)
    assert max(q.tasks for q in grown) == 8
    assert grown[0].tasks == 2
    assert grown[1].tasks == 2
    assert Quota(1).expired(1.0).tasks == 1


def test_pauses_double_up_to_a_cap_are_jittered_and_honour_the_service() -> None:
    """Every pause lies between half and all of its ceiling, differs by key, and is never shorter than asked
    for."""
    for round_no in range(1, 30):
        ceiling_s = min(90.0, 2.0 * 2 ** (round_no - 1))
        assert ceiling_s / 2 <= backoff_s("k", round_no) <= ceiling_s
    assert backoff_s("k", 1) != backoff_s("l", 1)
    assert backoff_s("k", 1, at_least_s=120.0) == 120.0


def test_every_reason_has_a_meaning_and_a_mend() -> None:
    """No gap is reported without what it means and which command mends it."""
    for reason in Reason:
        text = describe_reason(reason)
        assert text.meaning
        assert "orchestrator" in text.mend
    assert describe_reason(short_by(3)) == describe_reason(Reason.SHORT)
    assert describe_reason("a word of tomorrow") == describe_reason(Reason.NOT_EXPORTED)


@pytest.mark.parametrize(
    ("codes", "worst"),
    [([], 0), ([0, 3], 3), ([7, 3], 3), ([3, 5, 130], 130), ([6, 1], 1), ([2, 1], 2), ([4, 5], 4)],
)
def test_one_exit_code_speaks_for_several_jobs_by_a_fixed_order(codes: list[int], worst: int) -> None:
    """The first of 2 1 6 8 130 4 5 3 7 0 that occurs wins."""
    assert ExitCode.worst(codes) == worst


LOST = Gap("web", Window(0, 60), "a", Reason.NOT_EXPORTED, True, "orchestrator run jobs.toml --job web")


def test_what_a_lost_logstore_never_gave_is_refused() -> None:
    """No run mends it: what was known once can be signed off, what never was is more likely misspelt. What
    failed for another reason keeps it."""
    gone = of_lost_logstore(LOST, "jobs.toml", by_stream=True, once_known=True)
    assert (gone.reason, gone.mendable, is_of_lost_logstore(gone)) == (Reason.REFUSED, False, True)
    assert gone.mend.startswith("orchestrator accept jobs.toml --job web --logstream a ")
    misspelt = of_lost_logstore(LOST, "jobs.toml", by_stream=False, once_known=False)
    assert (misspelt.mend, misspelt.advice) == ("orchestrator run jobs.toml --job web", gone.advice)
    signed = of_lost_logstore(replace(LOST, accepted="gone"), "jobs.toml", by_stream=False, once_known=True)
    assert (signed.reason, signed.mend) == (Reason.REFUSED, LOST.mend)
    throttled = replace(LOST, reason=Reason.THROTTLED)
    assert of_lost_logstore(throttled, "jobs.toml", by_stream=False, once_known=True) == throttled
    assert exit_of_gaps([gone, throttled]) == ExitCode.REFUSED
    assert exit_of_gaps([signed]) == ExitCode.COMPLETE
    assert exit_of_gaps([throttled]) == ExitCode.INCOMPLETE
