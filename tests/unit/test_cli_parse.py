"""The command line as it is typed: what exists, what it says of itself, how fast it answers."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer
import typer.core
import typer.main

from orchestrator.cli import main
from orchestrator.cli.options import duration, line_count
from orchestrator.cli.parse import app

COMMANDS = [
    "demo",
    "init",
    "logstores",
    "check",
    "plan",
    "run",
    "status",
    "gaps",
    "manifest",
    "story",
    "verify",
    "redo",
    "accept",
    "forget",
    "clean",
    "merge",
    "pull",
    "emulate",
]
GROUP = typer.main.get_command(app)


def test_these_are_the_commands() -> None:
    """The commands of this version, no more and no fewer, in the order in which one meets them."""
    assert isinstance(GROUP, typer.core.TyperGroup)
    assert list(GROUP.commands) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help of each command ends with lines that can be copied."""
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Examples:" in shown
    assert f"  orchestrator {command}" in shown


def test_without_arguments_the_help_is_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """Typing the bare name is a usage error that helps."""
    assert main([]) == 2
    captured = capsys.readouterr()
    assert "Commands:" in captured.out + captured.err


def test_a_wrong_command_suggests_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    """One block: what was wrong and where help stands."""
    assert main(["chekc"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert "check" in shown
    assert "orchestrator --help" in shown


def test_a_choice_that_is_none_is_told_in_plain_words(capsys: pytest.CaptureFixture[str]) -> None:
    """What was typed and what is allowed, without the words of a library in between."""
    assert main(["manifest", "--format", "xml"]) == 2
    assert "Invalid value for '--format': 'xml' is not one of 'table'," in capsys.readouterr().err


@pytest.mark.parametrize(("text", "value"), [("90s", 90), ("1h30m", 5400), ("0", 0), (7, 7)])
def test_durations_are_read(text: str | int, value: int) -> None:
    """Durations are written as in a job file."""
    assert duration(text) == value


@pytest.mark.parametrize("text", ["soon", "10", "-1s", ""])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """The refusal says what would be right."""
    with pytest.raises(typer.BadParameter, match="allowed"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "value"), [("1000", 1000), ("5_000_000", 5_000_000), ("5,000", 5000), (0, 0)]
)
def test_line_counts_are_read(text: str | int, value: int) -> None:
    """Large numbers may be grouped."""
    assert line_count(text) == value


@pytest.mark.parametrize("text", ["0", "many", "-5", "1.5"])
def test_what_is_no_line_count_is_refused(text: str) -> None:
    """No lines at all is no budget."""
    with pytest.raises(typer.BadParameter):
        line_count(text)


def modules_after(program: str) -> set[str]:
    """Names of all modules loaded when ``program`` has run in a fresh interpreter."""
    report = f"{program}\nimport sys; print('\\n'.join(sys.modules), file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(ended.stderr.split())


HEAVY = {"aiohttp", "sqlite3", "rich", "structlog", "zstandard", "tenacity"}


def test_the_version_is_told_without_the_parser() -> None:
    """`--version` loads neither typer nor anything that needs it: it answers in a quarter of a second."""
    loaded = modules_after("from orchestrator.cli import main; main(['--version'])")
    assert not loaded & (HEAVY | {"typer", "asyncio", "pydantic"})


def test_check_loads_nothing_it_does_not_need() -> None:
    """Validating a job file needs no HTTP, no database, no terminal and no event loop."""
    loaded = modules_after("from orchestrator.cli import main; main(['check', 'absent.toml', '--json'])")
    assert "orchestrator.settings" in loaded
    assert not loaded & (HEAVY | {"asyncio"})


def test_importing_the_package_costs_nothing() -> None:
    """`import orchestrator` loads no module but itself."""
    loaded = modules_after("import orchestrator")
    assert {name for name in loaded if name.startswith("orchestrator")} == {"orchestrator"}
