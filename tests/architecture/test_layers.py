"""The layer law holds: pyproject.toml states it as import contracts, and nothing breaks them."""

from __future__ import annotations

import subprocess
import sys
import tomllib

from tests.architecture.tree import PACKAGE, ROOT


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
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = next(c for c in config["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    assert layers["exhaustive"] is True
    placed = {name.strip() for layer in layers["layers"] for name in layer.split("|")}
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert files | folders == placed
