"""The front page says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import typer.core
import typer.main

from orchestrator.cli.parse import app
from orchestrator.errors import ExitCode
from orchestrator.settings import load

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_job_file_is_valid(tmp_path: Path) -> None:
    """What a newcomer copies, check accepts."""
    (block,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "jobs.toml").write_text(block, encoding="utf-8")
    (job,) = load(tmp_path / "jobs.toml", now_s=1_770_000_000.0, env={}).jobs
    assert job.window is not None


def test_its_commands_and_options_exist() -> None:
    """Every command line on the page can be typed."""
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    lines = re.findall(r"(?:^|`)orchestrator ([a-z]+)([^#`\n]*)", TEXT, re.MULTILINE)
    assert len(lines) > 8
    for command, rest in lines:
        known = {spelling for parameter in group.commands[command].params for spelling in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known


def test_its_exit_codes_are_all_there_are() -> None:
    """The table is complete."""
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)] == sorted(ExitCode)


def test_its_links_lead_somewhere() -> None:
    """Every page it names is in the repository."""
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert [link for link in links if not (ROOT / link).exists()] == []
