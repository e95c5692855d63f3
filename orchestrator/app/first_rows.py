"""The first few rows of a window by asking for them: no remote task, no state, as a rule one call."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import orjson

from orchestrator.app.library import planning
from orchestrator.core.job import Job
from orchestrator.core.window import Window
from orchestrator.dataplane.inorder import Region
from orchestrator.dataplane.sniff import Shape
from orchestrator.dataplane.times import AUTO_FIELDS, millisecond_of
from orchestrator.errors import MalformedAnswer, Refused, Throttled
from orchestrator.remote.client import BlsClient

if TYPE_CHECKING:
    from orchestrator.app.pull import Pull
    from orchestrator.app.wiring import Outside

__all__ = ["MOST", "FirstRows", "first_rows", "found_in"]

MOST = 1_000
"""As many records as one query gives (bls-api.md 6)."""
MOST_PAGES = 50
SMALLEST_PAGE = 10
_Fields = dict[str, object]


@dataclass(frozen=True, slots=True)
class FirstRows:
    """What was found, earliest first. ``cut_short`` says why rows may be missing, "" when none is."""

    rows: tuple[_Fields, ...]
    requests: dict[str, int] = field(default_factory=dict)
    cut_short: str = ""

    @property
    def region(self) -> Region:
        """The rows as lines of JSON."""
        return Region(b"".join(orjson.dumps(row) + b"\n" for row in self.rows), Shape.JSON_LINES)


async def first_rows(pull: Pull, outside: Outside, limit: int) -> FirstRows:
    """The first ``limit`` rows of the pull's window in time order. A page that comes short with a word that
    there is more is followed by the next one. Raises ServiceError, Refused, CredentialsError."""
    async with planning(pull.job_file, outside) as house:
        (context,) = house.contexts
        client = context.counts
        assert isinstance(client, BlsClient)  # noqa: S101  wiring makes no other
        try:
            found = await found_in(client, pull.job, pull.window, limit)
        except (Refused, Throttled) as refused:
            if refused.status in (401, 403, 404) or refused.status >= 429:
                raise
            raise Refused(
                str(refused),
                status=refused.status,
                service_code=refused.service_code,
                request_id=refused.request_id,
                hint="a query needs an index on the logstore; without --limit, or with more than "
                f"{MOST:,} rows, remote tasks bring them, which need none",
            ) from None
        return replace(found, requests=dict(house.room.requests()))


async def found_in(client: BlsClient, job: Job, window: Window, limit: int) -> FirstRows:
    """The first ``limit`` rows of ``window``, page by page. Raises what a query raises."""
    found: list[_Fields] = []
    marker, page_rows, cut_short = "", limit, ""
    for _ in range(MOST_PAGES):
        asked = min(page_rows, limit - len(found))
        try:
            page = await client.rows(job.identity, job.identity.logstream, window, limit=asked, marker=marker)
        except MalformedAnswer:
            # Perhaps it was more than an answer may hold: a thousand records can take half a gigabyte.
            if page_rows <= SMALLEST_PAGE:
                raise
            page_rows = max(SMALLEST_PAGE, page_rows // 8)
            continue
        found += page.rows
        cut_short = page.cut_short
        if len(found) >= limit:
            return FirstRows(_dated_inside(found, window)[:limit])
        if not page.next_marker or page.next_marker == marker or not page.rows:
            break
        marker = page.next_marker
    return FirstRows(_dated_inside(found, window), cut_short=cut_short)


def _dated_inside(rows: list[_Fields], window: Window) -> tuple[_Fields, ...]:
    """Rows of the window by time; one without a readable time stays behind the row before it."""
    dated: list[tuple[int, _Fields]] = []
    last_ms = window.start_s * 1000
    for row in rows:
        at_ms = next((millisecond_of(row[name]) for name in AUTO_FIELDS if name in row), None)
        last_ms = last_ms if at_ms is None else at_ms
        if window.start_s * 1000 <= last_ms < window.end_s * 1000:
            dated.append((last_ms, row))
    dated.sort(key=lambda pair: pair[0])
    return tuple(row for _, row in dated)
