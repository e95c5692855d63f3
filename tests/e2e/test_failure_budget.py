"""How far does one failure reach? Its slice, or its job, and no further."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Ended
from tests.e2e.hostile_front import Answer, Front, quoting_front
from tests.e2e.proving import DAY, Program, Rows, describe_world, desk_beside, program, same_rows, truth

ROWS = 4_000
TASKS = 20
"""The ceiling on remote tasks at once: as many creates may be on their way when the first is refused."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Program, Rows]]:
    folder = tmp_path_factory.mktemp("served")
    world = describe_world(folder, ROWS)
    with program(folder, "--world", str(world)) as made:
        yield made, truth(world)


@contextmanager
def behind_front(served: tuple[Program, Rows], folder: Path, *more: str) -> Iterator[tuple[Program, Front]]:
    """A desk whose way to the emulator is disturbed by the test; ``more`` are tables of further jobs."""
    desk = desk_beside(served[0], folder)
    with quoting_front(desk.emulated.endpoint, {}) as front:
        front.silent = True
        emulated, desk.emulated = desk.emulated, replace(desk.emulated, endpoint=front.endpoint)
        desk.write_job({"max_lines": 1000, "attempts": 3})
        desk.emulated = emulated
        with (desk.folder / "jobs.toml").open("a") as file:
            file.write("".join(more))
        yield desk, front


def by_name(ended: Ended) -> dict[str, Any]:
    return {job["job"]: job for job in ended.document["jobs"]}


def further(name: str, logstore: str) -> str:
    return (
        f'[[jobs]]\nname = "{name}"\nlogstore = "{logstore}"\nfrom = {DAY[0]}\nto = {DAY[1]}\n'
        f'max_lines = 1000\ndestination = "archive"\n'
    )


def refused(code: str, status: int) -> Answer:
    body = json.dumps({"code": code, "message": "not for you", "requestId": "r-1", "success": False})
    return Answer(status, {"Content-Type": "application/json", "x-bce-request-id": "r-1"}, body.encode())


def test_a_slice_that_always_fails_stops_no_other(served: tuple[Program, Rows], tmp_path: Path) -> None:
    """Its remote tasks end FAILED whenever it is asked for: one gap, and all other rows are stored."""
    with behind_front(served, tmp_path) as (desk, front):

        def interfere(kind: str, body: bytes, answer: Answer) -> Answer:
            if kind not in ("describe", "list") or answer.status != 200:
                return answer
            found = json.loads(answer.body)
            result = found.get("result", found)
            for task in result.get("tasks") or [result.get("task") or {}]:
                if task.get("state") == "SUCCESS" and str(task.get("queryStartTime", "")).startswith(
                    ("2026-01-14T00:00:00", "2026-01-13T23:59:59")
                ):
                    task |= {
                        "state": "FAILED",
                        "failedCode": "InternalError",
                        "failedMessage": "no",
                        "writtenRows": 0,
                    }
            return replace(answer, body=json.dumps(found).encode())

        front.interfere = interfere
        ended = desk.run()
        assert ended.exit in (3, 7), ended.err
        (job,) = ended.document["jobs"]
        assert len(job["gaps"]) == 1
        assert job["gaps"][0]["from"] == DAY[0]
        assert job["slices"]["failed"] == 1
        kept = {at_ms for at_ms, _ in desk.archived()}
        missing = served[1] - desk.archived()
        assert max(at_ms for at_ms, _ in missing) < min(kept), "only the first slice is missing"
        front.interfere = None
        assert desk.run().exit == 0
        same_rows(desk.archived(), served[1])


@pytest.mark.parametrize(
    ("status", "code"), [(403, "AccessDenied"), (404, "LogStoreNotFound"), (401, "Unauthorized")]
)
def test_a_refusal_of_one_job_stops_that_job_alone(
    served: tuple[Program, Rows], tmp_path: Path, status: int, code: str
) -> None:
    """No permission for one logstore: its job ends with exit 5, no second round of creates is sent for it,
    and the other completes; the exit of both is 5."""
    asked: Counter[str] = Counter()
    with behind_front(served, tmp_path, further("closed", "closed")) as (desk, front):

        def interfere(kind: str, body: bytes, answer: Answer) -> Answer:
            if b"closed" in body or "closed" in front.path_of_this_thread():
                asked[kind] += 1
                return refused(code, status)
            return answer

        front.interfere = interfere
        ended = desk.run()
        assert ended.exit == 5, ended.err
        jobs = by_name(ended)
        assert (jobs["web"]["exit"], jobs["web"]["complete"]) == (0, True)
        assert (jobs["closed"]["exit"], jobs["closed"]["complete"]) == (5, False)
        assert jobs["closed"]["remote_tasks_created"] == 0
        assert asked.total() <= TASKS + 4, asked
        same_rows(desk.archived(), served[1])


@pytest.mark.parametrize("status", [400, 403])
def test_an_unknown_refusal_after_accepted_creates_is_a_quota(
    served: tuple[Program, Rows], tmp_path: Path, status: int
) -> None:
    """Words that no page names, while remote tasks run: the job waits for room and completes, one remote task
    a slice."""
    desk = desk_beside(served[0], tmp_path)
    desk.emulated.behave(run_base_s=0.5, outstanding_cap=2, outstanding_cap_form=str(status))
    desk.write_job({"max_lines": 1000})
    ended = desk.run()
    assert ended.exit == 0, ended.err
    (job,) = ended.document["jobs"]
    assert job["remote_tasks_created"] == job["files"]
    same_rows(desk.archived(), served[1])
    assert desk.emulated.stats()["tasks_made"] - desk.made_before == job["files"]


def test_a_refusal_in_unknown_words_from_the_first_create_on_stops_the_job(
    served: tuple[Program, Rows], tmp_path: Path
) -> None:
    """Nothing of ours runs, so it is no quota: exit 5 within a bounded number of creates."""
    with behind_front(served, tmp_path) as (desk, front):
        posts: list[bytes] = []

        def interfere(kind: str, body: bytes, answer: Answer) -> Answer:
            if kind != "create":
                return answer
            posts.append(body)
            return refused("QuotaOrSomethingElse", 403)

        front.refuse_before = ("create",)
        front.interfere = interfere
        ended = desk.run("--max-duration", "80s")
        assert ended.exit == 5, ended.err
        assert len(posts) <= 12, len(posts)
