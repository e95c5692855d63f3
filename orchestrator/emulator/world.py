"""The whole emulated service as one value in time: an account, its remote tasks, and what it saw of its
callers.

Pure: no clock, no sockets, no files. Everything follows from the seed, the switches, and the ``now_s`` (UTC
epoch seconds) that comes with every call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Literal

from orchestrator.emulator.account import Account, Logstore
from orchestrator.emulator.analysis import parse_statement
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.chance import Chance
from orchestrator.emulator.mishap import Pace
from orchestrator.emulator.moments import parse_moment
from orchestrator.emulator.reading import Ask
from orchestrator.emulator.refusal import Refusal, invalid
from orchestrator.emulator.remote_task import TaskRequest
from orchestrator.emulator.search import SearchError, parse_search
from orchestrator.emulator.task_desk import TaskDesk
from orchestrator.emulator.witness import Witness

__all__ = ["World"]

LIMIT_MAX = 1_000_000
"""Lines per download task (bls-api.md 2.1, 6)."""
_TASK_FIELDS = frozenset(
    {
        "name",
        "project",
        "logStoreName",
        "logStreamName",
        "query",
        "queryStartTime",
        "queryEndTime",
        "format",
        "limit",
        "order",
        "fileDir",
    }
)


class World:
    """One account of the emulated service. ``witness`` holds the evidence, ``tasks`` the remote tasks."""

    def __init__(
        self, stores: Iterable[Logstore] = (), *, seed: int = 0, behaviour: Behaviour | None = None
    ) -> None:
        self.seed = seed
        self.behaviour = behaviour or Behaviour()
        self.account = Account(seed, stores)
        self.witness = Witness()
        self.chance = Chance(seed)
        self.pace = Pace(self.chance)
        self.tasks = TaskDesk(self.account, seed, self.behaviour, self.witness)

    def behave(self, behaviour: Behaviour, now_s: float) -> None:
        """Swaps the switches from now on."""
        self.tasks.behave(behaviour, now_s)
        self.behaviour = behaviour

    def present(self, body: Mapping[str, object]) -> dict[str, object]:
        """A request body without what counts as absent (bls-api.md 10.23)."""
        if not self.behaviour.empty_equals_absent:
            return {key: value for key, value in body.items() if value is not None}
        return {
            key: value
            for key, value in body.items()
            if value not in ("", None) and (value != 0 or value is False)
        }

    def create_task(self, body: Mapping[str, object], now_s: float) -> str:
        """CreateDownloadTask; returns the uuid."""
        return self.tasks.create(self._task_request(body), now_s)

    def create_task_unheard(self, body: Mapping[str, object], now_s: float) -> None:
        """CreateDownloadTask whose reply is lost: the task is made now, or later if the switches say so."""
        delay_s = self.behaviour.lost_reply_delay_s
        with suppress(Refusal):  # nobody is told
            if delay_s:
                self.tasks.create_later(self._task_request(body), now_s + delay_s)
            else:
                self.create_task(body, now_s)

    def ask(self, wish: Mapping[str, str], store: str, now_s: float) -> Ask:
        """What a query, histogram or pull is about, from its query parameters."""
        start_ms = parse_moment(wish.get("startDateTime"), "startDateTime", self.behaviour)
        end_ms = parse_moment(wish.get("endDateTime"), "endDateTime", self.behaviour)
        if end_ms < start_ms:
            raise invalid("endDateTime lies before startDateTime")
        stream = wish.get("logStreamName")
        if not stream and self.behaviour.empty_equals_absent:
            stream = None
        found = self.account.store(wish.get("project") or "default", store)
        return Ask(found, stream, wish.get("query", ""), start_ms, end_ms, now_s)

    def _task_request(self, body: Mapping[str, object]) -> TaskRequest:
        behaviour = self.behaviour
        wish = self.present(body)
        if behaviour.unknown_fields == "rejected" and (strange := sorted(set(wish) - _TASK_FIELDS)):
            raise invalid(f"unknown field {strange[0]}")
        for key in _TASK_FIELDS - {"limit"}:
            if not isinstance(wish.get(key, ""), str):
                raise invalid(f"{key} must be a string")
        if "logStoreName" not in wish:
            raise invalid("logStoreName is required")
        start_ms, end_ms = self._window(wish)
        limit = wish.get("limit", LIMIT_MAX)
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= LIMIT_MAX:
            raise invalid(f"limit must be 1 to {LIMIT_MAX}")
        query = str(wish.get("query", ""))
        _check_search(query)
        return TaskRequest(
            name=str(wish.get("name", "")),
            project=str(wish.get("project", "default")),
            logstore=str(wish["logStoreName"]),
            logstream=str(wish["logStreamName"]) if "logStreamName" in wish else None,
            query=query or "match *",
            start_text=str(wish["queryStartTime"]),
            end_text=str(wish["queryEndTime"]),
            start_ms=start_ms,
            end_ms=end_ms,
            format=_format(wish.get("format", "json")),
            limit=limit,
            order=_order(wish.get("order", "desc")),
            file_dir=str(wish.get("fileDir", "")),
        )

    def _window(self, wish: Mapping[str, object]) -> tuple[int, int]:
        """The window in ms, ends shifted as the switches say."""
        behaviour = self.behaviour
        start_ms = parse_moment(wish.get("queryStartTime"), "queryStartTime", behaviour)
        end_ms = parse_moment(wish.get("queryEndTime"), "queryEndTime", behaviour)
        if end_ms < start_ms or (end_ms == start_ms and behaviour.empty_windows == "rejected"):
            raise invalid("queryEndTime must lie after queryStartTime")
        if behaviour.window_start == "exclusive":
            start_ms += 1
        end_ms += {"exclusive": 0, "inclusive": 1, "whole-second": 1000}[behaviour.window_end]
        return start_ms, end_ms


def _format(value: object) -> Literal["json", "csv"]:
    if value == "json":
        return "json"
    if value == "csv":
        return "csv"
    raise invalid("format must be json or csv")


def _order(value: object) -> Literal["asc", "desc"]:
    if value == "asc":
        return "asc"
    if value == "desc":
        return "desc"
    raise invalid("order must be asc or desc")


def _check_search(query: str) -> None:
    statement = parse_statement(query)
    if statement.analysis is not None:
        raise invalid("query must be a search without analysis")
    try:
        parse_search(statement.search)
    except SearchError as error:
        raise invalid(f"query: {error}") from error
