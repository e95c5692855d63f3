"""Whatever a job file says, the answer is a job file or complaints, and an accepted one keeps its
promises."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator import settings
from orchestrator.core.jobfile import examine
from orchestrator.core.jobkeys import Key, keys_of
from orchestrator.core.layout import render_layout
from orchestrator.core.window import Window

NOW_S = 1.8e9
WORDS = st.sampled_from(
    [
        "",
        "x",
        "a/b",
        "..",
        "${HOME}",
        "${NO}",
        "${NO:-x}",
        "now-1h",
        "s3://b/p",
        "~/x",
        "5m",
        "1GB",
        "[::1]",
        "{job}",
    ]
)
VALUES = st.recursive(
    st.one_of(
        WORDS,
        st.text(max_size=8),
        st.booleans(),
        st.integers(-2, 2**70),
        st.floats(),
        st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)),
        st.dates(date(1, 1, 1), date(9999, 12, 31)),
        st.times(time.min, time.max),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)


def values_of(key: Key) -> st.SearchStrategy[Any]:
    """Mostly what the key allows, sometimes anything."""
    allowed = [value for value in (key.default, key.example, *key.choices) if value is not None]
    return st.one_of(st.sampled_from(allowed), st.sampled_from(allowed), VALUES)


def table_of(section: str, **always: Any) -> st.SearchStrategy[dict[str, Any]]:
    optional = {name: values_of(key) for name, key in keys_of(section).items() if name not in always}
    needed = {name: st.just(value) for name, value in always.items()}
    return st.fixed_dictionaries(needed, optional=optional)


JOBS = st.lists(
    st.one_of(
        table_of("jobs", name="a", logstore="l", destination="d", **{"from": "2026-01-01"}),
        table_of("jobs"),
        VALUES,
    ),
    max_size=3,
)
FILES = st.fixed_dictionaries(
    {
        "service": st.one_of(st.just({"region": "bj"}), table_of("service"), VALUES),
        "jobs": st.one_of(JOBS, VALUES),
    },
    optional={
        "manifest": VALUES,
        "mirror": VALUES,
        "services": st.one_of(st.dictionaries(WORDS, table_of("service"), max_size=2), VALUES),
        "limits": st.one_of(table_of("limits"), VALUES),
        "data_plane": st.one_of(table_of("data_plane"), VALUES),
        "destinations": st.one_of(st.dictionaries(WORDS, table_of("destinations"), max_size=2), VALUES),
        "defaults": st.one_of(table_of("defaults"), VALUES),
        "x": VALUES,
    },
)


@given(data=FILES, later=st.booleans())
def test_any_data_is_judged(data: dict[str, Any], later: bool) -> None:
    """No data crashes the reader, and every complaint has a place and a reason."""
    open_to_all: dict[str, Any] = {"not_yet": {}} if later else {}
    job_file, complaints = examine(
        data,
        now_s=NOW_S,
        zones=settings.zone,
        env={"HOME": "/h"},
        base_folder="/srv",
        file="f",
        **open_to_all,
    )
    assert (job_file is None) == bool(complaints)
    assert len(set(complaints)) == len(complaints)
    for complaint in complaints:
        assert complaint.key_path
        assert complaint.problem
        assert "\n" not in str(complaint)


OPTIONAL = {
    name: key
    for name, key in keys_of("jobs").items()
    if name not in {"name", "destination", "logstore", "from"}
}
SOUND_JOBS = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True),
        "logstore": st.from_regex(r"[A-Za-z0-9_.-]{1,128}", fullmatch=True),
        "from": st.datetimes(datetime(1970, 1, 2), datetime(2099, 12, 30)).map(
            lambda at: at.replace(microsecond=0)
        ),
        "destination": st.sampled_from(["a", "b/c", "/d", "~/e"]),
    },
    optional={
        "lag": st.integers(0, 10**6).map(lambda lag_s: f"{lag_s}s"),
        "to": st.sampled_from(["now", "today", "yesterday", "now-90s", "today-2d"]),
        "max_lines": st.integers(1, 10**6),
        "align": st.sampled_from(OPTIONAL["align"].choices),
        "order": st.sampled_from(OPTIONAL["order"].choices),
        "format": st.sampled_from(OPTIONAL["format"].choices),
    },
)


@given(jobs=st.lists(SOUND_JOBS, min_size=1, max_size=4, unique_by=lambda job: job["name"].casefold()))
def test_sound_jobs_are_taken(jobs: list[dict[str, Any]]) -> None:
    """Jobs that follow the rules are taken; their windows end where lag begins and their files never
    collide."""
    job_file, complaints = examine(
        {"service": {"region": "bj"}, "jobs": jobs},
        now_s=NOW_S,
        zones=settings.zone,
        env={"HOME": "/h"},
        base_folder="/srv",
        file="f",
    )
    assert complaints == ()
    assert job_file is not None
    paths = set()
    for job in job_file.jobs:
        assert job.due_until_s <= int(NOW_S) - job.lag_s
        assert (job.window is None) == (job.due_until_s <= job.from_s)
        assert job.window is None or job.window == Window(job.from_s, job.due_until_s)
        assert job.destination is not None
        zone = settings.zone(job.timezone)
        assert zone is not None
        identity = job.identity
        below = render_layout(
            job.layout, job.name, identity.project, identity.logstore, Window(0, 60), zone, identity.logstream
        )
        paths.add(f"{job.destination.url}/{below}".casefold())
    assert len(paths) == len(jobs)
