"""How a benchmark says what it found: the machine in one line, the figures in one table."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

__all__ = ["Row", "machine", "print_table"]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of ours beside the figure it is judged by, both in the table's unit.

    ``target`` is the ratio ours / beside that is promised, None where nothing is; ``at_least`` turns it
    around for figures where more is better.
    """

    what: str
    ours: float
    beside: float
    target: float | None = None
    at_least: bool = False

    @property
    def ratio(self) -> float:
        """Ours / beside; infinite when there is nothing beside."""
        return self.ours / self.beside if self.beside else float("inf")

    @property
    def verdict(self) -> str:
        """``met``, ``missed``, or nothing where nothing is promised."""
        if self.target is None:
            return ""
        met = self.ratio >= self.target if self.at_least else self.ratio <= self.target
        return "met" if met else "missed"


def machine() -> str:
    """Processor, cores we may use, memory, system and Python, in one line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return (
        f"{_processor()}, {cores} cores, {memory_gib:.0f} GiB, {platform.system()} {platform.release()}, "
        f"{platform.python_implementation()} {platform.python_version()}, load {load}"
    )


def print_table(title: str, unit: str, beside: str, rows: Sequence[Row]) -> None:
    """Print the one table of a benchmark: ours, what stands beside it, the ratio; the machine below."""
    table = Table(title=title, title_justify="left", caption=machine(), caption_justify="left")
    table.add_column("what")
    for head in (f"ours, {unit}", f"{beside}, {unit}", "ratio", "target"):
        table.add_column(head, justify="right")
    table.add_column("")
    for row in rows:
        sign = "≥" if row.at_least else "≤"
        target = "" if row.target is None else f"{sign} {row.target:g}"
        table.add_row(
            row.what, f"{row.ours:,.3f}", f"{row.beside:,.3f}", f"{row.ratio:.2f}", target, row.verdict
        )
    Console(width=110).print(table)


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
