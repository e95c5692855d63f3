"""What do ``${NAME}`` and ``${NAME:-default}`` in a job file's strings stand for?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.core.complaint import KeyPath, Objection

__all__ = ["Substitution", "substitute"]

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-((?:[^}$]|\$(?!\{))*))?\}")
"""A default ends where another reference begins: without its brace it would be looked for to the end of the
text, once for every reference."""
_ALLOWED = "${NAME} or ${NAME:-default}"
_DEEPEST = 12
"""Tables and lists in each other; a job file that means something has four."""


@dataclass(slots=True)
class Substitution:
    """``data`` with every reference replaced; ``redactions``: each value that came from the environment, to
    be hidden in every output (a default stands in the file for all to read)."""

    data: dict[str, Any] = field(default_factory=dict)
    redactions: set[str] = field(default_factory=set)
    objections: list[tuple[KeyPath, Objection]] = field(default_factory=list)


def substitute(data: Mapping[str, Any], env: Mapping[str, str]) -> Substitution:
    """Replace references in every string value. A variable that is not set and has no default is an
    objection; as in a shell the default also stands in for an empty value. What is nested too deeply to mean
    anything is an objection too, and left out: a library caller's tables may even hold themselves."""
    result = Substitution()
    result.data = {key: _replaced(value, (key,), env, result) for key, value in data.items()}
    return result


def _replaced(value: Any, path: KeyPath, env: Mapping[str, str], result: Substitution) -> Any:
    match value:
        case list() | dict() if len(path) >= _DEEPEST:
            result.objections.append((path, Objection("nested too deeply", f"at most {_DEEPEST} levels")))
            return ""
        case str():
            return _replaced_text(value, path, env, result)
        case list():
            return [_replaced(item, (*path, index), env, result) for index, item in enumerate(value)]
        case dict():
            return {key: _replaced(item, (*path, key), env, result) for key, item in value.items()}
    return value


def _replaced_text(text: str, path: KeyPath, env: Mapping[str, str], result: Substitution) -> str:
    def value_of(reference: re.Match[str]) -> str:
        name, default = reference[1], reference[2]
        found = env.get(name)
        if default is not None and not found:
            return default
        if found is None:
            result.objections.append(
                (path, Objection(f"the environment variable {name} is not set", f"${{{name}:-default}}"))
            )
            return reference[0]
        if found:
            result.redactions.add(found)
        return found

    if "${" in _REFERENCE.sub("", text):
        result.objections.append((path, Objection("not a reference to an environment variable", _ALLOWED)))
    return _REFERENCE.sub(value_of, text)
