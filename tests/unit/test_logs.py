"""Log lines: nothing secret in them, tracebacks in the file only, a broken file is no broken run."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from orchestrator.core.events import TransferFailed
from orchestrator.core.model import Fault, Slice, SliceState
from orchestrator.core.window import Window
from orchestrator.logs import LogObserver, Logs, Redaction, clean, configure, note_exception

SECRET = "SK-very-secret-0123456789"
LINK = "https://bj.bcebos.com/file?authorization=bce-auth-v1/ak/2026/1800/host/abcdef0123"


@pytest.fixture
def redaction() -> Redaction:
    return Redaction((SECRET,))


@pytest.fixture
def logs(tmp_path: Path, redaction: Redaction) -> Iterator[Logs]:
    made = configure(
        format="json", level="info", redact=redaction, now=lambda: 0.0, log_file=tmp_path / "run.log"
    )
    yield made
    made.close()


def lines_of(path: str | Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def test_known_secrets_and_links_reach_neither_stderr_nor_file(
    logs: Logs, capsys: pytest.CaptureFixture[str]
) -> None:
    """A secret in the event, a value, a nested value, a key or a name is masked everywhere."""
    structlog.get_logger().warning(
        f"said {SECRET}",
        link=LINK,
        nested={"deep": [SECRET, {SECRET: 1}]},
        secret_access_key="unknown-so-far",
    )
    everything = capsys.readouterr().err + Path(logs.path).read_text(encoding="utf-8")
    assert "[redacted]" in everything
    for hidden in (SECRET, "abcdef0123", "unknown-so-far"):
        assert hidden not in everything


def test_a_traceback_goes_to_the_file_only_and_is_cleaned(
    tmp_path: Path, redaction: Redaction, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr stands what was raised, in the file where; the secret in its message in neither."""
    logs = configure(
        format="console", level="info", redact=redaction, now=lambda: 0.0, log_file=tmp_path / "run.log"
    )
    try:
        raise ValueError(f"cannot use {SECRET}")
    except ValueError:
        structlog.get_logger().exception("step.failed")
    finally:
        logs.close()
    shown, kept = capsys.readouterr().err, (tmp_path / "run.log").read_text(encoding="utf-8")
    assert "Traceback" in kept
    assert "Traceback" not in shown
    assert "ValueError" in shown
    assert SECRET not in shown + kept


def test_records_of_libraries_go_the_same_way(logs: Logs, capsys: pytest.CaptureFixture[str]) -> None:
    """What asyncio or aiohttp log with the standard library is cleaned and kept too."""
    logging.getLogger("asyncio").error("slow with %s", SECRET)
    assert SECRET not in capsys.readouterr().err
    (line,) = lines_of(logs.path)
    assert line["logger"] == "asyncio"
    assert line["event"] == "slow with [redacted]"


def test_secrets_learned_later_are_masked_from_then_on(logs: Logs, redaction: Redaction) -> None:
    """Credentials read during the run are hidden without setting logging up again."""
    redaction.add("learned-later")
    structlog.get_logger().info("x", value="learned-later")
    assert lines_of(logs.path)[0]["value"] == "[redacted]"


def test_the_level_holds_for_stderr_while_the_file_keeps_info(
    tmp_path: Path, redaction: Redaction, capsys: pytest.CaptureFixture[str]
) -> None:
    """-q silences the terminal and not the file."""
    logs = configure(
        format="json", level="warning", redact=redaction, now=lambda: 0.0, log_file=tmp_path / "run.log"
    )
    structlog.get_logger().info("run.started")
    structlog.get_logger().debug("detail")
    logs.close()
    assert capsys.readouterr().err == ""
    assert [line["event"] for line in lines_of(tmp_path / "run.log")] == ["run.started"]


