"""What is one row of the table of undocumented behaviours?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Switch", "row"]


@dataclass(frozen=True, slots=True)
class Switch:
    """One row. ``settings`` holds every value that is tested, the default first. ``staged`` names other
    switches without which this one would not show, ``never_sent`` tells that the program's own requests do
    not meet it: then it is shown by a request of another client."""

    name: str
    item: int
    settings: tuple[Any, ...]
    does: str
    staged: Mapping[str, Any] = field(default_factory=dict)
    never_sent: bool = False


def row(
    item: int, name: str, settings: Iterable[Any], does: str, *, never_sent: bool = False, **staged: Any
) -> Switch:
    """A row, with what it is staged with as keywords."""
    return Switch(name, item, tuple(settings), does, staged, never_sent)
