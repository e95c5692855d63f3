"""Into which slices does a missing window fall, and what must be asked to know?

``step(book, answers)`` is the whole planner without its waiting: answers in, questions and finished slices
out. The book holds one *line* of pieces in time order, from the oldest second not yet handed out to the
newest one asked about:

    TO_ASK → ASKED → KNOWN ─┬─ too coarse to cut slices from (``refining``): its parts, TO_ASK
                            ├─ packed with its neighbours (``packing``): SLICE
                            └─ nothing in it, no neighbour to go with: TO_WITNESS → WITNESSED → PROOF (or
                            KNOWN after all)

A window is first counted as a whole; what holds more than a slice is asked for in buckets, as narrow as its
density wants them, and only buckets too full to cut between are asked for once more. Where no buckets are to
be had, counts of ever smaller parts do instead. So questions grow with what there is to cut, and not with the
length of the window. Whatever is finished at the head of the line leaves it at once.

Counts plan; they prove nothing but emptiness, and that only when a second witness agrees. Every count used
for a slice was really asked for: what is only estimated says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from orchestrator.core.packing import pack
from orchestrator.core.pieces import DONE, OUT, Is, Piece, Rules, cells, parts
from orchestrator.core.refining import Sight, divided, looked_at_again
from orchestrator.core.series import Series
from orchestrator.core.window import Window, WindowSet, normalise

__all__ = [
    "Answer",
    "Book",
    "Kind",
    "PlannedWindow",
    "Proof",
    "Question",
    "Rules",
    "Step",
    "capacity_lines",
    "step",
]

_LEAST_HEADROOM = 0.005
_MOST_HEADROOM = 0.05
_AHEAD = 64
"""How many pieces of the line may be asked about besides those out at once: the cut to the left waits for its
own answers, and without this the idle queries would count the whole window meanwhile."""
_SHORTEST_TOO_MUCH_S = 3600
"""A window that is too much for one count is divided as long as it is longer than this."""
_TOLERATED = 0.9
"""Buckets that hold less of what was counted are taken for cut short; a few lines come and go meanwhile."""
_PARTS_AFTER_TOO_MUCH = 8
_MOST_TOO_MUCH = 4
"""How often a window that is too long to be counted at once is taken apart before it is planned uncounted."""


def capacity_lines(max_lines: int, observed_excess: float = 0.0) -> int:
    """How many counted lines a slice may hold so that the file stays below ``max_lines``: less half a
    percent, or less the share by which files were seen to exceed their counts, at most 5 %. Below
    ``max_lines`` unless that is 1."""
    headroom = min(_MOST_HEADROOM, max(_LEAST_HEADROOM, observed_excess))
    return max(1, max_lines - math.ceil(max_lines * headroom))


# --- what goes in and out ---


class Kind(StrEnum):
    """What is asked about a window: how many lines; how many per bucket; or, once counted as empty, whether
    another way of counting agrees."""

    COUNT = "count"
    BUCKETS = "buckets"
    WITNESS = "witness"


@dataclass(frozen=True, slots=True)
class Question:
    """``id`` is unique within a book and grows. ``width_s``: of BUCKETS, how wide they should be; others
    will do."""

    id: int
    kind: Kind
    window: Window
    width_s: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """``lines`` None: cannot be counted. ``at`` is when the question was put (UTC epoch seconds).

    ``series`` is the window in buckets: of a question for BUCKETS the answer itself, to one for a COUNT what
    happened to come with it. ``too_much``: this window is more than the service can count at once, a shorter
    one it might.
    """

    question_id: int
    lines: int | None
    at: float
    series: Series | None = None
    too_much: bool = False

    @property
    def unavailable(self) -> bool:
        return self.lines is None or self.lines < 0


@dataclass(frozen=True, slots=True)
class PlannedWindow:
    """A slice to be made. ``counted_at``: the earliest of the counts it was packed from; None means that
    ``lines`` are an estimate."""

    window: Window
    lines: int
    counted_at: float | None

    @property
    def counted(self) -> int | None:
        """``lines`` if they were counted and not estimated."""
        return self.lines if self.counted_at is not None else None


@dataclass(frozen=True, slots=True)
class Proof:
    """A window two witnesses call empty; ``counted_at`` is when the first was asked. May cross boundaries: it
    has no file."""

    window: Window
    counted_at: float


@dataclass(frozen=True, slots=True)
class Book:
    """Everything known so far; a value. ``asked`` counts all questions and names the last one."""

    missing: WindowSet
    rules: Rules
    opened: int = 0
    """How many windows of ``missing`` have entered the line."""
    line: tuple[Piece, ...] = ()
    front: int = 0
    """Behind so many pieces of the line none has been asked about: a step looks no further."""
    asked: int = 0
    sight: Sight = field(default_factory=Sight)
    counted: bool = False
    """Some count has been answered. Before that one question is out at a time: a service that cannot count,
    or not so much at once, is found out by the first."""

    @staticmethod
    def start(missing: Iterable[Window], rules: Rules) -> Book:
        """Nothing asked yet; hand it to ``step`` without answers."""
        return Book(normalise(missing), rules)


@dataclass(frozen=True, slots=True)
class Step:
    """``questions`` are new ones, to be asked now; ``ready``, ``proofs`` and ``blind``, windows in which
    nothing can be counted, are new too, in time order and, over all steps together, never before a window
    handed out earlier. ``finished``: nothing is open and nothing will come."""

    book: Book
    questions: tuple[Question, ...]
    ready: tuple[PlannedWindow, ...]
    proofs: tuple[Proof, ...]
    blind: tuple[Window, ...]
    finished: bool


def step(book: Book, answers: Sequence[Answer] = ()) -> Step:
    """Take in ``answers`` (in any order; unknown and repeated ones are ignored), hand out what is finished,
    ask on.

    Promises: all windows ever handed out are together exactly ``missing`` and do not overlap; a counted slice
    holds at most ``capacity`` lines or lasts one second; the same book and answers give the same step.
    """
    later = book.line[book.front + 1 :]  # with one piece of these at hand it shows whether a slice is closed
    book, line = _taken_in(book, {answer.question_id: answer for answer in answers})
    line = pack(line, book.rules, book.sight)
    done = 0
    while done < len(line) and line[done].state in DONE:
        done += 1
    front = len(line)
    while front > done and line[front - 1].state is Is.TO_ASK:
        front -= 1
    asked_book, questions = _ask(replace(book, line=(*line[done:], *later), front=front - done))
    ended = line[:done]
    return Step(
        book=asked_book,
        questions=questions,
        ready=tuple(_planned(piece) for piece in ended if piece.state is Is.SLICE),
        proofs=tuple(Proof(piece.window, piece.counted_at) for piece in ended if piece.state is Is.PROOF),
        blind=tuple(piece.window for piece in ended if piece.state is Is.BLIND),
        finished=not asked_book.line,
    )


def _planned(piece: Piece) -> PlannedWindow:
    exact = piece.series is not None and piece.series.exact
    return PlannedWindow(piece.window, piece.lines, piece.counted_at if exact else None)


# --- answers ---


def _taken_in(book: Book, answers: dict[int, Answer]) -> tuple[Book, list[Piece]]:
    """The front of the line, and what comes next, with these answers."""
    line: list[Piece] = []
    for piece in book.line[: book.front + 1]:
        answer = answers.get(piece.question_id) if piece.state in OUT else None
        if answer is None:
            line.append(piece)
        elif piece.state is Is.WITNESSED:
            line += _witnessed(piece, answer, book.rules)
        else:
            known, book = _answered(piece, answer, book)
            line += known
    return book, line


def _answered(piece: Piece, answer: Answer, book: Book) -> tuple[list[Piece], Book]:
    if piece.width_s:
        return _in_buckets(piece, answer, book)
    if answer.lines is None or answer.unavailable:
        window = piece.window
        if answer.too_much and piece.depth < _MOST_TOO_MUCH and window.length_s > _SHORTEST_TOO_MUCH_S:
            return [Piece(part, depth=piece.depth + 1) for part in parts(window, _PARTS_AFTER_TOO_MUCH)], book
        return [Piece(window, Is.BLIND)], book
    series = Series.single(piece.window, answer.lines)
    if answer.series is not None and answer.lines > book.rules.capacity:
        book = replace(book, sight=book.sight.seen(0, answer.series))
        series = answer.series
    known = replace(piece, state=Is.KNOWN, series=series, counted_at=answer.at)
    book = replace(book, counted=True)
    return divided(known, book.sight, book.rules), book


def _in_buckets(piece: Piece, answer: Answer, book: Book) -> tuple[list[Piece], Book]:
    """Buckets that hold much less than was counted before were cut short."""
    series = answer.series
    if series is None or series.total < _TOLERATED * piece.lines:
        too_much = answer.too_much or series is not None
        sight = book.sight.cut_short() if too_much else book.sight.refused()
        return list(looked_at_again(piece, sight, book.rules)), replace(book, sight=sight)
    book = replace(book, sight=book.sight.seen(piece.width_s, series))
    if series.total < piece.lines:
        series = replace(series, exact=False)
    tail: list[Piece] = []
    if piece.series is None and series.total and not series.lines[-1]:
        # Nothing says how many lines there should be: what the answer ends without may have been cut off.
        held = max(number for number, lines in enumerate(series.lines) if lines) + 1
        tail = [Piece(Window(series.edges[held], series.edges[-1]), depth=piece.depth)]
        series = series.part(0, held)
    known = replace(
        piece, window=series.window, state=Is.KNOWN, series=series, counted_at=answer.at, width_s=0
    )
    return [*divided(known, book.sight, book.rules), *tail], book


def _witnessed(piece: Piece, answer: Answer, rules: Rules) -> Iterator[Piece]:
    if answer.lines is None or answer.unavailable:
        # One witness is no proof: let the remote task be the second one.
        for window in cells(piece.window, rules):
            yield replace(piece, window=window, state=Is.SLICE)
    elif not answer.lines:
        yield replace(piece, state=Is.PROOF)
    elif answer.lines <= rules.capacity and rules.crossed(piece.window) is None:
        series = Series.single(piece.window, answer.lines)
        yield replace(piece, state=Is.KNOWN, series=series, counted_at=answer.at)
    else:
        # The two ways of counting contradict each other, and dividing by the one that says "nothing"
        # would only lead here again: plan as if nothing could be counted.
        yield Piece(piece.window, Is.BLIND)


# --- asking ---


def _ask(book: Book) -> tuple[Book, tuple[Question, ...]]:
    """Ask about the oldest pieces first, so that the line stays short; open further windows while there
    is room."""
    most = _AHEAD + book.rules.at_once
    line, later = list(book.line[: max(most, book.front)]), book.line[max(most, book.front) :]
    free = (book.rules.at_once if book.counted else 1) - sum(piece.state in OUT for piece in line)
    questions: list[Question] = []
    opened = book.opened
    front = book.front
    number = 0
    while free > 0 and number < most:
        if number == len(line):
            if opened == len(book.missing):
                break
            line.append(Piece(book.missing[opened]))
            opened += 1
        piece = line[number]
        if piece.state in (Is.TO_ASK, Is.TO_WITNESS):
            question_id = book.asked + len(questions) + 1
            to_ask = piece.state is Is.TO_ASK
            line[number] = replace(piece, state=Is.ASKED if to_ask else Is.WITNESSED, question_id=question_id)
            kind = (Kind.BUCKETS if piece.width_s else Kind.COUNT) if to_ask else Kind.WITNESS
            questions.append(Question(question_id, kind, piece.window, piece.width_s if to_ask else 0))
            free -= 1
            front = max(front, number + 1)
        number += 1
    asked = book.asked + len(questions)
    return replace(book, line=(*line, *later), front=front, opened=opened, asked=asked), tuple(questions)
