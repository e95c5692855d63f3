"""How is one command line answered? Parsed, obeyed, and never with a traceback for what a person can type."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from copy import copy

from typer import Abort, BadParameter, Typer
from typer.models import CommandInfo

from orchestrator.cli.document import Document, fault_value
from orchestrator.cli.ending import complain, crashed
from orchestrator.cli.parse import app
from orchestrator.cli.stdout import Stdout
from orchestrator.errors import ExitCode, UsageError
from orchestrator.logs import Redaction

__all__ = ["answer"]

_CLICK_ERROR: type[Exception] = next(
    kind for kind in BadParameter.__mro__ if kind.__name__ == "ClickException"
)
"""typer brings a click of its own, older versions use the real one: the class is found by its name."""


def answer(arguments: Sequence[str]) -> int:
    """Obey one command line and give its exit code; never raises for what a user can type."""
    try:
        code = _asked_for(arguments)(list(arguments), prog_name="orchestrator", standalone_mode=False)
    except Abort:
        return ExitCode.INTERRUPTED
    except _CLICK_ERROR as error:
        return _mistyped(error, arguments)
    except Exception as error:  # noqa: BLE001  a defect outside of every command ends as one inside does
        return crashed(error, json="--json" in arguments)
    return code if isinstance(code, int) else ExitCode.COMPLETE


def _asked_for(arguments: Sequence[str]) -> Typer:
    """The parser with the one command that was named: preparing all of them costs a tenth of a second."""
    named = [item for item in app.registered_commands if _name_of(item) == next(iter(arguments), "")]
    if not named:
        return app
    small = copy(app)
    small.registered_commands = named
    return small


def _name_of(command: CommandInfo) -> str:
    return command.name or (command.callback.__name__ if command.callback else "")


def _mistyped(error: Exception, arguments: Sequence[str]) -> int:
    """A command line that cannot be read. Without any argument the help is the answer."""
    shown = error.format_message() if hasattr(error, "format_message") else str(error)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(shown, file=sys.stderr)
        return ExitCode.USAGE
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "orchestrator"
    problem = UsageError(shown.replace(": Value error, ", ": ", 1), hint=f"see `{path} --help`")
    complain(Redaction(), problem.message, problem.hint)
    if "--json" in arguments:
        command = path.removeprefix("orchestrator").strip()
        Document(command, Stdout()).end(
            ExitCode.USAGE, error=fault_value(problem.code, problem.message, problem.hint, "")
        )
    return ExitCode.USAGE
