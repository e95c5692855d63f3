"""What each call's success says, in the types of ``core.model`` and ``ports.service`` (bls-api.md 2 to 4)."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final

from orchestrator.core.model import RemoteState, RemoteTaskStatus, TaskPage
from orchestrator.core.redact import PresignedLink
from orchestrator.core.window import Window
from orchestrator.ports.service import Bucket, CountUnavailable, Histogram, LogStore
from orchestrator.remote.wire import Fields, payload, whole_number

__all__ = [
    "count_of",
    "created_uuid",
    "histogram_of",
    "index_of",
    "link_of",
    "logstore_of",
    "names_of",
    "task_of",
    "tasks_of",
]

_UUID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What we put into a path. The service names uuids; a name with a slash in it would be another call."""
_FOREVER_INTERVAL_S: Final = 10**10


def created_uuid(found: object, request_id: str) -> str:
    """The uuid in the answer to CreateDownloadTask. Raises MalformedAnswer without one."""
    return _uuid(payload(found, "CreateDownloadTask", request_id))


def task_of(found: object, request_id: str) -> RemoteTaskStatus:
    """The remote task in the answer to DescribeDownloadTask."""
    return _status(payload(found, "DescribeDownloadTask", request_id).section("task"))


def tasks_of(
    found: object, request_id: str, server_at: float | None, only: Container[str] | None = None
) -> TaskPage:
    """The page in the answer to ListDownloadTask; with ``only`` as ``TaskApi.list_page`` says."""
    page = payload(found, "ListDownloadTask", request_id)
    if "tasks" not in page.values and page.number("total", "totalCount") != 0:
        raise page.wrong("tasks", "a list", "nothing")
    return TaskPage(
        tasks=tuple(_status(item, only) for item in page.sections("tasks")),
        page_size=page.number("pageSize") or None,
        total=page.number("total", "totalCount"),
        server_at=server_at,
    )


def link_of(found: object, request_id: str) -> PresignedLink:
    """The link in the answer to GetDownloadTaskLink. Raises MalformedAnswer when it is no http(s) address."""
    result = payload(found, "GetDownloadTaskLink", request_id)
    link = result.text("link").strip()
    if not link.lower().startswith(("http://", "https://")):
        raise result.wrong("link", "an http(s) address", "another text" if link else "nothing")
    return PresignedLink(link)


def count_of(found: object, request_id: str) -> int | CountUnavailable:
    """The one number in the answer to a counting QueryLogRecord. A truncated answer is a lower bound, so no
    count."""
    call = "QueryLogRecord"
    answer = payload(found, call, request_id)
    result = answer.section("resultSet")
    scanned = answer.section_or_none("datasetScanInfo")
    if result.truth("isTruncated") or (scanned is not None and scanned.truth("isTruncated")):
        why = result.text("truncatedReason") or (scanned.text("truncatedReason") if scanned else "")
        return CountUnavailable(f"the count was cut short{f': {why}' if why else ''}", too_much=True)
    rows = result.items("rows")
    row = rows[0] if len(rows) == 1 else None
    if not isinstance(row, list) or len(row) != 1:
        raise result.wrong("rows", "one row of one column", f"{len(rows)} rows")
    try:
        lines = whole_number(row[0])
    except (TypeError, ValueError) as odd:
        raise result.wrong("rows[0][0]", "a whole number", str(odd)) from None
    if lines is None or lines < 0:
        raise result.wrong("rows[0][0]", "a whole number", "nothing" if lines is None else "a negative one")
    return lines


