"""What commands write: one whole document, aligned tables, whole files, a stdout that may close."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest

from orchestrator.cli.asked import Asked
from orchestrator.cli.document import FAMILIES, Document
from orchestrator.cli.ending import Stage, ended
from orchestrator.cli.outfile import Outfile
from orchestrator.cli.print import (
    bytes_text,
    counted,
    moment_text,
    print_stream,
    span_text,
    table,
    window_text,
)
from orchestrator.cli.results import show_verify
from orchestrator.cli.stdout import Stdout
from orchestrator.cli.values import hint_of, requests_json
from orchestrator.core.window import Window
from orchestrator.engine.finding import Finding, VerifyReport
from orchestrator.errors import CredentialsError, DiskFull, ExitCode, Refused, StorageError

DAY = Window(1_768_348_800, 1_768_435_200)
"""14 January 2026, UTC."""


class Kept:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.text = ""
        self.broken = False

    def write(self, text: str) -> None:
        self.text += text

    def line(self, text: str = "") -> None:
        self.write(text + "\n")

    def flush(self) -> None:
        """Nothing to do."""


# --- documents


def test_a_document_is_whole_although_a_list_broke_off() -> None:
    """A failure in the middle of a streamed list still leaves one valid document that tells it."""
    kept = Kept()
    document = Document("manifest", kept)

    def rows() -> Iterator[dict[str, int]]:
        yield {"n": 1}
        raise StorageError("the disk is gone")

    with pytest.raises(StorageError):
        document.stream("rows", rows())
    document.end(6, error={"code": "storage"})
    assert json.loads(kept.text) == {
        "version": 1,
        "rows": [{"n": 1}],
        "exit": 6,
        "complete": False,
        "settled_to": None,
        "error": {"code": "storage"},
    }


def test_a_command_that_failed_early_still_has_all_its_keys() -> None:
    """A script may read `jobs` and `requests` of a run that never began."""
    kept = Kept()
    Document("run", kept).end(2)
    found = json.loads(kept.text)
    assert found["jobs"] == []
    assert found["requests"] == dict.fromkeys(FAMILIES, 0)


def test_complete_is_never_said_beside_a_failure() -> None:
    """`complete` is true only together with exit 0."""
    kept = Kept()
    Document("status", kept).end(6, complete=True)
    assert json.loads(kept.text)["complete"] is False


def test_every_public_family_is_counted_even_at_zero() -> None:
    """Keys of `requests` do not come and go."""
    assert set(requests_json({"create": 2})) == set(FAMILIES)
    assert requests_json({"meta": 1})["meta"] == 1


def test_hints_are_found_by_code() -> None:
    """A fault that kept only its code can still say how to mend it."""
    assert hint_of(DiskFull.code) == DiskFull.default_hint
    assert hint_of("no such code") == ""


# --- ends


def test_an_error_becomes_its_exit_a_block_and_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    """What is raised on purpose says what, how to mend it and the request id; known secrets are masked."""

    def command(stage: Stage) -> int:
        stage.redaction.add("hush")
        raise Refused(
            "no entry for hush", request_id="req-1", hint="ask hush, or set BCE_SECRET_ACCESS_KEY, or wait"
        )

    assert ended(Asked("run", json=True), command) == 5
    captured = capsys.readouterr()
    error = json.loads(captured.out)["error"]
    assert error == {
        "code": "refused",
        "message": "no entry for [redacted]",
        "hint": "ask [redacted], or set BCE_SECRET_ACCESS_KEY, or wait",
        "request_id": "req-1",
    }
    assert captured.err.splitlines() == [
        "error: no entry for [redacted]",
        "  how to mend it: ask [redacted], or set BCE_SECRET_ACCESS_KEY, or wait",
        "  request id: req-1",
    ]


def test_an_unforeseen_error_is_one_line_and_a_traceback_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The person learns where the traceback is; it holds no secret."""

    def command(stage: Stage) -> int:
        stage.redaction.add("hush")
        raise ZeroDivisionError("hush")

    log = tmp_path / "x.log"
    assert ended(Asked("status", log_file=str(log)), command) == 1
    shown = capsys.readouterr().err
    assert str(log) in shown
    assert "Traceback" not in shown
    assert "ZeroDivisionError: [redacted]" in log.read_text()


