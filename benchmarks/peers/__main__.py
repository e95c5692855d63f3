"""``python -m benchmarks.peers``: makes the environments of the peers, as far as they are not there yet."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.airbyte import ENVIRONMENT, INSTALLED, PYTHON, REQUIREMENTS, missing

__all__ = ["main"]

PIPS: Sequence[Sequence[str]] = ((sys.executable, "-m", "pip"), ("python3", "-m", "pip"), ("pip3",), ("pip",))


def main() -> int:
    """Install what is missing; 1 when that could not be done, which is said."""
    if not missing():
        return 0
    print("installing airbyte-cdk into an environment of its own", flush=True)
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    venv.create(ENVIRONMENT, with_pip=False)
    pip = next((pip for pip in PIPS if _works(pip)), None)
    if pip is None:
        print("pip is needed (22.3 or newer)", file=sys.stderr)
        return 1
    install = ("install", "-qq", "--disable-pip-version-check", "--no-input", "-r", str(REQUIREMENTS))
    if subprocess.run([*pip, "--python", str(PYTHON), *install], check=False).returncode:
        print("airbyte-cdk could not be installed; it will be missing from the figures", file=sys.stderr)
        return 1
    shutil.copyfile(REQUIREMENTS, INSTALLED)
    return 0


def _works(pip: Sequence[str]) -> bool:
    if shutil.which(pip[0]) is None and not Path(pip[0]).exists():
        return False
    return subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
