"""`run --timing` says where the time went and which limit to raise."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import Desk, Emulated

CAUSES = {"service", "throttled", "ceiling", "fetching", "converting", "planning", "other"}


def test_the_seconds_of_all_causes_are_the_run(desk: Desk, emulator: Emulated) -> None:
    """With one remote task at a time the run waits for the service, and `tasks` is what to raise; the exit is
    that of any other run."""
    emulator.behave(run_base_s=0.8)
    desk.write_jobs(limits='tasks = 1\ndisk_reserve = "1MB"')
    ended = desk.call("run", "--timing", "--json", "--no-progress", "--report", "report.json")
    assert ended.exit == 0
    timing = ended.document["timing"]
    assert set(timing["seconds"]) == CAUSES
    assert sum(timing["seconds"].values()) == pytest.approx(timing["duration_s"], abs=0.01)
    assert timing["duration_s"] == pytest.approx(ended.document["duration_s"], abs=1.0)
    assert max(timing["seconds"], key=timing["seconds"].get) == "service"
    assert any(hint.startswith("tasks = 1 was full for ") for hint in timing["hints"])
    assert json.loads((desk.folder / "report.json").read_text())["timing"] == timing


def test_a_person_reads_shares_and_hints(desk: Desk) -> None:
    """Below the verdict: a line per cause with its share, the greatest first."""
    desk.write_jobs(limits='requests_per_second = 2\ndisk_reserve = "1MB"')
    ended = desk.call("run", "--timing", "--no-progress", "--quiet")
    assert ended.exit == 0
    head, *lines = ended.out.partition("\nwhere ")[2].splitlines()
    assert head.endswith(" went:")
    shares = [int(line.split("%")[0]) for line in lines if line.strip()[:1].isdigit()]
    assert shares == sorted(shares, reverse=True)
    assert abs(sum(shares) - 100) <= 4
    assert any("requests_per_second = 2 was full for " in line for line in lines)


def test_nobody_is_told_unasked(desk: Desk) -> None:
    """Without the option nothing is noted: null in the document."""
    assert desk.call("run", "--json", "--no-progress").document["timing"] is None


def test_a_quota_of_the_service_is_told_from_a_limit_of_ours(desk: Desk, emulator: Emulated) -> None:
    """Where the service lets fewer remote tasks be made than `tasks`, it is what held the run back."""
    others = emulator.stats()["outstanding"]  # what other tests left there holds places too
    emulator.behave(run_base_s=0.5, outstanding_cap=others + 2)
    jobs = desk.folder / "jobs.toml"
    jobs.write_text(jobs.read_text().replace("max_lines = 5000", "max_lines = 1000"))
    timing = desk.call("run", "--timing", "--json", "--no-progress").document["timing"]
    assert timing["seconds"]["throttled"] > timing["duration_s"] / 4
    assert "tasks" not in timing["full_s"]
    assert any(hint.startswith("the service held us back for ") for hint in timing["hints"])
