"""The table of a slice's life, row by row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.core import events as ev
from orchestrator.core.job import Order
from orchestrator.core.lifecycle import (
    TABLE,
    IllegalEvent,
    Rules,
    transition,
)
from orchestrator.core.model import LIVE_STATES, Evidence, Fault, Slice, SliceState
from orchestrator.core.reasons import Reason
from orchestrator.core.retry import MAX_LOST_CONNECTIONS, MAX_REFETCHES, MAX_THROTTLED
from orchestrator.core.submitting import CREATE_SIGNATURE_S, SEND_WITHIN_S
from orchestrator.core.window import Window
from tests.unit.lifecycle_cases import (
    ID,
    JOB,
    NOW,
    RULES,
    WINDOW,
    fault,
    go,
    kinds,
    observed,
    receipt,
    slice_,
    staged,
    status,
    task,
)

S = SliceState


def admitted(before: Slice, number: int = 1) -> Slice:
    """The slice after its intent was made."""
    return go(before, ev.Admitted(ID, number, f"o-x-{number}")).slice


# --- creating ---


def test_an_admitted_slice_has_an_intent_before_anything_is_sent() -> None:
    """The step that orders the POST is the one that holds the remote task's name, number and window."""
    step = go(slice_(S.PLANNED), ev.Admitted(ID, 7, "o-x-7"))
    assert step.slice.state is S.SUBMITTING
    assert kinds(step) == ["Submit"]
    intent = step.slice.task
    assert intent is not None
    assert (intent.number, intent.name, intent.uuid, intent.window, intent.limit, intent.attempt) == (
        7,
        "o-x-7",
        "",
        WINDOW,
        100,
        1,
    )


def test_without_a_count_the_request_has_a_margin_of_a_second() -> None:
    """Nothing counted means that an exclusive start could not be noticed, so both ends are asked wider."""
    intent = admitted(slice_(S.PLANNED, expected_lines=None)).task
    assert intent is not None
    assert intent.window == Window(999, 1601)


def test_what_its_margin_crowded_out_is_asked_for_from_the_other_end() -> None:
    """The margin at the start stays, because the first rows are unsure without it, and comes last."""
    before = slice_(S.TRANSFERRING, task=task(window=Window(999, 1600)))
    crowded = staged(before, truncated=True, kept=None, inside_rows=1)
    assert (crowded.slice.state, crowded.slice.reason) == (S.PLANNED, Reason.CROWDED_OUT)
    assert kinds(crowded) == ["DeleteRemote", "DiscardStaged"]
    intent = admitted(crowded.slice, 2).task
    assert intent is not None
    assert (intent.window, intent.order) == (Window(999, 1600), Order.DESC)
    exact = replace(intent, number=1, uuid="u1", window=WINDOW)
    late = staged(replace(before, task=exact), truncated=True, kept=None, inside_rows=1)
    assert (late.slice.state, late.slice.reason) == (S.PLANNED, Reason.CROWDED_LATE)
    intent = admitted(late.slice, 3).task
    assert intent is not None
    assert (intent.window, intent.order) == (WINDOW, Order.ASC)
    last = staged(replace(before, attempt=3), truncated=True, kept=None, inside_rows=1)
    assert (last.slice.state, last.slice.reason) == (S.FAILED, Reason.CROWDED_OUT)


def test_an_accepted_create_is_watched() -> None:
    """The uuid is committed with the step that starts watching."""
    step = go(admitted(slice_(S.PLANNED)), ev.Created(ID, 1, "u9", "req", NOW))
    assert (step.slice.state, kinds(step)) == (S.WAITING, ["Watch"])
    assert step.slice.task is not None
    assert step.slice.task.uuid == "u9"


def test_a_refused_job_stops_and_a_busy_service_is_waited_out() -> None:
    """Refusal fails the slice and stops the job; load costs no attempt and keeps the intent's number."""
    sent = admitted(slice_(S.PLANNED))
    refused = go(sent, ev.CreateRefused(ID, 1, fault("refuse")))
    assert (refused.slice.state, refused.slice.reason, kinds(refused)) == (
        S.FAILED,
        Reason.REFUSED,
        ["StopJob"],
    )
    alone = go(sent, ev.CreateRefused(ID, 1, fault("give up")))
    assert (alone.slice.state, alone.slice.reason, alone.instructions) == (S.FAILED, Reason.REFUSED, ())
    busy = go(sent, ev.CreateRefused(ID, 1, fault("throttle", retry_after_s=300.0)))
    assert (busy.slice.state, busy.slice.attempt, busy.slice.not_before_at) == (S.PLANNED, 1, NOW + 300.0)
    assert admitted(busy.slice).task == replace(sent.task, intent_at=NOW)  # type: ignore[type-var]
    worn = go(replace(sent, throttled=MAX_THROTTLED), ev.CreateRefused(ID, 1, fault("throttle")))
    assert (worn.slice.state, worn.slice.reason) == (S.FAILED, Reason.THROTTLED)


