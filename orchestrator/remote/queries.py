"""How is a question about records put: which call, which path, which words (bls-api.md 3)?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from orchestrator.core.job import JobIdentity
from orchestrator.core.window import Window, iso_utc
from orchestrator.errors import Refused
from orchestrator.ports.control import Family
from orchestrator.remote.session import Call

__all__ = ["bucket_query", "count_query", "histogram_call", "query_call", "search_of", "segment"]

_MOST_ROWS: Final = 100_000
"""Rows of one analysis (bls-api.md 3.1). Said in the query, because what holds without a word is unknown."""
_UNITS: Final = ((3600, "hour"), (60, "minute"), (1, "second"))


def search_of(identity: JobIdentity) -> str:
    """The job's query; everything when it has none."""
    return identity.query.strip() or "match *"


def count_query(identity: JobIdentity, *, match_all: bool) -> str:
    """How many records there are; ``match_all``: without any match part."""
    return "select count(*) as c" if match_all else f"{search_of(identity)} | select count(*) as c"


def bucket_query(identity: JobIdentity, width_s: int) -> str:
    """How many records there are per ``width_s`` (bls-api.md 3.2)."""
    unit_s, unit = next(pair for pair in _UNITS if width_s % pair[0] == 0)
    return (
        f"{search_of(identity)} | select histogram(cast(`@timestamp` as timestamp), "
        f"interval {width_s // unit_s} {unit}) as h, count(*) as c group by h order by h limit {_MOST_ROWS}"
    )


def query_call(
    identity: JobIdentity, logstream: str, window: Window, query: str, more: Iterable[tuple[str, str]] = ()
) -> Call:
    """QueryLogRecord (bls-api.md 3.1)."""
    path = f"/v1/logstore/{segment(identity.logstore)}/logrecord"
    return Call(Family.QUERY, "GET", path, [*_where(identity, logstream, query, window), *more])


def histogram_call(identity: JobIdentity, logstream: str, window: Window) -> Call:
    """QueryLogHistogram (bls-api.md 3.3)."""
    path = f"/v2/logstore/{segment(identity.logstore)}/loghistogram"
    return Call(Family.HISTOGRAM, "GET", path, _where(identity, logstream, search_of(identity), window))


def _where(identity: JobIdentity, logstream: str, query: str, window: Window) -> Sequence[tuple[str, str]]:
    return (
        ("project", identity.project),
        *((("logStreamName", logstream),) if logstream else ()),
        ("query", query),
        ("startDateTime", iso_utc(window.start_s)),
        ("endDateTime", iso_utc(window.end_s)),
    )


def segment(name: str) -> str:
    """``name`` as one part of a path. A slash or a dot segment would make another call of it."""
    if not name or "/" in name or name in (".", ".."):
        raise Refused(f"{name!r} cannot stand in an address", hint="check the names in the job file")
    return name
