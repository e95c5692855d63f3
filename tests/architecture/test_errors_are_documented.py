"""Every error has one public code, one place in the tree and one line in the documentation."""

from __future__ import annotations

import inspect
from collections import Counter

import pytest

from orchestrator import errors
from orchestrator.errors import Disposition, ExitCode, OrchestratorError
from tests.architecture.tree import ROOT

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, OrchestratorError)]
TREE = errors.__doc__ or ""
PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")


def test_codes_are_distinct() -> None:
    """No two errors share a code, so a code in a JSON document names one error."""
    assert [code for code, times in Counter(c.code for c in CLASSES).items() if times > 1] == []


@pytest.mark.parametrize("error", CLASSES, ids=lambda c: c.__name__)
def test_every_error_names_its_own_code(error: type[OrchestratorError]) -> None:
    """A class does not inherit its code: what it means to a script is said where it is defined."""
    assert "code" in vars(error)
    assert error.__name__ in errors.__all__


@pytest.mark.parametrize("error", CLASSES, ids=lambda c: c.__name__)
def test_every_error_hangs_in_the_tree_under_its_parent(error: type[OrchestratorError]) -> None:
    """The tree at the head of errors.py shows every class, its exit code and its parent."""
    above: list[str] = []
    for line in TREE.splitlines():
        stripped = line.lstrip(" │├└─")
        words = stripped.split()
        if len(words) < 3 or words[1] != "exit":
            continue
        depth = (len(line) - len(stripped)) // 4
        above = [*above[: depth - 1], words[0]]
        if words[0] == error.__name__:
            assert int(words[2]) == error.exit_code
            parent = error.__mro__[1].__name__
            assert above[-2:-1] == ([] if error is OrchestratorError else [parent])
            return
    pytest.fail(f"{error.__name__} is not in the tree")


@pytest.mark.parametrize("error", CLASSES, ids=lambda c: c.__name__)
def test_every_error_stands_in_the_documentation(error: type[OrchestratorError]) -> None:
    """docs/errors.md has one row for the error, with its code and exit code."""
    rows = [line for line in PAGE.splitlines() if line.startswith(f"| `{error.code}` |")]
    assert len(rows) == 1
    assert f"| {int(error.exit_code)} |" in rows[0]
    assert f"`{error.__name__}`" in rows[0]


@pytest.mark.parametrize("error", CLASSES, ids=lambda c: c.__name__)
def test_every_error_says_what_to_do(error: type[OrchestratorError]) -> None:
    """An error carries a disposition for the engine and a hint for the person."""
    assert isinstance(error.disposition, Disposition)
    assert error.default_hint.strip()


@pytest.mark.parametrize("code", ExitCode, ids=str)
def test_every_exit_code_stands_in_the_documentation(code: ExitCode) -> None:
    """The table of exit codes is complete."""
    assert f"\n| {int(code)} | " in PAGE
