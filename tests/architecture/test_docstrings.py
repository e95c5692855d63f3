"""Code and tests say in a sentence what they promise."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, modules, parsed

MODULES = modules()
TEST_FILES = sorted((ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is_for(name: str) -> None:
    """Every module of the package opens with a docstring."""
    assert (ast.get_docstring(parsed(MODULES[name])) or "").strip()


def test_every_test_says_what_it_proves() -> None:
    """Every test function carries a sentence about the product."""
    silent = [
        f"{path.relative_to(ROOT)}::{t.name}" for path in TEST_FILES for t in _tests(path) if not _says(t)
    ]
    assert silent == []


def test_every_port_says_what_it_promises() -> None:
    """Every Protocol in ``ports`` has a docstring: implementations are judged by it."""
    silent = [
        f"{name}.{node.name}"
        for name, path in MODULES.items()
        if name.startswith("orchestrator.ports.")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ClassDef)
        and "Protocol" in map(ast.unparse, node.bases)
        and not ast.get_docstring(node)
    ]
    assert silent == []


def _tests(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


def _says(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return bool((ast.get_docstring(function) or "").strip())
