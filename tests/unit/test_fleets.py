"""Which jobs a table with a pattern of logstores stands for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator.app.selection import select
from orchestrator.cli.fleets import fleet_json, masked
from orchestrator.core.fleets import Found, find, fits_template, without_collisions
from orchestrator.core.job import Fleet, JobFile, JobIdentity
from orchestrator.errors import JobFileError, UsageError

NOW_S = 1_768_521_600.0
TABLE: dict[str, Any] = {
    "name": "x-{logstore}",
    "logstore": ["web-*", "!web-test"],
    "from": "2026-01-14",
    "to": "2026-01-15",
    "destination": "archive",
}


def file_of(*tables: dict[str, Any]) -> JobFile:
    jobs = [{**TABLE, **table} for table in tables or ({},)]
    return orchestrator.JobFile.from_dict(
        {"service": {"region": "bj"}, "jobs": jobs}, folder=Path("/srv"), environment={}, now_s=NOW_S
    )


def fleet_of(**table: Any) -> Fleet:
    (fleet,) = file_of(table).fleets
    return fleet


def identity(logstore: str, **changes: str) -> JobIdentity:
    return JobIdentity(**{**FIRST, "logstore": logstore, **changes})


FIRST = {"service": "bj", "project": "default", "logstream": "", "query": "match *"}


def names(found: Found) -> list[str]:
    return [job.name for job in found.jobs]


def test_there_is_one_job_per_match_in_order() -> None:
    """Each logstore that fits becomes a job of its own name, sorted; all else is the table's."""
    found = find(fleet_of(), ["web-b", "api", "web-test", "web-a"], {})
    assert names(found) == ["x-web-a", "x-web-b"]
    assert [job.identity for job in found.jobs] == [identity("web-a"), identity("web-b")]
    assert found.jobs[0].window == fleet_of().template.window
    assert (found.vanished, found.idle, found.unfit) == ((), (), ())


def test_a_logstore_that_is_no_longer_listed_keeps_its_job() -> None:
    """What the manifest has a job of stays one, and is told to have vanished."""
    found = find(fleet_of(), ["web-a"], {"x-web-a": identity("web-a"), "x-web-old": identity("web-old")})
    assert names(found) == ["x-web-a", "x-web-old"]
    assert found.vanished == ("x-web-old",)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("web-old", identity("web-old")),  # not named by this table
        ("x-web-test", identity("web-test")),  # excluded now
        ("x-web-old", identity("web-old", project="shop")),
        ("x-web-old", identity("web-old", service="gz")),
    ],
)
def test_jobs_of_others_are_not_remembered(name: str, known: JobIdentity) -> None:
    """Only a job that this table would make is taken for its own."""
    assert names(find(fleet_of(), None, {name: known})) == []


def test_offline_the_manifest_and_full_names_tell() -> None:
    """Without a listing the jobs are those named in full and those the manifest has, and none is missed."""
    fleet = fleet_of(logstore=["web-*", "api"])
    found = find(fleet, None, {"x-web-a": identity("web-a")})
    assert names(found) == ["x-api", "x-web-a"]
    assert (found.listed, found.vanished, found.idle) == (False, (), ())


def test_a_name_that_no_job_can_have_stops_that_match_alone() -> None:
    """Too long a name is told with its logstore; the others go on."""
    found = find(fleet_of(), ["web-" + "y" * 80, "web-a"], {})
    assert names(found) == ["x-web-a"]
    assert [(item.logstore, "1 to 64" in item.problem) for item in found.unfit] == [("web-" + "y" * 80, True)]


def test_names_that_collide_stop_the_later_match_alone() -> None:
    """A job of the file, or of an earlier table, keeps its name; the later one is told."""
    job_file = file_of(
        {"name": "x-web-a", "logstore": "special", "destination": "b"}, {}, {"logstore": ["web-b*"]}
    )
    first, second = job_file.fleets
    founds = without_collisions(
        [find(first, ["web-a", "web-b"], {}), find(second, ["web-b", "web-bb"], {})], job_file.jobs
    )
    assert [names(found) for found in founds] == [["x-web-b"], ["x-web-bb"]]
    assert [(item.job, item.problem) for found in founds for item in found.unfit] == [
        ("x-web-a", "the name of job x-web-a too"),
        ("x-web-b", "the name of job x-web-b of jobs[1] too"),
    ]