def test_a_create_that_never_left_waits_without_using_up_an_attempt() -> None:
    """No connection: the same intent goes again after a pause; an outage does not burn the slices of a
    run."""
    sent = admitted(slice_(S.PLANNED))
    again = go(sent, ev.CreateRefused(ID, 1, fault())).slice
    assert (again.state, again.attempt, again.throttled) == (S.PLANNED, 1, 1)
    assert again.not_before_at > NOW


def test_a_create_without_a_clear_answer_is_looked_for_and_never_repeated() -> None:
    """In doubt leads to Resolve; a POST comes only after absence is proved, under the same number."""
    doubt = go(admitted(slice_(S.PLANNED)), ev.CreateDoubted(ID, 1, fault("look"), NOW + 30, NOW))
    assert (doubt.slice.state, kinds(doubt)) == (S.IN_DOUBT, ["Resolve"])
    assert doubt.slice.task is not None
    assert (doubt.slice.task.expires_at, doubt.slice.task.answered_at) == (NOW + 30, None)
    absent = go(doubt.slice, ev.ProvedAbsent(ID, 1))
    assert (absent.slice.state, kinds(absent)) == (S.PLANNED, [])
    assert absent.slice.task is not None
    assert absent.slice.task.number == 1
    gone = go(replace(doubt.slice, attempt=3), ev.ProvedAbsent(ID, 1)).slice
    assert (gone.state, gone.reason) == (S.FAILED, Reason.ATTEMPTS_EXHAUSTED)


def test_an_unknown_refusal_is_load_until_it_recurs_with_nothing_outstanding() -> None:
    """A 400 or 403 that no page explains pauses the slice; alone and repeated it stops the job."""
    sent = admitted(slice_(S.PLANNED))
    strange = ev.CreateDoubted(ID, 1, fault("look", status=403, service_code="Quota"), None, NOW)
    once = go(sent, strange).slice
    assert once.task is not None
    assert once.task.answered_at == NOW
    paused = go(once, ev.ProvedAbsent(ID, 1))
    assert (paused.slice.state, kinds(paused)) == (S.PLANNED, [])
    assert paused.slice.not_before_at > NOW
    twice = go(replace(admitted(paused.slice), throttled=1), strange).slice
    stopped = go(twice, ev.ProvedAbsent(ID, 1), Rules(JOB, hopeless=True))
    assert (stopped.slice.state, kinds(stopped)) == (S.FAILED, ["StopJob"])
    others = go(twice, ev.ProvedAbsent(ID, 1))
    assert (others.slice.state, kinds(others)) == (S.PLANNED, [])
    worn = go(replace(twice, throttled=MAX_THROTTLED + 1), ev.ProvedAbsent(ID, 1))
    assert worn.slice.reason == Reason.THROTTLED


def test_a_found_create_is_adopted_and_its_twins_are_deleted() -> None:
    """Every uuid found enters the manifest; the surplus ones are deleted."""
    doubtful = go(admitted(slice_(S.PLANNED)), ev.CreateDoubted(ID, 1, fault("look"), None, NOW)).slice
    twin = status("RUNNING", uuid="u2")
    step = go(doubtful, ev.Adopted(ID, 1, status("RUNNING", created_at=4_990.0), (twin,)))
    assert (step.slice.state, kinds(step)) == (S.WAITING, ["Watch", "DeleteRemote"])
    assert step.slice.task is not None
    assert (step.slice.task.uuid, step.slice.task.created_at) == ("u1", 4_990.0)
    assert [row.uuid for row in step.tasks] == ["u2"]
    bare = go(doubtful, ev.Adopted(ID, 1, status("RUNNING")))
    assert bare.slice.task is not None
    assert bare.slice.task.created_at == NOW


def test_what_cannot_be_resolved_or_watched_in_this_run_is_parked() -> None:
    """The slice stays as it is, counted as outstanding, for the next run to take up."""
    doubtful = slice_(S.IN_DOUBT)
    left = go(doubtful, ev.LeftInDoubt(ID, 1, fault()))
    assert (left.slice.state, left.parked) == (S.IN_DOUBT, True)
    refused = go(slice_(S.RUNNING), ev.WatchRefused(ID, 1, fault("refuse")))
    assert (refused.slice.state, refused.parked, kinds(refused)) == (S.RUNNING, True, ["Unwatch", "StopJob"])


