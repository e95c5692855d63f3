"""How answers are spelled: the documents of every endpoint, with the spelling switches applied (bls-api.md 2
to 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.emulator.account import Logstore, Project
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.moments import moment_text
from orchestrator.emulator.reading import Ask, Buckets, RecordPage, Table
from orchestrator.emulator.record import Record
from orchestrator.emulator.remote_task import TaskView
from orchestrator.emulator.task_desk import Page

__all__ = [
    "bucket_answer",
    "enveloped",
    "error_answer",
    "list_answer",
    "project_answer",
    "pull_answer",
    "query_answer",
    "store_answer",
    "table_answer",
    "task_answer",
    "task_page_answer",
]

Document = dict[str, Any]


def _kept(document: Document, behaviour: Behaviour) -> Document:
    """Without the keys the switches leave out."""
    return {key: value for key, value in document.items() if key not in behaviour.omitted_keys}


def enveloped(result: Document | None, behaviour: Behaviour) -> Document:
    """The envelope of the project and download calls (bls-api.md 1)."""
    document: Document = {"success": True, "code": behaviour.ok_code, "message": ""}
    if result is not None:
        document["result"] = result
    return _kept(document, behaviour)


def error_answer(code: str, message: str, request_id: str, behaviour: Behaviour) -> Document:
    """The body of every refusal (bls-api.md 1)."""
    return {"code": code, "message": message, behaviour.request_id_key: request_id}


def task_answer(view: TaskView, behaviour: Behaviour) -> Document:
    """One remote task (bls-api.md 2.2)."""
    request = view.task.request
    document: Document = {
        "uuid": view.task.uuid,
        "name": request.name,
        "project": request.project,
        "logStoreName": request.logstore,
        "logStreamName": request.logstream or "",
        "query": request.query,
        "queryStartTime": request.start_text,
        "queryEndTime": request.end_text,
        "format": request.format,
        "limit": request.limit,
        "order": request.order,
        "state": view.state,
        "failedCode": view.failed_code,
        "failedMessage": view.failed_message,
        "fileDir": request.file_dir,
        "fileName": view.task.file_name,
    }
    if view.written_rows is not None:
        document["writtenRows"] = view.written_rows
    for key, at_s in (
        ("execStartTime", view.exec_start_at_s),
        ("execEndTime", view.exec_end_at_s),
        ("createdTime", view.task.created_at_s),
        ("updatedTime", view.updated_at_s),
    ):
        if at_s is not None or behaviour.not_yet != "absent":
            document[key] = moment_text(at_s, behaviour)
    return _kept(document, behaviour)


def task_page_answer(page: Page, behaviour: Behaviour) -> Document:
    """One page of remote tasks (bls-api.md 2.3)."""
    return {
        "order": page.order,
        "orderBy": page.order_by,
        "pageNo": page.page_no,
        "pageSize": page.page_size,
        behaviour.task_total_key: page.total,
        "tasks": [task_answer(view, behaviour) for view in page.views],
    }


def store_answer(store: Logstore, behaviour: Behaviour) -> Document:
    """One logstore (bls-api.md 4.1, 4.2)."""
    created = moment_text(store.created_at_s, behaviour)
    return {
        "creationDateTime": created,
        "lastModifiedTime": created,
        "project": store.project,
        "logStoreName": store.name,
        "retention": store.retention_days,
        "indexEnabled": store.indexed,
        "shardCount": 1,
        "tags": [],
    }


def project_answer(project: Project, stores: int, behaviour: Behaviour) -> Document:
    """One project (bls-api.md 4.4)."""
    created = moment_text(project.created_at_s, behaviour)
    return {
        "uuid": project.uuid,
        "name": project.name,
        "description": project.description,
        "top": False,
        "logStoreCount": stores,
        "createdTime": created,
        "updatedTime": created,
    }


def list_answer(items: Sequence[Document], wish: Mapping[str, object], key: str, total_key: str) -> Document:
    """One page of anything that is listed whole: ``wish`` holds order, orderBy, pageNo, pageSize."""
    page_no, page_size = int(str(wish["pageNo"])), int(str(wish["pageSize"]))
    first = (page_no - 1) * page_size
    return {
        "order": wish["order"],
        "orderBy": wish["orderBy"],
        "pageNo": page_no,
        "pageSize": page_size,
        total_key: len(items),
        key: list(items[first : first + page_size]),
    }


def table_answer(table: Table, took_ms: int) -> Document:
    """The answer to an analysis (bls-api.md 3.1)."""
    return {
        "resultSet": {
            "queryType": table.query_type,
            "columns": list(table.columns),
            "columnTypes": list(table.types),
            "rows": table.rows,
            "isTruncated": table.truncated,
            "truncatedReason": "too many rows" if table.truncated else "",
        },
        "datasetScanInfo": _scan(table.scanned, took_ms, truncated=table.truncated),
    }


def _scan(count: int, took_ms: int, *, truncated: bool = False) -> Document:
    statistics = {"executionTimeInMs": took_ms, "scanCount": count, "scanBytes": count * 125}
    return {"isTruncated": truncated, "statistics": statistics}


def _readable(record: Record) -> str:
    """The raw text with what is not UTF-8 replaced: an answer is always UTF-8."""
    return record.raw.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def query_answer(page: RecordPage, took_ms: int) -> Document:
    """Records found by ``match`` (bls-api.md 3.1)."""
    document: Document = {
        "resultSet": {
            "queryType": page.query_type,
            "columns": ["@timestamp", "@seq", "@stream", "@raw"],
            "columnTypes": ["int", "int", "string", "string"],
            "rows": [[record.at_ms, record.seq, record.stream, _readable(record)] for record in page.records],
            "tags": [dict(record.tags) for record in page.records],
        },
        "datasetScanInfo": _scan(len(page.records), took_ms),
    }
    if page.next_marker:
        document["nextMarker"] = page.next_marker
    return document


def pull_answer(page: RecordPage, marker: str) -> Document:
    """Records pulled (bls-api.md 3.4)."""
    return {
        "result": [
            {"message": _readable(record), "timestamp": record.at_ms, "sequence": record.seq}
            for record in page.records
        ],
        "marker": marker,
        "isTruncated": bool(page.next_marker),
        "nextMarker": page.next_marker,
    }


def bucket_answer(found: Buckets, ask: Ask, took_ms: int, behaviour: Behaviour) -> Document:
    """A histogram (bls-api.md 3.3)."""
    searched: Document = {"queryType": found.query_type, "took": took_ms}
    if found.hits is not None:
        searched["hits"] = found.hits
    return {
        "searchInfo": searched,
        behaviour.search_statistic_key: {
            "interval": found.width_s * 1000,
            "startTime": moment_text(ask.start_ms / 1000, behaviour),
            "endTime": moment_text(ask.end_ms / 1000, behaviour),
            "histogram": [{"key": start_ms, "doc_count": count} for start_ms, count in found.buckets],
        },
    }
