"""The command line: parse, call, print."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from orchestrator.cli import signals

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Obey the command line (``sys.argv`` by default) and give the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if arguments is None:
        signals.begin(given)
        _keep_streams_apart()
    try:
        return _answered(given)
    finally:
        signals.finished()


def _answered(given: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show an arrow shows its code; it is no reason to fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if given == ["--version"]:  # answered without the parser: a quarter of a second is the promise
        from orchestrator import __version__

        print(f"orchestrator {__version__}")
        return 0
    from orchestrator.cli.unparsed import plainly_asked

    plain = plainly_asked(given)
    if plain is not None:
        return plain()
    from orchestrator.cli.answer import answer

    return answer(given)


def _keep_streams_apart() -> None:
    """A stream that was closed when the process began leads nowhere from now on: the next file opened, the
    manifest perhaps, would take its place and be written over by the next message."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != descriptor:  # lower ones are open, so this is the first that is free
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, closefd=False))  # noqa: SIM115  as long as the process