# --- watching ---


@pytest.mark.parametrize(
    ("word", "state"),
    [("WAITING", S.WAITING), ("RUNNING", S.RUNNING), ("SUCCESS", S.READY), ("PAUSED", S.RUNNING)],
)
def test_states_follow_the_service_and_unknown_ones_are_kept_verbatim(word: str, state: SliceState) -> None:
    """Known words move the slice, an unknown one is noted and changes nothing."""
    step = go(slice_(S.RUNNING), observed(word))
    assert step.slice.state is state
    assert step.slice.task is not None
    assert step.slice.task.state == word


def test_success_with_nothing_written_and_nothing_counted_needs_no_fetch() -> None:
    """Written 0 and count 0 prove emptiness; written 0 against a count does not."""
    silent = go(slice_(S.RUNNING, expected_lines=0), observed("SUCCESS", written_rows=0))
    assert (silent.slice.state, silent.slice.evidence, silent.covered) == (S.EMPTY, Evidence.COUNT, WINDOW)
    assert go(slice_(S.RUNNING), observed("SUCCESS", written_rows=0)).slice.state is S.READY
    failed = go(slice_(S.RUNNING, expected_lines=0), observed("FAILED"))
    assert failed.slice.state is S.EMPTY
    unknown = go(slice_(S.RUNNING, expected_lines=None), observed("FAILED"))
    assert (unknown.slice.state, kinds(unknown)) == (S.TRANSFERRING, ["Unwatch", "Recount"])


def test_a_failed_or_expired_remote_task_is_deleted_and_a_new_one_asked_for() -> None:
    """The old uuid stays in the ledger, the next attempt gets a new number; the last one ends as a gap."""
    for word, reason in (("FAILED", Reason.ATTEMPTS_EXHAUSTED), ("EXPIRED", Reason.EXPIRES_BEFORE_FETCH)):
        step = go(slice_(S.RUNNING), observed(word))
        assert (step.slice.state, step.slice.task, kinds(step)) == (
            S.PLANNED,
            None,
            ["Unwatch", "DeleteRemote"],
        )
        assert [row.uuid for row in step.tasks] == ["u1"]
        last = go(slice_(S.RUNNING, attempt=3), observed(word))
        assert (last.slice.state, last.slice.reason) == (S.FAILED, reason)
    vanished = go(slice_(S.WAITING), ev.Vanished(ID, 1))
    assert (vanished.slice.state, vanished.slice.expiries) == (S.PLANNED, 1)
    stuck = go(slice_(S.WAITING), ev.StoodStill(ID, 1))
    assert (stuck.slice.reason, kinds(stuck)) == (Reason.NOT_FINISHED, ["Unwatch", "DeleteRemote"])


# --- transferring ---


def test_a_transfer_begins_only_after_its_intent_is_committed() -> None:
    """The step that orders the fetch has moved the slice already."""
    step = go(slice_(S.READY), ev.TransferAdmitted(ID, 1))
    assert (step.slice.state, kinds(step)) == (S.TRANSFERRING, ["Fetch"])


def test_a_proved_file_is_published_and_then_covered() -> None:
    """Coverage comes with the fact, not with the intent."""
    settling = staged(slice_(S.TRANSFERRING))
    assert (settling.slice.state, kinds(settling), settling.covered) == (S.SETTLING, ["Publish"], None)
    done = go(settling.slice, ev.Published(ID, 1))
    assert (done.slice.state, done.covered, done.slice.published_path) == (S.DONE, WINDOW, "/archive/a.jsonl")


def test_a_file_without_rows_needs_no_place() -> None:
    """Nothing staged, nothing published, but covered."""
    step = staged(slice_(S.TRANSFERRING, expected_lines=0), stored=0, staged_path="")
    assert (step.slice.state, step.covered) == (S.EMPTY, WINDOW)


def test_a_short_file_is_recounted_retried_wider_and_at_last_kept_as_a_gap() -> None:
    """The fullest file is published in the end, its window stays a gap that says what is missing."""
    asked = staged(slice_(S.TRANSFERRING), stored=40)
    assert (asked.slice.state, kinds(asked)) == (S.TRANSFERRING, ["Recount"])
    again = go(asked.slice, ev.Recounted(ID, 1, 50, NOW))
    assert (again.slice.state, again.slice.padded, kinds(again)) == (S.PLANNED, True, ["DeleteRemote"])
    assert again.slice.best is not None
    assert admitted(again.slice, 2).task.window == Window(999, 1601)  # type: ignore[union-attr]
    last = replace(again.slice, state=S.TRANSFERRING, attempt=3, task=task())
    worse = staged(last, stored=30, staged_path="/archive/.s/b")
    short = go(worse.slice, ev.Recounted(ID, 1, 50, NOW))
    assert (short.slice.state, short.slice.reason, kinds(short)) == (
        S.SETTLING,
        "short by 10",
        ["Publish", "DiscardStaged"],
    )
    gap = go(short.slice, ev.Published(ID, 1))
    assert (gap.slice.state, gap.covered, gap.slice.published_path) == (S.FAILED, None, "/archive/a.jsonl")


