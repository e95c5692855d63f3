"""How does coverage look? One row of characters over the asked window.

    ██████████▄░░░░x··········┄┄┄┄

Each column is a stretch of time, and its mark tells what most needs to be seen of it (``core.standing``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from orchestrator.core.standing import Mark, Standing, columns

__all__ = ["ASCII", "BLOCKS", "Alphabet", "alphabet_for", "draw", "legend", "painted"]

Alphabet = Mapping[Mark, str]

BLOCKS: Alphabet = {
    Mark.STORED: "█",
    Mark.PARTLY: "▄",
    Mark.FAILED: "x",
    Mark.ACCEPTED: "o",
    Mark.UNDER_WAY: "░",
    Mark.UNTRIED: "·",
    Mark.NOT_DUE: "┄",
}
ASCII: Alphabet = {
    Mark.STORED: "#",
    Mark.PARTLY: "+",
    Mark.FAILED: "x",
    Mark.ACCEPTED: "o",
    Mark.UNDER_WAY: "~",
    Mark.UNTRIED: ".",
    Mark.NOT_DUE: "-",
}
_COLOURS = {
    Mark.STORED: "32",
    Mark.PARTLY: "33",
    Mark.FAILED: "31",
    Mark.ACCEPTED: "36",
    Mark.UNDER_WAY: "34",
    Mark.UNTRIED: "2",
    Mark.NOT_DUE: "2",
}
"""Of ANSI terminals: green, yellow, red, cyan, blue, faint."""


def alphabet_for(encoding: str | None) -> Alphabet:
    """Blocks where they can be written."""
    try:
        "".join(BLOCKS.values()).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS


def draw(standing: Standing, width: int) -> tuple[Mark, ...]:
    """The marks of a bar at most ``width`` columns wide; a window of fewer seconds has a column for each."""
    return columns(standing, max(width, 1))


def painted(marks: Sequence[Mark], alphabet: Alphabet, *, colour: bool) -> str:
    """The bar as text; with ``colour`` for a terminal that knows them. The marks differ without it too."""
    if not colour:
        return "".join(alphabet[mark] for mark in marks)
    return "".join(
        f"\x1b[{_COLOURS[mark]}m{alphabet[mark] * len(list(run))}\x1b[0m" for mark, run in groupby(marks)
    )


def legend(bars: Iterable[Sequence[Mark]], alphabet: Alphabet) -> list[str]:
    """Every mark that occurs in one of ``bars``, with its meaning."""
    found = {mark for marks in bars for mark in marks}
    return [f"{alphabet[mark]} {mark.value}" for mark in Mark if mark in found]
