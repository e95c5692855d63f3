"""Every command and option of the command line stands in the reference and says what it does."""

from __future__ import annotations

import typer.core
import typer.main

from orchestrator.cli.parse import app
from tests.architecture.tree import ROOT

GROUP = typer.main.get_command(app)
assert isinstance(GROUP, typer.core.TyperGroup)
COMMANDS = GROUP.commands
CHAPTERS = {
    text.partition("\n")[0]: text
    for text in (ROOT / "docs" / "cli.md").read_text(encoding="utf-8").split("\n## ")[1:]
}


def test_every_command_has_its_chapter() -> None:
    """What can be typed can be read about."""
    assert list(CHAPTERS) == [name for name, command in COMMANDS.items() if not command.hidden]


def test_every_option_is_explained() -> None:
    """No option or argument is listed without a meaning."""
    mute = [
        f"{name} {p.opts[0]}" for name, c in COMMANDS.items() for p in c.params if not (p.help or "").strip()
    ]
    assert mute == []


def test_every_option_stands_in_its_chapter() -> None:
    """Each spelling of each option is in the chapter of its command."""
    missing = [
        f"{name} {spelling}"
        for name, command in COMMANDS.items()
        for parameter in command.params
        for spelling in parameter.opts
        if spelling.startswith("-") and spelling not in CHAPTERS[name]
    ]
    assert missing == []
