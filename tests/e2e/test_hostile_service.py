"""A service at its worst, over HTTP: every row is stored once, the exit code says so, and nothing leaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.proving import (
    DAY_MS,
    Program,
    Rows,
    describe_world,
    desk_beside,
    each_slice_one_task,
    nothing_leaks,
    only_verified_files,
    program,
    same_rows,
    truth,
)

ROWS = 6_000
"""In seven slices or so: few enough to be quick, enough for faults to meet them."""


TO = "2026-01-14T01:00:00Z"
END_MS = DAY_MS[0] + 3_600_000
"""The job's window is one hour: more than one row a second, so that every border of a slice meets rows."""


@dataclass(frozen=True)
class Scene:
    """One way the service misbehaves, and the job that must get through."""

    behaviour: dict[str, object]
    keys: dict[str, object] = field(default_factory=dict)
    rows: int = ROWS
    seed: int = 11
    one_task_each: bool = True
    """Whether no slice needs a second remote task."""


def stage_of(folder: Path, scene: Scene) -> Path:
    """The scene's world, with as many rows in its first hour as the scene has."""
    return describe_world(folder, scene.rows * 24, scene.behaviour, seed=scene.seed)


def exported(desk: Program, scene: Scene, expected: Rows) -> dict[str, Any]:
    """Export the hour and hold the archive against the truth; the job's part of the report."""
    desk.write_job({"to": TO, **scene.keys})
    ended = desk.end(desk.start("run", "--json", "--no-progress", "--verbose"))
    assert ended.exit == 0, ended.err[-4000:]
    report: dict[str, Any]
    (report,) = ended.document["jobs"]
    assert (report["complete"], report["lines"], report["gaps"]) == (True, scene.rows, [])
    assert report["files"] == report["slices"]["done"] >= 5
    if scene.one_task_each:
        assert report["remote_tasks_created"] == report["files"]
    same_rows(desk.archived(), expected)
    nothing_leaks(desk, ended)
    return report


# --- faults that are waited out: the scenes of one test play at the same time


def answered(status: str) -> Callable[[Program], None]:
    """The service answered so at least once, or the scene showed nothing."""

    def check(desk: Program) -> None:
        statuses = desk.emulated.stats()["statuses"]
        assert any(key.endswith(f" {status}") for key in statuses), f"no {status} among {statuses}"

    return check


def doubted(desk: Program) -> None:
    """At least one create was made without an answer and found again, so that creates made less those
    adopted are those answered; the service holds no two of one name."""
    ledger = desk.ledger()
    tasks = each_slice_one_task(desk, ledger)
    only_verified_files(desk, ledger)
    assert tasks.adopted > 0, tasks
    assert tasks.made - tasks.adopted == tasks.heard


def unmade(desk: Program) -> None:
    """At least one create was lost on its way there, and asked for again under the same name."""
    tasks = each_slice_one_task(desk, desk.ledger())
    assert tasks.posts > tasks.made, tasks


PATIENT = {
    "429 with Retry-After": (Scene({"throttle_probability": 0.1, "retry_after_s": 1.0}), answered("429")),
    "429 without Retry-After": (Scene({"throttle_probability": 0.1}), answered("429")),
    "429 by pace": (
        Scene(
            {"create_per_s": 1.5, "link_per_s": 3.0, "read_per_s": 3.0, "query_per_s": 10.0, "burst_s": 0.0}
        ),
        answered("429"),
    ),
    "hidden cap on remote tasks": (
        Scene({"outstanding_cap": 3, "outstanding_cap_form": "403", "run_base_s": 1.0}),
        answered("403"),
    ),
    "bodies reset": (Scene({"file_reset_probability": 0.4}), answered("0")),
    "bodies reset, ranges ignored": (
        Scene({"file_reset_probability": 0.4, "ranges": "ignored"}),
        answered("0"),
    ),
    "bodies reset, tags change": (Scene({"file_reset_probability": 0.4, "etag": "changing"}), answered("0")),
    "bodies reset, no tags": (Scene({"file_reset_probability": 0.4, "etag": "none"}), answered("0")),
    "the server's clock an hour ahead": (Scene({"clock_offset_s": 3600.0}), answered("201")),
    "the server's clock an hour behind": (Scene({"clock_offset_s": -3600.0}), answered("201")),
    "bodies end early and look whole": (
        Scene({"file_short_probability": 0.4}, one_task_each=False),
        answered("200"),
    ),
    "files answer 503": (Scene({"file_error_probability": 0.4}, one_task_each=False), answered("503")),
    "links of one second, slow bodies": (
        Scene({"link_lifetime_s": 1, "file_bytes_per_s": 60_000.0, "file_reset_probability": 0.5}),
        answered("0"),
    ),
    "the same link again until it expires": (
        Scene({"link_again": "same", "link_lifetime_s": 30, "file_reset_probability": 0.3}),
        answered("0"),
    ),
    "remote tasks fail": (Scene({"fail_probability": 0.3}, one_task_each=False), answered("201")),
    "counts are refused": (
        Scene({"count_refused": True, "histogram_fails": "always"}, one_task_each=False),
        answered("400"),
    ),
}
IN_DOUBT = {
    "answers malformed": (Scene({"malformed_probability": 0.1}, seed=3), answered("200")),
    "502 pages": (Scene({"bad_gateway_probability": 0.1}, seed=3), answered("502")),
    "connections reset": (Scene({"reset_probability": 0.1}, seed=3), answered("0")),
    "create replies lost, tasks made": (Scene({"lost_reply_made": 0.3}), doubted),
    "create replies lost, nothing made": (
        Scene({"lost_reply_unmade": 0.3, "lost_reply_form": "503"}),
        unmade,
    ),
    "create replies lost both ways": (
        Scene({"lost_reply_made": 0.3, "lost_reply_unmade": 0.3}, rows=12_000),
        doubted,
    ),
    "create replies lost both ways, 502": (
        Scene({"lost_reply_made": 0.3, "lost_reply_unmade": 0.3, "lost_reply_form": "502"}, rows=12_000),
        doubted,
    ),
}


