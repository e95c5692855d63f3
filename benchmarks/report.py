"""How a benchmark says what it found: the machine in one line, the figures in tables, and both again in the
record that ``python -m benchmarks`` keeps for its summary.

A benchmark calls ``print_table`` for what it measured and ``could_not_measure`` for what it could not.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

__all__ = [
    "RECORD",
    "Figure",
    "Row",
    "Unmeasured",
    "could_not_measure",
    "machine",
    "print_table",
    "read_record",
    "table_of",
]

RECORD = "BENCH_RECORD"
"""Environment variable: the file to which every table is added, a JSON document a line; unset, none is."""
WIDTH = 120


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of ours beside the figure it is judged by, both in the table's unit.

    ``beside`` None: there is nothing beside it, or it could not be measured here. ``target`` is the ratio
    ours / beside that is promised, None where none is; ``at_least`` turns it around for figures where more
    is better. ``most`` is for figures that are judged alone: the most that ours may be, whatever stands
    beside it.
    """

    what: str
    ours: float
    beside: float | None
    target: float | None = None
    at_least: bool = False
    most: float | None = None

    @property
    def ratio(self) -> float:
        """Ours / beside; infinite beside zero, not a number beside nothing."""
        if self.beside is None:
            return float("nan")
        return self.ours / self.beside if self.beside else float("inf")

    @property
    def promised(self) -> bool:
        """Whether anything is promised of this figure."""
        return self.target is not None or self.most is not None

    @property
    def verdict(self) -> str:
        """``met``, ``missed``, or nothing where nothing is promised or it could not be told."""
        if self.most is not None:
            return "met" if self.ours <= self.most else "missed"
        if self.target is None or self.beside is None:
            return ""
        met = self.ratio >= self.target if self.at_least else self.ratio <= self.target
        return "met" if met else "missed"

    @property
    def ratio_text(self) -> str:
        """The ratio, or nothing where there is none to speak of."""
        return f"{self.ratio:.2f}" if self.beside else ""

    @property
    def target_text(self) -> str:
        """What is promised: a plain number is one of the ratio, one behind ``ours`` is one of ours."""
        if self.most is not None:
            return f"ours ≤ {self.most:g}"
        if self.target is None:
            return ""
        return f"{'≥' if self.at_least else '≤'} {self.target:.4g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A row with what its table says of it."""

    benchmark: str
    title: str
    unit: str
    peer: str
    row: Row


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """What could not be measured, and why."""

    benchmark: str
    what: str
    why: str


def machine() -> str:
    """Processor, cores we may use, memory, system and Python, in one line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return (
        f"{_processor()}, {cores} cores, {memory_gib:.0f} GiB, {platform.system()} {platform.release()}, "
        f"{platform.python_implementation()} {platform.python_version()}, load {load}"
    )


def print_table(title: str, unit: str, beside: str, rows: Sequence[Row], *, first: str = "ours") -> None:
    """Print one table of a benchmark: ours, what stands beside it, the ratio; the machine below. ``first``
    says whose figures stand in the first column when they are not ours; ``unit`` is empty for counts."""
    table = Table(title=title, title_justify="left", caption=machine(), caption_justify="left")
    table.add_column("what")
    for head in (*(f"{whose}, {unit}".removesuffix(", ") for whose in (first, beside)), "ratio", "target"):
        table.add_column(head, justify="right")
    table.add_column("")
    for row in rows:
        other = "" if row.beside is None else f"{row.beside:,.3f}"
        table.add_row(row.what, f"{row.ours:,.3f}", other, row.ratio_text, row.target_text, row.verdict)
    Console(width=WIDTH).print(table)
    for row in rows:
        _record({"title": title, "unit": unit, "peer": beside, "row": asdict(row)})


def could_not_measure(what: str, why: str) -> None:
    """Say that a figure is missing, and why; the summary says so too."""
    print(f"not measured: {what}: {why}")
    _record({"what": what, "why": why})


def read_record(path: Path, benchmark: str) -> Iterator[Figure | Unmeasured]:
    """What one benchmark has written to its record, in that order."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        if "row" in found:
            row = Row(**found.pop("row"))
            yield Figure(benchmark, row=row, **found)
        else:
            yield Unmeasured(benchmark, **found)


def table_of(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> None:
    """Print a table of words; columns whose head ends with ``#`` are set to the right."""
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for head in heads:
        table.add_column(head.removesuffix("#"), justify="right" if head.endswith("#") else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=WIDTH).print(table)


def _record(entry: dict[str, object]) -> None:
    if path := os.environ.get(RECORD):
        with Path(path).open("a", encoding="utf-8") as record:
            record.write(json.dumps(entry) + "\n")


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
