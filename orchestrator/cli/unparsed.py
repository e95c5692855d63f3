"""Which command line is so plain that the parser has nothing to add?

``check`` with one file and ``--json`` at most. Importing the parser takes longer than the command itself,
which promises to answer within half a second. What it would read from the environment, ``read_job_file``
reads too; every other spelling, mistakes and ``--help`` among them, is the parser's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.cli.asked import Asked

__all__ = ["plainly_asked"]


def plainly_asked(arguments: Sequence[str]) -> Callable[[], int] | None:
    """The command these words stand for, which gives its exit code; None when the parser has to look."""
    if not arguments or arguments[0] != "check":
        return None
    words = [word for word in arguments[1:] if word != "--json"]
    if len(words) > 1 or any(word.startswith("-") or not word for word in words):
        return None
    asked = Asked("check", "".join(words), json="--json" in arguments)
    return lambda: _checked(asked)


def _checked(asked: Asked) -> int:
    from orchestrator.cli.ending import crashed, ended
    from orchestrator.errors import ExitCode

    try:
        from orchestrator.cli.checking import check

        return int(ended(asked, check))
    except KeyboardInterrupt:  # in the moment after the answer
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001  a defect outside of the command ends as one inside does
        return crashed(error, json=asked.json)
