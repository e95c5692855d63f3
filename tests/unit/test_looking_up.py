"""How patterns are looked up: what is asked, how often, and what is remembered of the answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from orchestrator.app.fleets import as_listed, as_remembered, note_news, vanished_since
from orchestrator.app.selection import select
from orchestrator.core.fleets import Resolved
from orchestrator.core.job import JobFile
from orchestrator.errors import Refused, UsageError
from orchestrator.manifest.store import SqliteManifest, open_memory
from orchestrator.ports.service import LogStore
from orchestrator.ports.store import Changes
from tests.unit.test_fleets import NOW_S, file_of
from tests.unit.test_tally import Still


@dataclass
class Meta:
    """Lists of logstores and streams, one per time it is asked; the last one stays."""

    stores: list[tuple[str, ...] | Refused] = field(default_factory=lambda: [("web-a", "web-b")])
    streams: list[tuple[str, ...] | Refused] = field(default_factory=lambda: [("a",)])
    asked: Counter[str] = field(default_factory=Counter)

    async def list_logstores(self, project: str) -> tuple[LogStore, ...]:
        names = self._next(f"stores of {project}", self.stores)
        return tuple(LogStore(project, name) for name in names)

    async def list_logstreams(self, project: str, logstore: str) -> tuple[str, ...]:
        return self._next(f"streams of {logstore}", self.streams)

    def _next(self, what: str, answers: list[tuple[str, ...] | Refused]) -> tuple[str, ...]:
        self.asked[what] += 1
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Refused):
            raise answer
        return answer


def told(story: Callable[[SqliteManifest], Awaitable[None]]) -> None:
    """Tells a story with a manifest in memory."""
    memory = open_memory(now=lambda: 1.0, new_id=lambda: "0123456789abcdef")

    async def whole() -> None:
        async with asyncio.timeout(30):
            await story(memory.reopen())

    asyncio.run(whole())


async def looked_up(job_file: JobFile, meta: Any, manifest: SqliteManifest) -> Resolved:
    jobs = (*job_file.jobs, *(fleet.template for fleet in job_file.fleets))
    return await as_listed(job_file, {job.service: meta for job in jobs}, manifest)


def names(resolved: Resolved) -> list[str]:
    return [job.name for job in resolved.job_file.jobs]


def test_a_project_is_listed_once_for_all_its_fleets() -> None:
    """Two tables of one project share an answer; another project has its own."""

    async def story(manifest: SqliteManifest) -> None:
        tables = [{"logstore": "web-a*"}, {"logstore": "web-b*"}, {"name": "y-{logstore}", "project": "shop"}]
        meta = Meta()
        resolved = await looked_up(file_of(*tables), meta, manifest)
        assert names(resolved) == ["x-web-a", "x-web-b", "y-web-a", "y-web-b"]
        assert meta.asked == {"stores of default": 1, "stores of shop": 1}

    told(story)


def test_without_patterns_nothing_is_asked() -> None:
    """A file of plain jobs is as it was."""

    async def story(manifest: SqliteManifest) -> None:
        meta = Meta()
        plain = file_of({"name": "plain", "logstore": "web-a"})
        assert (await looked_up(plain, meta, manifest)).job_file == plain
        assert (await as_remembered(plain, manifest)).job_file == plain
        assert meta.asked == {}

    told(story)


def test_news_are_kept_once() -> None:
    """A logstore that stays away, and a stream that stays, are one line of the journal however many nights
    pass."""

    async def story(manifest: SqliteManifest) -> None:
        job_file = file_of({"logstream": "*"})
        meta, still = Meta(), Still()
        first = await looked_up(job_file, meta, manifest)
        await manifest.commit(Changes(jobs=first.job_file.jobs))
        await note_news(first, manifest, still, still)
        meta.stores = [("web-a",)]
        meta.streams = [()]
        for _ in range(3):
            night = await looked_up(job_file, meta, manifest)
            await note_news(night, manifest, still, still)
            assert (names(night), night.found[0].vanished) == (["x-web-a", "x-web-b"], ("x-web-b",))
        told = [(line.entry.event, line.entry.job) for line in await manifest.listings("x-web-b")]
        assert told == [
            ("stream_listed", "x-web-b"),
            ("stream_vanished", "x-web-b"),
            ("logstore_vanished", "x-web-b"),
        ]
        remembered = await as_remembered(job_file, manifest)
        assert [job.gone_streams for job in remembered.job_file.jobs] == [("a",), ("a",)]
        assert await vanished_since(remembered.job_file.jobs[1], manifest) == still.now()
        assert still.said.count("fleet.logstore_lost") == 3
        meta.stores = [("web-a", "web-b")]
        await note_news(await looked_up(job_file, meta, manifest), manifest, still, still)
        assert await vanished_since(remembered.job_file.jobs[1], manifest) is None

    told(story)


def test_a_stream_that_is_missed_is_looked_for_twice() -> None:
    """One list that lacks it does not make it vanish; only the missing of what was there asks again."""

    async def story(manifest: SqliteManifest) -> None:
        job_file = file_of({"name": "x", "logstore": "web", "logstream": "*"})
        meta, still = Meta(streams=[("a", "b")]), Still()
        await note_news(await looked_up(job_file, meta, manifest), manifest, still, still)
        assert meta.asked["streams of web"] == 1
        meta.streams = [("a",), ("a", "b", "c")]
        found = (await looked_up(job_file, meta, manifest)).streams["x"]
        assert (found.listed, found.gone, meta.asked["streams of web"]) == (("a", "b", "c"), (), 3)

    told(story)


def test_streams_that_cannot_be_listed_stop_their_job() -> None:
    """It keeps what is known, and nothing of it is begun."""

    async def story(manifest: SqliteManifest) -> None:
        job_file = file_of(
            {"name": "x", "logstore": "web", "logstream": "*"},
            {"name": "y", "logstore": "api", "destination": "b"},
        )
        meta = Meta(streams=[Refused("not allowed", status=403)])
        resolved = await looked_up(job_file, meta, manifest)
        assert (list(resolved.stopped), names(resolved)) == (["x"], ["x", "y"])

    told(story)


def test_news_of_another_job_are_not_kept() -> None:
    """Under a name that the manifest holds another job of, nothing is written down: the run refuses it."""

    async def story(manifest: SqliteManifest) -> None:
        (known,) = file_of({"name": "x", "logstore": "other", "logstream": "*"}).jobs
        await manifest.commit(Changes(jobs=(known,)))
        job_file = file_of({"name": "x", "logstore": "web", "logstream": "*"})
        still = Still()
        await note_news(await looked_up(job_file, Meta(), manifest), manifest, still, still)
        assert await manifest.listings("x") == ()

    told(story)


def test_a_name_that_fits_no_job_after_all_is_refused() -> None:
    """A wildcard is taken on trust until the logstores are known; offline a call about nothing is refused."""

    async def story(manifest: SqliteManifest) -> None:
        asked = select(file_of({}), ("y-*",), now_s=NOW_S)
        with pytest.raises(UsageError, match="no job fits --job y-"):
            await looked_up(asked, Meta(), manifest)
        with pytest.raises(UsageError, match="no job fits --job y-"):
            await as_remembered(asked, manifest)
        some = select(file_of({}), ("x-web-b",), now_s=NOW_S)
        assert names(await looked_up(some, Meta(), manifest)) == ["x-web-b"]

    told(story)
