"""How good is a plan beside the best one there is, and what did it cost to ask?

A logstore is a list of stretches with a rate each, so that any window of a year is counted in no time, and
the fewest slices possible are known to the second.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

from orchestrator.core.lanes import FIRST_S, Lane, lanes_over
from orchestrator.core.pieces import Rules
from orchestrator.core.series import Series
from orchestrator.core.slicing import Answer, Book, Kind, PlannedWindow, Proof, Question, step
from orchestrator.core.window import Window, normalise

__all__ = ["STORES", "WAYS", "Counter", "Outcome", "Rates", "fewest_slices", "plan_by"]

_DAY_S = 86_400
_PER_S = 500_000_000 / _DAY_S


@dataclass(frozen=True)
class Rates:
    """Lines over time: from each of ``starts_s`` on, ``per_s`` lines a second, until the next; the last
    stretch ends at ``end_s``."""

    starts_s: tuple[int, ...]
    per_s: tuple[float, ...]
    end_s: int

    @cached_property
    def _before(self) -> tuple[float, ...]:
        """How many lines there are before each stretch."""
        lengths = (right - left for left, right in pairwise((*self.starts_s, self.end_s)))
        lines = (rate * length_s for rate, length_s in zip(self.per_s, lengths, strict=True))
        return tuple(accumulate(lines, initial=0.0))

    @staticmethod
    def of(stretches: Iterable[tuple[int, float]]) -> Rates:
        """From ``(seconds, lines per second)``, one after the other, beginning at 0."""
        pairs = list(stretches)
        ends = list(accumulate(length_s for length_s, _ in pairs))
        return Rates((0, *ends[:-1]), tuple(rate for _, rate in pairs), ends[-1])

    @property
    def window(self) -> Window:
        return Window(0, self.end_s)

    def until(self, at_s: int) -> int:
        """How many lines there are before a second."""
        number = bisect_right(self.starts_s, at_s) - 1
        return int(self._before[number] + self.per_s[number] * (at_s - self.starts_s[number]) + 1e-6)

    def lines(self, window: Window) -> int:
        return self.until(window.end_s) - self.until(window.start_s)


@dataclass
class Counter:
    """A service that answers questions about a logstore: with counts, and with buckets as wide as asked for
    (``own_width``), or ``buckets`` of them, or none."""

    rates: Rates
    counts: bool = True
    own_width: bool = False
    buckets: int = 0

    def answer(self, question: Question) -> Answer:
        if not self.counts:
            return Answer(question.id, None, 1.0)
        window = question.window
        if question.kind is not Kind.BUCKETS:
            return Answer(question.id, self.rates.lines(window), 1.0)
        if not self.own_width and not self.buckets:
            return Answer(question.id, None, 1.0)
        width_s = question.width_s if self.own_width else -(-window.length_s // self.buckets)
        edges = [*range(window.start_s, window.end_s, width_s), window.end_s]
        sums = [self.rates.until(at_s) for at_s in edges]
        lines = tuple(right - left for left, right in pairwise(sums))
        return Answer(question.id, None, 1.0, Series(tuple(edges), lines))


@dataclass(frozen=True)
class Outcome:
    """A finished plan. ``in_lanes`` are the slices of what could not be counted, as its rows make them.
    ``truly_over`` counts planned slices of more than a second that hold more than a remote task may carry."""

    slices: tuple[PlannedWindow, ...]
    proofs: tuple[Proof, ...]
    in_lanes: tuple[Window, ...]
    questions: int
    rounds: int
    truly_over: int

    @property
    def windows(self) -> tuple[Window, ...]:
        """Of all slices."""
        return (*(planned.window for planned in self.slices), *self.in_lanes)


def plan_by(counter: Counter, rules: Rules, most_lines: int, *, tasks: int = 20) -> Outcome:
    """Plan the whole logstore; the questions of a step are answered together. ``tasks``: remote tasks that
    may be outstanding."""
    slices: list[PlannedWindow] = []
    proofs: list[Proof] = []
    blind: list[Window] = []
    questions = rounds = 0
    taken = step(Book.start([counter.rates.window], rules))
    while True:
        slices += taken.ready
        proofs += taken.proofs
        blind += taken.blind
        if taken.finished:
            over = [
                planned
                for planned in slices
                if planned.window.length_s > 1 and counter.rates.lines(planned.window) > most_lines
            ]
            lanes = lanes_over(normalise(blind), tasks, FIRST_S)
            in_lanes = [window for lane in lanes for window in _run(lane, counter.rates, rules, most_lines)]
            return Outcome(tuple(slices), tuple(proofs), tuple(in_lanes), questions, rounds, len(over))
        questions += len(taken.questions)
        rounds += 1
        taken = step(taken.book, [counter.answer(question) for question in taken.questions])


def _run(lane: Lane | None, rates: Rates, rules: Rules, most_lines: int) -> Iterator[Window]:
    """The slices of one lane from first to last, as files come in that are cut where they are full."""
    while lane is not None:
        asked, left = lane.next_slice(rules.next_boundary)
        rest: Window | None = asked
        told = None
        while rest is not None:
            kept, rest = _file(rest, rates, most_lines)
            told = told or kept
            yield kept
        lane = left and left.after(told.length_s if told else 1, rates.lines(told or asked), most_lines)


def _file(window: Window, rates: Rates, most_lines: int) -> tuple[Window, Window | None]:
    """What a file of ``most_lines`` in time order holds of ``window``, and what it does not: the last second
    met is not surely whole. One second is not cut."""
    base = rates.until(window.start_s)
    if window.length_s == 1 or rates.lines(window) < most_lines:
        return window, None
    low, high = window.start_s, window.end_s - 1
    while low < high:  # the last second met
        middle = (low + high + 1) // 2
        low, high = (middle, high) if rates.until(middle) - base < most_lines else (low, middle - 1)
    return window.split(max(low, window.start_s + 1))


def fewest_slices(rates: Rates, capacity: int) -> int:
    """Greedy to the second, knowing everything; a second above the capacity is a slice of its own."""
    slices, at_s = 0, 0
    total = rates.until(rates.end_s)
    while rates.until(at_s) < total:
        base = rates.until(at_s)
        low, high = at_s, rates.end_s
        while low < high:  # the furthest end that still fits
            middle = (low + high + 1) // 2
            low, high = (middle, high) if rates.until(middle) - base <= capacity else (low, middle - 1)
        slices, at_s = slices + 1, max(low, at_s + 1)
    return slices


def _diurnal() -> Iterable[tuple[int, float]]:
    """Five-minute stretches of a day, nine times as busy at its height as at its low."""
    return ((300, _PER_S * (1 + 0.8 * math.sin(math.tau * number / 288))) for number in range(288))


def _bursts() -> Iterable[tuple[int, float]]:
    """Quiet stretches of some minutes to an hour, and bursts of up to some minutes between them."""
    left_s, number = _DAY_S, 0
    while left_s > 0:
        number += 1
        quiet_s = min(left_s, 200 + number * 7919 % 3800)
        burst_s = min(left_s - quiet_s, 5 + number * 104_729 % 395)
        yield quiet_s, 150.0
        if burst_s:
            yield burst_s, 5_000.0 + number * 15_485_863 % 85_000
        left_s -= quiet_s + burst_s


def _working_days() -> Iterable[tuple[int, float]]:
    for _ in range(365):
        yield from ((8 * 3600, 0.01), (10 * 3600, 2.0), (6 * 3600, 0.01))


STORES: Mapping[str, Rates] = {
    "even day": Rates.of([(_DAY_S, _PER_S)]),
    "day and night": Rates.of(_diurnal()),
    "day of bursts": Rates.of(_bursts()),
    "one giant second": Rates.of([(40_000, 50.0), (1, 5e6), (46_399, 50.0)]),
    "empty day": Rates.of([(_DAY_S, 0.0)]),
    "sparse year": Rates.of([(365 * _DAY_S, 0.16)]),
    "year of working days": Rates.of(_working_days()),
    "dense year": Rates.of([(365 * _DAY_S, 317.0)]),
}
"""Logstores of every kind that planning has to cope with."""


WAYS: Mapping[str, Callable[[Rates], Counter]] = {
    "SQL": lambda rates: Counter(rates, own_width=True),
    "histogram": lambda rates: Counter(rates, buckets=60),
    "counts": Counter,
    "nothing": lambda rates: Counter(rates, counts=False),
}
"""What a service may answer with."""
