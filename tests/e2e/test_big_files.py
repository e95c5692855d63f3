"""Files larger than any memory, and a service that makes no sense at all, with the installed command."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.proving import PROGRAM
from tests.e2e.raw_service import JOB_WINDOW, LENGTH_S, START_S, RawService, served, streamed
from tests.unit.loopback import Reply, answer

MEMORY_BYTES = 200 << 20
"""What the whole program may take, whatever it fetches."""
PATIENCE_S = 420.0
ROW_BYTES = 64 * 1024
BIG = bool(os.environ.get("BIG_FILES"))
"""`make big-files`: five and a half gigabytes, beyond what 32 bits can count, instead of half of one."""
ROWS_PER_S = 140 if BIG else 14
ROWS = LENGTH_S * ROWS_PER_S
PLAIN_BYTES = ROWS * ROW_BYTES

assert (5 * 10**9 if BIG else 2 * MEMORY_BYTES) < PLAIN_BYTES


@dataclass(frozen=True)
class Ran:
    """A run that has ended."""

    exit: int
    document: dict[str, Any]
    err: str
    memory_bytes: int

    @property
    def job(self) -> dict[str, Any]:
        (job,) = self.document["jobs"]
        found: dict[str, Any] = job
        return found


MEASURED = (
    "import os, subprocess, sys; child = subprocess.Popen(sys.argv[1:]); "
    "_, status, used = os.wait4(child.pid, 0); open('peak', 'w').write(str(used.ru_maxrss)); "
    "sys.exit(os.waitstatus_to_exitcode(status))"
)
"""A small parent: what a process inherits at its birth counts among its most, and the tests' own is large."""


