"""Which log streams a job with patterns is about, and what it is seen as stream by stream."""

from __future__ import annotations

import pytest

from orchestrator.core.job import Job
from orchestrator.core.streams import find_streams, is_all, views, with_streams
from tests.unit.test_fleets import file_of

SEEN = {"app/1": True, "app/old": True, "app/older": False, "db/1": True}


def job_of(*patterns: str) -> Job:
    return file_of({"name": "x", "logstore": "web", "logstream": list(patterns)}).jobs[0]


def test_the_patterns_stand_for_the_job_and_name_no_stream() -> None:
    """The manifest knows the job by its patterns: other patterns are another job."""
    assert job_of("app/*", "!app/9").identity.logstream == '["app/*", "!app/9"]'
    assert job_of("app/*").identity.logstream == "app/*"
    assert job_of("app/1").stream_patterns == ("app/1",)


def test_listed_streams_that_fit_are_exported() -> None:
    """What is new, what is gone and what fits nothing is told apart; a stream without a name is none."""
    found = find_streams(job_of("app/*", "cache-*", "!app/9"), ["app/1", "app/2", "app/9", "db/1", ""], SEEN)
    assert found.listed == ("app/1", "app/2")
    assert found.appeared == ("app/2",)
    assert found.gone == ("app/old", "app/older")
    assert found.vanished == ("app/old",)  # the other one was missed before
    assert found.idle == ("cache-*",)
    assert found.absent == ()


def test_a_stream_that_came_back_is_news() -> None:
    """It is listed, exported, and told to have appeared."""
    found = find_streams(job_of("app/*"), ["app/older"], SEEN)
    assert ("app/older" in found.listed, "app/older" in found.appeared) == (True, True)


def test_a_name_in_full_that_never_was_is_absent() -> None:
    """Nothing is asked for in its name; one that was there once has vanished instead."""
    found = find_streams(job_of("app/7", "app/old", "app/1"), ["app/1"], SEEN)
    assert (found.absent, found.gone) == (("app/7",), ("app/old",))


def test_offline_the_manifest_tells() -> None:
    """Streams are those that were listed when a run last looked."""
    found = find_streams(job_of("*"), None, SEEN)
    assert found.listed == ("app/1", "app/old", "db/1")
    assert found.gone == ("app/older",)
    assert (found.appeared, found.vanished) == ((), ())


def test_each_stream_is_a_view_of_the_job() -> None:
    """Name, window and form are the job's, the stream is its own; what vanished is seen only when asked."""
    job = with_streams(job_of("*"), find_streams(job_of("*"), ["b", "a"], {"gone": True}))
    assert [view.identity.logstream for view in views(job)] == ["a", "b"]
    assert [view.identity.logstream for view in views(job, gone=True)] == ["a", "b", "gone"]
    assert {(view.name, view.window, view.one_stream) for view in views(job)} == {
        (job.name, job.window, True)
    }
    assert views(views(job)[0]) == (views(job)[0],)


@pytest.mark.parametrize(
    ("patterns", "wanted"), [(("*",), True), (("*", "a"), True), (("*", "!a"), False), (("a*",), False)]
)
def test_whether_all_streams_are_meant(patterns: tuple[str, ...], wanted: bool) -> None:
    """Only then must the streams add up to the whole logstore."""
    assert is_all(job_of(*patterns)) is wanted


def test_a_job_of_one_stream_or_of_all_together_is_its_own_view() -> None:
    """Nothing changes for jobs without patterns."""
    for stream in ("", "app/1"):
        (job,) = file_of({"name": "x", "logstore": "web", "logstream": stream}).jobs
        assert views(job) == (job,)
        assert not is_all(job)
