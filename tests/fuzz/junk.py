"""Inputs nobody asked for: bytes and texts that have broken readers before, JSON of any kind, and
mutations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

__all__ = ["JSON", "ODD_TEXTS", "ODD_VALUES", "changed", "mutated", "nested", "places", "texts"]

ODD_TEXTS = (
    "",
    " ",
    "0",
    "-1",
    "+5",
    "1e5",
    "1e999",
    "1.5",
    "nan",
    "inf",
    "-Infinity",
    "9" * 25,
    "9" * 5000,
    "1_000",
    "٣",
    "½",
    "true",
    "FALSE",
    "null",
    "OK",
    "success",
    "..",
    "a/b",
    "2026-01-15T08:30:00Z",
    "2026-01-15 08:30:00.123+08:00",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-12:00",
    "0000-00-00",
    "http://[",
    "https://h/p?q=1",
    "\x00",
    "\x1b[2J",
    "\u2028",
    "\ufeff",
    "é" * 3,
    "x" * 2000,
)
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    0.0,
    -0.5,
    1e300,
    2**31,
    2**63,
    2**64 - 1,
    -(2**63),
    1_768_348_800,
    1_768_348_800_000,
    [],
    {},
    [[]],
    [None],
    {"": None},
)


def texts(longest: int = 20) -> st.SearchStrategy[str]:
    """Any text, every other one an odd one."""
    return st.sampled_from(ODD_TEXTS) | st.text(max_size=longest)


def nested(deep: int) -> Any:
    """A list in a list in a list, or objects likewise."""
    value: Any = 1
    for level in range(deep):
        value = {"a": value} if level % 2 else [value]
    return value


_SCALARS: tuple[Any, ...] = (*ODD_VALUES, *ODD_TEXTS, "code", "result", "a", 7, 2.5, 1e15, -(2**70), 10**30)
_KEYS = ("", "a", "b", "result", "success", "code", "message", "é", "uuid", "name", "tasks", "task")
_ODD_BYTES = (
    b'"',
    b"[",
    b"{",
    b"}",
    b"]",
    b"\n",
    b"\r\n",
    b"\xff",
    b"\\",
    b"0",
    b"=",
    b",",
    b":",
    b"\x00",
    b"9" * 30,
    b"\xed\xa0\x80",
)
"""What one byte of a program below stands for. Hypothesis draws such a program at once, and shortens it at
once: that is many times quicker than drawing every part of a value by itself."""


def _built(program: bytes, depth: int = 3) -> tuple[Any, bytes]:
    """The JSON value a program makes, and what is left of the program."""
    if not program:
        return None, b""
    first, rest = program[0], program[1:]
    if first < 176 or not depth:
        return _SCALARS[first % len(_SCALARS)], rest
    if first < 216:
        items = []
        for _ in range(first % 4):
            item, rest = _built(rest, depth - 1)
            items.append(item)
        return items, rest
    table: dict[str, Any] = {}
    for _ in range(first % 4):
        key = _KEYS[rest[0] % len(_KEYS)] if rest else "z"
        table[key], rest = _built(rest[1:], depth - 1)
    return table, rest


JSON = st.binary(max_size=14).map(lambda program: _built(program)[0]) | st.text(max_size=6) | st.integers()
"""Any JSON value: of odd ones, and of any texts and numbers."""


def mutated(originals: tuple[bytes, ...], most: int = 6) -> st.SearchStrategy[bytes]:
    """One of ``originals`` with bytes put in, left out, repeated or overwritten at up to ``most`` places."""
    return st.tuples(st.sampled_from(originals), st.binary(max_size=_EDIT_BYTES * most)).map(_edited)


_EDIT_BYTES = 5


def _edited(drawn: tuple[bytes, bytes]) -> bytes:
    """Five bytes of the program make one edit: what, where (two), how much, what with."""
    body, program = drawn
    for at in range(0, len(program) - _EDIT_BYTES + 1, _EDIT_BYTES):
        kind, high, low, length, what = program[at : at + _EDIT_BYTES]
        place, length = (high * 256 + low) % (len(body) + 1), length % 13
        new = _ODD_BYTES[what % len(_ODD_BYTES)] if what < 128 else bytes([what, length])
        cut = body[place : place + length]
        match kind % 6:
            case 0:
                body = body[:place] + new + body[place:]
            case 1:
                body = body[:place] + new + body[place + len(new) :]
            case 2:
                body = body[:place] + body[place + length :]
            case 3:
                body = body[:place] + cut * 3 + body[place + length :]
            case 4:
                body = body[:place] + new + body[place + length :]
            case _ if what < 32:
                body = body[:place]
    return body


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path in a JSON value, the value itself first."""
    found = [path]
    if isinstance(value, dict):
        for key, item in value.items():
            found += places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += places(item, (*path, index))
    return found


def changed(value: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    """``value`` with what stands at ``path`` replaced; ``change`` gets it and returns the new one."""
    if not path:
        return change(value)
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(copy[path[0]], path[1:], change)
    return copy