def ran(folder: Path, origin: str, keys: Mapping[str, object] | None = None) -> Ran:
    """One run of the job ``web`` against ``origin``, and the most memory it had."""
    window = {"from": JOB_WINDOW[0], "to": JOB_WINDOW[1]}
    job = {"name": "web", "logstore": "web", "destination": "archive", **window, **(keys or {})}
    (folder / "jobs.toml").write_text(
        f'[service]\nendpoint = "{origin}"\n[limits]\ndisk_reserve = "1MB"\n[[jobs]]\n'
        + "".join(f"{name} = {json.dumps(value)}\n" for name, value in job.items()),
        encoding="utf-8",
    )
    keys_of_ours = {"BCE_ACCESS_KEY_ID": "AKTEST", "BCE_SECRET_ACCESS_KEY": "a-secret-of-the-test"}
    measured = ["timeout", str(PATIENCE_S), sys.executable, "-c", MEASURED, *PROGRAM]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        child = subprocess.Popen(
            [*measured, "run", "--json", "--no-progress"],
            cwd=folder,
            env={**os.environ, **keys_of_ours},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        child.wait()
    said = (folder / "err").read_text("utf-8")
    assert "Traceback" not in said, said
    document = json.loads((folder / "out").read_text("utf-8") or "{}")
    return Ran(child.returncode, document, said, int((folder / "peak").read_text()) * 1024)


def stored_file(folder: Path) -> Path:
    """The one file under a final name."""
    archive = folder / "archive"
    found = [path for path in archive.rglob("*") if path.is_file() and ".orchestrator" not in path.parts]
    (only,) = found
    return only


def line_of(second: int) -> bytes:
    """A row of 64 KiB dated so many seconds into the window."""
    head = b'{"@timestamp":%d,"@raw":"' % ((START_S + second) * 1000)
    return head + b"x" * (ROW_BYTES - len(head) - 3) + b'"}\n'


def plain_blocks() -> Iterator[bytes]:
    for second in range(LENGTH_S):
        row = line_of(second)
        for _ in range(ROWS_PER_S // 14):
            yield row * 14


def packed_blocks() -> Iterator[bytes]:
    for second in range(LENGTH_S):
        yield gzip.compress(line_of(second), 6, mtime=0) * ROWS_PER_S


ARRAY_ROWS = 990_000


def array_blocks() -> Iterator[bytes]:
    per_block = ARRAY_ROWS // LENGTH_S
    for second in range(LENGTH_S):
        first_ms = (START_S + second) * 1000
        rows = [b'{"@timestamp":%d,"@raw":"GET /cart 200"}' % (first_ms + n // 2) for n in range(per_block)]
        yield (b"," if second else b"[") + b",\n".join(rows)
    yield b"]"


@pytest.mark.slow
def test_a_file_that_expands_without_measure_is_stored_in_little_memory(tmp_path: Path) -> None:
    """Gigabytes of rows, packed into a few megabytes, are counted to the last one and kept as they came."""
    service = RawService(ROWS, lambda _: streamed(packed_blocks))
    with served(service) as here:
        done = ran(tmp_path, here.origin)
    assert done.exit == 0, done.err
    assert (done.job["complete"], done.job["lines"], done.job["files"]) == (True, ROWS, 1)
    final = stored_file(tmp_path)
    assert final.suffixes[-1] == ".gz"
    assert zlib.crc32(final.read_bytes()) == zlib.crc32(b"".join(packed_blocks()))
    assert done.memory_bytes < MEMORY_BYTES, f"{done.memory_bytes >> 20} MiB"


@pytest.mark.slow
def test_an_array_of_a_million_records_becomes_lines_in_little_memory(tmp_path: Path) -> None:
    """A JSON array has no lines to go by; it is still taken apart without ever being held as a whole."""
    service = RawService(ARRAY_ROWS, lambda _: streamed(array_blocks))
    with served(service) as here:
        done = ran(tmp_path, here.origin, {"output": "jsonl"})
    assert done.exit == 0, done.err
    assert done.job["lines"] == ARRAY_ROWS
    with stored_file(tmp_path).open("rb") as lines:
        assert sum(1 for _ in lines) == ARRAY_ROWS
    assert done.memory_bytes < MEMORY_BYTES, f"{done.memory_bytes >> 20} MiB"


@pytest.mark.slow
def test_a_plain_file_larger_than_memory_is_stored_in_little_memory(tmp_path: Path) -> None:
    """The same rows as they are: fetched, digested, counted and published with a hundred megabytes or so."""
    service = RawService(ROWS, lambda _: streamed(plain_blocks, PLAIN_BYTES))
    try:
        with served(service) as here:
            done = ran(tmp_path, here.origin)
        assert done.exit == 0, done.err
        assert (done.job["lines"], done.job["bytes_fetched"]) == (ROWS, PLAIN_BYTES)
        assert stored_file(tmp_path).stat().st_size == PLAIN_BYTES
        assert done.memory_bytes < MEMORY_BYTES, f"{done.memory_bytes >> 20} MiB"
    finally:
        for path in (tmp_path / "archive").rglob("*.jsonl"):
            path.unlink()


@pytest.mark.parametrize("name", ["../../../evil\0\x1b[2J", "/etc/evil/" + "x" * 5000])
def test_no_name_of_the_service_becomes_a_path(tmp_path: Path, name: str) -> None:
    """Whatever the service calls its file: it stands where the layout says, and nothing stands elsewhere."""
    rows = b"".join(b'{"@timestamp":%d}\n' % ((START_S + n) * 1000) for n in range(LENGTH_S))
    service = RawService(LENGTH_S, lambda _: answer(rows), file_name=name)
    place = tmp_path / "deep" / "er"
    place.mkdir(parents=True)
    with served(service) as here:
        done = ran(place, here.origin)
    assert done.exit == 0, done.err
    assert stored_file(place).read_bytes() == rows
    assert stored_file(place).relative_to(place).as_posix().startswith("archive/web/2026/01/14/")
    assert {path.name for path in tmp_path.rglob("*evil*")} == set()
    assert "\x1b" not in done.err


async def _hang_up(_: asyncio.StreamWriter) -> None:
    """Not a word."""


NONSENSE: dict[str, Reply] = {
    "a page with status 200": answer(b"<html>please log in</html>"),
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a connection that is closed": _hang_up,
    "502": answer(b"<html>bad gateway</html>", 502),
    "RequestExpired": answer(b'{"code":"RequestExpired","message":"","requestId":"r"}', 400),
}


@pytest.mark.slow
def test_a_service_that_makes_no_sense_is_left_alone(tmp_path: Path) -> None:
    """Whatever answers every call in the same odd way: the run ends by itself within minutes, as incomplete
    or refused, with one document that says why and what to do, and asks for no remote task."""

    def play(number: int, reply: Reply) -> tuple[Ran, set[str]]:
        folder = tmp_path / str(number)
        folder.mkdir()
        service = RawService(0, lambda _: reply, instead=lambda _: reply)
        with served(service) as here:
            done = ran(folder, here.origin)
        return done, {seen.raw_path for seen in service.seen}

    with ThreadPoolExecutor(len(NONSENSE)) as stage:
        plays = {
            name: stage.submit(play, number, reply) for number, (name, reply) in enumerate(NONSENSE.items())
        }
    for name, one in plays.items():
        done, paths = one.result()
        assert done.exit in (3, 5), f"{name}: {done.exit} {done.err}"
        assert done.document["complete"] is False
        assert done.document["error"]["message"], name
        assert done.document["error"]["hint"], name
        assert paths == {"/v1/logstore/web"}, name
