"""What `logstores` shows of answers that say little, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from orchestrator.app.listing import Listing, list_logstores
from orchestrator.cli.asked import Asked
from orchestrator.cli.ending import Stage
from orchestrator.cli.listing import logstores
from orchestrator.core.job import JobFile
from orchestrator.errors import Refused, ServiceFault
from orchestrator.ports.service import LogStore
from tests.unit.test_fleets import file_of

STORES = {
    "default": (
        LogStore("default", "bare"),
        LogStore("default", "told", 30, True, 1_768_348_800.0),
        LogStore("default", "asked", 3650, None, 0.0),
    ),
    "shop": (LogStore("shop", "till", 7, False),),
}


class Meta:
    """Lists what there is; of ``bare`` nobody knows whether it has an index."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def list_logstores(self, project: str) -> tuple[LogStore, ...]:
        if project not in STORES:
            raise Refused("no such project", status=404, service_code="ProjectNotFound")
        return STORES[project]

    async def has_index(self, project: str, logstore: str) -> bool | None:
        self.asked.append(logstore)
        if logstore == "bare":
            raise ServiceFault("500", status=500)
        return True


@pytest.fixture
def meta(monkeypatch: pytest.MonkeyPatch) -> Meta:
    made = Meta()

    @asynccontextmanager
    async def asking(job_file: JobFile, outside: object) -> AsyncIterator[dict[Any, Meta]]:
        jobs = (*job_file.jobs, *(fleet.template for fleet in job_file.fleets))
        yield {job.service: made for job in jobs}

    monkeypatch.setattr("orchestrator.app.listing.asking", asking)
    return made


def listed(job_file: JobFile, **options: str) -> Listing:
    outside: Any = None
    return asyncio.run(list_logstores(job_file, outside, **options))


def test_what_the_service_does_not_say_is_asked_or_left_unknown(meta: Meta) -> None:
    """Retention that is not stated is unknown; an index is asked for where the list does not tell, and is
    unknown when that fails too."""
    found = [
        (store.name, store.retention_days, store.index_enabled) for _, store in listed(file_of({})).stores
    ]
    assert found == [("asked", 3650, True), ("bare", None, None), ("told", 30, True)]
    assert sorted(meta.asked) == ["asked", "bare"]


def test_projects_are_those_of_the_jobs_or_the_one_that_is_named(meta: Meta) -> None:
    """Each project once, fleets included; a project that is refused leaves the others."""
    tables = [{}, {"name": "y-{logstore}", "project": "shop"}, {"name": "z-{logstore}", "project": "gone"}]
    job_file = file_of(*tables)
    found = listed(job_file)
    assert [place.project for place, _ in found.stores] == ["default"] * 3 + ["shop"]
    assert [(place.project, fault.service_code) for place, fault in found.faults] == [
        ("gone", "ProjectNotFound")
    ]
    assert [store.name for _, store in listed(job_file, project="shop").stores] == ["till"]


def test_the_table_says_unknown(
    meta: Meta, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person sees days, "for ever" or "unknown", and an exit that tells of what was refused."""
    monkeypatch.setattr(
        "orchestrator.cli.listing.read_job_file",
        lambda _: file_of({}, {"name": "z-{logstore}", "project": "gone"}),
    )
    assert logstores(Stage(Asked("logstores")), project="") == 5
    told = capsys.readouterr()
    rows = [line.split() for line in told.out.splitlines()]
    assert ["bj", "default", "bare", "unknown", "unknown", "unknown"] in rows
    assert ["bj", "default", "told", "30", "days", "yes", "2026-01-14T00:00:00Z"] in rows
    assert ["bj", "default", "asked", "for", "ever", "yes", "1970-01-01T00:00:00Z"] in rows
    assert "project gone at bj: no such project" in told.err
