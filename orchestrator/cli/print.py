"""How do results read to a person? Plain aligned text, every window in the job's timezone and in UTC."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Sequence
from datetime import datetime

from orchestrator.cli.stdout import Stdout
from orchestrator.core.window import Window, iso_utc
from orchestrator.settings import zone

__all__ = [
    "bytes_text",
    "counted",
    "moment_text",
    "print_stream",
    "print_table",
    "span_text",
    "table",
    "window_text",
]

BATCH_ROWS = 200


def moment_text(at_s: float, timezone: str) -> str:
    """``2026-01-14 08:00:00+08:00`` with the zone's offset at that moment; for UTC with a ``Z``."""
    found = zone(timezone)
    if found is None or timezone == "UTC":
        return iso_utc(at_s).replace("T", " ")
    return datetime.fromtimestamp(int(at_s), found).isoformat(sep=" ")


def window_text(window: Window | None, timezone: str) -> str:
    """Both ends in the job's timezone, then in UTC; once only when these are the same."""
    if window is None:
        return "nothing due yet"
    start, end = (moment_text(at_s, timezone) for at_s in (window.start_s, window.end_s))
    if timezone == "UTC":
        return f"{start} to {end}"
    return f"{start} to {end} ({iso_utc(window.start_s)} to {iso_utc(window.end_s)})"


def bytes_text(count: int) -> str:
    """``1234567`` as ``1.2 MB``; powers of ten, as in the job file."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} PB"


def counted(count: int, noun: str) -> str:
    """``1 slice``, ``2,000 slices``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def span_text(duration_s: float) -> str:
    """``95`` as ``1 min 35 s``."""
    whole = round(duration_s)
    if whole < 60:
        return f"{duration_s:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[int] = ()) -> list[str]:
    """Aligned columns without a frame; the columns numbered in ``right`` are flush right. Nothing is cut."""
    texts = [[_cell(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(head), *texts]) for i in range(len(head))]
    return _aligned([list(head), *texts], widths, frozenset(right))


def print_table(
    out: Stdout, head: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[int] = ()
) -> None:
    """``table``, line by line to ``out``."""
    for line in table(head, rows, right=right):
        out.line(line)


async def print_stream(
    out: Stdout, head: Sequence[str], rows: AsyncIterable[Sequence[object]], *, right: Iterable[int] = ()
) -> int:
    """A table of any length in little memory: columns widen from batch to batch. Returns how many rows there
    were."""
    widths = [len(name) for name in head]
    batch: list[list[str]] = [list(head)]
    count = 0

    def print_batch() -> None:
        for line in batch:
            widths[:] = [max(width, len(cell)) for width, cell in zip(widths, line, strict=True)]
        for text in _aligned(batch, widths, frozenset(right)):
            out.line(text)
        batch.clear()

    async for row in rows:
        count += 1
        batch.append([_cell(cell) for cell in row])
        if len(batch) >= BATCH_ROWS:
            print_batch()
        if out.broken:
            return count
    print_batch()
    return count


def _aligned(lines: Sequence[Sequence[str]], widths: Sequence[int], right: frozenset[int]) -> list[str]:
    return [
        "  ".join(
            cell.rjust(widths[i]) if i in right else cell.ljust(widths[i]) for i, cell in enumerate(line)
        ).rstrip()
        for line in lines
    ]


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value).replace("\n", " ")