def test_when_the_last_attempt_fails_the_fullest_file_so_far_is_kept() -> None:
    """A failure after a short file does not throw the short file away."""
    step = go(slice_(S.RUNNING, attempt=3, best=receipt(40)), observed("FAILED"))
    assert (step.slice.state, step.slice.reason) == (S.SETTLING, "short by 10")
    assert kinds(step) == ["Unwatch", "DeleteRemote", "Publish"]


OWN = {"published_path": "/archive/old.jsonl", "published_sha256": "cc"}


def test_a_file_of_an_earlier_run_is_replaced_wherever_its_rows_go() -> None:
    """Published under another path or empty, it goes with the settling; of a divided slice it stays until
    others hold the whole window, which is not covered meanwhile."""
    short = slice_(S.TRANSFERRING, **OWN)
    assert staged(short).slice.published_path == "/archive/old.jsonl"
    cut = staged(short, stored=90, truncated=True, kept=Window(1000, 1400))
    assert [child.published_path for child in cut.children] == ["", ""]
    assert (cut.slice.published_path, cut.uncovered) == ("/archive/old.jsonl", WINDOW)
    split = staged(short, stored=0, truncated=True, kept=None, staged_path="")
    assert [child.published_path for child in split.children] == ["", ""]
    assert (split.slice.published_path, split.uncovered) == ("/archive/old.jsonl", WINDOW)
    half = go(slice_(S.SETTLING, parent="whole", receipt=receipt()), ev.Published(ID, 1))
    assert kinds(half) == ["Relieve"]
    assert go(split.slice, ev.Relieved(ID, split.slice)).slice.published_path == ""
    assert kinds(go(split.slice, ev.Resumed(ID))) == ["Gather", "Relieve"]
    silent = go(slice_(S.RUNNING, expected_lines=0, **OWN), observed("SUCCESS", written_rows=0))
    assert (silent.slice.state, kinds(silent), silent.covered) == (S.SETTLING, ["Unwatch", "Publish"], None)
    bare = go(silent.slice, ev.Published(ID, 1))
    assert (bare.slice.state, bare.slice.published_path, bare.covered) == (S.EMPTY, "", WINDOW)


def test_rows_that_the_service_no_longer_has_are_not_replaced_by_fewer() -> None:
    """Damaged here and gone there is a gap of its own, not a smaller success."""
    damaged = slice_(S.TRANSFERRING, published_rows=80, **OWN)
    gone = staged(damaged)
    assert (gone.slice.state, gone.slice.reason, kinds(gone)) == (
        S.FAILED,
        Reason.SOURCE_GONE,
        ["DiscardStaged"],
    )
    silent = slice_(S.RUNNING, expected_lines=0, published_rows=80, **OWN)
    assert go(silent, observed("SUCCESS", written_rows=0)).slice.reason == Reason.SOURCE_GONE


def test_a_single_second_asked_for_with_its_neighbours_has_room_for_them() -> None:
    """The margin must not make a dense second look overfull."""
    second = slice_(S.PLANNED, window=Window(1000, 1001), expected_lines=None)
    intent = admitted(second).task
    assert intent is not None
    assert (intent.window, intent.limit) == (Window(999, 1002), 300)


def test_short_without_any_row_is_a_gap_without_a_file() -> None:
    """Nothing staged is nothing to publish."""
    before = slice_(S.TRANSFERRING, attempt=3)
    asked = staged(before, stored=0, staged_path="")
    step = go(asked.slice, ev.Recounted(ID, 1, 5, NOW))
    assert (step.slice.state, step.slice.reason) == (S.FAILED, "short by 5")


def test_rows_that_differ_from_what_was_written_are_fetched_once_more() -> None:
    """One more fetch under a new staged name when no count settles it."""
    before = slice_(S.TRANSFERRING, task=task(written_rows=60))
    asked = staged(before)
    step = go(asked.slice, ev.Recounted(ID, 1, 60, NOW))
    assert (step.slice.state, step.slice.fetch_round, kinds(step)) == (S.READY, 1, ["DiscardStaged"])


