"""Which statement does a name stand for: ``queries.sql`` as a lookup, and migrations as lists of
statements."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from operator import itemgetter
from typing import Any

__all__ = ["Migration", "migrations", "places", "sql", "statements"]

_NAME = "-- name: "
_PARAMETER = re.compile(r":([a-z_0-9]+)")


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step of the schema; after it ``PRAGMA user_version`` is ``number``."""

    number: int
    text: str


@cache
def _queries() -> dict[str, str]:
    named: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in _read("queries.sql").splitlines():
        if line.startswith(_NAME):
            current = named.setdefault(line.removeprefix(_NAME).strip(), [])
        elif current is not None:
            current.append(line)
    return {name: "\n".join(lines).strip() for name, lines in named.items()}


def sql(name: str) -> str:
    """The statement called ``name``. Raises KeyError for a name that does not exist."""
    return _queries()[name]


@cache
def places(name: str) -> tuple[str, Callable[[Mapping[str, Any]], tuple[Any, ...]]]:
    """The statement called ``name``, of two parameters at least, with a place for each of them, and what puts
    values by name into these places. For what is run with many values again and again: SQLite finds the name
    of a parameter by walking over all of them."""
    order = _PARAMETER.findall(sql(name))
    return _PARAMETER.sub("?", sql(name)), itemgetter(*order)


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations of this version, by number, from 1 without a hole."""
    folder = resources.files("orchestrator.manifest").joinpath("migrations")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return tuple(Migration(int(name.split("_", 1)[0]), _read(f"migrations/{name}")) for name in names)


def statements(text: str) -> Iterator[str]:
    """``text`` cut into single statements, so that they can share one transaction (``executescript`` would
    commit first)."""
    pending = ""
    for line in text.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending.strip()
            pending = ""
    if pending.strip():
        yield pending.strip()


def _read(path: str) -> str:
    return resources.files("orchestrator.manifest").joinpath(path).read_text(encoding="utf-8")
