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


SCALARS = (
    st.sampled_from(ODD_VALUES)
    | texts()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def mutated(originals: tuple[bytes, ...], longest: int = 6) -> st.SearchStrategy[bytes]:
    """One of ``originals`` with bytes put in, left out, repeated or overwritten here and there."""
    edit = st.tuples(
        st.sampled_from("ioxdc"),
        st.integers(0, max(map(len, originals))),
        st.integers(0, 12),
        st.binary(max_size=4)
        | st.sampled_from([b'"', b"[", b"{", b"}", b"\n", b"\r\n", b"\xff", b"\\", b"0", b"="]),
    )
    return st.tuples(st.sampled_from(originals), st.lists(edit, max_size=longest)).map(_edited)


def _edited(drawn: tuple[bytes, list[tuple[str, int, int, bytes]]]) -> bytes:
    body, edits = drawn
    for kind, at, length, new in edits:
        place = at % (len(body) + 1)
        cut = body[place : place + length]
        if kind == "i":
            body = body[:place] + new + body[place:]
        elif kind == "o":
            body = body[:place] + new + body[place + len(new) :]
        elif kind == "x":
            body = body[:place] + body[place + length :]
        elif kind == "d":
            body = body[:place] + cut * 3 + body[place + length :]
        else:
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
