"""What becomes of remote tasks when the reply to a create is lost, and when the process is killed? Beside
airbyte-cdk's async jobs, on the same service, with the same slices.

First the connection breaks instead of 30 % of the replies to creates, and half of these creates were carried
out. Then all replies arrive, but the process dies by SIGKILL six times (``BENCH_KILLS``), each time within
0.3 s of one of its next ten creates, and is started again; the last life is left alone. There are 60 slices
(``BENCH_LOST_SLICES``), and 25 for each kill, since a life makes twenty before anybody notices.

Counted at the service: remote tasks made for each slice, and those alive in the end beyond the one for each
slice. Counted in the rows that were written: slices of which a row is missing, and rows that stand there
twice. airbyte-cdk keeps nothing between two lives that could tell it of its jobs: each life starts anew, and
what the lives before have printed is left out of its rows.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from benchmarks.emulated import ORCHESTRATOR, Emulated, emulated, environment
from benchmarks.peers import airbyte
from benchmarks.report import Row, could_not_measure, print_table
from orchestrator.testing.archive import Rows, final_files, rows_of, truth

__all__ = ["Found", "judged", "main"]

SLICES = int(os.environ.get("BENCH_LOST_SLICES", "60"))
KILLS = int(os.environ.get("BENCH_KILLS", "6"))
SLICES_PER_KILL = 25
AT_ONCE = 20
SLICE_MS = 3_600_000
START = datetime(2026, 1, 1, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)
LOST = {"lost_reply_made": 0.15, "lost_reply_unmade": 0.15, "lost_reply_form": "drop"}
LIVES_AFTER = 20
"""Runs that are granted to make up for what a run says is still missing."""
PATIENCE_S = 600.0
WORLD = """\
seed = 11
[behaviour]
executors = 20
run_base_s = 1.0
[[logstores]]
name = "web"
start = {start:%Y-%m-%dT%H:%M:%SZ}
end = {end:%Y-%m-%dT%H:%M:%SZ}
density = {{ kind = "uniform", rows_per_day = 240 }}
"""
JOBS = """\
[service]
endpoint = "{endpoint}"
[limits]
requests_per_second = 100
tasks = {at_once}
disk_reserve = "1MB"
[[jobs]]
name = "web"
logstore = "web"
from = {start:%Y-%m-%dT%H:%M:%SZ}
to = {end:%Y-%m-%dT%H:%M:%SZ}
align = "hour"
max_lines = 12
destination = "archive"
"""
Life = Callable[["Stage"], "subprocess.Popen[bytes]"]


@dataclass(frozen=True)
class Stage:
    """Where one exporter plays: an empty folder, a service, and so many slices."""

    folder: Path
    service: Emulated
    slices: int

    @property
    def end(self) -> datetime:
        return START + timedelta(hours=self.slices)


@dataclass(frozen=True)
class Found:
    """What one exporter left behind."""

    made: int
    duplicates_alive: int
    slices_lost: int
    rows_twice: int


def main() -> None:
    """Print what both leave behind, after lost replies and after kills."""
    if why := airbyte.missing():
        could_not_measure("airbyte-cdk", why)
    for what, slices, switches, kills in (
        ("30 % of create replies lost", SLICES, LOST, 0),
        (f"{KILLS} times kill -9", KILLS * SLICES_PER_KILL, {}, KILLS),
    ):
        begun = time.monotonic()
        ours = _played(_our_life, _our_end, slices, switches, kills)
        print(f"{what}: ours took {time.monotonic() - begun:.0f} s for {slices} slices", flush=True)
        peer = None if airbyte.missing() else _played(_peer_life, _peer_end, slices, switches, kills)
        _print(what, slices, ours, peer)


def _print(what: str, slices: int, ours: Found, peer: Found | None) -> None:
    def row(name: str, of: Callable[[Found], float], most: float | None = None) -> Row:
        return Row(name, of(ours), None if peer is None else of(peer), most=most)

    print_table(
        f"{slices} slices, {what}",
        "",
        "airbyte-cdk",
        [
            row("remote tasks made per slice", lambda found: found.made / slices),
            row("duplicates alive at the end", lambda found: found.duplicates_alive, most=0),
            row("slices lost", lambda found: found.slices_lost, most=0),
            row("rows twice", lambda found: found.rows_twice, most=0),
        ],
    )


def _played(
    live: Life, end: Callable[[Stage], Rows], slices: int, switches: Mapping[str, object], kills: int
) -> Found:
    """One exporter on a service of its own, from nothing to what it left."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with emulated(folder, WORLD.format(start=START, end=START + timedelta(hours=slices))) as service:
            stage = Stage(folder, service, slices)
            service.behave(**switches)
            rng = random.Random(11)
            hits = sum(_killed(live(stage), service, rng) for _ in range(kills))
            if hits < kills:
                raise RuntimeError(
                    f"only {hits} of {kills} kills hit a living process: more slices are needed"
                )
            rows = end(stage)
            alive, made = service.tasks(), service.stats()["tasks_made"]
        wanted = truth(
            folder / "world.toml",
            project="default",
            logstore="web",
            start_ms=START_MS,
            end_ms=START_MS + slices * SLICE_MS,
        )
    return judged(made, alive, rows, wanted)


