"""Where does the parser begin, and how does every command end?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.asked import Asked

if TYPE_CHECKING:
    from orchestrator.cli.ending import Stage

__all__ = ["app", "end"]

app = typer.Typer(
    name="orchestrator",
    help=(
        "Exports any window of logs from Baidu Log Service (BLS) and can prove that the export is\n"
        "complete.\n\n"
        "JOBS is a job file; left out, it is $ORCHESTRATOR_JOBS, then ./jobs.toml. Results go to\n"
        "stdout, logs and progress to stderr.\n\n"
        "\b\n"
        "Begin with:\n"
        "  orchestrator demo             the whole way, on this machine alone\n"
        "  orchestrator init             a job file to fill in\n"
        "  orchestrator run              make the coverage true"
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback()
def root(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from orchestrator import __version__

        typer.echo(f"orchestrator {__version__}")
        raise typer.Exit


def end(asked: Asked, command: Callable[[Stage], int]) -> None:
    """Run one command; the process ends with its exit code."""
    from orchestrator.cli.ending import ended

    raise typer.Exit(ended(asked, command))
