"""How fast, and in how much memory, does ``merge`` make one ordered file of an archive?

Forty stored files of five million rows together (``MERGE_ROWS`` for another number): one after the other in
time, all of them over the same hours, and again with each file in no order. Beside it: ``cat``, ``sort
--merge`` and ``sort`` of coreutils on the same files, which know that a row begins with its time and check
nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Row, print_table
from orchestrator import load
from orchestrator.core.model import Evidence, Receipt, Slice, SliceState
from orchestrator.core.window import Window
from orchestrator.manifest.store import open_writer
from orchestrator.ports.store import Changes, Covered

__all__ = ["Measured", "made", "measured"]

START_S = 1_768_348_800
DAY_S = 86_400
FILES = 40
MOST_BYTES = 150_000_000
ROWS = int(os.environ.get("MERGE_ROWS", "5000000"))
_MEASURE = (
    "import os, subprocess, sys; child = subprocess.Popen(sys.argv[2:]); "
    "_, status, used = os.wait4(child.pid, 0); open(sys.argv[1], 'w').write(str(used.ru_maxrss)); "
    "sys.exit(os.waitstatus_to_exitcode(status))"
)
"""A small parent: what a process inherits at its birth counts among its most."""


@dataclass(frozen=True)
class Measured:
    """A command that has ended."""

    exit: int
    duration_s: float
    memory_bytes: int
    out: str
    err: str


def measured(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> Measured:
    """Run ``command`` in ``folder``."""
    peak = folder / "peak"
    began = time.monotonic()
    child = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(peak), *command],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    duration_s = time.monotonic() - began
    unit = 1 if sys.platform == "darwin" else 1024
    memory_bytes = int(peak.read_text()) * unit
    return Measured(child.returncode, duration_s, memory_bytes, child.stdout, child.stderr)


def made(folder: Path, rows: int, *, overlapping: bool, in_order: bool = True) -> list[Path]:
    """A job file, its manifest and forty stored files of ``rows`` rows together."""
    (folder / "jobs.toml").write_text(
        '[service]\nendpoint = "http://127.0.0.1:9"\n[limits]\ndisk_reserve = "1MB"\n[[jobs]]\nname = "web"\n'
        'logstore = "web"\nfrom = 2026-01-14\nto = 2026-01-15\ndestination = "archive"\n',
        encoding="utf-8",
    )
    (folder / "archive").mkdir()
    chance = random.Random(7)
    slices = []
    for number in range(FILES):
        start_s = START_S + (0 if overlapping else number * DAY_S // FILES)
        window = Window(start_s, START_S + DAY_S if overlapping else start_s + DAY_S // FILES)
        path = folder / "archive" / f"{number:02}.jsonl"
        _write(path, window, number, rows // FILES, chance, in_order=in_order)
        slices.append(_slice(path, window, number, rows // FILES))
    asyncio.run(_commit(folder, slices))
    return [Path(slice_.path) for slice_ in slices]


def _write(
    path: Path, window: Window, number: int, rows: int, chance: random.Random, *, in_order: bool
) -> None:
    times = [window.start_s * 1000 + chance.randrange(window.length_s * 1000) for _ in range(rows)]
    if in_order:
        times.sort()
    text = f'"@stream":"host-{number:02}","@raw":"GET /api/v2/items/%d HTTP/1.1 200 8120 0.034 okhttp/4.12.0"'
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f'{{"@timestamp":{at},{text % row}}}\n' for row, at in enumerate(times))


def _slice(path: Path, window: Window, number: int, rows: int) -> Slice:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    size = path.stat().st_size
    receipt = Receipt("", "jsonl", ".jsonl", size, sha256, size, sha256, rows, 0, rows, window)
    return Slice(
        id=f"{number:016x}",
        job="web",
        logstream=f"host-{number:02}",
        window=window,
        state=SliceState.DONE,
        evidence=Evidence.COUNT,
        path=str(path),
        published_path=str(path),
        published_sha256=sha256,
        published_rows=rows,
        receipt=receipt,
    )


async def _commit(folder: Path, slices: list[Slice]) -> None:
    (job,) = load(folder / "jobs.toml").jobs
    covered = (Covered("web", "*", Window(START_S, START_S + DAY_S)),)
    async with open_writer(folder / "orchestrator.db", now=lambda: 0.0, new_id=lambda: "0" * 16) as manifest:
        await manifest.commit(Changes(slices=tuple(slices), covered=covered, jobs=(job,)))


def _same(folder: Path, ours: str, beside: str) -> bool:
    """Whether both wrote the same rows in the same order, as far as that is certain: ties may differ."""
    times = ("cut", "-c", "15-27")
    found = [
        hashlib.sha256(subprocess.run([*times, name], cwd=folder, capture_output=True, check=True).stdout)
        for name in (ours, beside)
    ]
    return found[0].digest() == found[1].digest()


def main() -> None:
    """Print rows per second beside coreutils, and the most memory beside what is promised."""
    rows: list[Row] = []
    memory: list[Row] = []
    program = [str(Path(sys.executable).with_name("orchestrator")), "merge", "--job", "web", "--json"]
    for what, beside, overlapping, in_order in (
        ("one after the other", "cat", False, True),
        ("all at the same time", "sort -s --merge -k 1,1", True, True),
        ("and each in no order", "sort -s -k 1,1 -S 100M", True, False),
    ):
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as place:
            folder = Path(place)
            files = made(folder, ROWS, overlapping=overlapping, in_order=in_order)
            ours = measured([*program, "-o", "ours.jsonl"], folder)
            if ours.exit or json.loads(ours.out)["rows"] != ROWS // FILES * FILES:
                raise RuntimeError(f"{what}: exit {ours.exit}\n{ours.out}{ours.err}")
            names = " ".join(str(path.relative_to(folder)) for path in files)
            shell = beside.replace("-k 1,1", "-t , -k 1,1")
            theirs = measured(["sh", "-c", f"{shell} {names} > theirs.jsonl"], folder, {"LC_ALL": "C"})
            if not _same(folder, "ours.jsonl", "theirs.jsonl"):
                raise RuntimeError(f"{what}: not in the order of {beside}")
            label = f"{what} (beside {beside})"
            rows.append(
                Row(label, ROWS / ours.duration_s / 1000, ROWS / theirs.duration_s / 1000, at_least=True)
            )
            memory.append(Row(f"memory, {what}", ours.memory_bytes / 1e6, MOST_BYTES / 1e6, target=1.0))
    print_table(f"merge of {ROWS:,} rows in {FILES} files", "1,000 rows/s", "coreutils", rows)
    print_table("the most memory it took", "MB", "promised", memory)
