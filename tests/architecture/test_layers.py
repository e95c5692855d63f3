"""The layer law holds: pyproject.toml states it as import contracts, and nothing breaks them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from typing import Any

import pytest

from tests.architecture.tree import PACKAGE, ROOT

# import-linter refuses contracts that name modules which do not exist: these two wait in a comment.
LATER = {
    "a pool worker stays small": ["worker.py"],
    "data planes never call each other": [
        "dataplane/inline.py",
        "dataplane/processes.py",
        "dataplane/dask.py",
    ],
}


def test_import_contracts_hold() -> None:
    """No module imports a higher layer, a sibling room or a vendor its contract forbids."""
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as c; c()",
        "--no-cache",
    ]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_every_room_stands_in_the_layer_contract() -> None:
    """Each child of the package has its place in the layers, so a stray module cannot hide from the law."""
    layers = next(contract for contract in contracts() if contract["type"] == "layers")
    assert layers["exhaustive"] is True
    placed = {name.strip() for layer in layers["layers"] for name in layer.split("|")}
    to_come = {name.strip("()") for name in placed if name.startswith("(")}
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert (files | folders) - to_come == {name for name in placed if not name.startswith("(")}


@pytest.mark.parametrize("name", LATER)
def test_contracts_of_rooms_to_come_apply_once_they_exist(name: str) -> None:
    """A contract that waits for its modules stands in pyproject.toml from the day they exist."""
    exist = all((PACKAGE / module).exists() for module in LATER[name])
    assert exist == (name in {contract["name"] for contract in contracts()})


def contracts() -> list[dict[str, Any]]:
    """The import contracts of pyproject.toml."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return list(config["tool"]["importlinter"]["contracts"])
