"""Which endpoint a request means, and what the world answers to it: no sockets, no clock, no signature.

Paths and bodies: bls-api.md 2 to 4. A logstore that is itself called ``download`` is ambiguous below
``/v2/logstore/``; download tasks win there (bls-api.md 2.2).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from orchestrator.emulator import answers
from orchestrator.emulator.account import Logstore
from orchestrator.emulator.analysis import parse_statement
from orchestrator.emulator.answers import Document
from orchestrator.emulator.mishap import Family
from orchestrator.emulator.reading import histogram, query_records, run_analysis
from orchestrator.emulator.record import Record
from orchestrator.emulator.records import RecordStore
from orchestrator.emulator.refusal import Refusal, invalid
from orchestrator.emulator.task_desk import Grant, paging
from orchestrator.emulator.world import World

__all__ = ["Answer", "Call", "Endpoint", "find_endpoint"]

_TOOK_MS = 17
_RECORD_BYTES_MAX = 512 * 1024
_BATCH_RECORDS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Call:
    """A request, decoded. ``names`` are the parts of the path that name something."""

    method: str
    path: str
    query: Mapping[str, str]
    raw_body: bytes
    names: tuple[str, ...] = ()

    def body(self) -> dict[str, Any]:
        """The JSON body; an empty one is an empty object. MalformedJSON for anything else."""
        if not self.raw_body.strip():
            return {}
        try:
            document = orjson.loads(self.raw_body)
        except orjson.JSONDecodeError as error:
            raise Refusal(400, "MalformedJSON", "The request body is not well-formed JSON") from error
        if not isinstance(document, dict):
            raise Refusal(400, "InappropriateJSON", "The request body must be a JSON object")
        return document


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a document; None is an empty body."""

    status: int
    document: Document | None
    grant: Grant | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``name`` is the word it is counted under, ``family`` what it is paced with."""

    name: str
    family: Family
    answer: Callable[[World, Call, float], Answer]


def find_endpoint(method: str, path: str) -> tuple[Endpoint, tuple[str, ...]] | None:
    """The endpoint of a decoded path and the names in the path, or None."""
    for verb, pattern, endpoint in _ROUTES:
        if verb == method and (match := pattern.fullmatch(path)):
            return endpoint, match.groups()
    return None


# --- download tasks ---


def _create(world: World, call: Call, now_s: float) -> Answer:
    uuid = world.create_task(call.body(), now_s)
    return Answer(world.behaviour.create_status, answers.enveloped({"uuid": uuid}, world.behaviour))


def _describe(world: World, call: Call, now_s: float) -> Answer:
    task = answers.task_answer(world.tasks.describe(call.names[0], now_s), world.behaviour)
    return Answer(world.behaviour.read_status, answers.enveloped({"task": task}, world.behaviour))


def _list(world: World, call: Call, now_s: float) -> Answer:
    page = world.tasks.list_page(world.present(call.body()), now_s)
    result = answers.task_page_answer(page, world.behaviour)
    return Answer(world.behaviour.read_status, answers.enveloped(result, world.behaviour))


def _link(world: World, call: Call, now_s: float) -> Answer:
    grant = world.tasks.link(call.names[0], now_s)
    result = {"fileDir": grant.file_dir, "fileName": grant.file_name, "link": ""}
    return Answer(world.behaviour.read_status, answers.enveloped(result, world.behaviour), grant)


def _delete(world: World, call: Call, now_s: float) -> Answer:
    world.tasks.delete(call.names[0], now_s)
    behaviour = world.behaviour
    if not behaviour.delete_body or behaviour.delete_status == 204:
        return Answer(behaviour.delete_status, None)
    return Answer(behaviour.delete_status, {"success": True, "code": "success", "message": ""})


# --- records ---


def _record(world: World, call: Call, now_s: float) -> Answer:
    """QueryLogRecord and PullLogRecord share a path: the presence of ``query`` tells them apart (bls-api.md
    3.1)."""
    ask = world.ask(call.query, call.names[0], now_s)
    limit = min(_number(call.query, "limit", 100, 0), 1000)
    marker = call.query.get("marker", "")
    if not ask.query:
        descending = call.query.get("sort") == "desc" and call.path.startswith("/v3/")
        page = query_records(
            ask, world.behaviour, descending=descending, first=None, marker=marker, limit=limit or 100
        )
        return Answer(world.behaviour.read_status, answers.pull_answer(page, marker))
    statement = parse_statement(ask.query)
    if statement.analysis is not None:
        return Answer(
            world.behaviour.read_status,
            answers.table_answer(run_analysis(ask, statement, world.behaviour), _TOOK_MS),
        )
    first = None
    if call.query.get("pageNo") and call.query.get("pageSize"):
        limit = min(_number(call.query, "pageSize", 10, 1), 1000)
        first = (_number(call.query, "pageNo", 1, 1) - 1) * limit
    descending = call.query.get("sort") != "asc"
    page = query_records(ask, world.behaviour, descending=descending, first=first, marker=marker, limit=limit)
    if call.path.startswith("/v3/"):
        return Answer(world.behaviour.read_status, answers.pull_answer(page, marker))
    return Answer(world.behaviour.read_status, answers.query_answer(page, _TOOK_MS))


def _histogram(world: World, call: Call, now_s: float) -> Answer:
    if not call.query.get("query"):
        raise invalid("query is required")
    ask = world.ask(call.query, call.names[0], now_s)
    found = histogram(ask, world.behaviour)
    return Answer(world.behaviour.read_status, answers.bucket_answer(found, ask, _TOOK_MS, world.behaviour))


def _push(world: World, call: Call, now_s: float) -> Answer:
    body = call.body()
    store = world.account.store(call.query.get("project") or "default", call.names[0])
    source = store.source
    if not isinstance(source, RecordStore):
        raise Refusal(403, "AccessDenied", "A generated logstore takes no records")
    given = body.get("logRecords")
    stream = body.get("logStreamName") or "default"
    if not isinstance(given, list) or not isinstance(stream, str):
        raise invalid("logRecords must be a list and logStreamName a string")
    if len(given) > _BATCH_RECORDS_MAX:
        raise Refusal(413, "RequestOverload", f"At most {_BATCH_RECORDS_MAX} records in one request")
    tags = tuple((str(tag.get("k", "")), str(tag.get("v", ""))) for tag in body.get("tags") or ())
    records = [
        _pushed(record, stream, source.next_seq + place, tags, now_s, json=body.get("type") == "JSON")
        for place, record in enumerate(given)
    ]
    world.tasks.advance(now_s)
    source.push(records)
    return Answer(200, {})


def _pushed(
    record: object, stream: str, seq: int, tags: tuple[tuple[str, str], ...], now_s: float, *, json: bool
) -> Record:
    message = record.get("message") if isinstance(record, dict) else None
    at_ms = record.get("timestamp") if isinstance(record, dict) else None
    if not isinstance(message, str) or isinstance(at_ms, bool) or not isinstance(at_ms, int) or at_ms < 0:
        raise invalid("every record needs a message and a timestamp in ms")
    if len(message.encode()) > _RECORD_BYTES_MAX:
        raise invalid("a record must not exceed 512 KB")
    fields: tuple[tuple[str, str | int], ...] = ()
    if json:
        try:
            parsed = orjson.loads(message)
        except orjson.JSONDecodeError as error:
            raise invalid("a record of type JSON must be JSON") from error
        if isinstance(parsed, dict):
            fields = tuple((key, value) for key, value in parsed.items() if isinstance(value, str | int))
    return Record(at_ms, seq, stream, message, (*tags, *fields), int(now_s * 1000))


# --- logstores, streams, projects ---


def _project_of(call: Call) -> str:
    return call.query.get("project") or "default"


def _describe_store(world: World, call: Call, _now_s: float) -> Answer:
    store = world.account.store(_project_of(call), call.names[0])
    return Answer(world.behaviour.read_status, answers.store_answer(store, world.behaviour))


def _list_stores(world: World, call: Call, _now_s: float) -> Answer:
    wish = _list_wish(world, call, "creationDateTime")
    pattern = str(wish.get("namePattern", ""))
    stores = [
        store for store in world.account.stores(str(wish.get("project", "default"))) if pattern in store.name
    ]
    stores.sort(key=lambda store: store.name if wish["orderBy"] == "logStoreName" else store.created_at_s)
    if wish["order"] == "desc":
        stores.reverse()
    items = [answers.store_answer(store, world.behaviour) for store in stores]
    return Answer(
        world.behaviour.read_status,
        answers.list_answer(items, wish, "result", world.behaviour.store_total_key),
    )


def _list_streams(world: World, call: Call, _now_s: float) -> Answer:
    wish = _list_wish(world, call, "creationDateTime")
    store = world.account.store(_project_of(call), call.names[0])
    created = answers.store_answer(store, world.behaviour)["creationDateTime"]
    pattern = str(wish.get("namePattern", ""))
    items: list[Document] = [
        {"creationDateTime": created, "logStreamName": name}
        for name in store.source.streams
        if pattern in name
    ]
    return Answer(
        world.behaviour.read_status,
        answers.list_answer(items, wish, "result", world.behaviour.store_total_key),
    )


def _index(world: World, call: Call, _now_s: float) -> Answer:
    store = world.account.store(_project_of(call), call.names[0])
    if not store.indexed:
        raise Refusal(404, "IndexNotFound", f"Index of LogStore [{store.name}] not exists")
    fields = {name: {"type": "text"} for name in store.source.tag_names}
    document = {
        "fulltext": True,
        "caseSensitive": False,
        "includeChinese": True,
        "separators": " ",
        "fields": fields,
    }
    return Answer(world.behaviour.read_status, document)


def _change_index(world: World, call: Call, _now_s: float) -> Answer:
    world.account.change_store(_project_of(call), call.names[0], indexed=call.method != "DELETE")
    return Answer(200, {})


def _create_store(world: World, call: Call, now_s: float) -> Answer:
    body = call.body()
    name, retention = body.get("logStoreName"), body.get("retention") or 7
    if not isinstance(name, str) or isinstance(retention, bool) or not isinstance(retention, int):
        raise invalid("logStoreName must be a string and retention a number of days")
    project = str(body.get("project") or "default")
    world.account.add_store(Logstore(name, RecordStore(), project, retention, created_at_s=now_s))
    return Answer(200, {})


def _change_store(world: World, call: Call, _now_s: float) -> Answer:
    body = call.body()
    retention = body.get("retention")
    if isinstance(retention, bool) or not isinstance(retention, int):
        raise invalid("retention must be a number of days")
    project = str(body.get("project") or _project_of(call))
    world.account.change_store(project, call.names[0], retention_days=retention)
    return Answer(200, {})


def _delete_store(world: World, call: Call, now_s: float) -> Answer:
    world.tasks.advance(now_s)
    world.account.remove_store(_project_of(call), call.names[0])
    return Answer(200, {})


def _create_project(world: World, call: Call, now_s: float) -> Answer:
    body = call.body()
    project = world.account.add_project(str(body.get("name", "")), now_s, str(body.get("description") or ""))
    return Answer(200, answers.enveloped({"uuid": project.uuid}, world.behaviour))


def _project_document(world: World, name: str) -> Document:
    project = next(project for project in world.account.projects() if project.name == name)
    return answers.project_answer(project, len(world.account.stores(name)), world.behaviour)


def _describe_project(world: World, call: Call, _now_s: float) -> Answer:
    project = world.account.project_by_uuid(call.names[0])
    result = {"project": _project_document(world, project.name)}
    return Answer(200, answers.enveloped(result, world.behaviour))


def _list_projects(world: World, call: Call, _now_s: float) -> Answer:
    wish = _list_wish(world, call, "createdAt")
    named = str(wish.get("name", ""))
    names = [project.name for project in world.account.projects() if named in project.name]
    items = [_project_document(world, name) for name in names if name != "default"]
    result = answers.list_answer(items, wish, "projects", world.behaviour.task_total_key)
    result["default"] = _project_document(world, "default")
    return Answer(200, answers.enveloped(result, world.behaviour))


def _delete_project(world: World, call: Call, _now_s: float) -> Answer:
    world.account.remove_project(call.names[0])
    return Answer(200, answers.enveloped(None, world.behaviour))


def _list_wish(world: World, call: Call, order_by: str) -> dict[str, object]:
    """Paging and filters of a list, from the query or the body."""
    wish: dict[str, object] = world.present({**call.query, **call.body()})
    for key in ("pageNo", "pageSize"):
        if isinstance(wish.get(key), str):
            wish[key] = _number(call.query, key, 1, 1)
    page_no, page_size = paging(wish, world.behaviour)
    return {"order": "desc", "orderBy": order_by, **wish, "pageNo": page_no, "pageSize": page_size}


def _number(query: Mapping[str, str], key: str, default: int, least: int) -> int:
    text = query.get(key, "")
    if not text:
        return default
    if not text.isdecimal() or int(text) < least:
        raise invalid(f"{key} must be a whole number of at least {least}")
    return int(text)


def _route(
    verb: str, path: str, name: str, family: Family, answer: Callable[[World, Call, float], Answer]
) -> tuple[str, re.Pattern[str], Endpoint]:
    return verb, re.compile(path.replace("{}", "([^/]+)")), Endpoint(name, family, answer)


_ROUTES = (
    _route("POST", "/v2/logstore/download", "create", "create", _create),
    _route("POST", "/v2/logstore/download/list", "list", "list", _list),
    _route("GET", "/v2/logstore/download/link/{}", "link", "link", _link),
    _route("GET", "/v2/logstore/download/{}", "describe", "read", _describe),
    _route("DELETE", "/v2/logstore/download/{}", "delete", "delete", _delete),
    _route("GET", "/v1/logstore/{}/logrecord", "query", "query", _record),
    _route("GET", "/v3/logstore/{}/logrecord/pull", "pull", "query", _record),
    _route("POST", "/v1/logstore/{}/logrecord", "push", "read", _push),
    _route("GET", "/v2/logstore/{}/loghistogram", "histogram", "query", _histogram),
    _route("GET", "/v1/logstore/{}/logstream", "list_logstreams", "read", _list_streams),
    _route("GET", "/v1/logstore/{}/index", "index", "read", _index),
    _route("POST", "/v1/logstore/{}/index", "change_index", "read", _change_index),
    _route("PUT", "/v1/logstore/{}/index", "change_index", "read", _change_index),
    _route("DELETE", "/v1/logstore/{}/index", "change_index", "read", _change_index),
    _route("POST", "/v[12]/logstore/list", "list_logstores", "read", _list_stores),
    _route("GET", "/v1/logstore", "list_logstores", "read", _list_stores),
    _route("POST", "/v1/logstore", "create_logstore", "read", _create_store),
    _route("GET", "/v1/logstore/{}", "describe_logstore", "read", _describe_store),
    _route("PUT", "/v1/logstore/{}", "change_logstore", "read", _change_store),
    _route("DELETE", "/v1/logstore/{}", "delete_logstore", "read", _delete_store),
    _route("POST", "/v1/project/list", "list_projects", "read", _list_projects),
    _route("POST", "/v1/project", "create_project", "read", _create_project),
    _route("GET", "/v1/project/{}", "describe_project", "read", _describe_project),
    _route("DELETE", "/v1/project/{}", "delete_project", "read", _delete_project),
)