def test_the_file_is_rotated_and_private(
    tmp_path: Path, redaction: Redaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long run keeps a bounded number of bounded files, readable by their owner only."""
    monkeypatch.setattr("orchestrator.logs.ROTATE_BYTES", 1000)
    logs = configure(
        format="json", level="error", redact=redaction, now=lambda: 0.0, log_file=tmp_path / "run.log"
    )
    for _ in range(8):
        structlog.get_logger().info("long", text="x" * 800)
    logs.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["run.log", *(f"run.log.{number}" for number in range(1, 6))]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_file_that_cannot_be_written_costs_one_line(
    tmp_path: Path, redaction: Redaction, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run goes on without its log file, and says so once."""
    (tmp_path / "taken").mkdir()
    logs = configure(
        format="json", level="error", redact=redaction, now=lambda: 0.0, log_file=tmp_path / "taken"
    )
    structlog.get_logger().info("one")
    structlog.get_logger().info("two")
    logs.close()
    assert capsys.readouterr().err.count("cannot be written") == 1


def test_a_crash_is_noted_without_any_set_up(tmp_path: Path, redaction: Redaction) -> None:
    """The last border can keep a traceback even when logging was never configured."""
    assert note_exception(tmp_path / "x.log", ValueError(SECRET), redaction, 0.0)
    (line,) = lines_of(tmp_path / "x.log")
    assert "ValueError: [redacted]" in str(line["exception"])
    assert not note_exception(tmp_path, ValueError("x"), redaction, 0.0)


def test_nothing_stays_set_up_after_close(logs: Logs, capsys: pytest.CaptureFixture[str]) -> None:
    """A program that uses the library finds its own logging as it left it."""
    handlers = len(logging.getLogger().handlers)
    logs.close()
    assert len(logging.getLogger().handlers) == handlers - 1
    logs.close()


def test_faults_are_warnings_and_throttling_is_not() -> None:
    """A failed attempt is worth a line; being asked to wait is part of the day."""
    with structlog.testing.capture_logs() as lines:
        observer = LogObserver()
        slice_ = Slice("0" * 16, "web", "", Window(0, 60), state=SliceState.READY)
        for disposition in ("retry", "throttle"):
            fault = Fault("service", "it broke", disposition)
            observer.changed(slice_, slice_, TransferFailed(slice_.id, 1, fault))
        observer.noted("watch.unknown_state", state="ODD")
        observer.noted("transfer.link_renewed")
    assert [line["log_level"] for line in lines] == ["warning", "debug", "warning", "info"]


def test_headers_as_pairs_are_cleaned_by_their_names() -> None:
    """HTTP libraries keep headers as pairs: the name says that the value is secret."""
    cleaned = str(clean({"headers": [("X-Bce-Security-Token", "deadbeef"), ("Host", "h")]}, Redaction()))
    assert "deadbeef" not in cleaned
    assert "'Host', 'h'" in cleaned


@pytest.mark.parametrize("fault", [BrokenPipeError(), OSError(errno.ENOSPC, "No space left"), ValueError()])
def test_a_stderr_that_takes_nothing_ends_nothing(
    tmp_path: Path, redaction: Redaction, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """Closed, full or given up by its reader: what is told about goes on, and the file is still written."""

    class Broken:
        def write(self, text: str) -> None:
            raise fault

    for stderr in (Broken(), None):
        monkeypatch.setattr("sys.stderr", stderr)
        logs = configure(
            format="json", level="info", redact=redaction, now=lambda: 0.0, log_file=tmp_path / "run.log"
        )
        structlog.get_logger().warning("said")
        logs.close()
    assert len(lines_of(tmp_path / "run.log")) == 2


def test_clean_keeps_plain_values() -> None:
    """Numbers, truth values and nothing stay what they are; anything else becomes text."""
    assert clean({"n": 1, "f": 1.5, "b": True, "x": None, "w": Window(0, 1)}, str) == {
        "n": 1,
        "f": 1.5,
        "b": True,
        "x": None,
        "w": repr(Window(0, 1)),
    }