def test_a_truncated_file_in_order_is_cut_and_its_kept_part_counted() -> None:
    """The kept part takes file and remote task with it, the rest is planned anew; together they are the
    window."""
    step = staged(slice_(S.TRANSFERRING), stored=90, truncated=True, kept=Window(1000, 1400))
    kept, rest = step.children
    assert (step.slice.state, step.slice.task, kinds(step)) == (S.CUT, None, ["Recount"])
    assert (kept.window, kept.state, rest.window, rest.state) == (
        Window(1000, 1400),
        S.TRANSFERRING,
        Window(1400, 1600),
        S.PLANNED,
    )
    assert kept.task is not None
    assert (kept.task.uuid, kept.task.slice_id, rest.expected_lines) == ("u1", kept.id, None)
    settled = transition(kept, ev.Recounted(kept.id, 1, 90, NOW), NOW, RULES)
    assert (settled.slice.state, settled.slice.path) == (S.SETTLING, "/archive/a.jsonl")
    newest = staged(slice_(S.TRANSFERRING), stored=90, truncated=True, kept=Window(1300, 1600))
    assert [child.window for child in newest.children] == [Window(1300, 1600), Window(1000, 1300)]


def test_a_truncated_file_out_of_order_is_halved() -> None:
    """Both halves are planned and the useless remote task is deleted."""
    step = staged(slice_(S.TRANSFERRING), stored=0, truncated=True, kept=None, staged_path="")
    assert (step.slice.state, kinds(step)) == (S.SUPERSEDED, ["DeleteRemote"])
    assert [child.window for child in step.children] == [Window(1000, 1300), Window(1300, 1600)]


def test_a_run_that_met_an_exclusive_start_asks_wider_from_then_on() -> None:
    """What one slice needed a second remote task to learn, the next ones know."""
    step = transition(slice_(S.PLANNED), ev.Admitted(ID, 1, "n"), NOW, Rules(JOB, padded=True))
    assert step.slice.task is not None
    assert step.slice.task.window == Window(999, 1601)


@pytest.mark.parametrize(
    ("rules", "expected", "asked"),
    [
        (Rules(JOB, dated=True), 60, Window(999, 1600)),
        (Rules(JOB, dated=True), JOB.max_lines - 2, Window(999, 1600)),
        (Rules(JOB, dated=True), JOB.max_lines - 1, WINDOW),  # no room for a second more
        (Rules(JOB, dated=True, start_inclusive=True), 60, WINDOW),
        (Rules(JOB), 60, WINDOW),  # rows without a time could not be clipped
    ],
)
def test_a_start_that_may_be_exclusive_is_asked_for_earlier_where_there_is_room(
    rules: Rules, expected: int, asked: Window
) -> None:
    """So that no count has to be made once more for every slice of a quiet logstore."""
    planned = slice_(S.PLANNED, expected_lines=expected)
    task = transition(planned, ev.Admitted(ID, 1, "n"), NOW, rules).slice.task
    assert task is not None
    assert task.window == asked


def test_a_second_over_the_limit_and_undatable_rows_are_gaps() -> None:
    """Each with its own reason, and nothing published."""
    second = slice_(S.TRANSFERRING, window=Window(1000, 1001), recounted_at=1.0, recount=200)
    overfull = staged(second, truncated=True, kept=None)
    assert (overfull.slice.state, kinds(overfull)) == (S.TRANSFERRING, ["Divide"])
    undivided = go(overfull.slice, ev.Divided(ID, 1, (("only", 200),), ()))
    assert (undivided.slice.reason, kinds(undivided)) == (Reason.OVERFULL_SECOND, ["DiscardStaged"])
    uncounted = staged(replace(second, recount=None), truncated=True, kept=None)
    assert kinds(uncounted) == ["Divide"]
    undivided = go(uncounted.slice, ev.Divided(ID, 1, (), ()))
    assert (undivided.slice.reason, kinds(undivided)) == (Reason.OVERFULL_SECOND, ["DiscardStaged"])
    unproven = staged(slice_(S.TRANSFERRING, recounted_at=1.0, recount=49), time_known=False)
    assert unproven.slice.reason == Reason.EDGES_UNPROVEN


