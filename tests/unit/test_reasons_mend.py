"""Every gap is listed with a command line that a shell and this program understand."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import typer.core
import typer.main

from orchestrator.app.reading import pointed
from orchestrator.cli.parse import app
from orchestrator.core.reasons import Reason, describe_reason, mend_line, shell_word, short_by
from orchestrator.core.report import Gap, exit_of_gaps, exit_of_reason, settled_to
from orchestrator.core.window import Window
from orchestrator.errors import ExitCode

WINDOW = Window(1_768_348_800, 1_768_352_400)
ODD = 'it\'s a "path"; $HOME & `x`'
GROUP = typer.main.get_command(app)
assert isinstance(GROUP, typer.core.TyperGroup)


def line(reason: str, *, accepted: bool = False, path: str = ODD, logstream: str = "") -> str:
    return mend_line(
        reason,
        jobs=shell_word(ODD),
        job="web.access-1",
        window=WINDOW,
        slice_id="0123456789abcdef",
        path=path,
        logstream=logstream,
        accepted=accepted,
    )


@pytest.mark.parametrize("reason", [*Reason, short_by(12)])
@pytest.mark.parametrize("accepted", [False, True])
@pytest.mark.parametrize("logstream", ["", "*", ODD])
def test_every_mend_can_be_typed(reason: str, accepted: bool, logstream: str) -> None:
    """The command exists and takes all of its options; nothing is left to fill in, whatever the paths and the
    log streams are called."""
    written = line(reason, accepted=accepted, logstream=logstream)
    words = shlex.split(written.rpartition("&& ")[2])
    assert words[0] == "orchestrator"
    assert words[2:5] == [ODD, "--job", "web.access-1"]
    assert isinstance(GROUP, typer.core.TyperGroup)
    known = {spelling for parameter in GROUP.commands[words[1]].params for spelling in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    assert not {"{", "}"} & set(written)
    assert (words[1] == "redo") is accepted


def test_a_gap_of_a_log_stream_is_signed_off_for_that_stream() -> None:
    """And for none where gaps have no streams."""
    words = shlex.split(line(Reason.BEYOND_RETENTION, logstream=ODD))
    assert words[words.index("--logstream") + 1] == ODD
    assert "--logstream '*' " in line(Reason.STREAMS_FALL_SHORT, logstream="*")
    assert "--logstream" not in line(Reason.BEYOND_RETENTION)
    assert "--logstream" not in line(Reason.THROTTLED, logstream=ODD)


def test_the_command_for_an_occupied_path_moves_the_file_away_first() -> None:
    """It never overwrites, and without a path it only says to run again."""
    first, _, then = line(Reason.PATH_OCCUPIED).partition(" && ")
    assert shlex.split(first) == ["mv", "-n", ODD, f"{ODD}.foreign"]
    assert then.startswith("orchestrator run ")
    assert line(Reason.PATH_OCCUPIED, path="").startswith("orchestrator run ")


@pytest.mark.parametrize("text", ["plain/path.toml", "", "a b", ODD, "ünï", "new\nline", "-x", "~"])
def test_a_shell_reads_back_what_was_quoted(text: str) -> None:
    """Any text is one word, and the same one."""
    assert shlex.split(shell_word(text)) == [text]
    said = subprocess.run(
        ["/bin/sh", "-c", f"printf %s {shell_word(text)}"], capture_output=True, text=True, check=True
    )
    assert said.stdout == text


def gap(reason: str, start_s: int = WINDOW.start_s, accepted: str | None = None) -> Gap:
    mendable = describe_reason(reason).mendable
    return Gap("web", Window(start_s, start_s + 60), "*", reason, mendable, "", accepted)


@pytest.mark.parametrize(
    ("gaps", "code"),
    [
        ([], ExitCode.COMPLETE),
        ([gap("throttled", accepted="ok")], ExitCode.COMPLETE),
        ([gap("throttled", accepted="ok"), gap("path occupied")], ExitCode.UNMENDABLE),
        ([gap("throttled"), gap("path occupied")], ExitCode.INCOMPLETE),
        ([gap("throttled"), gap("rows outside window")], ExitCode.INTEGRITY),
        ([gap("source gone")], ExitCode.UNMENDABLE),
    ],
)
def test_what_the_gaps_of_a_job_come_to(gaps: list[Gap], code: int) -> None:
    """Accepted ones do not count; what another run can mend speaks before what none can."""
    assert exit_of_gaps(gaps) == code


def test_settled_reaches_over_accepted_gaps_only() -> None:
    """The first gap that nobody accepted ends it; a window that begins with one is not settled at all."""
    assert settled_to(WINDOW, []) == WINDOW.end_s
    assert settled_to(WINDOW, [gap("throttled", accepted="ok")]) == WINDOW.end_s
    assert settled_to(WINDOW, [gap("throttled")]) is None
    later = gap("throttled", WINDOW.start_s + 600)
    assert settled_to(WINDOW, [gap("throttled", accepted="ok"), later]) == WINDOW.start_s + 600


def test_the_exit_of_a_kept_slice_says_whether_trying_again_helps() -> None:
    """3 when it may, 7 when not, 5 for a refusal, 4 for rows that were never asked for."""
    found = {reason: exit_of_reason(reason) for reason in Reason}
    assert found[Reason.REFUSED] == ExitCode.REFUSED
    assert found[Reason.ROWS_OUTSIDE_WINDOW] == ExitCode.INTEGRITY
    assert found[Reason.SOURCE_GONE] == found[Reason.OVERFULL_SECOND] == ExitCode.UNMENDABLE
    assert exit_of_reason(short_by(3)) == ExitCode.INCOMPLETE


def test_one_code_speaks_for_several_jobs() -> None:
    """The first of 2 1 6 8 130 4 5 3 7 0 that any of them ended with, in whatever order they come."""
    order = [2, 1, 6, 8, 130, 4, 5, 3, 7, 0]
    assert sorted(order) == sorted(ExitCode)
    for place, loud in enumerate(order):
        for quiet in order[place:]:
            assert ExitCode.worst([loud, quiet]) == ExitCode.worst([quiet, loud]) == loud
    assert ExitCode.worst([]) == ExitCode.COMPLETE


def test_what_really_stands_in_the_way_is_moved(tmp_path: Path) -> None:
    """A file in place of a folder above the path, else the path itself."""
    wanted = tmp_path / "web" / "2026" / "a b.jsonl"
    found = Gap("web", WINDOW, "*", Reason.PATH_OCCUPIED, False, line(Reason.PATH_OCCUPIED, path=str(wanted)))
    found = replace(found, path=str(wanted))
    assert shlex.split(pointed(found).mend)[2] == str(wanted)
    (tmp_path / "web").write_text("mine")
    assert shlex.split(pointed(found).mend)[2:4] == [str(tmp_path / "web"), f"{tmp_path / 'web'}.foreign"]
    assert pointed(found).mend.endswith(found.mend.partition(" && ")[2])
