"""How wide is a row of characters that stands for a stretch of time, and what stands below it?"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping

from orchestrator.cli.print import moment_text
from orchestrator.core.window import Window, iso_utc

__all__ = ["colour_wanted", "columns_of_stdout", "ends_lines", "rate_text", "wrapped"]

_COLUMNS = 80
"""Where there is no terminal."""
_MOST_COLUMNS = 200


def columns_of_stdout() -> int:
    """As wide as the terminal; lines much longer than a page are not read."""
    if not sys.stdout.isatty():
        return _COLUMNS
    return min(_MOST_COLUMNS, shutil.get_terminal_size((_COLUMNS, 24)).columns)


def colour_wanted(environment: Mapping[str, str]) -> bool:
    """Whether stdout is a terminal that shows colours to a person who has nothing against them: any
    ``NO_COLOR`` but an empty one forbids them (no-color.org)."""
    return sys.stdout.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def ends_lines(window: Window, timezone: str, width: int) -> list[str]:
    """Both ends of a row of ``width`` characters in ``timezone``, below that in UTC where it differs: flush
    with the row, or one below the other where that is too short."""
    ends = [moment_text(at_s, timezone) for at_s in (window.start_s, window.end_s)]
    utc = [iso_utc(at_s) for at_s in (window.start_s, window.end_s)]
    lines: list[str] = []
    for first, last in [ends] if timezone == "UTC" else [ends, utc]:
        between = width - len(first) - len(last)
        lines += [f"{first}{' ' * between}{last}"] if between >= 2 else [f"from {first}", f"to   {last}"]
    return lines


def wrapped(words: Iterable[str], width: int) -> list[str]:
    """``words`` with ``; `` between, as many on a line as fit."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 2 + len(word) <= width:
            lines[-1] += f"; {word}"
        else:
            lines.append(word)
    return lines


def rate_text(per_s: float) -> str:
    """``12,345 lines a second``; a slow one by the longer unit that makes it a number to read."""
    for unit, unit_s in (("a second", 1), ("a minute", 60), ("an hour", 3600)):
        if per_s * unit_s >= 10:
            return f"{per_s * unit_s:,.0f} lines {unit}"
    return f"{per_s * 86_400:,.0f} lines a day"
