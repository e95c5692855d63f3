"""What is wrong with a job file, where it stands, and what would be right there.

A reader of one value knows nothing of files: it raises ``Wrong`` with an ``Objection``. Whoever knows the
place makes a ``Complaint`` of it, so that every complaint carries file, line, key path, what was found, what
is allowed and the nearest known word (design.md 2.1)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time

__all__ = ["Complaint", "KeyPath", "Objection", "Wrong", "nearest", "path_text", "shown"]

KeyPath = tuple[str | int, ...]
"""Where a value stands: ``("jobs", 0, "compression")``."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_SHOWN = 80
_DEEPEST_SHOWN = 6
_LARGEST_IN_DIGITS = 10**80
"""Python refuses to spell out numbers of more than some thousand digits, and takes long for those below."""


@dataclass(frozen=True, slots=True)
class Objection:
    """What is wrong with a value, and what would be right, without saying where it stands."""

    problem: str
    allowed: str = ""
    nearest: str = ""


class Wrong(ValueError):
    """A value that cannot be used; ``objection`` says why, ``within`` which part of it when not the whole."""

    def __init__(self, problem: str, allowed: str = "", nearest: str = "", *, within: KeyPath = ()) -> None:
        super().__init__(problem)
        self.objection = Objection(problem, allowed, nearest)
        self.within = within


@dataclass(frozen=True, slots=True)
class Complaint:
    """One finding about one place of a job file.

    ``line`` counts from 1, 0 when the place has no line; ``key_path`` is written as in ``jobs[0].query``, ""
    for the file as a whole; ``found`` is the value as it stands in the file, "" when nothing stands there.
    """

    file: str
    line: int
    key_path: str
    problem: str
    found: str = ""
    allowed: str = ""
    nearest: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        parts = [f"{place}: {self.key_path}: " if self.key_path else f"{place}: ", self.problem]
        if self.found:
            parts.append(f", found {self.found}")
        if self.allowed:
            parts.append(f"; allowed: {self.allowed}")
        if self.nearest:
            parts.append(f"; did you mean `{self.nearest}`?")
        return "".join(parts)


def path_text(path: KeyPath) -> str:
    """``("jobs", 0, "query")`` as ``jobs[0].query``; keys that TOML would quote are quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + _key_text(str(part))  # a library caller's may be anything
    return text


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word most like ``word``, "" when none is like it."""
    from difflib import get_close_matches

    by_folded = {name.casefold(): name for name in known}
    close = get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[close[0]] if close else ""


def shown(value: object, _deeper: int = _DEEPEST_SHOWN) -> str:
    """A TOML value on one line, as a person would write it; long ones are cut, deep ones not shown whole."""
    match value:
        case list() | dict() if not _deeper:
            text = "…"
        case bool():
            text = "true" if value else "false"
        case str():
            text = _quoted(value)
        case datetime() | date() | time():
            text = value.isoformat()
        case list():
            text = f"[{_joined(shown(item, _deeper - 1) for item in value)}]"
        case dict():
            pairs = (f"{_key_text(str(key))} = {shown(item, _deeper - 1)}" for key, item in value.items())
            text = f"{{{_joined(pairs)}}}"
        case int() if abs(value) >= _LARGEST_IN_DIGITS:
            text = hex(value)
        case _:
            text = str(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def _joined(parts: Iterable[str]) -> str:
    """As many parts as can be seen."""
    text = ""
    for part in parts:
        text += f", {part}" if text else part
        if len(text) > _LONGEST_SHOWN:
            break
    return text


def _key_text(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _quoted(key)


def _quoted(text: str) -> str:
    """Text in quotes on one line: what cannot be printed is escaped, so that no file can steer a terminal."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in quoted)