def test_an_interrupted_reader_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C during `plan` is no defect."""

    def command(stage: Stage) -> int:
        raise KeyboardInterrupt

    assert ended(Asked("plan", json=True), command) == 130
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "interrupted"


def test_a_report_is_written_on_failure_too(tmp_path: Path) -> None:
    """--report holds the document of a run that could not begin."""

    def command(stage: Stage) -> int:
        raise CredentialsError("none")

    path = tmp_path / "report.json"
    assert ended(Asked("run", report=str(path)), command) == 5
    assert json.loads(path.read_text())["error"]["code"] == "credentials"
    assert [item.name for item in tmp_path.iterdir()] == ["report.json"]


# --- stdout and files


def test_a_closed_pipe_is_noticed_and_then_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the reader left, writing goes nowhere and raises nothing."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", buffering=1) as stream:
        monkeypatch.setattr("sys.stdout", stream)
        out = Stdout()
        out.line("x" * 100_000)
        out.flush()
        assert out.broken
        out.line("more")


def test_a_full_disk_behind_stdout_is_a_storage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """`orchestrator manifest > file` on a full disk does not end as a success."""
    with open("/dev/full", "w", buffering=1) as stream:
        monkeypatch.setattr("sys.stdout", stream)
        with pytest.raises(StorageError, match="No space"):
            Stdout().line("x")


def test_an_outfile_appears_only_whole(tmp_path: Path) -> None:
    """Until it is finished the old content stands; thrown away it leaves nothing."""
    target = tmp_path / "ledger.csv"
    target.write_text("old")
    file = Outfile(str(target))
    file.line("new")
    assert target.read_text() == "old"
    file.discard()
    assert target.read_text() == "old"
    other = Outfile(str(target))
    other.line("new")
    other.finish()
    other.discard()
    assert target.read_text() == "new\n"
    assert [item.name for item in tmp_path.iterdir()] == ["ledger.csv"]


# --- words


def test_windows_are_told_in_both_times() -> None:
    """The job's timezone is for the person, UTC for the comparison with anything else."""
    local = "2026-01-14 08:00:00+08:00 to 2026-01-15 08:00:00+08:00"
    utc = "2026-01-14T00:00:00Z to 2026-01-15T00:00:00Z"
    assert window_text(DAY, "Asia/Shanghai") == f"{local} ({utc})"
    assert window_text(DAY, "UTC") == utc.replace("T", " ")


def test_the_offset_is_that_of_the_moment() -> None:
    """Summer and winter are told apart by the offset printed."""
    assert moment_text(1_768_348_800, "Europe/Berlin").endswith("+01:00")
    assert moment_text(1_782_864_000, "Europe/Berlin").endswith("+02:00")
    assert window_text(None, "UTC") == "nothing due yet"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (bytes_text(999), "999 B"),
        (bytes_text(1_234_567), "1.2 MB"),
        (bytes_text(2 * 10**15), "2.0 PB"),
        (span_text(1.25), "1.2 s"),
        (span_text(95), "1 min 35 s"),
        (span_text(7260), "2 h 1 min"),
        (counted(1, "slice"), "1 slice"),
        (counted(2000, "slice"), "2,000 slices"),
    ],
)
def test_quantities_read_well(text: str, wanted: str) -> None:
    """Numbers carry their unit and no false precision."""
    assert text == wanted


def test_tables_are_aligned_and_cut_nothing() -> None:
    """Numbers are flush right and grouped, missing values are a dash, long values stay whole."""
    assert table(("name", "n"), [("a", 1000), ("a-long-name", None)], right=(1,)) == [
        "name             n",
        "a            1,000",
        "a-long-name      -",
    ]


def test_a_long_table_is_streamed_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows beyond one batch follow, aligned at least as wide as before."""
    target = io.StringIO()
    monkeypatch.setattr("sys.stdout", target)

    async def rows() -> AsyncIterator[Sequence[object]]:
        for number in range(450):
            yield (number, "x")

    assert asyncio.run(print_stream(Stdout(), ("n", "t"), rows(), right=(0,))) == 450
    lines = target.getvalue().splitlines()
    assert len(lines) == 451
    assert [int(line.split()[0]) for line in lines[1:]] == list(range(450))


def test_exit_codes_are_numbers_in_documents() -> None:
    """Enumerations do not leak into JSON."""
    kept = Kept()
    Document("check", kept).end(ExitCode.COMPLETE)
    assert '"exit":0' in kept.text


# --- what verify says


@pytest.mark.parametrize(
    ("problem", "files", "said"),
    [
        ("missing", 1, "1 file, 0 B checked: 1 disagreement"),
        ("cannot be read", 1, "1 file, 0 B checked: 1 disagreement"),
        ("digest differs", 3, "3 files: 0 read whole (0 B), 3 only looked at (presence and size): 1 dis"),
        ("missing", 3, "3 files: 0 read whole (0 B), 2 only looked at (presence and size): 1 dis"),
    ],
)
def test_only_what_could_be_read_and_was_not_is_said_to_be_only_looked_at(
    problem: str, files: int, said: str
) -> None:
    """A file that is missing or locked was not left unread by choice."""
    kept = Kept()
    finding = Finding("web", DAY, "s-1", "/archive/a", problem)
    show_verify(cast("Stdout", kept), VerifyReport(4, files, 0, 0, (finding,)))
    assert said in kept.text
