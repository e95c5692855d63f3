"""Foreign records, exported: what Baidu's own SDK pushed, and a log file of this machine, unchanged."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.emulator.http import TEST_CREDENTIALS
from tests.e2e.proving import DAY_MS, Program, Rows, nothing_left_to_do, program, same_rows

# Faults of the SDK itself: escapes that Python will refuse one day, and sockets left to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

RECORDS = 50_000
BATCH = 1000
HOUR_MS = 3_600_000
STREAM = "app/prod-1"
WINDOW = ("2026-01-14T00:00:00Z", "2026-01-14T01:00:00Z")
ODD = (
    "",
    " ",
    "\n",
    "line one\nline two\r\nline three",
    "a \"quoted\" word, a \\backslash\\, a comma, 'single'",
    '{"level":"error","nested":{"text":"a \\"b\\" c"}}',
    "tab\there, bell\x07, escape\x1b[31m, nul\x00, delete\x7f",
    "every control character: " + "".join(map(chr, range(32))),
    "日志服务 — naïve — русский — العربية",
    "beyond the basic plane: \U0001f680\U0001f469\u200d\U0001f4bb, joined: e\u0301, reversed: \u202eabc",
    "line separators of Unicode: \u0085|\u2028|\u2029|\x0b|\x0c|",
    "a byte order mark \ufeff inside, and one at the end \ufeff",
    "]",
    "[",
    ",",
    "2026-01-14T00:00:00Z 1768348800000 @timestamp @raw",
)


def records() -> list[tuple[int, str]]:
    """Fifty thousand, mixed: ordinary lines, odd ones, many in one millisecond, now and then 100 KB."""
    rng = random.Random(20_260_114)
    made = []
    for number in range(RECORDS):
        at_ms = DAY_MS[0] + rng.randrange(HOUR_MS) if number % 10 else DAY_MS[0] + 1_800_000
        if number % 7 == 0:
            text = ODD[rng.randrange(len(ODD))] + (f" #{number}" if number % 2 else "")
        elif number % 2500 == 1:
            text = f"long {number} " + chr(0x4E00 + number % 5000) * 20_000 + "x" * 42_000
        else:
            text = f"request {number} took {number % 97} ms"
        made.append((at_ms, text))
    made.append((DAY_MS[0], "the first millisecond"))
    made.append((DAY_MS[0] + HOUR_MS - 1, "the last millisecond"))
    return made


@contextmanager
def client_of(desk: Program) -> Iterator[Any]:
    from baidubce.auth.bce_credentials import BceCredentials
    from baidubce.bce_client_configuration import BceClientConfiguration
    from baidubce.services.bls.bls_client import BlsClient

    keys = BceCredentials(TEST_CREDENTIALS.access_key_id, TEST_CREDENTIALS.secret_access_key.reveal())
    yield BlsClient(BceClientConfiguration(credentials=keys, endpoint=desk.emulated.endpoint))
    gc.collect()  # here, where the SDK's sockets are expected, not in somebody else's test


def push(client: Any, pushed: list[tuple[int, str]]) -> None:
    from baidubce.services.bls.bls_model import LogRecordModel

    for first in range(0, len(pushed), BATCH):
        batch = [LogRecordModel(text, at_ms) for at_ms, text in pushed[first : first + BATCH]]
        client.push_log_records("sdk", STREAM, batch, tags=[])


def walk(ask: Callable[[str | None], Any], rows_of: Callable[[Any], list[tuple[int, str]]]) -> Rows:
    """Every page of an answer, by its markers."""
    found, marker = Rows(), None
    while True:
        answer = ask(marker)
        found.update(rows_of(answer))
        marker = getattr(answer, "next_marker", None)
        if not marker:
            return found


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Program, Rows]]:
    """A logstore that Baidu's own SDK filled, and what it was filled with."""
    folder = tmp_path_factory.mktemp("sdk")
    (folder / "none.jsonl").write_text("")
    (folder / "world.toml").write_text(
        '[behaviour]\nrun_base_s = 0.1\n[[logstores]]\nname = "sdk"\nrecords = "none.jsonl"\n'
    )
    with program(folder, "--world", "world.toml") as desk:
        made = records()
        with client_of(desk) as client:
            push(client, made)
        yield desk, Rows(made)


def test_the_sdk_reads_back_what_it_pushed(pushed: tuple[Program, Rows]) -> None:
    """Queried and pulled page by page, every record comes back as often as it was pushed, byte for byte."""
    desk, expected = pushed
    with client_of(desk) as client:
        queried = walk(
            lambda marker: client.query_log_records(
                "sdk", *WINDOW, STREAM, query="match *", sort="asc", limit=1000, marker=marker
            ),
            lambda answer: [(int(row[0]), row[3]) for row in answer.result_set.rows],
        )
        pulled = walk(
            lambda marker: client.pull_log_records("sdk", *WINDOW, STREAM, limit=1000, marker=marker),
            lambda answer: [(record.timestamp, record.message) for record in answer.result],
        )
    same_rows(queried, expected)
    same_rows(pulled, expected)


@pytest.mark.parametrize("form", ["json", "csv"])
def test_what_the_sdk_pushed_is_exported_exactly(
    pushed: tuple[Program, Rows], tmp_path: Path, form: str
) -> None:
    """Empty, odd, huge and simultaneous records: the archive holds each as often as it was pushed, nothing
    else."""
    desk, expected = pushed
    mine = Program(tmp_path, desk.emulated, desk.environment)
    window = {"from": WINDOW[0], "to": WINDOW[1]}
    mine.write_job({"logstore": "sdk", **window, "max_lines": 12_000, "format": form})
    ended = mine.run()
    assert ended.exit == 0, ended.err
    (job,) = ended.document["jobs"]
    assert job["lines"] == expected.total()
    assert job["slices"]["done"] >= 5
    same_rows(mine.archived(), expected)
    nothing_left_to_do(mine)


def written_log(folder: Path, until: datetime) -> Path:
    """A copy, for the machine goes on writing, of what its package manager logged before ``until``; or a file
    that looks like it."""
    path = folder / "dpkg.log"
    real = Path("/var/log/dpkg.log")
    logged = real.read_text("utf-8").split("\n")[:-1] if real.exists() else []
    lines = [line for line in logged if moment_of(line) < until] or [
        f"2026-01-{1 + n // 500:02d} {n // 60 % 24:02d}:{n % 60:02d}:07 status installed lib{n}:amd64 1.{n}-1"
        for n in range(5000)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def moment_of(line: str) -> datetime:
    return datetime.fromisoformat(line[:19]).replace(tzinfo=UTC)


def test_a_real_log_file_is_exported_line_for_line(tmp_path: Path) -> None:
    """A log file as the machine wrote it, up to today, is served with `--load` and comes out with every line
    once."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    path = written_log(tmp_path, today)
    lines = path.read_text("utf-8").split("\n")[:-1]
    moments = [moment_of(line) for line in lines]
    with program(tmp_path, "--load", str(path)) as desk:
        window = {"from": f"{min(moments):%Y-%m-%dT00:00:00Z}", "to": f"{today:%Y-%m-%dT%H:%M:%SZ}"}
        desk.write_job({"logstore": "dpkg", **window, "max_lines": max(1000, len(lines) // 3)})
        ended = desk.run()
        assert ended.exit == 0, ended.err
        stamped = zip(moments, lines, strict=True)
        same_rows(desk.archived(), Rows((int(moment.timestamp()) * 1000, line) for moment, line in stamped))
