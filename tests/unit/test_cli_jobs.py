"""Which jobs a command line means, and how a job file begins."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import orchestrator
from orchestrator.app.selection import select
from orchestrator.cli.starter import Given, starter_text
from orchestrator.core.job import JobFile
from orchestrator.core.window import Window
from orchestrator.errors import JobFileError, UsageError
from orchestrator.settings import load

NOW_S = 1_768_521_600.0
"""2026-01-16T00:00:00Z."""
DAY_S = 86_400


def jobs_of(tmp_path: Path, **changes: dict[str, object]) -> JobFile:
    jobs = [
        {
            "name": name,
            "logstore": name,
            "from": "2026-01-14",
            "to": "2026-01-15",
            "destination": name,
            **extra,
        }
        for name, extra in {"web-a": {}, "web-b": {}, "off": {"enabled": False}, **changes}.items()
    ]
    return orchestrator.JobFile.from_dict(
        {"service": {"region": "bj"}, "jobs": jobs}, folder=tmp_path, environment={}, now_s=NOW_S
    )


def names(found: JobFile) -> list[str]:
    return [job.name for job in found.jobs]


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ((), ["web-a", "web-b"]),
        (("web-*",), ["web-a", "web-b"]),
        (("web-b",), ["web-b"]),
        (("web-?", "off"), ["web-a", "web-b", "off"]),
        (("*",), ["web-a", "web-b"]),
    ],
)
def test_jobs_are_chosen_by_name_and_pattern(
    tmp_path: Path, asked: tuple[str, ...], wanted: list[str]
) -> None:
    """Without names every enabled job is meant; one that is not enabled only by its full name."""
    assert names(select(jobs_of(tmp_path), asked, now_s=NOW_S)) == wanted


def test_a_name_that_fits_nothing_is_refused(tmp_path: Path) -> None:
    """The nearest name is offered, or all there are."""
    with pytest.raises(UsageError) as near:
        select(jobs_of(tmp_path), ("web-c",), now_s=NOW_S)
    assert "did you mean web-" in near.value.hint
    with pytest.raises(UsageError) as far:
        select(jobs_of(tmp_path), ("zzz",), now_s=NOW_S)
    assert "web-a, web-b, off" in far.value.hint


def test_windows_are_narrowed_in_the_jobs_timezone(tmp_path: Path) -> None:
    """A naive time means the job's clocks."""
    found = jobs_of(tmp_path, east={"timezone": "Asia/Shanghai"})
    (job,) = select(found, ("east",), from_="2026-01-14 06:00", to="2026-01-14 12:00", now_s=NOW_S).jobs
    start_s = 1_768_348_800 - 8 * 3600 + 6 * 3600
    assert job.window == Window(start_s, start_s + 6 * 3600)
    assert job.due_until_s == start_s + 6 * 3600


@pytest.mark.parametrize(
    ("from_", "to"),
    [("2026-01-13", ""), ("", "2026-01-16"), ("2026-01-14 12:00", "2026-01-14 11:00"), ("soon", "")],
)
def test_times_outside_the_window_are_refused(tmp_path: Path, from_: str, to: str) -> None:
    """A command line cannot ask for more than the job file allows."""
    with pytest.raises(UsageError):
        select(jobs_of(tmp_path), ("web-a",), from_=from_, to=to, now_s=NOW_S)


def test_what_is_not_due_cannot_be_narrowed(tmp_path: Path) -> None:
    """A job whose window has not begun has no part to choose."""
    found = jobs_of(tmp_path, later={"from": "2026-01-15T23:58:00Z", "to": "2026-01-17"})
    with pytest.raises(UsageError, match="nothing due yet"):
        select(found, ("later",), from_="2026-01-16", now_s=NOW_S)


def test_no_enabled_job_is_an_error_and_not_a_success(tmp_path: Path) -> None:
    """A run of nothing must not look like a run that is complete."""
    found = jobs_of(tmp_path, **{"web-a": {"enabled": False}, "web-b": {"enabled": False}})
    with pytest.raises(UsageError, match="no job is enabled"):
        select(found, now_s=NOW_S)


# --- the library's job file


def test_a_job_file_can_come_from_a_dict(tmp_path: Path) -> None:
    """Programs need no TOML; relative paths start at the folder given."""
    found = jobs_of(tmp_path)
    assert isinstance(found, orchestrator.JobFile)
    assert found.manifest == str(tmp_path / "orchestrator.db")


def test_a_dict_with_mistakes_raises_all_complaints() -> None:
    """The same judgement as for a file."""
    with pytest.raises(JobFileError) as raised:
        orchestrator.JobFile.from_dict(
            {"service": {"regoin": "bj"}, "jobs": [{"name": "a b"}]}, environment={}
        )
    assert len(raised.value.complaints) > 2


def test_a_loaded_file_is_of_the_public_type(tmp_path: Path) -> None:
    """What `load` gives is what `from_dict` gives."""
    (tmp_path / "jobs.toml").write_text(
        starter_text(Given("bj", "", "default", "web", "archive", "2026-01-01"))
    )
    assert isinstance(orchestrator.load(tmp_path / "jobs.toml"), orchestrator.JobFile)


def test_every_public_name_can_be_had() -> None:
    """`__all__` promises nothing that is not there."""
    assert all(hasattr(orchestrator, name) for name in orchestrator.__all__)
    assert set(orchestrator.__all__) == set(dir(orchestrator))
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = orchestrator.absent


# --- the starter file


@pytest.mark.parametrize(
    "given",
    [
        Given("bj", "", "default", "web-access", "archive", "2026-01-01"),
        Given("", "http://127.0.0.1:8700", "p-1", "web.access_2", "o u t", "now-6h"),
    ],
)
def test_the_starter_file_is_valid(tmp_path: Path, given: Given) -> None:
    """What init writes, check accepts, and every answer arrives where it belongs."""
    path = tmp_path / "jobs.toml"
    path.write_text(starter_text(given), encoding="utf-8")
    (job,) = load(path, now_s=NOW_S, env={}).jobs
    assert job.identity.logstore == given.logstore
    assert job.destination is not None
    assert job.destination.url == str(tmp_path / given.destination)


@pytest.mark.parametrize("answer", ['a "quoted" name', "back\\slash", "日志", "tab\there", "]\n[limits]"])
def test_no_answer_breaks_the_file(answer: str) -> None:
    """Answers are TOML strings, whatever a person typed."""
    read = tomllib.loads(starter_text(Given("bj", "", answer, answer, answer, answer)))
    (job,) = read["jobs"]
    assert (job["logstore"], job["project"], job["destination"], job["from"]) == (answer,) * 4


def test_the_commented_keys_are_right_too(tmp_path: Path) -> None:
    """Taking the comment signs away leaves a file that is still valid."""
    text = starter_text(Given("bj", "", "default", "web", "archive", "2026-01-01"))
    opened = [
        line.removeprefix("# ") if " = " in line or "[limits]" in line else line for line in text.splitlines()
    ]
    (tmp_path / "jobs.toml").write_text("\n".join(opened), encoding="utf-8")
    found = load(tmp_path / "jobs.toml", now_s=1_770_000_000.0, env={})
    assert found.jobs[0].timezone == "Asia/Shanghai"
    assert found.limits.bandwidth_bytes_per_s == 200_000_000
