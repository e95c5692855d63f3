"""SIGKILL at any moment of a run, and what the next run makes of it."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.proving import (
    Program,
    Rows,
    describe_world,
    each_slice_one_task,
    manifest_is_intact,
    nothing_leaks,
    nothing_left_to_do,
    only_verified_files,
    program,
    same_rows,
    sums_agree,
    truth,
)

ROWS = 12_000
JOB = {"max_lines": 1000}
BEHAVIOUR = {
    "run_base_s": 0.3,
    "executors": 6,
    "latency_s": 0.01,
    "file_bytes_per_s": 400_000.0,
}
"""Slow enough that kills meet every stage: planning, creating, waiting, fetching, publishing."""
KILLS = 5
SEED = 20_260_114

Ledger = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Undisturbed:
    """How the export goes when nobody kills it."""

    duration_s: float
    size_bytes: int
    """Of all files together."""
    rows: Rows

    def moment_s(self, number: int) -> float:
        """A random moment of the ``number``-th fifth of the run."""
        return self.duration_s * (number + random.Random(SEED + number).random()) / KILLS


@contextmanager
def slow_service(folder: Path) -> Iterator[Program]:
    """An emulator of its own, and the job not yet run, in a folder beside the world."""
    world = describe_world(folder, ROWS, BEHAVIOUR)
    (folder / "job").mkdir()
    with program(folder, "--world", str(world)) as served:
        desk = Program(folder / "job", served.emulated, served.environment, served.children)
        desk.write_job(JOB)
        yield desk


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """One whole run of at least twelve slices, held against the truth of the world."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with slow_service(folder) as desk:
        begun = time.monotonic()
        ended = desk.run()
        duration_s = time.monotonic() - begun
        assert ended.exit == 0, ended.err
        assert ended.document["jobs"][0]["slices"]["done"] >= 12
        size_bytes = ended.document["jobs"][0]["bytes_fetched"]
        rows = desk.archived()
    same_rows(rows, truth(folder / "world.toml"))
    return Undisturbed(duration_s, size_bytes, rows)


def killed(desk: Program, after_s: float) -> bool:
    """Start a run and kill it so long after its start; False when it had ended before."""
    child = desk.start("run", "--json", "--no-progress")
    try:
        child.communicate(timeout=after_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
    return child.returncode == -9


def killed_after(desk: Program, served_bytes: int) -> bool:
    """Start a run and kill it once the service has served so many bytes over all runs."""
    child = desk.start("run", "--json", "--no-progress")
    while child.poll() is None and sum(desk.emulated.stats()["bytes_served"].values()) < served_bytes:
        time.sleep(0.02)
    child.kill()
    child.communicate()
    return child.returncode == -9


def inspected(desk: Program) -> Ledger:
    """What a kill may leave: a manifest without a fault, and complete verified files only. The ledger."""
    if not (desk.folder / "orchestrator.db").exists():
        assert desk.final_files() == []
        return []
    manifest_is_intact(desk)
    ledger = desk.ledger()
    only_verified_files(desk, ledger)
    return ledger


def completed(desk: Program) -> None:
    """Run until exit 0; a run after a kill is not refused, and needs no third one."""
    ended = desk.run()
    assert ended.exit == 0, ended.err
    assert ended.document["complete"] is True
    nothing_leaks(desk, ended)


def fetched_once(desk: Program, ledger: Ledger, kills_before: Mapping[str, int], kills: int) -> None:
    """A fetch that a kill may have interrupted came at most once more for it; a file that was stored did not
    come again, however many kills followed. ``kills_before`` says how many a slice was not done at."""
    served = desk.emulated.stats()["bytes_served"]
    for row in ledger:
        if row["uuid"] and row["fetched_bytes"]:
            size, came = row["fetched_bytes"], served.get(row["uuid"], 0)
            most = (1 + kills_before.get(row["slice"], kills)) * size
            assert size <= came <= most, (
                f"{row['slice']}: {came} bytes of {size} served, at most {most} may be"
            )


def done_in(ledger: Ledger) -> set[str]:
    return {row["slice"] for row in ledger if row["state"] == "done"}


@pytest.mark.slow
@pytest.mark.parametrize("number", range(KILLS))
def test_a_run_killed_at_a_random_moment_is_completed(
    undisturbed: Undisturbed, tmp_path: Path, number: int
) -> None:
    """The same rows as without the kill, one remote task a slice, no stored byte twice, nothing half done."""
    # On a machine that has become faster since the undisturbed run, the moment comes too late: then earlier.
    for share in (1.0, 0.75, 0.5, 0.25):
        folder = tmp_path / str(share)
        folder.mkdir()
        with slow_service(folder) as desk:
            if killed(desk, share * undisturbed.moment_s(number)):
                left = inspected(desk)
                completed(desk)
                ledger = inspected(desk)
                same_rows(desk.archived(), undisturbed.rows)
                assert done_in(left) <= done_in(ledger)
                each_slice_one_task(desk, ledger)
                fetched_once(desk, ledger, dict.fromkeys(done_in(left), 0), kills=1)
                sums_agree(desk)
                nothing_left_to_do(desk)
                return
    pytest.fail("every run had ended before it was to be killed")


@pytest.mark.slow
def test_a_run_killed_again_and_again_is_completed(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Five runs, each killed after a sixth of the bytes: what they achieved adds up; the sixth completes."""
    with slow_service(tmp_path) as desk:
        done_since: dict[str, int] = {}
        for kills in range(KILLS):
            assert killed_after(desk, undisturbed.size_bytes * (kills + 1) // (KILLS + 1))
            done = done_in(inspected(desk))
            assert set(done_since) <= done
            done_since |= dict.fromkeys(done - set(done_since), kills)
        completed(desk)
        ledger = inspected(desk)
        same_rows(desk.archived(), undisturbed.rows)
        each_slice_one_task(desk, ledger)
        fetched_once(desk, ledger, done_since, KILLS)
        nothing_left_to_do(desk)
