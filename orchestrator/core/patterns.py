"""Which names does a list of patterns mean? ``["web-*", "!web-test"]``: what any pattern fits and no
exclusion does.

``*``, ``?`` and ``[...]`` are wildcards, letters' case counts, and the order of the list does not."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase

__all__ = ["ALL", "chosen", "fits", "idle", "is_pattern", "named", "pattern_text"]

ALL = ("*",)


def is_pattern(text: str) -> bool:
    """Whether a name has wildcards in it."""
    return any(char in text for char in "*?[]")


def fits(name: str, patterns: Iterable[str]) -> bool:
    """Whether the list means ``name``."""
    meant = False
    for pattern in patterns:
        if pattern.startswith("!"):
            if fnmatchcase(name, pattern[1:]):
                return False
        else:
            meant = meant or fnmatchcase(name, pattern)
    return meant


def chosen(names: Iterable[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """The names the list means, each once, in order of the alphabet."""
    return tuple(sorted({name for name in names if fits(name, patterns)}))


def named(patterns: Sequence[str]) -> tuple[str, ...]:
    """What the list names in full and does not exclude: these need no listing to be known."""
    return chosen(
        (pattern for pattern in patterns if not pattern.startswith("!") and not is_pattern(pattern)), patterns
    )


def idle(patterns: Iterable[str], names: Collection[str]) -> tuple[str, ...]:
    """The patterns, exclusions aside, that fit none of the names."""
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    return tuple(pattern for pattern in wanted if not any(fnmatchcase(name, pattern) for name in names))


def pattern_text(patterns: Sequence[str]) -> str:
    """The list as one text, the same for the same list; never the name of anything, for it has a wildcard or
    a bracket in it."""
    if len(patterns) == 1 and is_pattern(patterns[0]):
        return patterns[0]
    return json.dumps(list(patterns), ensure_ascii=False)
