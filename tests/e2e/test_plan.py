"""`plan` before a run, half-way, after a kill and at the end, on a terminal and without one."""

from __future__ import annotations

import asyncio
import time

import pytest

import orchestrator
from tests.e2e.conftest import DAY_ROWS, PATIENCE_S, Desk, Emulated
from tests.e2e.terminal import on_a_terminal

NOON = "2026-01-14T12:00:00Z"
BLOCKS = "▁▂▃▄▅▆▇█"


def picture(text: str) -> list[str]:
    """The two rows drawn, and what stands below them up to the next empty line."""
    return text.partition("\n\n")[2].partition("\n\n")[0].splitlines()


def test_what_a_first_plan_cannot_know_is_said_to_be_unknown(desk: Desk) -> None:
    """Time and size are unknown before any remote task ran; what is drawn fits eighty columns."""
    (job,) = desk.call("plan", "--json").document["jobs"]
    assert (job["duration_s"], job["bytes_stored"]) == (None, None)
    assert [item["estimated"] for item in job["slices"]] == [False] * job["slice_count"]
    ended = desk.call("plan", PYTHONIOENCODING="utf-8")
    assert "time unknown, as no remote task ran yet; size unknown" in ended.out
    upper, lower, ends, *_ = picture(ended.out)
    assert set(upper.strip()) <= set(BLOCKS)
    assert lower.count("┴") == job["slice_count"] - 1
    assert ends.split() == ["2026-01-14", "00:00:00Z", "2026-01-15", "00:00:00Z"]
    assert max(map(len, ended.out.splitlines())) <= 80


def test_a_plan_goes_by_what_earlier_slices_took(desk: Desk) -> None:
    """After half the window is stored the rest is planned with a time and a size; at the end nothing is."""
    whole = desk.call("plan", "--json").document["jobs"][0]
    assert desk.call("run", "--no-progress", "--to", NOON).exit == 0
    stored = sum(path.stat().st_size for path in desk.files())
    document = desk.call("plan", "--json").document
    (job,) = document["jobs"]
    assert (job["from"], job["slices"][0]["from"]) == (whole["from"], NOON)
    assert job["lines"] == DAY_ROWS // 2
    assert 0 < job["requests"] < whole["requests"]
    assert 0 < job["duration_s"] < 60
    assert job["bytes_stored"] == pytest.approx(stored, rel=0.01)
    assert not document["complete"]
    text = desk.call("plan").out
    assert "time about" in text
    assert "size about" in text
    assert "-14 12:00:00Z" in picture(text)[2], "what is stored is not drawn at the ends"
    assert desk.call("run", "--no-progress").exit == 0
    done = desk.call("plan", "--json").document
    assert done["complete"]
    assert (done["jobs"][0]["slices"], done["jobs"][0]["requests"]) == ([], 0)
    assert "nothing to do" in desk.call("plan").out


def test_a_stored_stretch_between_is_drawn_as_one(desk: Desk) -> None:
    """What is stored in the middle of the window is neither sliced nor blank."""
    middle = ("--from", "2026-01-14T06:00:00Z", "--to", "2026-01-14T18:00:00Z")
    assert desk.call("run", "--no-progress", *middle).exit == 0
    drawn = picture(desk.call("plan", PYTHONIOENCODING="utf-8").out)
    assert "─" in drawn[1].split("·")[0]
    assert 30 <= drawn[1].count("·") <= 40
    assert "· not to be exported" in " ".join(drawn)


def test_the_plan_after_a_kill_holds_what_the_killed_run_had_planned(desk: Desk, emulator: Emulated) -> None:
    """Slices that are under way or only planned are told like new ones: together all of the window, with all
    of its lines, and nothing is counted anew."""
    emulator.behave(run_base_s=3600.0)
    desk.write_jobs(limits='disk_reserve = "1MB"\ntasks = 2')
    made = emulator.stats()["tasks_made"]
    child = desk.start("run", "--no-progress")
    give_up_at = time.monotonic() + PATIENCE_S
    while emulator.stats()["tasks_made"] < made + 2:
        assert time.monotonic() < give_up_at, child.communicate()
        time.sleep(0.05)
    child.kill()
    child.communicate()
    (job,) = desk.call("plan", "--json").document["jobs"]
    assert job["slices"][0]["from"] == job["from"]
    assert job["slices"][-1]["to"] == job["to"]
    assert all(
        left["to"] == right["from"] for left, right in zip(job["slices"], job["slices"][1:], strict=False)
    )
    assert job["lines"] == DAY_ROWS
    assert job["planning_requests"] <= 1
    assert emulator.stats()["tasks_made"] == made + 2


def test_a_plan_keeps_how_the_lines_lay_in_the_buckets_it_asked_for(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library gives what planning saw of the time inside slices, without a request of its own."""
    for name, value in desk.emulated.credentials.items():
        monkeypatch.setenv(name, value)
    (plan,) = asyncio.run(orchestrator.plan(orchestrator.load(desk.folder / "jobs.toml")))
    assert plan.seen is not None
    assert DAY_ROWS <= sum(plan.seen.lines) <= DAY_ROWS + len(plan.seen.lines)
    assert plan.planning_requests == desk.call("plan", "--json").document["jobs"][0]["planning_requests"]


def test_a_single_slice_is_looked_into_once_to_be_drawn(desk: Desk) -> None:
    """One count tells nothing of the time inside: a plan for a person asks once more, one for a program does
    not."""
    text = (desk.folder / "jobs.toml").read_text()
    (desk.folder / "jobs.toml").write_text(
        text.replace("max_lines = 5000", "").replace("01-14T00", "01-13T00", 1)
    )
    (job,) = desk.call("plan", "--json").document["jobs"]
    assert job["slice_count"] == 1
    shown = desk.call("plan", PYTHONIOENCODING="utf-8")
    asked = job["planning_requests"] + 1
    assert f"planning took {asked} requests" in shown.out
    upper, *_ = picture(shown.out)
    assert 36 <= len(upper) - len(upper.lstrip()) <= 44, "the first of the two days is empty"


def test_a_terminal_without_blocks_gets_ascii(desk: Desk) -> None:
    """No character that the encoding of stdout lacks is printed."""
    ended = desk.call("plan", PYTHONIOENCODING="ascii")
    assert ended.exit == 0
    assert ended.out.isascii()
    upper, lower, *_ = picture(ended.out)
    assert set(upper.strip()) <= set(".:-=+*%@")
    assert "|" in lower


@pytest.mark.parametrize("columns", [60, 120])
def test_the_picture_is_as_wide_as_the_terminal(desk: Desk, columns: int) -> None:
    """On a terminal the rows fill its width and no more."""
    code, drawn = on_a_terminal(desk, columns, "plan")
    assert code == 0
    upper, lower, *rest = picture(drawn)
    assert len(lower) == columns - 1
    assert max(map(len, (upper, *rest))) <= columns - 1
