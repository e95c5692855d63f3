"""Tables of cases for the pure planner: what is asked, what is handed out, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from orchestrator.core import slicing
from orchestrator.core.packing import pack
from orchestrator.core.pieces import Is, Piece
from orchestrator.core.refining import Detail, Sight
from orchestrator.core.series import Series
from orchestrator.core.slicing import (
    Answer,
    Book,
    Kind,
    PlannedWindow,
    Proof,
    Question,
    Rules,
    Step,
    capacity_lines,
)
from orchestrator.core.window import Window


def rules(capacity: int = 100, *, every_s: int = 0, at_once: int = 4) -> Rules:
    return Rules(capacity, lambda at_s: (at_s // every_s + 1) * every_s if every_s else None, at_once)


def step(book: Book, answers: Sequence[Answer] = ()) -> Step:
    """A step of a service that counts and gives no buckets."""
    taken = slicing.step(book, answers)
    while buckets := [question for question in taken.questions if question.kind is Kind.BUCKETS]:
        further = slicing.step(taken.book, [Answer(question.id, None, 0.0) for question in buckets])
        kept = tuple(question for question in taken.questions if question.kind is not Kind.BUCKETS)
        taken = replace(
            further,
            questions=kept + further.questions,
            ready=taken.ready + further.ready,
            proofs=taken.proofs + further.proofs,
            blind=taken.blind + further.blind,
        )
    return taken


def begun(windows: list[Window], rules: Rules) -> Step:
    """The first step of a service that is known to count."""
    return step(replace(Book.start(windows, rules), counted=True))


def answered(taken: Step, *lines: int | None, at: float = 10.0) -> Step:
    """The step after its new questions were answered, in order."""
    assert len(lines) == len(taken.questions)
    pairs = zip(taken.questions, lines, strict=True)
    return step(taken.book, [Answer(question.id, count, at) for question, count in pairs])


def asked(taken: Step) -> list[tuple[str, int, int]]:
    return [
        (question.kind.value, question.window.start_s, question.window.end_s) for question in taken.questions
    ]


def ready(taken: Step) -> list[tuple[int, int, int]]:
    return [(part.window.start_s, part.window.end_s, part.lines) for part in taken.ready]


@pytest.mark.parametrize(
    "max_lines, excess, capacity",
    [
        (1_000_000, 0.0, 995_000),
        (1_000_000, 0.01, 990_000),
        (1_000_000, 0.9, 950_000),
        (1_000_000, -1.0, 995_000),
        (1000, 0.0, 995),
        (2, 0.0, 1),
        (1, 0.0, 1),
    ],
)
def test_the_capacity_leaves_headroom(max_lines: int, excess: float, capacity: int) -> None:
    """Half a percent, or what was observed, at most five percent; below the limit wherever that leaves a
    line."""
    assert capacity_lines(max_lines, excess) == capacity


@pytest.mark.parametrize("capacity, at_once", [(0, 1), (1, 0)])
def test_rules_that_plan_nothing_are_refused(capacity: int, at_once: int) -> None:
    """Without a line per slice or a question at once there is no plan."""
    with pytest.raises(ValueError, match="at least 1"):
        Rules(capacity, lambda _: None, at_once)


def test_nothing_missing_is_finished_at_once() -> None:
    """No window, no question."""
    taken = step(Book.start([], rules()))
    assert taken.finished
    assert (taken.questions, taken.ready, taken.proofs) == ((), (), ())


def test_a_window_that_fits_is_one_question_and_one_slice() -> None:
    """One count, one slice with that count and the time it was asked for."""
    taken = step(Book.start([Window(0, 1000)], rules()))
    assert taken.questions == (Question(1, Kind.COUNT, Window(0, 1000)),)
    assert not taken.finished
    taken = answered(taken, 100, at=42.0)
    assert taken.ready == (PlannedWindow(Window(0, 1000), 100, 42.0),)
    assert taken.finished


def test_a_window_that_holds_too_much_is_divided_and_the_first_slice_does_not_wait_for_the_last() -> None:
    """Three capacity-fulls are asked for in four parts; the first slice is ready while the last parts are
    unknown."""
    taken = answered(step(Book.start([Window(0, 1000)], rules())), 300)
    assert asked(taken) == [("count", 0, 250), ("count", 250, 500), ("count", 500, 750), ("count", 750, 1000)]
    first, second, third, fourth = taken.questions
    taken = step(taken.book, [Answer(second.id, 95, 2.0)])
    assert taken.ready == ()
    taken = step(taken.book, [Answer(first.id, 95, 1.0)])
    assert ready(taken) == [(0, 250, 95)]
    taken = step(taken.book, [Answer(fourth.id, 20, 4.0), Answer(third.id, 95, 3.0)])
    assert ready(taken) == [(250, 500, 95), (500, 750, 95), (750, 1000, 20)]
    assert taken.finished


def test_neighbours_are_packed_and_carry_their_earliest_count() -> None:
    """Two counted windows that touch, together below the capacity, are one slice, dated by the earlier
    question."""
    taken = answered(step(Book.start([Window(0, 100)], rules(at_once=2))), 101)
    left, right = taken.questions
    taken = step(taken.book, [Answer(right.id, 40, 7.0)])
    taken = step(taken.book, [Answer(left.id, 60, 9.0)])
    assert taken.ready == (PlannedWindow(Window(0, 100), 100, 7.0),)


def test_windows_that_do_not_touch_are_not_packed() -> None:
    """A hole between two missing windows stays a hole."""
    taken = answered(begun([Window(0, 10), Window(20, 30)], rules()), 1, 2)
    assert ready(taken) == [(0, 10, 1), (20, 30, 2)]
    assert taken.finished


def test_zero_stretches_go_with_a_neighbour() -> None:
    """Quiet times before and after logs belong to the same slice; no question is spent on them."""
    taken = answered(step(Book.start([Window(0, 300)], rules(capacity=10, at_once=9))), 20)
    assert len(taken.questions) == 3
    taken = answered(taken, 0, 10, 0)
    assert ready(taken) == [(0, 300, 10)]
    assert taken.finished


def test_the_piece_where_the_cut_falls_is_counted_more_finely() -> None:
    """A half-full slice before a piece that does not fit asks for the part of it that would fit."""
    taken = answered(step(Book.start([Window(0, 200)], rules())), 110)
    assert asked(taken) == [("count", 0, 100), ("count", 100, 200)]
    taken = answered(taken, 50, 80)
    # room for 50 of 80 lines: 62.5 of 100 seconds, less a margin
    assert asked(taken) == [("count", 100, 159), ("count", 159, 200)]
    taken = answered(taken, 45, 35)
    assert ready(taken) == [(0, 159, 95), (159, 200, 35)]


def test_refining_ends_after_two_tries() -> None:
    """When all lines crowd in the left parts, the slice closes unfilled after the second finer count."""
    taken = answered(step(Book.start([Window(0, 200)], rules())), 110)
    taken = answered(taken, 50, 80)
    taken = answered(taken, 80, 0)
    assert len(taken.questions) == 2
    taken = answered(taken, 80, 0)
    assert taken.questions == ()
    assert [lines for _, _, lines in ready(taken)] == [50, 80]
    assert taken.finished


def test_a_piece_of_one_second_is_not_refined() -> None:
    """Below a second there is nothing to ask."""
    taken = answered(step(Book.start([Window(0, 2)], rules())), 120)
    taken = answered(taken, 50, 70)
    assert ready(taken) == [(0, 1, 50), (1, 2, 70)]


def test_an_overfull_second_is_a_slice_of_its_own() -> None:
    """One second above the capacity is handed out as it is; what surrounds it is not mixed in."""
    taken = answered(step(Book.start([Window(0, 3)], rules(capacity=10, at_once=9))), 99)
    taken = answered(taken, 4, 90, 5)
    assert ready(taken) == [(0, 1, 4), (1, 2, 90), (2, 3, 5)]


def test_nothing_at_all_needs_a_second_witness() -> None:
    """A window counted as empty is asked about once more; agreement makes it a proof dated by the first
    count."""
    taken = answered(step(Book.start([Window(0, 1000)], rules(every_s=100))), 0, at=5.0)
    assert asked(taken) == [("witness", 0, 1000)]
    assert not taken.finished
    taken = answered(taken, 0, at=6.0)
    assert taken.proofs == (Proof(Window(0, 1000), 5.0),)
    assert taken.ready == ()
    assert taken.finished


def test_a_witness_who_disagrees_makes_it_a_slice() -> None:
    """The larger count holds: the window becomes a slice that expects what the witness saw."""
    taken = answered(step(Book.start([Window(0, 1000)], rules())), 0, at=5.0)
    taken = answered(taken, 7, at=6.0)
    assert taken.ready == (PlannedWindow(Window(0, 1000), 7, 6.0),)
    assert taken.proofs == ()


def test_a_witness_who_saw_much_ends_the_counting() -> None:
    """Two ways of counting that contradict each other by more than a slice are both believed no more: the
    window is one in which nothing can be counted, and no question is asked in a circle."""
    taken = answered(step(Book.start([Window(0, 10_000)], rules())), 0)
    taken = answered(taken, 300)
    assert taken.finished
    assert asked(taken) == []
    assert taken.ready == ()
    assert taken.blind == (Window(0, 10_000),)


def test_without_a_witness_the_remote_task_is_the_witness() -> None:
    """An empty window that cannot be asked about again becomes slices of none expected, one per aligned
    cell."""
    taken = answered(step(Book.start([Window(50, 250)], rules(every_s=100))), 0)
    taken = answered(taken, None)
    assert ready(taken) == [(50, 100, 0), (100, 200, 0), (200, 250, 0)]


def test_slices_come_in_order_also_behind_a_witness() -> None:
    """What lies right of a window that is being witnessed waits for it, and is not asked about again."""
    taken = answered(begun([Window(0, 10), Window(20, 30)], rules()), 0, 5)
    assert asked(taken) == [("witness", 0, 10)]
    assert taken.ready == ()
    taken = answered(taken, 0)
    assert [part.window for part in taken.proofs] == [Window(0, 10)]
    assert ready(taken) == [(20, 30, 5)]


def test_what_cannot_be_counted_is_handed_out_whole() -> None:
    """Without counts there is nothing to cut by: the window goes out as it is, in its turn."""
    taken = answered(step(Book.start([Window(0, 5400)], rules())), None)
    assert (taken.blind, taken.finished) == ((Window(0, 5400),), True)
    taken = answered(begun([Window(0, 10), Window(20, 5400)], rules(every_s=2000)), 5, None)
    assert (ready(taken), taken.blind) == ([(0, 10, 5)], (Window(20, 5400),))


def test_an_estimate_is_no_count() -> None:
    """What was counted says so; what was only estimated has no count."""
    assert PlannedWindow(Window(0, 10), 5, 10.0).counted == 5
    assert PlannedWindow(Window(0, 10), 5, None).counted is None


def test_a_negative_count_is_no_count() -> None:
    """An answer below zero is taken as none, also from a witness."""
    assert answered(step(Book.start([Window(0, 10)], rules())), -1).blind == (Window(0, 10),)
    taken = answered(step(Book.start([Window(0, 10)], rules())), 0)
    assert ready(answered(taken, -1)) == [(0, 10, 0)]


def test_a_slice_does_not_cross_a_boundary() -> None:
    """The whole is asked first, then its cells; each cell with logs is a slice, empty ones are witnessed."""
    taken = answered(step(Book.start([Window(50, 250)], rules(every_s=100))), 9)
    assert asked(taken) == [("count", 50, 100), ("count", 100, 200), ("count", 200, 250)]
    taken = answered(taken, 4, 0, 5)
    assert ready(taken) == [(50, 100, 4)]
    assert asked(taken) == [("witness", 100, 200)]
    taken = answered(taken, 0)
    assert [part.window for part in taken.proofs] == [Window(100, 200)]
    assert ready(taken) == [(200, 250, 5)]


def test_many_cells_are_asked_for_in_bundles() -> None:
    """A long aligned window is not enumerated: sixteen bundles of cells first, and empty bundles are proved
    whole."""
    taken = answered(step(Book.start([Window(0, 360_000)], rules(every_s=100, at_once=16))), 3)
    assert len(taken.questions) == 16
    assert all(question.window.start_s % 100 == 0 for question in taken.questions)
    taken = answered(taken, 3, *[0] * 15)
    assert [kind for kind, _, _ in asked(taken)] == ["count"] * 16


def test_boundaries_that_crowd_at_the_start_still_divide() -> None:
    """Twenty boundaries in the first minute of a day: the window is divided there and planning ends."""
    crowded = Rules(100, lambda at_s: at_s // 3 * 3 + 3 if at_s < 60 else None, 4)
    taken = step(Book.start([Window(0, 86_400)], crowded))
    parts, steps = [], 0
    while not taken.finished:
        taken = answered(taken, *[question.window.length_s for question in taken.questions])
        parts += [part.window for part in taken.ready]
        steps += 1
        assert steps < 2000
    assert parts[:20] == [Window(at_s, at_s + 3) for at_s in range(0, 60, 3)]
    assert parts[-1].end_s == 86_400


def test_a_quiet_night_across_boundaries_is_witnessed_as_a_whole() -> None:
    """Logs in the first and last cell of 32: two slices, and the bundles without logs are proved without
    counting every cell."""
    taken = step(Book.start([Window(50, 3250)], rules(every_s=100, at_once=40)))
    handed: list[PlannedWindow] = []
    proofs: list[Proof] = []
    questions = 0
    while not taken.finished:
        questions += len(taken.questions)
        holds = [
            question.window.start_s == 50 or question.window.end_s == 3250 for question in taken.questions
        ]
        taken = answered(taken, *[3 * held for held in holds])
        handed += taken.ready
        proofs += taken.proofs
    assert handed == [
        PlannedWindow(Window(50, 100), 3, 10.0),
        PlannedWindow(Window(3200, 3250), 3, 10.0),
    ]
    assert sum(proof.window.length_s for proof in proofs) == 3100
    assert questions <= 1 + 16 + 6 + 18


def test_repeated_and_unknown_answers_are_ignored() -> None:
    """An answer that nobody waits for changes nothing."""
    first = step(Book.start([Window(0, 10)], rules()))
    same = step(first.book, [Answer(99, 5, 1.0)])
    assert same.book == first.book
    assert (same.questions, same.ready) == ((), ())
    done = step(first.book, [Answer(1, 5, 1.0)])
    assert step(done.book, [Answer(1, 5, 1.0)]).ready == ()


def test_no_more_questions_are_out_than_may_be() -> None:
    """With room for two and ten windows, two questions at first and one more for each answer."""
    taken = begun([Window(at_s, at_s + 5) for at_s in range(0, 100, 10)], rules(at_once=2))
    assert len(taken.questions) == 2
    taken = step(taken.book, [Answer(taken.questions[0].id, 3, 1.0)])
    assert len(taken.questions) == 1
    assert taken.questions[0].window == Window(20, 25)


def test_ids_never_repeat() -> None:
    """Every question of a book has its own number, in the order of asking."""
    taken, ids = step(Book.start([Window(0, 10_000)], rules())), []
    while not taken.finished:
        ids += [question.id for question in taken.questions]
        taken = answered(taken, *[question.window.length_s for question in taken.questions])
    assert ids == sorted(set(ids))


def test_buckets_that_come_with_a_count_are_used_at_once() -> None:
    """A histogram tells the total and where the lines are in one answer; no second question is put."""
    taken = step(Book.start([Window(0, 400)], rules(capacity=100)))
    series = Series((0, 100, 200, 300, 400), (90, 80, 10, 70))
    (question,) = taken.questions
    taken = step(taken.book, [Answer(question.id, 250, 5.0, series)])
    assert [(p.window.start_s, p.window.end_s, p.lines) for p in taken.ready] == [
        (0, 100, 90),
        (100, 300, 90),
        (300, 400, 70),
    ]
    assert taken.finished


def test_an_empty_end_up_to_a_boundary_is_proved_whole() -> None:
    """What follows the last line, cell for cell, needs one witness and no slice."""
    taken = step(Book.start([Window(0, 400)], rules(capacity=100, every_s=100)))
    (question,) = taken.questions
    series = Series((0, 50, 100, 250, 400), (90, 80, 0, 0))
    taken = step(taken.book, [Answer(question.id, 170, 5.0, series)])
    assert ready(taken) == [(0, 50, 90), (50, 100, 80)]
    assert asked(taken) == [("witness", 100, 400)]


def test_buckets_that_hold_a_little_less_than_was_counted_are_estimates() -> None:
    """Lines come and go between two questions; what the later one did not see is looked for in the file."""
    taken = slicing.step(Book.start([Window(0, 400)], rules(capacity=100)))
    taken = slicing.step(taken.book, [Answer(taken.questions[0].id, 150, 5.0)])
    (question,) = taken.questions
    assert (question.kind, question.width_s) == (Kind.BUCKETS, 1)
    lines = tuple(1 if second < 145 else 0 for second in range(400))
    series = Series(tuple(range(401)), lines)
    taken = slicing.step(taken.book, [Answer(question.id, None, 6.0, series)])
    assert [planned.counted_at for planned in taken.ready] == [None, None]
    assert sum(planned.lines or 0 for planned in taken.ready) == 145


def test_buckets_that_were_cut_short_are_asked_for_in_shorter_windows() -> None:
    """An answer that holds much less than was counted, or says that it was too much, is not planned by."""
    taken = slicing.step(Book.start([Window(0, 40_000)], rules(capacity=100)))
    taken = slicing.step(taken.book, [Answer(taken.questions[0].id, 40_000, 5.0)])
    (first, *_) = taken.questions
    half = Series(tuple(range(first.window.start_s, first.window.end_s + 1)), (1,) + (0,) * 19_999)
    taken = slicing.step(taken.book, [Answer(first.id, None, 6.0, half)])
    assert taken.questions[0].window == Window(1, 20_000)  # an end without lines is counted
    taken = slicing.step(taken.book, [Answer(taken.questions[0].id, 19_999, 7.0)])
    (again,) = taken.questions
    taken = slicing.step(taken.book, [Answer(again.id, None, 8.0, too_much=True)])
    assert {question.window.length_s for question in taken.questions} <= set(range(4900, 5001))


def test_one_answer_that_failed_does_not_end_the_asking_for_buckets() -> None:
    """What worked before is asked for again; only a service that never gave any is asked for counts
    instead."""
    taken = slicing.step(Book.start([Window(0, 40_000)], rules(capacity=100)))
    taken = slicing.step(taken.book, [Answer(taken.questions[0].id, 40_000, 5.0)])
    first, second = taken.questions
    edges = tuple(range(first.window.start_s, first.window.end_s + 1))
    taken = slicing.step(taken.book, [Answer(first.id, None, 6.0, Series(edges, (1,) * 20_000))])
    taken = slicing.step(taken.book, [Answer(second.id, None, 7.0)])
    assert [(question.kind, question.window) for question in taken.questions] == [
        (Kind.BUCKETS, second.window)
    ]


def test_quiet_pieces_in_a_row_are_proved_together_up_to_the_last_boundary() -> None:
    """What was counted piece by piece needs no more witnesses than what was counted at once."""
    quiet = [Piece(window, Is.KNOWN, Series.single(window, 0)) for window in (Window(0, 50), Window(50, 400))]
    packed = pack(quiet, rules(every_s=100), Sight())
    assert [(piece.window, piece.state) for piece in packed] == [(Window(0, 400), Is.TO_WITNESS)]


def test_a_service_whose_answers_are_always_cut_short_is_asked_for_counts() -> None:
    """Ever fewer buckets are asked for at once, until that is not worth a question any more."""
    sight = Sight()
    asked_at_once = [sight.most_buckets]
    while sight.detail is not Detail.NONE:
        sight = sight.cut_short()
        asked_at_once.append(sight.most_buckets)
    assert asked_at_once == sorted(asked_at_once, reverse=True)
    assert len(asked_at_once) < 10
    theirs = Sight().seen(1, Series((0, 100, 200), (1, 1)))
    assert (theirs.detail, theirs.most_buckets) == (Detail.THEIRS, 2)
    assert theirs.cut_short().detail is Detail.NONE
    assert Sight().seen(1, Series.single(Window(0, 100), 5)) == Sight()
    with_a_hole = Series((0, 10, 900, 910), (1, 0, 1))
    assert Sight().seen(10, with_a_hole).detail is Detail.OURS


def test_a_step_looks_no_further_than_what_was_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pieces wait in the line, a step packs only those that were asked about, and one more."""
    most: list[int] = []

    def counted_pack(line: list[Piece], *rest: object) -> list[Piece]:
        most.append(len(line))
        return pack(line, *rest)  # type: ignore[arg-type]  # what step gives

    monkeypatch.setattr(slicing, "pack", counted_pack)
    at_once = 4
    window = Window(0, 10_000_000)
    taken = slicing.step(Book.start([window], rules(100, at_once=at_once)))
    (question,) = taken.questions
    taken = slicing.step(taken.book, [Answer(question.id, window.length_s * 10, 1.0)])
    assert len(taken.book.line) > 400
    out = list(taken.questions)
    slices = 0
    for _ in range(30):
        first = out.pop(0)
        edges = tuple(range(first.window.start_s, first.window.end_s + 1))
        series = Series(edges, (10,) * first.window.length_s)
        taken = slicing.step(taken.book, [Answer(first.id, None, 1.0, series)])
        out += taken.questions
        slices += len(taken.ready)
    assert slices > 10_000
    assert max(most[2:]) <= at_once + 2  # the second step divided the window
