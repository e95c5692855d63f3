"""Which keys stand in a table of the job file, and what did each value turn out to be?

One table at a time against the table of keys. Complaints are collected, never raised: a person mends them all
at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.core.complaint import Complaint, KeyPath, Objection, Wrong, nearest, path_text, shown
from orchestrator.core.jobfile_notyet import NotYet
from orchestrator.core.jobfile_values import read_value
from orchestrator.core.jobkeys import SECTIONS, keys_of

__all__ = ["Findings", "Table", "default_values", "read_table"]

_SECRET_NAME = re.compile(r"secret|passw|token|access_?key|(^|_)[as]k$", re.IGNORECASE)
_SHORTEST_REDACTED = 4


@dataclass(slots=True)
class Findings:
    """Every complaint so far. ``data`` is the file as written, before ``${NAME}`` was replaced: that is what
    is shown."""

    file: str
    data: Mapping[str, Any]
    line_of: Callable[[KeyPath], int]
    redactions: Collection[str] = ()
    complaints: list[Complaint] = field(default_factory=list)
    _made: set[Complaint] = field(default_factory=set)

    def add(self, path: KeyPath, objection: Objection) -> None:
        """Note what is wrong at ``path``; nothing found there is shown as nothing."""
        problem = objection.problem
        for hidden in sorted(self.redactions, key=len, reverse=True):
            if len(hidden) >= _SHORTEST_REDACTED:  # shorter ones would riddle every sentence
                problem = problem.replace(hidden, "***")
        found = self._found(path)
        complaint = Complaint(
            self.file,
            self.line_of(path),
            path_text(path),
            problem,
            found,
            objection.allowed,
            objection.nearest,
        )
        if complaint not in self._made:
            self._made.add(complaint)
            self.complaints.append(complaint)

    def _found(self, path: KeyPath) -> str:
        value: Any = dict(self.data)
        for part in path:
            if isinstance(value, dict) and part in value:
                value = value[part]
            elif isinstance(value, list):
                value = value[int(part)]
            else:
                return ""
        if isinstance(path[-1], str) and _SECRET_NAME.search(path[-1]):
            return "***"
        return shown(value)


@dataclass(slots=True)
class Table:
    """What one table said. ``values`` holds what could be read, ``broken`` the keys whose value could not;
    ``paths`` says where each value stands, which for a job may be in [defaults]."""

    path: KeyPath
    values: dict[str, Any] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    paths: dict[str, KeyPath] = field(default_factory=dict)

    def over(self, below: Table) -> Table:
        """What this table says, and ``below`` where it says nothing."""
        mine = set(self.values) | self.broken
        return Table(
            self.path,
            {key: value for key, value in below.values.items() if key not in mine} | self.values,
            {key for key in below.broken if key not in mine} | self.broken,
            below.paths | self.paths,
        )

    def where(self, key: str) -> KeyPath:
        """Where the value of ``key`` stands, or would stand."""
        return self.paths.get(key, (*self.path, key))

    def has(self, key: str) -> bool:
        """Whether the key is there, readable or not."""
        return key in self.values or key in self.broken


def read_table(
    section: str, raw: object, path: KeyPath, findings: Findings, not_yet: NotYet, skip: Collection[str] = ()
) -> Table:
    """Read every key of one table; ``skip`` names what somebody else reads."""
    table = Table(path)
    if not isinstance(raw, dict):
        findings.add(path, Objection("not a table", f"[{path_text(path)}] with keys below it"))
        return table
    keys = keys_of(section)
    for name, value in ((str(name), value) for name, value in raw.items()):
        if name in skip:
            continue
        table.paths[name] = (*path, name)
        if name not in keys:
            findings.add((*path, name), _unknown(section, name, [*keys, *skip]))
            continue
        try:
            table.values[name] = read_value(keys[name], value)
        except Wrong as wrong:
            table.broken.add(name)
            findings.add((*path, name, *wrong.within), wrong.objection)
            continue
        refused = not_yet.get((keys[name].section, name))
        if refused and refused(table.values[name]):
            findings.add((*path, name), Objection("not available in this version"))
    return table


def default_values(section: str) -> Table:
    """What holds when a table says nothing."""
    keys = keys_of(section).values()
    return Table((), {key.name: read_value(key, key.default) for key in keys if key.default is not None})


def _unknown(section: str, name: str, known: Collection[str]) -> Objection:
    near = nearest(name, known)
    if not near:
        homes = [
            home.header
            for home in SECTIONS
            if home.header and home.name != section and name in keys_of(home.name)
        ]
        near = f"{homes[0]} {name}" if homes else ""
    return Objection("unknown key", ", ".join(known), near)