def histogram_of(found: object, request_id: str, window: Window) -> Histogram:
    """The buckets in the answer to QueryLogHistogram, oldest first, as served: gaps, partial ends and all.

    Without a usable interval the whole window counts as one.
    """
    answer = payload(found, "QueryLogHistogram", request_id)
    total = answer.section_or_none("searchInfo")
    statistic = answer.section_or_none("searchStatistic", "searchStatics")
    if total is None and statistic is None:
        raise answer.wrong("searchStatistic", "an object", "nothing")
    buckets = []
    interval_ms = None
    if statistic is not None:
        interval_ms = statistic.number("interval")
        for bucket in statistic.sections("histogram"):
            key, lines = bucket.number("key"), bucket.number("doc_count", "docCount")
            if key is None or lines is None:
                raise bucket.wrong("key" if key is None else "doc_count", "a whole number", "nothing")
            buckets.append(Bucket(key / 1000, lines))
    return Histogram(
        interval_s=min(interval_ms / 1000, _FOREVER_INTERVAL_S) if interval_ms else float(window.length_s),
        buckets=tuple(sorted(buckets, key=lambda bucket: bucket.start_s)),
        hits=total.number("hits") if total else None,
        truncated=bool(total and total.truth("isTruncated")),
    )


def logstore_of(found: object, request_id: str, project: str, logstore: str) -> LogStore:
    """The metadata in the answer to DescribeLogStore."""
    return _logstore(payload(found, "DescribeLogStore", request_id), project, logstore)


def names_of(found: object, request_id: str, project: str, call: str) -> tuple[list[LogStore], int | None]:
    """One page of ListLogStore or ListLogStream, streams as nameless-but-for-name logstores, and the total if
    given."""
    page = payload(found, call, request_id)
    field = "logStoreName" if call == "ListLogStore" else "logStreamName"
    items = [_logstore(item, project, item.text(field)) for item in page.sections("result")]
    return [item for item in items if item.name], page.number("totalCount", "total")


def index_of(found: object, request_id: str) -> bool | None:
    """Whether the answer to the index call shows an index; None when it does not say."""
    index = payload(found, "DescribeIndex", request_id)
    if "fulltext" not in index.values and "fields" not in index.values:
        return None
    return bool(index.truth("fulltext") or index.values.get("fields"))


_GOES_ON = frozenset({RemoteState.WAITING, RemoteState.RUNNING})


def _status(task: Fields, only: Container[str] | None = None) -> RemoteTaskStatus:
    if only is not None:
        # A page may hold a hundred, of which few have news: what is not looked at is not read.
        uuid, state = _uuid(task), task.text("state")
        if uuid not in only:
            return RemoteTaskStatus(uuid)
        if state in _GOES_ON:
            rows, created_at = task.number("writtenRows"), task.moment("createdTime")
            return RemoteTaskStatus(uuid, state=state, written_rows=rows, created_at=created_at)
    start, end = task.moment("queryStartTime"), task.moment("queryEndTime")
    return RemoteTaskStatus(
        uuid=_uuid(task),
        name=task.text("name"),
        state=task.text("state"),
        project=task.text("project"),
        logstore=task.text("logStoreName"),
        logstream=task.text("logStreamName") if "logStreamName" in task.values else None,
        query=task.text("query"),
        start_s=None if start is None else int(start),
        end_s=None if end is None else int(end),
        format=task.text("format"),
        limit=task.number("limit"),
        order=task.text("order"),
        written_rows=task.number("writtenRows"),
        failed_code=task.text("failedCode"),
        failed_message=task.text("failedMessage"),
        file_dir=task.text("fileDir"),
        file_name=task.text("fileName"),
        created_at=task.moment("createdTime"),
        updated_at=task.moment("updatedTime"),
        exec_start_at=task.moment("execStartTime"),
        exec_end_at=task.moment("execEndTime"),
    )


def _uuid(fields: Fields) -> str:
    uuid = fields.text("uuid")
    if not _UUID.fullmatch(uuid) or not uuid.strip("."):
        raise fields.wrong("uuid", "an identifier", "an unusable text" if uuid else "nothing")
    return uuid


def _logstore(fields: Fields, project: str, name: str) -> LogStore:
    return LogStore(
        project=fields.text("project") or project,
        name=name,
        retention_days=fields.number("retention") or None,
        index_enabled=fields.truth("indexEnabled"),
        created_at=fields.moment("creationDateTime"),
    )
