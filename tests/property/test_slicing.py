"""Whatever the logs look like and however answers come, slices and proofs are together exactly what was
missing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.series import Series
from orchestrator.core.slicing import Answer, Book, Kind, PlannedWindow, Proof, Question, Rules, step
from orchestrator.core.window import Window, normalise, seconds

SPAN_S = 6000


@dataclass
class World:
    """Logs as ``(second, lines)`` and a way to answer; some seconds cannot be counted, and some answers
    lie."""

    lines: dict[int, int]
    uncountable: set[int] = field(default_factory=set)
    lie: Callable[[Question], int] = lambda _: 0
    at: float = 0.0
    own_width: bool = False
    """Buckets come as wide as asked for."""
    buckets: int = 0
    """So many buckets come, however wide; with ``own_width`` no more than so many; 0 for none."""
    most_at_once: int = 0
    """Lines above which nothing is counted at once; 0 for no such limit."""

    def true_count(self, window: Window) -> int:
        return sum(count for at_s, count in self.lines.items() if window.start_s <= at_s < window.end_s)

    def answer(self, question: Question) -> Answer:
        self.at += 1.0
        window = question.window
        if any(window.start_s <= at_s < window.end_s for at_s in self.uncountable):
            return Answer(question.id, None, self.at)
        count = self.true_count(window)
        if self.most_at_once and count > self.most_at_once:
            return Answer(question.id, None, self.at, too_much=True)
        if question.kind is Kind.BUCKETS:
            return Answer(question.id, None, self.at, self.series(window, question.width_s))
        return Answer(question.id, max(0, count + self.lie(question)), self.at)

    def series(self, window: Window, width_s: int) -> Series | None:
        """Buckets from whole multiples of their width on; empty ones are left out."""
        if not self.buckets:
            return None
        if not self.own_width:
            width_s = -(-window.length_s // self.buckets)
        found: dict[float, int] = {}
        for at_s in sorted(self.lines):
            if window.start_s <= at_s < window.end_s:
                start_s = at_s // width_s * width_s
                found[start_s] = found.get(start_s, 0) + self.lines[at_s]
        listed = list(found.items())
        return Series.of_buckets(window, width_s, listed[: self.buckets] if self.own_width else listed)


@dataclass
class Blind:
    """A window in which nothing could be counted."""

    window: Window


@dataclass
class Outcome:
    parts: list[PlannedWindow | Proof | Blind]
    questions: list[Question]
    steps: int
    longest_line: int = 0


def plan(
    world: World, missing: list[Window], rules: Rules, pick: Callable[[int], int] = lambda _: 0
) -> Outcome:
    """Drive ``step`` to its end, answering one question at a time: ``pick`` says which of those that are
    out."""
    outcome = Outcome([], [], 0)
    taken = step(Book.start(missing, rules))
    out: list[Question] = []
    while True:
        outcome.steps += 1
        outcome.longest_line = max(outcome.longest_line, len(taken.book.line))
        outcome.questions += taken.questions
        out += taken.questions
        blind = (Blind(window) for window in taken.blind)
        outcome.parts += sorted([*taken.ready, *taken.proofs, *blind], key=lambda part: part.window)
        assert len(out) <= rules.at_once
        if taken.finished:
            assert not out
            return outcome
        assert out, "neither finished nor anything asked"
        question = out.pop(pick(len(out)) % len(out))
        taken = step(taken.book, [world.answer(question)])


seconds_of_logs = st.dictionaries(st.integers(0, SPAN_S - 1), st.integers(1, 60), max_size=12)
bursts = st.lists(st.tuples(st.integers(0, SPAN_S - 200), st.integers(1, 60), st.integers(1, 20)), max_size=2)
some = settings(max_examples=30)
"""An example is a whole plan of up to some hundred questions; thirty of them find what a thousand find."""


@st.composite
def worlds(draw: st.DrawFn) -> World:
    lines = draw(seconds_of_logs)
    for start_s, length_s, each in draw(bursts):
        for at_s in range(start_s, start_s + length_s):
            lines[at_s] = lines.get(at_s, 0) + each
    return World(
        lines,
        own_width=draw(st.booleans()),
        buckets=draw(st.sampled_from([0, 7, 60, 100_000])),
        most_at_once=draw(st.sampled_from([0, 0, 500])),
    )


@st.composite
def missing_windows(draw: st.DrawFn) -> list[Window]:
    edges = sorted(draw(st.sets(st.integers(0, SPAN_S), min_size=2, max_size=8)))
    windows = [Window(start_s, end_s) for start_s, end_s in zip(edges[::2], edges[1::2], strict=False)]
    return draw(st.permutations(windows))


def every(length_s: int) -> Callable[[int], int | None]:
    """Boundaries at whole multiples; 0 for none."""
    return (lambda at_s: (at_s // length_s + 1) * length_s) if length_s else (lambda _: None)


rules_drawn = st.builds(
    Rules,
    capacity=st.integers(1, 400),
    next_boundary=st.sampled_from([0, 0, 60, 700, 3600]).map(every),
    at_once=st.integers(1, 12),
)
picks = st.integers(0, 2**32).map(lambda salt: lambda out: hash((salt, out)) >> 3)


def assert_exact(outcome: Outcome, missing: list[Window]) -> None:
    """In time order, without overlap, and together what was missing."""
    windows = [part.window for part in outcome.parts]
    assert windows == sorted(windows)
    assert all(left.end_s <= right.start_s for left, right in pairwise(windows))
    assert normalise(windows) == normalise(missing)
    assert sum(window.length_s for window in windows) == seconds(missing)


def assert_aligned(outcome: Outcome, rules: Rules) -> None:
    for part in outcome.parts:
        if isinstance(part, PlannedWindow):
            assert rules.crossed(part.window) is None


@some
@given(worlds(), missing_windows(), rules_drawn, picks)
def test_slices_and_proofs_are_exactly_what_was_missing(
    world: World, missing: list[Window], rules: Rules, pick: Callable[[int], int]
) -> None:
    """With honest counts, in any order of answers: an exact partition in time order, no slice across a
    boundary, each with its true count, or one that says to be an estimate, and within the capacity unless it
    is one second, and proofs exactly where nothing is."""
    world.most_at_once = 0
    outcome = plan(world, missing, rules, pick)
    assert_exact(outcome, missing)
    assert_aligned(outcome, rules)
    for part in outcome.parts:
        if isinstance(part, Proof):
            assert world.true_count(part.window) == 0
        else:
            assert isinstance(part, PlannedWindow)
            assert part.lines <= rules.capacity or part.window.length_s == 1
            if part.counted_at is None:
                assert world.buckets, "estimated without need"
            else:
                assert part.lines == world.true_count(part.window) > 0


@some
@given(worlds(), missing_windows(), rules_drawn, picks, st.sets(st.integers(0, SPAN_S - 1), max_size=3))
def test_what_cannot_be_counted_is_planned_all_the_same(
    world: World, missing: list[Window], rules: Rules, pick: Callable[[int], int], uncountable: set[int]
) -> None:
    """Windows whose count fails are handed out as such; the rest is as ever."""
    world.uncountable = uncountable
    outcome = plan(world, missing, rules, pick)
    assert_exact(outcome, missing)
    assert_aligned(outcome, rules)
    for part in outcome.parts:
        if isinstance(part, Blind):
            assert uncountable or world.most_at_once
        elif isinstance(part, Proof):
            assert world.true_count(part.window) == 0
        elif part.counted_at is not None:
            assert part.lines == world.true_count(part.window)


@some
@given(
    worlds(), missing_windows(), rules_drawn, picks, st.lists(st.integers(-60, 60), min_size=1, max_size=50)
)
def test_counts_that_contradict_each_other_are_survived(
    world: World, missing: list[Window], rules: Rules, pick: Callable[[int], int], lies: list[int]
) -> None:
    """Parts that do not add up to their whole, witnesses that disagree: the partition is exact, planning
    ends, and what is called empty was called so twice."""
    empty: set[tuple[int, int]] = set()

    def lie(question: Question) -> int:
        amount = lies[question.id % len(lies)]
        if question.kind is Kind.WITNESS and world.true_count(question.window) + amount <= 0:
            empty.add((question.window.start_s, question.window.end_s))
        return amount

    world.lie = lie
    outcome = plan(world, missing, rules, pick)
    assert_exact(outcome, missing)
    assert_aligned(outcome, rules)
    for part in outcome.parts:
        if isinstance(part, Proof):
            assert (part.window.start_s, part.window.end_s) in empty
        elif isinstance(part, PlannedWindow):
            assert part.lines <= rules.capacity or part.window.length_s == 1


@some
@given(worlds(), missing_windows(), rules_drawn, picks)
def test_planning_is_deterministic(
    world: World, missing: list[Window], rules: Rules, pick: Callable[[int], int]
) -> None:
    """The same missing windows and answers give the same slices and questions; the order windows are listed
    in is nothing."""
    first = plan(replace(world, at=0.0), missing, rules, pick)
    again = plan(replace(world, at=0.0), missing[::-1], rules, pick)
    assert first == again


@some
@given(worlds(), missing_windows(), rules_drawn, picks)
def test_questions_are_bounded(
    world: World, missing: list[Window], rules: Rules, pick: Callable[[int], int]
) -> None:
    """However unevenly logs lie: at most a few questions per capacity-full, halving of the span, boundary and
    window."""
    outcome = plan(world, missing, rules, pick)
    full = sum(world.true_count(window) for window in missing) / rules.capacity
    cells = sum(
        1 for window in missing for at_s in range(window.start_s, window.end_s) if rules.is_boundary(at_s)
    )
    assert len(outcome.questions) <= 8 * (full + 1) * math.log2(SPAN_S) + 4 * cells + 4 * len(missing)


@dataclass
class EvenWorld(World):
    """``rate`` lines every 1,000 seconds, as evenly as whole lines allow."""

    rate: int = 0

    def true_count(self, window: Window) -> int:
        return self.rate * window.end_s // 1000 - self.rate * window.start_s // 1000


@some
@given(st.floats(0.1, 300.0), st.integers(2_000, 1_000_000), st.integers(1000, 5000), picks)
def test_even_logs_cost_few_questions_and_fill_their_slices(
    fulls: float, capacity: int, rate: int, pick: Callable[[int], int]
) -> None:
    """Where logs come evenly, n capacity-fulls cost at most 4 n + 20 questions and 1.25 n + 1 slices."""
    length_s = math.ceil(fulls * capacity * 1000 / rate)
    outcome = plan(EvenWorld({}, rate=rate), [Window(0, length_s)], Rules(capacity, every(0), 10), pick)
    assert len(outcome.questions) <= 4 * fulls + 20
    assert len(outcome.parts) <= 1.25 * fulls + 1


def test_the_book_does_not_grow_with_the_window() -> None:
    """However many slices a window holds, a few hundred pieces are all that is in memory."""
    for fulls in (100, 1000):
        world, rules = EvenWorld({}, rate=1000), Rules(2000, every(0), 10)
        outcome = plan(world, [Window(0, fulls * 2000)], rules)
        assert len(outcome.parts) >= fulls
        assert outcome.longest_line <= 400
