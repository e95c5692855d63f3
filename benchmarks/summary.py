"""What did all the benchmarks find, in one table: on the terminal, and as Markdown between two comments of a
page."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.report import Figure, Unmeasured, machine, table_of

__all__ = ["BEGIN", "END", "Outcome", "markdown", "print_summary", "write_markdown"]

BEGIN = "<!-- summary: begin; written by `python -m benchmarks --markdown` -->"
END = "<!-- summary: end -->"
HEADS = ("benchmark", "what", "ours", "beside", "ratio", "target", "")
_RULE = "|---|---|---:|---:|---:|---:|---|"
_NAME = re.compile(r"^(?:\| |- `)(\w+)[ `]")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one benchmark went. ``failure`` is empty unless it could not measure at all; ``measured_on`` is
    the day and minute, UTC, and the machine with its load before."""

    benchmark: str
    measured_on: str
    took_s: float
    failure: str = ""
    entries: tuple[Figure | Unmeasured, ...] = field(default=())

    @property
    def promised(self) -> list[Figure]:
        """The figures of which something is promised."""
        return [entry for entry in self.entries if isinstance(entry, Figure) and entry.row.promised]

    @property
    def missing(self) -> list[tuple[str, str]]:
        """What is not there, with the reason."""
        found = [(entry.what, entry.why) for entry in self.entries if isinstance(entry, Unmeasured)]
        found += [
            (figure.row.what, f"nothing to compare it with: no {figure.peer}")
            for figure in self.promised
            if not figure.row.verdict
        ]
        return found + ([("all of it", self.failure)] if self.failure else [])


def print_summary(outcomes: Sequence[Outcome]) -> None:
    """The one table that all ends with, and below it what is missing."""
    rows = [cells for outcome in outcomes for cells in _rows(outcome)]
    heads = ("benchmark", "what", "ours#", "beside#", "ratio#", "target#", "")
    table_of("Summary: every figure of which something is promised", heads, rows, machine())
    for outcome in outcomes:
        for what, why in outcome.missing:
            print(f"not measured: {outcome.benchmark}, {what}: {why}")
    counted = [cells[-1] for cells in rows]
    print(f"{counted.count('met')} met, {counted.count('missed')} missed")


def markdown(outcomes: Sequence[Outcome], kept: Iterable[str] = ()) -> str:
    """The same as lines of Markdown. ``kept`` are lines of an earlier block about other benchmarks."""
    lines = list(kept)
    for outcome in outcomes:
        lines += [_line(cells) for cells in _rows(outcome)]
        lines += [f"- `{outcome.benchmark}`, not measured: {what}: {why}" for what, why in outcome.missing]
        lines.append(f"- `{outcome.benchmark}`: took {outcome.took_s:,.0f} s on {outcome.measured_on}")
    lines.sort(key=lambda line: (not line.startswith("|"), _name(line)))  # stable: rows keep their order
    table = [line for line in lines if line.startswith("|")]
    rest = [line for line in lines if not line.startswith("|")]
    return "\n".join([_line(HEADS), _RULE, *table, "", *rest])


def write_markdown(path: Path, outcomes: Sequence[Outcome], known: Iterable[str]) -> None:
    """Put the block of ``markdown`` in place of the one in the page, or at the end of a page that has none.
    Lines about benchmarks that were not run now stay, as long as these are ``known``."""
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    head, begin, rest = page.partition(BEGIN)
    old, _, tail = rest.partition(END) if begin else ("", "", "\n")
    others = set(known) - {outcome.benchmark for outcome in outcomes}
    kept = [line for line in old.splitlines() if _name(line) in others]
    path.write_text(f"{head}{BEGIN}\n{markdown(outcomes, kept)}\n{END}{tail}", encoding="utf-8")


def _rows(outcome: Outcome) -> list[tuple[str, ...]]:
    return [
        (
            outcome.benchmark,
            f"{figure.title}: {figure.row.what}",
            f"{_number(figure.row.ours)} {figure.unit}".rstrip(),
            "" if figure.row.beside is None else f"{figure.peer}: {_number(figure.row.beside)}",
            figure.row.ratio_text,
            figure.row.target_text,
            figure.row.verdict or "not measured",
        )
        for figure in outcome.promised
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _name(line: str) -> str:
    """Which benchmark a line of the block is about; empty for the head of the table."""
    found = _NAME.match(line)
    return found[1] if found and found[1] != HEADS[0] else ""


def _number(value: float) -> str:
    """Three digits that matter, none of them lost before the point."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