@pytest.mark.parametrize("code", ["file_missing", "remote_task_not_found"])
def test_a_missing_file_of_a_silent_window_is_settled_by_a_count(code: str) -> None:
    """No file and nothing written: a count of 0 covers it, a word of the service does when no count is to be
    had."""
    before = slice_(S.TRANSFERRING, expected_lines=None, task=task(state="SUCCESS", written_rows=0))
    asked = go(before, ev.TransferFailed(ID, 1, fault(code=code)))
    assert (asked.slice.state, kinds(asked)) == (S.TRANSFERRING, ["Recount"])
    assert go(asked.slice, ev.Recounted(ID, 1, 0, NOW)).slice.state is S.EMPTY
    unsure = go(asked.slice, ev.Recounted(ID, 1, None, NOW))
    assert (unsure.slice.state, kinds(unsure)) == (S.RUNNING, ["Watch"])
    counted = replace(asked.slice, expected_lines=50)
    assert go(counted, ev.Recounted(ID, 1, None, NOW)).slice.state is S.PLANNED
    twice = replace(asked.slice, refetched=1)
    silent = go(twice, ev.Recounted(ID, 1, None, NOW)).slice
    assert (silent.state, silent.evidence) == (S.EMPTY, Evidence.ROWS_ONLY)
    assert go(asked.slice, ev.Recounted(ID, 1, 3, NOW)).slice.state is S.PLANNED
    mute = replace(asked.slice, task=task(state="SUCCESS", written_rows=None))
    assert go(mute, ev.Recounted(ID, 1, None, NOW)).slice.state is S.PLANNED
    gone = go(slice_(S.TRANSFERRING, task=task(written_rows=5)), ev.TransferFailed(ID, 1, fault(code=code)))
    assert (gone.slice.state, gone.slice.expiries) == (S.PLANNED, 1)


def test_what_is_not_short_of_any_count_and_still_unsure_is_not_called_short() -> None:
    """Attempts used up, as many rows as anybody counted: what is open is whether the first ones are there."""
    best = replace(receipt(50), staged_path="/archive/.s/best")
    spent = slice_(S.WAITING, attempt=3, best=best)
    step = go(spent, ev.Vanished(ID, 1))
    assert (step.slice.state, step.slice.reason, step.slice.best) == (S.FAILED, Reason.EDGES_UNPROVEN, None)
    assert "DiscardStaged" in kinds(step)
    short = go(replace(spent, expected_lines=60), ev.Vanished(ID, 1))
    assert (short.slice.state, short.slice.reason) == (S.SETTLING, "short by 10")


def test_a_second_look_at_a_file_keeps_the_fullest_one_so_far() -> None:
    """Only what the fetch that is done again left is discarded."""
    best = replace(receipt(30), staged_path="/archive/.s/best")
    before = slice_(
        S.TRANSFERRING,
        task=task(written_rows=20),
        best=best,
        attempt=2,
        recount=50,
        recounted_at=1.0,
    )
    step = staged(before, served_rows=25, stored_rows=25)
    assert (step.slice.state, step.slice.refetched, step.slice.best) == (S.READY, 1, best)
    assert [order.staged_path for order in step.instructions if isinstance(order, ev.DiscardStaged)] == [
        "/archive/.s/a"
    ]


def test_transfer_faults_are_answered_by_whose_fault_they_are() -> None:
    """Ours drains, the job's stops the job, load waits, bad rows end, everything else is fetched again and
    then anew."""
    before = slice_(S.TRANSFERRING)
    ours = go(before, ev.TransferFailed(ID, 1, fault("stop")))
    assert (ours.slice.state, kinds(ours), ours.parked) == (S.READY, ["StopRun"], True)
    refused = go(before, ev.TransferFailed(ID, 1, fault("refuse")))
    assert (refused.slice.state, kinds(refused)) == (S.READY, ["StopJob"])
    outside = go(before, ev.TransferFailed(ID, 1, fault("give up")))
    assert outside.slice.reason == Reason.ROWS_OUTSIDE_WINDOW
    busy = go(before, ev.TransferFailed(ID, 1, fault("throttle"))).slice
    assert (busy.state, busy.throttled) == (S.READY, 1)
    worn = go(replace(before, throttled=MAX_THROTTLED), ev.TransferFailed(ID, 1, fault("throttle"))).slice
    assert worn.reason == Reason.THROTTLED
    broken = go(before, ev.TransferFailed(ID, 1, fault(code="broken_body"))).slice
    assert (broken.state, broken.refetched, broken.fetch_round) == (S.READY, 1, 1)
    lost = go(before, ev.TransferFailed(ID, 1, fault(code="unreachable"))).slice
    assert (lost.state, lost.throttled, lost.fetch_round) == (S.READY, 1, 0)
    for worn_out, code in (
        (replace(before, throttled=MAX_LOST_CONNECTIONS), "unreachable"),
        (replace(before, refetched=MAX_REFETCHES), "broken_body"),
    ):
        anew = go(worn_out, ev.TransferFailed(ID, 1, fault(code=code)))
        assert (anew.slice.state, kinds(anew)) == (S.PLANNED, ["DeleteRemote"])


