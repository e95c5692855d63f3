"""The command line as it is typed: what exists, what it says of itself, how fast it answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer
import typer.core
import typer.main

from orchestrator.cli import main
from orchestrator.cli.answer import answer
from orchestrator.cli.options import duration, line_count
from orchestrator.cli.parse import app
from orchestrator.cli.unparsed import plainly_asked

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
STORED = {"orchestrator.ports.store", "orchestrator.core.report", "orchestrator.core.model"}


def job_file(path: Path) -> Path:
    """A job file with one job, ``web``."""
    path.write_text(
        '[service]\nregion = "bj"\n[[jobs]]\nname = "web"\nlogstore = "web-access"\n'
        'from = 2026-01-14T00:00:00Z\nto = 2026-01-15T00:00:00Z\ndestination = "archive"\n',
        encoding="utf-8",
    )
    return path


def test_the_version_is_told_without_the_parser() -> None:
    """`--version` loads neither typer nor anything that needs it: it answers in a quarter of a second."""
    loaded = modules_after("from orchestrator.cli import main; main(['--version'])")
    assert not loaded & (HEAVY | {"typer", "asyncio", "pydantic"})


def test_check_loads_nothing_it_does_not_need(tmp_path: Path) -> None:
    """Validating a job file needs no HTTP, no database, no terminal and no event loop, nor any of the program
    that only what is stored needs."""
    path = job_file(tmp_path / "web.toml")
    program = f"from orchestrator.cli import main; main({['check', str(path), '--job', 'web']!r})"
    loaded = modules_after(program)
    assert "orchestrator.settings" in loaded
    assert not loaded & (HEAVY | STORED | {"asyncio"})


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_plain_check_is_answered_without_the_parser(more: list[str], tmp_path: Path) -> None:
    """`check FILE`, with `--json` or without, loads neither typer nor anything that needs it: it answers in
    half a second."""
    path = job_file(tmp_path / "web.toml")
    loaded = modules_after(f"from orchestrator.cli import main; main({['check', str(path), *more]!r})")
    assert "orchestrator.settings" in loaded
    assert not loaded & (HEAVY | {"orchestrator.engine", "asyncio", "typer", "pydantic"})
    assert more or not loaded & STORED


@pytest.mark.parametrize("named", ["", "named.toml", "absent.toml"])
@pytest.mark.parametrize("manifest", ["", "named.db", "${NOT_SET}/x.db"])
@pytest.mark.parametrize(
    "words",
    [
        [],
        ["other.toml"],
        ["other.toml", "--json"],
        ["--json", "other.toml"],
        ["--json"],
        ["--json", "--json"],
        ["absent.toml"],
        ["wrong.toml", "--json"],
        ["a name with = and -.toml"],
    ],
)
def test_the_parser_would_have_said_the_same(
    words: list[str],
    named: str,
    manifest: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A plain `check` ends with the same exit code and says the same on both streams, parser or not, whatever
    the environment names."""
    for name in ("jobs.toml", "other.toml", "named.toml", "a name with = and -.toml"):
        job_file(tmp_path / name)
    (tmp_path / "wrong.toml").write_text("[[jobs]]\nname = 3\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCHESTRATOR_JOBS", named)
    monkeypatch.setenv("ORCHESTRATOR_MANIFEST", manifest)
    plain = plainly_asked(["check", *words])
    assert plain is not None
    without = plain(), capsys.readouterr()
    assert without == (answer(["check", *words]), capsys.readouterr())
    assert without[1].out + without[1].err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["plan"],
        ["--json", "check"],
        ["check", ""],
        ["check", "--help"],
        ["check", "-h"],
        ["check", "--job", "web"],
        ["check", "--json=1"],
        ["check", "--manifest=m.db"],
        ["check", "--"],
        ["check", "-"],
        ["check", "one.toml", "two.toml"],
    ],
)
def test_what_is_not_plain_is_the_parsers(words: list[str]) -> None:
    """Options, other commands and mistakes are read by the parser."""
    assert plainly_asked(words) is None


def test_importing_the_package_costs_nothing() -> None:
    """`import orchestrator` loads no module but itself."""
    loaded = modules_after("import orchestrator")
    assert {name for name in loaded if name.startswith("orchestrator")} == {"orchestrator"}
