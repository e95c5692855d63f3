"""The walk over a TOML text finds every key that tomllib finds, and no other."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.complaint import KeyPath
from orchestrator.core.jobfile_lines import lines_of

KEYS = st.sampled_from(["a", "b-c", "d_1", '"e f"', "'g.h'", '"#]"'])
SCALARS = st.sampled_from(
    [
        "1",
        "-1.5e3",
        "true",
        "2026-01-01",
        "2026-01-14 00:00:00+08:00",
        '"x"',
        '"a\\"]#b"',
        "'lit\\'",
        '""',
        '"""\nmany\n] # "" lines"""',
        '"""a""""',
        "'''\n#[no]\n''x'''",
        '"""\\\\"""',
        "inf",
        "0x1F",
        "08:00:00",
    ]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(inner, max_size=3).map(
            lambda items: "[ # note ]\n" + "".join(f"  {item}, # x\n\n" for item in items) + "]"
        ),
        st.dictionaries(KEYS, inner.filter(lambda text: "\n" not in text), max_size=3).map(
            lambda table: "{ " + ", ".join(f"{key} = {value}" for key, value in table.items()) + " }"
        ),
    ),
    max_leaves=8,
)
PAIRS = st.dictionaries(KEYS, VALUES, max_size=4).map(
    lambda table: "".join(f"  {key}  =  {value} # end\n" for key, value in table.items())
)
TABLES = st.one_of(
    KEYS.map(lambda key: f"[t.{key}] # x\n"),
    KEYS.map(lambda key: f"\n[[ rows . {key} ]]\n"),
    st.just("[[jobs]]\n"),
    KEYS.map(lambda key: f"[jobs.{key}]\n"),
    KEYS.map(lambda key: f"[[jobs.deep.{key}]]\n"),
)
TEXTS = st.tuples(PAIRS, st.lists(st.tuples(TABLES, PAIRS), max_size=5)).map(
    lambda parts: "# top\n" + parts[0] + "".join(header + body for header, body in parts[1])
)


def paths_of(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    if isinstance(value, dict):
        inner = [((*path, key), item) for key, item in value.items()]
    elif isinstance(value, list):
        inner = [((*path, index), item) for index, item in enumerate(value)]
    else:
        return set()
    return {found for found, _ in inner}.union(*(paths_of(item, found) for found, item in inner))


def is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


@given(text=TEXTS.filter(is_toml))
def test_the_walk_agrees_with_the_parser(text: str) -> None:
    """Every path of the parsed file has a line but tables that have no header of their own, and no line is
    made up."""
    lines = lines_of(text)
    paths = paths_of(tomllib.loads(text))
    assert set(lines) <= paths
    implied = paths - set(lines)
    assert all(any(found[: len(path)] == path for found in lines) for path in implied)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


@given(text=TEXTS.filter(is_toml))
def test_the_line_of_a_key_holds_the_key(text: str) -> None:
    """On the line given for a named key, that name stands."""
    rows = text.split("\n")
    for path, line in lines_of(text).items():
        if isinstance(path[-1], str):
            assert path[-1] in rows[line - 1]


@given(text=st.text(alphabet="ab.=[]{}\"'#,\n 1\\", max_size=60))
def test_the_walk_always_ends(text: str) -> None:
    """Whatever the text is, the walk over it ends."""
    lines_of(text)
