"""The command line: parse, call, print."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Obey the command line (``sys.argv`` by default) and give the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show an arrow shows its code; it is no reason to fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if given == ["--version"]:  # answered without the parser: a quarter of a second is the promise
        from orchestrator import __version__

        print(f"orchestrator {__version__}")
        return 0
    from orchestrator.cli.answer import answer

    return answer(given)