def played(folder: Path, scene: Scene, check: Callable[[Program], None]) -> None:
    """One scene with an emulator of its own."""
    job = folder / "job"
    job.mkdir(parents=True)
    world = stage_of(folder, scene)
    with program(folder, "--world", str(world)) as served:
        desk = Program(job, served.emulated, served.environment, served.children)
        report = exported(desk, scene, truth(world, end_ms=END_MS))
        if scene.one_task_each:
            assert desk.emulated.stats()["tasks_made"] == report["files"]
        check(desk)


def played_together(folder: Path, scenes: dict[str, tuple[Scene, Callable[[Program], None]]]) -> None:
    """All scenes at the same time: they wait more than they work. Every failure is told, by its scene."""

    def play(number: int, name: str) -> None:
        scene, check = scenes[name]
        begun = time.monotonic()
        try:
            played(folder / str(number), scene, check)
        except Exception as error:
            error.add_note(f"in the scene: {name}")
            raise
        finally:
            print(f"{time.monotonic() - begun:5.1f} s  {name}")

    with ThreadPoolExecutor(len(scenes)) as stage:
        plays = [stage.submit(play, number, name) for number, name in enumerate(scenes)]
    failures = [error for one in plays if isinstance(error := one.exception(), Exception)]
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {len(scenes)} scenes failed", failures)


@pytest.mark.slow
def test_every_row_comes_through_what_must_be_waited_out(tmp_path: Path) -> None:
    """Throttling, quotas, failures and expiry cost time and requests, never a row."""
    played_together(tmp_path, PATIENT)


@pytest.mark.slow
def test_every_row_comes_through_when_creates_are_in_doubt(tmp_path: Path) -> None:
    """An answer that got lost is looked for: each slice ends with one remote task, whatever was lost."""
    played_together(tmp_path, IN_DOUBT)


# --- forms, windows, clocks: nothing goes wrong, everything is different

FORMS = {
    "gzip files": Scene({"file_compression": "gzip"}),
    "zstd files": Scene({"file_compression": "zstd"}),
    "zip files": Scene({"file_compression": "zip"}),
    "gzip on the wire": Scene({"content_encoding": "gzip"}),
    "arrays": Scene({"file_layout": "array", "crlf": True}),
    "zipped arrays": Scene({"file_layout": "array", "file_compression": "zip"}),
    "CSV": Scene({"crlf": True}, {"format": "csv"}),
    "CSV without header, gzip": Scene(
        {"csv_header": False, "file_compression": "gzip"}, {"format": "csv", "time_field": "#1"}
    ),
    "stirred rows, other names, no last newline": Scene(
        {"row_order": "stirred", "field_names": "pull", "byte_order_mark": True, "final_newline": False}
    ),
    "window end inclusive": Scene({"window_end": "inclusive"}),
    "window end inclusive by the second": Scene({"window_end": "whole-second"}),
    "window start exclusive": Scene({"window_start": "exclusive"}, one_task_each=False),
    "rows written are told wrong": Scene({"written_rows": "limit"}),
    "unknown task state": Scene({"unknown_state": "ARCHIVING", "unknown_state_probability": 1.0}),
    "task states fall back": Scene({"setback_probability": 1.0, "run_base_s": 0.6}),
    "page size refused": Scene({"page_size_max": 50, "page_size_above_max": "rejected", "run_base_s": 1.0}),
    "gateway links, redirected": Scene({"link_kind": "gateway", "link_redirects": 3}),
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Program, Rows]]:
    """An emulator whose switches can be set, and the truth of its logstore."""
    folder = tmp_path_factory.mktemp("stage")
    world = stage_of(folder, Scene({}))
    with program(folder, "--world", str(world)) as served:
        yield served, truth(world, end_ms=END_MS)


@pytest.mark.parametrize("name", FORMS)
def test_every_row_comes_through(stage: tuple[Program, Rows], tmp_path: Path, name: str) -> None:
    """Whatever the service's ways are, the archive ends as the truth, and the run as complete."""
    served, expected = stage
    desk = desk_beside(served, tmp_path)
    desk.emulated.behave(**FORMS[name].behaviour)
    report = exported(desk, FORMS[name], expected)
    assert desk.emulated.stats()["tasks_made"] - desk.made_before == report["remote_tasks_created"]


# --- refusals


@pytest.mark.parametrize(
    ("auth_style", "code"),
    [("platform", "SignatureDoesNotMatch"), ("bls-401", "Unauthorized"), ("bls-403", "AccessDenied")],
)
def test_a_wrong_secret_is_refused_without_being_shown(
    stage: tuple[Program, Rows], tmp_path: Path, auth_style: str, code: str
) -> None:
    """Exit 5 with the service's own code and request id; the secret is nowhere, and nothing is made."""
    secret = "a-wrong-secret-that-nobody-may-see-17"
    desk = desk_beside(stage[0], tmp_path)
    desk.emulated.behave(auth_style=auth_style)
    desk.write_job({"to": TO})
    ended = desk.run("--verbose", BCE_SECRET_ACCESS_KEY=secret)
    assert ended.exit == 5
    error = ended.document["error"]
    assert error["code"] == "refused"
    assert code in error["message"]
    assert error["request_id"]
    assert f"request id: {error['request_id']}" in ended.err
    nothing_leaks(desk, ended, also=(secret,))
    assert desk.final_files() == []
    assert desk.emulated.stats()["tasks_made"] == desk.made_before
