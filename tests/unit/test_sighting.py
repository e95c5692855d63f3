"""What planning gets to see of the time inside slices is noted, and changes no answer."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.core.job import Job, JobIdentity, ServiceSpec
from orchestrator.core.window import Window
from orchestrator.engine.sighting import Sighting
from orchestrator.errors import CredentialsError, Refused
from orchestrator.ports.service import Bucket, CountUnavailable, Histogram

IDENTITY = JobIdentity("bls-log.bj.baidubce.com", "default", "web", "", "match *")
WHOLE = Window(0, 1000)
JOB = Job(
    name="web",
    identity=IDENTITY,
    service=ServiceSpec("bj", "https://bls-log.bj.baidubce.com"),
    window=WHOLE,
    due_until_s=1000,
    timezone="UTC",
)


class Service:
    """A CountApi that gives one answer to everything, or raises it, and counts."""

    def __init__(self, answer: Histogram | CountUnavailable | Exception) -> None:
        self.answer = answer
        self.asked: list[int] = []

    async def count(
        self, identity: JobIdentity, logstream: str, window: Window, *, match_all: bool = False
    ) -> int | CountUnavailable:
        return 7 if match_all else 5

    async def buckets(
        self, identity: JobIdentity, logstream: str, window: Window, width_s: int
    ) -> Histogram | CountUnavailable:
        self.asked.append(width_s)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def histogram(
        self, identity: JobIdentity, logstream: str, window: Window
    ) -> Histogram | CountUnavailable:
        return await self.buckets(identity, logstream, window, 0)


HALVES = Histogram(500.0, (Bucket(0.0, 4), Bucket(500.0, 1000)), None)


def test_answers_pass_through_and_are_noted() -> None:
    """Buckets and histograms leave their shape; each stream is seen by itself, and all are drawn together."""
    sighting = Sighting(Service(HALVES), WHOLE)
    assert sighting.seen() is None
    assert asyncio.run(sighting.buckets(IDENTITY, "a", WHOLE, 500)) is HALVES
    assert asyncio.run(sighting.histogram(IDENTITY, "b", WHOLE)) is HALVES
    seen = sighting.seen()
    assert seen is not None
    assert (seen.window, sum(seen.lines[500:])) == (WHOLE, 2000)
    assert set(seen.lines[:500]) == {1}, "less than a line in a second is still drawn"


@pytest.mark.parametrize(
    "answer",
    [
        CountUnavailable("no index"),
        Histogram(500.0, (), 0),
        Histogram(500.0, (Bucket(0.0, 4),), 4, truncated=True),
    ],
)
def test_what_says_nothing_of_time_is_not_noted(answer: Histogram | CountUnavailable) -> None:
    """No answer, no buckets, or buckets that may be cut short leave no shape; nor does a count."""
    sighting = Sighting(Service(answer), WHOLE)
    assert asyncio.run(sighting.histogram(IDENTITY, "", WHOLE)) is answer
    assert asyncio.run(sighting.count(IDENTITY, "", WHOLE)) == 5
    assert asyncio.run(sighting.count(IDENTITY, "", WHOLE, match_all=True)) == 7
    assert sighting.seen() is None


def test_a_look_is_taken_once_and_only_where_nothing_was_seen() -> None:
    """One question, about two hundred buckets; none when buckets are known, or would be too many."""
    service = Service(HALVES)
    sighting = Sighting(service, WHOLE)
    asyncio.run(sighting.look(JOB))
    asyncio.run(sighting.look(JOB))
    assert service.asked == [5]
    assert sighting.seen() is not None
    too_long = Sighting(service, Window(0, 3600 * 20_001))
    asyncio.run(too_long.look(JOB))
    assert service.asked == [5]


def test_a_look_that_is_refused_leaves_the_plan_as_it_is() -> None:
    """A picture is no reason to fail; lost keys are, as everywhere."""
    sighting = Sighting(Service(Refused("no")), WHOLE)
    asyncio.run(sighting.look(JOB))
    assert sighting.seen() is None
    with pytest.raises(CredentialsError):
        asyncio.run(Sighting(Service(CredentialsError("lost")), WHOLE).look(JOB))