def test_paths_that_differ_in_case_alone_collide() -> None:
    """Two logstores whose files could have one name where letters' case is ignored do not both run."""
    (found,) = without_collisions([find(fleet_of(logstore=["*"]), ["Web", "web"], {})], ())
    assert names(found) == ["x-Web"]
    assert ["same paths" in item.problem for item in found.unfit] == [True]


def test_paths_that_differ_in_a_digit_do_not_collide() -> None:
    """Nor does a job that has no files of its own with anything."""
    fleet = fleet_of(logstore=["*"])
    delivered = replace(fleet, template=replace(fleet.template, name="d-{logstore}", destination=None))
    founds = [find(each, ["web-1", "web-2"], {}) for each in (fleet, delivered)]
    settled = without_collisions(founds, ())
    assert [names(found) for found in settled] == [["x-web-1", "x-web-2"], ["d-web-1", "d-web-2"]]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("x-web-a", True), ("x-web-test", False), ("web-a", False), ("x-", False), ("x-api", False)],
)
def test_whether_a_name_could_be_a_fleets(name: str, wanted: bool) -> None:
    """A name is possible when the logstore in it fits the pattern."""
    assert fits_template(fleet_of(), name) is wanted


def test_a_name_with_the_logstore_in_it_twice() -> None:
    """Both places must agree."""
    fleet = fleet_of(name="{logstore}.{logstore}")
    assert fits_template(fleet, "web-a.web-a")
    assert not fits_template(fleet, "web-a.web-b")
    assert names(find(fleet, ["web-a"], {})) == ["web-a.web-a"]


@pytest.mark.parametrize(
    ("changes", "place", "allowed"),
    [
        ({"name": "web"}, "jobs[0].name", '"{logstore}" in it'),
        (
            {"layout": "{start:%Y%m%dT%H%M%S%z}_{end:%Y%m%dT%H%M%S%z}"},
            "jobs[0].layout",
            "{job} or {logstore}",
        ),
    ],
)
def test_a_pattern_needs_room_in_name_and_layout(changes: dict[str, Any], place: str, allowed: str) -> None:
    """One name, or one set of paths, for many logstores is refused before anything is asked."""
    with pytest.raises(JobFileError) as refused:
        file_of(changes)
    assert place in str(refused.value)
    assert allowed in str(refused.value)


def test_a_call_may_name_jobs_that_are_not_known_yet() -> None:
    """A name that a fleet could have, and any wildcard, leaves the fleet in; a name that fits nothing is
    refused."""
    job_file = file_of({"name": "plain", "logstore": "api", "destination": "b"}, {})
    assert [f.only for f in select(job_file, ("x-web-a",), now_s=NOW_S).fleets] == [("x-web-a",)]
    chosen = select(job_file, ("plain",), now_s=NOW_S)
    assert ([job.name for job in chosen.jobs], chosen.fleets) == (["plain"], ())
    assert [job.name for job in select(job_file, ("x-web-a",), now_s=NOW_S).others] == ["plain"]
    with pytest.raises(UsageError, match="no job fits --job x-api"):
        select(job_file, ("x-api",), now_s=NOW_S)


def test_a_fleet_that_is_not_enabled_wants_full_names() -> None:
    """As with single jobs: without names and by wildcard it is left out."""
    job_file = file_of({"name": "plain", "logstore": "api", "destination": "b"}, {"enabled": False})
    assert select(job_file, (), now_s=NOW_S).fleets == ()
    assert select(job_file, ("*",), now_s=NOW_S).fleets == ()
    assert len(select(job_file, ("x-web-a",), now_s=NOW_S).fleets) == 1


def test_a_fleet_answers_to_its_own_name() -> None:
    """The name as written, braces and all, means every job of the table, enabled or not."""
    job_file = file_of({"name": "plain", "logstore": "api", "destination": "b"}, {"enabled": False})
    chosen = select(job_file, ("x-{logstore}",), now_s=NOW_S)
    assert chosen.jobs == ()
    (fleet,) = chosen.fleets
    assert (fleet.only, fleet.template.enabled) == ((), True)


def test_what_is_shown_of_a_fleet_is_safe_to_show() -> None:
    """What came from the environment is hidden, and a logstore's name cannot steer a terminal."""
    found = find(fleet_of(project="shop-secret"), ["web-\x1b[2J", "web-a"], {})
    told = fleet_json(masked(found, lambda text: text.replace("shop-secret", "***")))
    assert (told["project"], told["jobs"]) == ("***", ["x-web-a"])
    assert told["unfit"][0]["logstore"] == "web-\N{REPLACEMENT CHARACTER}[2J"
    assert "shop-secret" not in str(told)
