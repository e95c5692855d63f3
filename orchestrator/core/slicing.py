"""Into which slices does a missing window fall, and what must be asked to know?

``step(book, answers)`` is the whole planner without its waiting: answers in, questions and finished slices
out. The book holds one *line* of pieces in time order, from the oldest second not yet handed out to the
newest one asked about:

    TO_ASK → ASKED → KNOWN ─┬─ holds too much, or crosses a boundary: its parts, TO_ASK
                            ├─ packed with its neighbours: SLICE
                            └─ nothing in it, no neighbour to go with: TO_WITNESS → WITNESSED → PROOF (or
                            KNOWN after all)

Packing is greedy from the left, which gives the fewest slices for given pieces, and starts only where the
left edge is certain. Only the piece where a cut falls is counted more finely, twice at most, so questions
grow with the number of slices and not with the length of the window. Whatever is finished at the head of the
line leaves it at once; the book stays as small as what is open.

Counts plan; they prove nothing but emptiness, and that only when a second witness agrees. Every count used
for a slice was really asked for: a part is never computed as the rest of a whole that was counted at another
time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto
from itertools import islice, pairwise

from orchestrator.core.align import NextBoundary
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
_MOST_PARTS = 16
_AIM = 0.95
"""A part is cut to hold this share of the capacity: where logs come evenly, one question makes one slice."""
_WELL_FILLED = 0.9
"""A slice this full is not worth another question."""
_MOST_REFINED = 2
_AHEAD = 64
"""How many pieces of the line may be asked about besides one per lane: the cut to the left waits for its own
answers, and without this the idle lanes would count the whole window meanwhile."""
_BLIND_S = 3600
"""How long a slice is when nothing can be counted."""


def capacity_lines(max_lines: int, observed_excess: float = 0.0) -> int:
    """How many counted lines a slice may hold so that the file stays below ``max_lines``: less half a
    percent, or less the share by which files were seen to exceed their counts, at most 5 %. Below
    ``max_lines`` unless that is 1."""
    headroom = min(_MOST_HEADROOM, max(_LEAST_HEADROOM, observed_excess))
    return max(1, max_lines - math.ceil(max_lines * headroom))


# --- what goes in and out ---


class Kind(StrEnum):
    """What is asked about a window: how many lines, or, once counted as empty, whether another way of
    counting agrees."""

    COUNT = "count"
    WITNESS = "witness"


@dataclass(frozen=True, slots=True)
class Question:
    """``id`` is unique within a book and grows."""

    id: int
    kind: Kind
    window: Window


@dataclass(frozen=True, slots=True)
class Answer:
    """``lines`` None: cannot be counted. ``at`` is when the question was put (UTC epoch seconds)."""

    question_id: int
    lines: int | None
    at: float

    @property
    def unavailable(self) -> bool:
        return self.lines is None or self.lines < 0


@dataclass(frozen=True, slots=True)
class PlannedWindow:
    """A slice to be made. ``lines`` None: not counted, and then ``counted_at`` is None too; else the earliest
    of the counts it was packed from."""

    window: Window
    lines: int | None
    counted_at: float | None


@dataclass(frozen=True, slots=True)
class Proof:
    """A window two witnesses call empty; ``counted_at`` is when the first was asked. May cross boundaries: it
    has no file."""

    window: Window
    counted_at: float


@dataclass(frozen=True, slots=True)
class Rules:
    """``capacity`` lines a slice at most (``capacity_lines``), no slice across a boundary, ``lanes``
    questions out at once."""

    capacity: int
    next_boundary: NextBoundary
    lanes: int

    def __post_init__(self) -> None:
        if self.capacity < 1 or self.lanes < 1:
            raise ValueError(f"capacity {self.capacity} and lanes {self.lanes} must be at least 1")

    def crossed(self, window: Window) -> int | None:
        """The first boundary strictly inside ``window``."""
        at_s = self.next_boundary(window.start_s)
        return at_s if at_s is not None and at_s < window.end_s else None

    def is_boundary(self, at_s: int) -> bool:
        return self.next_boundary(at_s - 1) == at_s


class _Is(Enum):
    TO_ASK = auto()
    ASKED = auto()
    KNOWN = auto()
    TO_WITNESS = auto()
    WITNESSED = auto()
    SLICE = auto()
    BLIND = auto()
    """A slice never counted."""
    PROOF = auto()


_UNKNOWN = frozenset({_Is.TO_ASK, _Is.ASKED})
_OUT = frozenset({_Is.ASKED, _Is.WITNESSED})
_DONE = frozenset({_Is.SLICE, _Is.BLIND, _Is.PROOF})


@dataclass(frozen=True, slots=True)
class _Piece:
    window: Window
    state: _Is = _Is.TO_ASK
    lines: int = 0
    """Like ``counted_at`` meaningful from KNOWN on, and not for BLIND."""
    counted_at: float = 0.0
    question_id: int = 0
    refined: int = 0


@dataclass(frozen=True, slots=True)
class Book:
    """Everything known so far; a value. ``asked`` counts all questions and names the last one."""

    missing: WindowSet
    rules: Rules
    opened: int = 0
    """How many windows of ``missing`` have entered the line."""
    line: tuple[_Piece, ...] = ()
    asked: int = 0

    @staticmethod
    def start(missing: Iterable[Window], rules: Rules) -> Book:
        """Nothing asked yet; hand it to ``step`` without answers."""
        return Book(normalise(missing), rules)


@dataclass(frozen=True, slots=True)
class Step:
    """``questions`` are new ones, to be asked now; ``ready`` and ``proofs`` are new too, in time order and,
    over all steps together, never before a window handed out earlier. ``finished``: nothing is open and
    nothing will come."""

    book: Book
    questions: tuple[Question, ...]
    ready: tuple[PlannedWindow, ...]
    proofs: tuple[Proof, ...]
    finished: bool


def step(book: Book, answers: Sequence[Answer] = ()) -> Step:
    """Take in ``answers`` (in any order; unknown and repeated ones are ignored), hand out what is finished,
    ask on.

    Promises: all windows ever handed out are together exactly ``missing`` and do not overlap; a counted slice
    holds at most ``capacity`` lines or lasts one second; the same book and answers give the same step.
    """
    rules = book.rules
    line = list(_take_in(book.line, {answer.question_id: answer for answer in answers}, rules))
    line = _pack(_divide(line, rules), rules)
    done = 0
    while done < len(line) and line[done].state in _DONE:
        done += 1
    asked_book, questions = _ask(replace(book, line=tuple(line[done:])))
    return Step(
        book=asked_book,
        questions=questions,
        ready=tuple(_planned(piece) for piece in line[:done] if piece.state is not _Is.PROOF),
        proofs=tuple(
            Proof(piece.window, piece.counted_at) for piece in line[:done] if piece.state is _Is.PROOF
        ),
        finished=not asked_book.line,
    )


def _planned(piece: _Piece) -> PlannedWindow:
    if piece.state is _Is.BLIND:
        return PlannedWindow(piece.window, None, None)
    return PlannedWindow(piece.window, piece.lines, piece.counted_at)


# --- answers ---


def _take_in(line: Iterable[_Piece], answers: dict[int, Answer], rules: Rules) -> Iterator[_Piece]:
    for piece in line:
        answer = answers.get(piece.question_id) if piece.state in _OUT else None
        if answer is None:
            yield piece
        elif piece.state is _Is.ASKED:
            if answer.lines is None or answer.unavailable:
                yield from (_Piece(window, _Is.BLIND) for window in _lanes(piece.window, rules))
            else:
                yield replace(piece, state=_Is.KNOWN, lines=answer.lines, counted_at=answer.at)
        elif answer.lines is None or answer.unavailable:
            # One witness is no proof: let the remote task be the second one.
            for window in _cells(piece.window, rules):
                yield replace(piece, window=window, state=_Is.SLICE)
        elif not answer.lines:
            yield replace(piece, state=_Is.PROOF)
        elif answer.lines <= rules.capacity and rules.crossed(piece.window) is None:
            yield replace(piece, state=_Is.KNOWN, lines=answer.lines, counted_at=answer.at)
        else:
            # The two ways of counting contradict each other, and dividing by the one that says "nothing"
            # would only lead here again: plan as if nothing could be counted.
            yield from (_Piece(window, _Is.BLIND) for window in _lanes(piece.window, rules))


def _cells(window: Window, rules: Rules) -> Iterator[Window]:
    """``window`` cut at every boundary."""
    while (at_s := rules.crossed(window)) is not None:
        cell, window = window.split(at_s)
        yield cell
    yield window


def _lanes(window: Window, rules: Rules) -> Iterator[Window]:
    """Blind slices: equal parts of an hour at most."""
    for cell in _cells(window, rules):
        yield from _parts(cell, math.ceil(cell.length_s / _BLIND_S))


def _parts(window: Window, count: int) -> Iterator[Window]:
    """``count`` parts as equal as whole seconds allow. ``count`` must not exceed the seconds there are."""
    cuts = [window.start_s + window.length_s * number // count for number in range(count + 1)]
    for start_s, end_s in pairwise(cuts):
        yield Window(start_s, end_s)


# --- dividing what holds too much ---


def _divide(line: Iterable[_Piece], rules: Rules) -> list[_Piece]:
    divided: list[_Piece] = []
    for piece in line:
        if piece.state is _Is.KNOWN and piece.lines and rules.crossed(piece.window) is not None:
            divided += [_Piece(window) for window in _at_boundaries(piece.window, rules)]
        elif piece.state is _Is.KNOWN and piece.lines > rules.capacity and piece.window.length_s > 1:
            count = min(piece.window.length_s, _part_count(piece.lines, rules))
            divided += [_Piece(window) for window in _parts(piece.window, count)]
        else:
            divided.append(piece)
    return divided


def _part_count(lines: int, rules: Rules) -> int:
    """So many parts that each holds one slice's worth, or, where that is more than 16, about a whole number
    of them."""
    slices = math.ceil(lines / (rules.capacity * _AIM))
    each = math.ceil(slices / _MOST_PARTS)
    return max(2, math.ceil(slices / each))


def _at_boundaries(window: Window, rules: Rules) -> list[Window]:
    """Every cell its own part if they are few, else at most 16 about equal bundles of cells."""
    cells = list(islice(_cells(window, rules), _MOST_PARTS + 1))
    if len(cells) <= _MOST_PARTS:
        return cells
    cuts = [window.start_s]
    for number in range(1, _MOST_PARTS):
        ideal_s = window.start_s + window.length_s * number // _MOST_PARTS
        at_s = rules.next_boundary(max(ideal_s - 1, cuts[-1]))
        if at_s is None or at_s >= window.end_s:
            break
        cuts.append(at_s)
    if len(cuts) == 1:  # all boundaries crowd at the start
        cuts.append(cells[0].end_s)
    return [Window(start_s, end_s) for start_s, end_s in pairwise([*cuts, window.end_s])]


# --- packing ---


def _pack(line: list[_Piece], rules: Rules) -> list[_Piece]:
    """One pass from the left. Pieces across boundaries begin and end at walls: they were cut nowhere else.
    ``current`` is the slice being filled; it closes at a wall, or when the next piece does not fit; before an
    unknown piece it stays open."""
    packed: list[_Piece] = []
    current: _Piece | None = None
    certain = True  # whether the left edge of what comes next is fixed
    rest = line[::-1]

    def close() -> None:
        nonlocal current
        if current is not None:
            packed.append(replace(current, state=_Is.SLICE if current.lines else _Is.TO_WITNESS))
            current = None

    while rest:
        piece = rest.pop()
        left = current or (packed[-1] if packed else None)
        if (
            left is None
            or left.window.end_s != piece.window.start_s
            or rules.is_boundary(piece.window.start_s)
        ):
            close()
            certain = True
        if piece.state is not _Is.KNOWN:
            unknown = piece.state in _UNKNOWN
            if not unknown:
                close()
            elif current is not None:
                packed.append(current)
                current = None
            packed.append(piece)
            certain = not unknown
        elif not certain:
            packed.append(piece)
        elif rules.crossed(piece.window) is not None:  # empty, or it would have been divided
            packed.append(replace(piece, state=_Is.TO_WITNESS))
        elif piece.lines > rules.capacity:  # one second: nothing longer is left undivided
            close()
            packed.append(replace(piece, state=_Is.SLICE))
        elif current is None:
            current = piece
        elif current.lines + piece.lines <= rules.capacity:
            current = _joined(current, piece)
        elif halves := _refined(current, piece, rules):
            rest += halves[::-1]
        else:
            close()
            current = piece
    close()
    return packed


def _joined(left: _Piece, right: _Piece) -> _Piece:
    return replace(
        left,
        window=Window(left.window.start_s, right.window.end_s),
        lines=left.lines + right.lines,
        counted_at=min(left.counted_at, right.counted_at),
    )


def _refined(current: _Piece, piece: _Piece, rules: Rules) -> list[_Piece]:
    """``piece`` in two, to be counted, so that its left part just fills ``current``; nothing when it is not
    worth it."""
    if current.lines >= _WELL_FILLED * rules.capacity or piece.refined >= _MOST_REFINED:
        return []
    room = rules.capacity - current.lines
    left_s = int(piece.window.length_s * room / piece.lines * _AIM)
    if not 0 < left_s < piece.window.length_s:
        return []
    return [
        _Piece(window, refined=piece.refined + 1)
        for window in piece.window.split(piece.window.start_s + left_s)
    ]


# --- asking ---


def _ask(book: Book) -> tuple[Book, tuple[Question, ...]]:
    """Ask about the oldest pieces first, so that the line stays short; open further windows while lanes are
    free."""
    line = list(book.line)
    free = book.rules.lanes - sum(piece.state in _OUT for piece in line)
    questions: list[Question] = []
    opened = book.opened
    number = 0
    while free > 0 and number < _AHEAD + book.rules.lanes:
        if number == len(line):
            if opened == len(book.missing):
                break
            line.append(_Piece(book.missing[opened]))
            opened += 1
        piece = line[number]
        if piece.state in (_Is.TO_ASK, _Is.TO_WITNESS):
            question_id = book.asked + len(questions) + 1
            to_ask = piece.state is _Is.TO_ASK
            line[number] = replace(
                piece, state=_Is.ASKED if to_ask else _Is.WITNESSED, question_id=question_id
            )
            questions.append(Question(question_id, Kind.COUNT if to_ask else Kind.WITNESS, piece.window))
            free -= 1
        number += 1
    return replace(book, line=tuple(line), opened=opened, asked=book.asked + len(questions)), tuple(questions)