# --- settling, ends, beginnings ---


def test_an_occupied_path_is_a_gap_and_a_full_disk_drains() -> None:
    """A foreign file is never overwritten; a fault of the disk leaves the slice to the next run."""
    before = slice_(S.SETTLING, receipt=receipt())
    occupied = go(before, ev.PublishFailed(ID, 1, fault("give up", "path_occupied")))
    assert (occupied.slice.state, occupied.slice.reason, kinds(occupied)) == (
        S.FAILED,
        Reason.PATH_OCCUPIED,
        [],
    )
    freed = go(occupied.slice, ev.Resumed(ID))
    assert (freed.slice.state, freed.slice.reason, kinds(freed)) == (S.SETTLING, "", ["Publish"])
    short = replace(before, reason="short by 3")
    nowhere = go(short, ev.PublishFailed(ID, 1, fault("give up", "path_occupied")))
    assert (nowhere.slice.reason, kinds(nowhere)) == (Reason.PATH_OCCUPIED, ["DiscardStaged"])
    assert go(nowhere.slice, ev.Resumed(ID)).slice.state is S.PLANNED
    full = go(before, ev.PublishFailed(ID, 1, fault("stop", "disk_full")))
    assert (full.slice.state, full.parked, kinds(full)) == (S.SETTLING, True, ["StopRun"])
    lost = go(before, ev.StagedLost(ID, 1)).slice
    assert (lost.state, lost.receipt, lost.fetch_round) == (S.READY, None, 1)
    gone = go(short, ev.StagedLost(ID, 1)).slice
    assert (gone.state, gone.receipt, gone.reason) == (S.FAILED, None, "short by 3")


@pytest.mark.parametrize(
    ("before", "state", "orders"),
    [
        (slice_(S.PLANNED, attempt=2, throttled=3), S.PLANNED, []),
        (slice_(S.SUBMITTING), S.IN_DOUBT, ["Resolve"]),
        (slice_(S.IN_DOUBT), S.IN_DOUBT, ["Resolve"]),
        (slice_(S.WAITING), S.WAITING, ["Watch"]),
        (slice_(S.RUNNING), S.RUNNING, ["Watch"]),
        (slice_(S.READY, not_before_at=9e9), S.READY, []),
        (slice_(S.TRANSFERRING), S.READY, []),
        (slice_(S.TRANSFERRING, receipt=receipt()), S.TRANSFERRING, ["Recount"]),
        (slice_(S.SETTLING, receipt=receipt()), S.SETTLING, ["Publish"]),
        (
            slice_(S.FAILED, attempt=3, reason="attempts exhausted", best=receipt()),
            S.PLANNED,
            ["DeleteRemote"],
        ),
        (slice_(S.ABANDONED, task=None), S.PLANNED, []),
    ],
)
def test_every_unfinished_state_knows_its_first_step_after_a_crash(
    before: Slice, state: SliceState, orders: list[str]
) -> None:
    """Resumed is the whole of recovery, and it never orders a Submit."""
    step = go(before, ev.Resumed(ID))
    assert (step.slice.state, kinds(step)) == (state, orders)
    assert "Submit" not in kinds(step)
    if state in (S.PLANNED, S.READY):
        assert step.slice.not_before_at == 0.0
    if state is S.PLANNED:
        assert (step.slice.attempt, step.slice.throttled) == (0, 0)


def test_an_interrupted_create_may_have_been_executed_until_its_signature_expired() -> None:
    """Killed between intent and answer, the latest instant at which it can take effect is known."""
    resumed = go(slice_(S.SUBMITTING), ev.Resumed(ID)).slice.task
    assert resumed is not None
    assert resumed.expires_at == 4_000.0 + SEND_WITHIN_S + CREATE_SIGNATURE_S


def test_a_slice_no_longer_wanted_leaves_nothing_behind() -> None:
    """Its remote task and its staged file are deleted."""
    step = go(slice_(S.TRANSFERRING, receipt=receipt()), ev.Dropped(ID))
    assert (step.slice.state, kinds(step)) == (S.ABANDONED, ["Unwatch", "DeleteRemote", "DiscardStaged"])
    assert kinds(go(slice_(S.PLANNED), ev.Dropped(ID))) == []


def test_a_damaged_window_is_no_longer_covered() -> None:
    """An audit's finding turns done into a gap that another run mends."""
    step = go(slice_(S.DONE, receipt=receipt()), ev.Marked(ID, Reason.DAMAGED))
    assert (step.slice.state, step.slice.reason, step.uncovered) == (S.FAILED, Reason.DAMAGED, WINDOW)


