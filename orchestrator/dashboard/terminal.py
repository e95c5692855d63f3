"""What does a person at a terminal see while a run goes on? A few lines on stderr, redrawn in place."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from orchestrator.dashboard.progress import Snapshot

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["TerminalView", "amount", "span", "summary_lines"]

BAR_CELLS = 28
_SI = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def amount(value: float, unit: str = "") -> str:
    """``1_234_567`` as ``1.23 M``, with ``unit`` behind the prefix: ``1.23 MB``. Three digits, no more."""
    for size, prefix in _SI:
        if abs(value) >= size:
            scaled = value / size
            digits = 0 if scaled >= 100 else 1 if scaled >= 10 else 2
            return f"{scaled:.{digits}f} {prefix}{unit}"
    return f"{value:.0f} {unit}".rstrip()


def span(duration_s: float) -> str:
    """``4000`` as ``1 h 06 min``: two units, because the third is not known that well."""
    whole = round(duration_s)
    for size, big, step, small in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {big} {whole % size // step:02d} {small}"
    return f"{whole} s"


def summary_lines(now: Snapshot) -> list[str]:
    """The view as plain text, one fact group per line."""
    total = f"{now.slices_total:,}" + (" so far, planning goes on" if now.planning else "")
    failed = f", {now.slices_failed:,} failed" if now.slices_failed else ""
    if now.time_left_s is None:
        left = "time left not known yet"
    else:
        left = "finishing" if now.time_left_s < 1 else f"about {span(now.time_left_s)} left"
    throttled = f" · throttled {now.throttled:,} times" if now.throttled else ""
    under_way = f"{now.remote} at the service · {now.local} fetching"
    lines = [
        f"slices  {now.slices_done:,} of {total}{failed} · {under_way}",
        f"stored  {amount(now.lines)} lines · {amount(now.lines_per_s)}/s",
        f"fetched {amount(now.bytes_fetched, 'B')} · {amount(now.bytes_per_s, 'B')}/s",
        f"service {now.requests:,} requests · {now.requests_per_s:.1f}/s{throttled}",
        f"time    {span(now.elapsed_s)} · {left}",
    ]
    if now.last_problem:
        lines.append(f"last problem: {now.last_problem}")
    return lines


class TerminalView:
    """Draws snapshots in place; ``show`` may be called as often as one likes. Leaves nothing behind.

    While it is open it stands in for ``sys.stderr``, so that log lines appear above it and not through it.
    """

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = console or Console(stderr=True, highlight=False, soft_wrap=False)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=True,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, now: Snapshot) -> None:
        self._live.update(_drawn(now), refresh=True)


def _drawn(now: Snapshot) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    share = now.slices_done / now.slices_total if now.slices_total else 0.0
    filled = int(share * BAR_CELLS)
    bar = Text("[")
    bar.append("#" * filled, style="green")
    bar.append("-" * (BAR_CELLS - filled), style="dim")
    bar.append(f"] {share:4.0%}")
    rows = [Text(line, no_wrap=True, overflow="ellipsis") for line in summary_lines(now)]
    if now.last_problem:
        rows[-1].stylize("yellow")
    return Group(bar, *rows)
