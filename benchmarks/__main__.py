"""``python -m benchmarks [NAME ...]``: runs every benchmark of this folder, or the ones named.

A benchmark is a module with a docstring that says what it measures and beside what, and a ``main()`` that
prints its table (``benchmarks.report``). It raises only when it could not measure, never for a missed target.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

NOT_BENCHMARKS = {"__main__", "report"}


def names() -> list[str]:
    """Every benchmark of this folder."""
    found = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(module.name for module in found if module.name not in NOT_BENCHMARKS)


def main(asked: Sequence[str]) -> int:
    """Run the benchmarks asked for, all of them by default; 2 when one of the names is unknown."""
    known = names()
    unknown = sorted(set(asked) - set(known))
    if unknown:
        print(f"no benchmark named {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    for name in asked or known:
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