# --- the table itself ---


def test_an_event_without_a_row_or_of_another_remote_task_changes_nothing() -> None:
    """Illegal events raise; nothing is half done."""
    with pytest.raises(IllegalEvent, match="means nothing"):
        go(slice_(S.DONE), ev.Admitted(ID, 1, "n"))
    with pytest.raises(IllegalEvent, match="not of the slice's own"):
        go(slice_(S.RUNNING), ev.Vanished(ID, 2))
    with pytest.raises(IllegalEvent, match="not of the slice's own"):
        go(slice_(S.RUNNING, task=None), ev.Vanished(ID, 1))
    with pytest.raises(IllegalEvent, match="has no remote task"):
        go(slice_(S.RUNNING, task=None), ev.Resumed(ID))
    with pytest.raises(IllegalEvent, match="nothing to settle"):
        go(slice_(S.SETTLING), ev.Resumed(ID))


def test_every_live_state_can_be_resumed_and_every_target_exists() -> None:
    """No state that a crash can leave is a dead end."""
    assert {state for state, event in TABLE if event is ev.Resumed} >= LIVE_STATES | {S.PLANNED, S.FAILED}
    reached = {target for row in TABLE.values() for target in row.targets} | {S.PLANNED}
    assert {state for state, _ in TABLE} <= reached


def test_of_two_intents_made_at_once_the_ids_differ_only_by_content() -> None:
    """Two slices of equal content have equal ids, and a remote name is short and plain."""
    from orchestrator.core.model import remote_name, slice_id

    assert slice_id(JOB, "", WINDOW) == ID
    assert len({slice_id(JOB, "", WINDOW, 1), slice_id(JOB, "s", WINDOW), ID}) == 3
    assert remote_name("0123456789abcdef", 12_345_678_901) == "o-0123456789abcdef-12345678901"


def test_a_create_that_stays_too_large_is_halved() -> None:
    """The service says that the request asks for too much: after a few pauses half of it is asked for."""
    too_large = Fault("throttled", "too much", "throttle", status=413)
    before = slice_(S.SUBMITTING, throttled=1)
    assert before.task is not None
    before = replace(before, task=replace(before.task, uuid=""))
    waited = go(before, ev.CreateRefused(ID, 1, too_large))
    assert waited.slice.state is S.PLANNED
    again = replace(waited.slice, state=S.SUBMITTING)
    halved = go(again, ev.CreateRefused(ID, 1, too_large))
    assert (halved.slice.state, len(halved.children), kinds(halved)) == (S.SUPERSEDED, 2, [])
    second = replace(again, window=Window(1000, 1001))
    assert go(second, ev.CreateRefused(ID, 1, too_large)).slice.state is S.PLANNED


def test_what_replaces_an_older_generation_in_several_slices_takes_its_place_together() -> None:
    """Each verified part waits for the others, also after a crash; the older file is nobody's but the older
    slice's, and a second that must be divided replaces nothing."""
    anew = slice_(S.TRANSFERRING, replaces="older", **OWN)
    split = staged(anew, stored=0, truncated=True, kept=None, staged_path="")
    assert split.slice.published_path == ""
    half = replace(anew, parent=ID, published_path="", published_sha256="")
    waiting = staged(half)
    assert (waiting.slice.state, waiting.parked, kinds(waiting)) == (S.SETTLING, True, [])
    assert go(waiting.slice, ev.Resumed(ID)).parked
    stands = go(waiting.slice, ev.Published(ID, 1))
    assert (stands.slice.state, stands.slice.replaces) == (S.DONE, "")
    silent = staged(replace(half, expected_lines=0), stored=0, staged_path="")
    assert (silent.slice.state, silent.slice.replaces) == (S.EMPTY, "older")
    second = replace(anew, window=Window(1000, 1001), recounted_at=1.0, recount=200)
    divided = go(second, ev.Divided(ID, 1, (("a", 100), ("b", 100)), ()))
    assert (divided.slice.state, divided.slice.reason) == (S.FAILED, Reason.OVERFULL_SECOND)


def test_only_what_replaces_another_slice_can_be_withdrawn() -> None:
    """The older generation stays when the newer one is given up."""
    before = slice_(S.FAILED, replaces="older")
    gone = go(before, ev.Withdrawn(ID, "source gone"))
    assert (gone.slice.state, gone.slice.reason, gone.slice.replaces) == (S.ABANDONED, "source gone", "")
    with pytest.raises(IllegalEvent):
        go(slice_(S.FAILED), ev.Withdrawn(ID, "source gone"))