def judged(made: int, alive: Sequence[Mapping[str, str]], rows: Rows, wanted: Rows) -> Found:
    """What is wrong with the remote tasks that are alive, and with the rows, when each of ``wanted`` ought to
    stand there once."""
    windows = Counter((task["start"], task["end"]) for task in alive)
    return Found(
        made,
        windows.total() - len(windows),
        len({(at_ms - START_MS) // SLICE_MS for at_ms, _ in wanted - rows}),
        (rows - wanted).total(),
    )


def _killed(child: subprocess.Popen[bytes], service: Emulated, rng: random.Random) -> bool:
    """Kill a life soon after one of its next creates; False when it had ended before."""
    creates = _creates(service) + rng.randint(1, 10)
    give_up_at = time.monotonic() + PATIENCE_S
    while child.poll() is None and _creates(service) < creates and time.monotonic() < give_up_at:
        time.sleep(0.02)
    time.sleep(rng.random() * 0.3)
    child.kill()
    return child.wait() == -signal.SIGKILL


def _creates(service: Emulated) -> int:
    return int(service.stats()["requests"].get("create", 0))


def _our_life(stage: Stage) -> subprocess.Popen[bytes]:
    text = JOBS.format(endpoint=stage.service.endpoint, at_once=AT_ONCE, start=START, end=stage.end)
    (stage.folder / "jobs.toml").write_text(text, encoding="utf-8")
    with (stage.folder / "said.json").open("wb") as said:
        return subprocess.Popen(
            [ORCHESTRATOR, "run", "--no-progress", "--json"],
            cwd=stage.folder,
            env={**environment(), **stage.service.credentials},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.DEVNULL,
        )


def _our_end(stage: Stage) -> Rows:
    """Lives until one says that it is complete, as a timer would start them."""
    for _ in range(LIVES_AFTER):
        child = _our_life(stage)
        try:
            code = child.wait(PATIENCE_S)
        finally:
            child.kill()
        if code == 0:
            break
    else:
        error = json.loads((stage.folder / "said.json").read_bytes())["error"]
        raise RuntimeError(f"run ended {LIVES_AFTER} times with other than 0, at last with {code}: {error}")
    rows: Rows = Counter()
    for path in final_files(stage.folder / "archive"):
        rows.update(rows_of(path))
    return rows


def _peer_life(stage: Stage) -> subprocess.Popen[bytes]:
    windows = list(pairwise(START + timedelta(hours=hour) for hour in range(stage.slices + 1)))
    return airbyte.start(stage.folder, stage.service, windows, logstore="web", at_once=AT_ONCE)


def _peer_end(stage: Stage) -> Rows:
    airbyte.forget(stage.folder)
    return airbyte.exported(stage.folder, _peer_life(stage)).rows


if __name__ == "__main__":
    main()
