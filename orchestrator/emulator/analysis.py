"""What an analysis statement asks for: counts, and counts per time bucket (bls-api.md 3.1, 3.2).

Only the two forms that planning a download needs are understood; everything else is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.emulator.refusal import invalid

__all__ = ["Count", "Statement", "TimeBuckets", "parse_statement"]

_UNITS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


@dataclass(frozen=True, slots=True)
class Count:
    """``select count(*) as <name>``."""

    name: str


@dataclass(frozen=True, slots=True)
class TimeBuckets:
    """``select histogram(…, interval n unit) as <time_name>, count(*) as <count_name> group by … order by
    …``."""

    width_s: int
    time_name: str
    count_name: str
    limit: int | None


@dataclass(frozen=True, slots=True)
class Statement:
    """A query: its search part (``match …`` or empty), and its analysis, if any."""

    search: str
    analysis: Count | TimeBuckets | None

    @property
    def query_type(self) -> str:
        """The service's own word for the form of the query."""
        if self.analysis is None:
            return "match"
        return "match_and_sql" if self.search else "sql"


_NAME = r"(?:`([^`]+)`|(\w+))"
_COUNT = re.compile(rf"select\s+count\s*\(\s*\*\s*\)(?:\s+as\s+{_NAME})?", re.IGNORECASE)
_BUCKETS = re.compile(
    r"select\s+histogram\s*\(\s*cast\s*\(\s*`@timestamp`\s+as\s+timestamp\s*\)\s*,"
    r"\s*interval\s+'?(?P<n>\d+)'?\s+(?P<unit>second|minute|hour|day)s?\s*\)\s+as\s+(?P<time>\w+)\s*,"
    r"\s*count\s*\(\s*\*\s*\)\s+as\s+(?P<count>\w+)"
    r"\s+group\s+by\s+(?P<group>\w+)(?:\s+order\s+by\s+(?P<order>\w+)(?:\s+asc)?)?(?:\s+limit\s+(?P<limit>\d+))?",
    re.IGNORECASE,
)


def parse_statement(query: str) -> Statement:
    """Takes a query apart. InvalidParameter for an analysis outside the two forms."""
    text = query.strip().rstrip(";").strip()
    search, bar, sql = _halves(text)
    if not bar:
        if not text.lower().startswith("select"):
            return Statement(text, None)
        search, sql = "", text
    if count := _COUNT.fullmatch(sql):
        return Statement(search, Count(count[1] or count[2] or "count(*)"))
    buckets = _BUCKETS.fullmatch(sql)
    if buckets is None:
        raise invalid(f"query: cannot analyse by {sql!r}")
    if buckets["group"] != buckets["time"] or buckets["order"] not in (None, buckets["time"]):
        raise invalid("query: group by and order by must name the histogram")
    width_s = int(buckets["n"]) * _UNITS_S[buckets["unit"].lower()]
    if width_s == 0:
        raise invalid("query: the interval must be positive")
    limit = int(buckets["limit"]) if buckets["limit"] else None
    return Statement(search, TimeBuckets(width_s, buckets["time"], buckets["count"], limit))


def _halves(text: str) -> tuple[str, str, str]:
    """What stands before and after the first bar outside quotes, and the bar itself ("" when there is
    none)."""
    quote = ""
    for place, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign == "|":
            return text[:place].strip(), "|", text[place + 1 :].strip()
    return text, "", ""
