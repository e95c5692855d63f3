"""Download tasks: taken, queued, executed, listed, linked, deleted (bls-api.md 2)."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count
from typing import Literal

from orchestrator.emulator.account import Account, matching
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.chance import fraction, hexdigits, whole
from orchestrator.emulator.execution import Executors
from orchestrator.emulator.file_body import FileBody, make_body
from orchestrator.emulator.record import Arrangement
from orchestrator.emulator.refusal import Refusal, invalid
from orchestrator.emulator.remote_task import Task, TaskRequest, TaskView, true_state, updated_at_s, view
from orchestrator.emulator.witness import Witness

__all__ = ["Grant", "Page", "TaskDesk"]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, with the paging words the service repeats."""

    views: tuple[TaskView, ...]
    page_no: int
    page_size: int
    total: int
    order: str
    order_by: str


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave to fetch a file until ``issued_at_s + lifetime_s``. ``ticket`` proves it where no signature
    does."""

    uuid: str
    file_dir: str
    file_name: str
    issued_at_s: int
    lifetime_s: int
    ticket: str


class TaskDesk:
    """All remote tasks of one account. Every method takes ``now_s`` and first lets happen what is due."""

    def __init__(self, account: Account, seed: int, behaviour: Behaviour, witness: Witness) -> None:
        self._account = account
        self._seed = seed
        self._behaviour = behaviour
        self._witness = witness
        self._tasks: dict[str, Task] = {}
        self._deleted: set[str] = set()
        self._kept_files: dict[str, Task] = {}
        self._unfinished: set[str] = set()
        self._due: list[tuple[float, str]] = []
        self._delayed: list[tuple[float, int, TaskRequest]] = []
        self._order = count()
        self._made = 0
        self._executors = Executors(_quota(behaviour))
        self._body = lru_cache(maxsize=32)(self._make_body)

    def behave(self, behaviour: Behaviour, now_s: float) -> None:
        """Other switches from now on; tasks that have started keep the form of their file."""
        self.advance(now_s)
        self._behaviour = behaviour
        self._executors.resize(_quota(behaviour), now_s)

    def advance(self, now_s: float) -> None:
        """Starts and ends what is due."""
        while self._delayed and self._delayed[0][0] <= now_s:
            due_s, _, request = heapq.heappop(self._delayed)
            self._finish(due_s)
            with suppress(Refusal):  # nobody is left to be told
                self._make(request, due_s)
        self._finish(now_s)

    def _finish(self, now_s: float) -> None:
        self._executors.advance(now_s, self._begin)
        while self._due and self._due[0][0] <= now_s:
            uuid = heapq.heappop(self._due)[1]
            task = self._tasks.get(uuid)
            if task is None or task.ends_at_s > now_s:
                continue
            self._unfinished.discard(uuid)
            if task.behaviour.after_lifetime == "vanished" and task.fate == "SUCCESS":
                if task.expires_at_s <= now_s:
                    self._drop(uuid)
                else:
                    heapq.heappush(self._due, (task.expires_at_s, uuid))

    def outstanding(self, now_s: float) -> int:
        """Tasks that wait or run."""
        self.advance(now_s)
        return len(self._unfinished)

    def tasks(self) -> tuple[Task, ...]:
        """Every task that has not been deleted, oldest first."""
        return tuple(self._tasks.values())

    def create(self, request: TaskRequest, now_s: float) -> str:
        """Takes a task; returns its uuid."""
        self.advance(now_s)
        return self._make(request, now_s)

    def create_later(self, request: TaskRequest, due_s: float) -> None:
        """Takes a task at a later moment, when its caller has long given up."""
        heapq.heappush(self._delayed, (due_s, next(self._order), request))

    def _make(self, request: TaskRequest, now_s: float) -> str:
        if (known := self._known(request.name, now_s)) is not None:
            return known
        self._check_cap()
        store = self._account.store(request.project, request.logstore)
        found = matching(store, request.logstream, request.query, now_s, self._behaviour, download=True)
        if cap := self._behaviour.overload_rows:
            rows = min(found.count(request.start_ms, request.end_ms), request.limit)
            if rows > cap:
                raise Refusal(413, "RequestOverload", "Request overload")
        self._made += 1
        digits = hexdigits(self._seed, "task", self._made)
        uuid = f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:32]}"
        self._tasks[uuid] = Task(
            uuid,
            self._made,
            request,
            now_s,
            behaviour=self._behaviour,
            store_generation=self._account.generation(request.project, request.logstore),
        )
        self._unfinished.add(uuid)
        self._executors.enqueue(uuid, now_s)
        self._finish(now_s)
        self._witness.task_made(request.name, len(self._unfinished))
        return uuid

    def _known(self, name: str, now_s: float) -> str | None:
        """What a create of a name that a task bears already leads to: that task, an error, or (None) a new
        task, with or without the earlier one."""
        how = self._behaviour.create_repeated
        if not name or how == "two-tasks":
            return None
        earlier = [task for task in self._tasks.values() if task.request.name == name]
        if not earlier:
            return None
        if how == "error":
            raise Refusal(409, "DownloadTaskAlreadyExist", f"Download task [{name}] already exists")
        if how == "same-task":
            return earlier[0].uuid
        for task in earlier:
            self._stop(task, now_s)
            self._drop(task.uuid)
        return None

    def describe(self, uuid: str, now_s: float) -> TaskView:
        """One task; DownloadTaskNotFound."""
        self.advance(now_s)
        task = self._find(uuid)
        if now_s < task.created_at_s + self._behaviour.describe_lag_s:
            raise _not_found()
        return view(task, now_s, self._behaviour, self._seed)

    def list_page(self, wish: Mapping[str, object], now_s: float) -> Page:
        """One page. ``wish`` is the body of ListDownloadTask with empty values left out."""
        self.advance(now_s)
        order_by = _one_of(wish, "orderBy", ("createdTime", "updatedTime", "name"))
        order = _one_of(wish, "order", ("desc", "asc"))
        page_no, page_size = paging(wish, self._behaviour)
        project, logstore = wish.get("project"), wish.get("logStoreName")
        chosen = [
            task
            for task in self._tasks.values()
            if (project is None or task.request.project == project)
            and (logstore is None or str(logstore) in task.request.logstore)
            and now_s >= task.created_at_s + self._behaviour.list_lag_s
        ]
        if order_by == "name":
            chosen.sort(key=lambda task: (task.request.name, task.number))
        elif order_by == "updatedTime":
            chosen.sort(key=lambda task: (updated_at_s(task, now_s), task.number))
        if order == "desc":
            chosen.reverse()
        first = (page_no - 1) * page_size
        if page_no > 1:
            first += {"exact": 0, "repeats": -1, "misses": 1}[self._behaviour.page_border]
        page = chosen[first : first + page_size]
        views = tuple(view(task, now_s, self._behaviour, self._seed) for task in page)
        return Page(views, page_no, page_size, len(chosen), order, order_by)

    def link(self, uuid: str, now_s: float) -> Grant:
        """Leave to fetch the file."""
        self.advance(now_s)
        task = self._find(uuid)
        state = true_state(task, now_s)
        behaviour = self._behaviour
        if state in ("WAITING", "RUNNING") and behaviour.link_before_success == "refused":
            raise invalid("download task is not finished")
        if (
            state == "SUCCESS"
            and fraction(self._seed, "expires", uuid) < behaviour.expires_at_link_probability
        ):
            self._tasks[uuid] = task = replace(task, expires_at_s=now_s)
            heapq.heappush(self._due, (now_s, uuid))
            self.advance(now_s)
            self._find(uuid)
        if state == "SUCCESS":
            self._witness.link_asked(uuid, now_s - task.ends_at_s)
        issued_at_s = int(now_s)
        if behaviour.link_again == "same":
            if task.first_link_at_s is None:
                self._tasks[uuid] = task = replace(task, first_link_at_s=now_s)
            issued_at_s = int(task.first_link_at_s or now_s)
        return self._grant(task, issued_at_s, behaviour.link_lifetime_s)

    def delete(self, uuid: str, now_s: float) -> None:
        """Deletes a task; whether that stops it and removes its file is a switch."""
        self._witness.delete_asked(uuid)
        self.advance(now_s)
        behaviour = self._behaviour
        if uuid not in self._tasks:
            if uuid in self._deleted and behaviour.delete_again == "success":
                return
            raise _not_found()
        task = self._tasks[uuid]
        state = true_state(task, now_s)
        if state in ("WAITING", "RUNNING"):
            if behaviour.delete_running == "refused":
                raise Refusal(403, "AccessDenied", "Download task is running")
            if behaviour.delete_running == "cancels":
                self._stop(task, now_s)
                self._unfinished.discard(uuid)
        if not behaviour.delete_removes_file:
            self._kept_files[uuid] = task
        self._drop(uuid)

    def open_file(self, uuid: str, now_s: float) -> tuple[Task, FileBody]:
        """The file of a finished task; NoSuchKey when there is none."""
        self.advance(now_s)
        task = self._tasks.get(uuid) or self._kept_files.get(uuid)
        if task is None or task.rows is None or true_state(task, now_s) != "SUCCESS":
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        if task.rows.count == 0 and task.behaviour.empty_result == "no-file":
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        return task, self._body(uuid)

    def opens(self, uuid: str, issued_at_s: int, lifetime_s: int, ticket: str, now_s: float) -> bool:
        """Whether a gateway ticket is genuine and still good."""
        genuine = ticket == self._ticket(uuid, issued_at_s, lifetime_s)
        return genuine and issued_at_s <= now_s <= issued_at_s + lifetime_s

    def _grant(self, task: Task, issued_at_s: int, lifetime_s: int) -> Grant:
        ticket = self._ticket(task.uuid, issued_at_s, lifetime_s)
        return Grant(task.uuid, task.request.file_dir, task.file_name, issued_at_s, lifetime_s, ticket)

    def _ticket(self, uuid: str, issued_at_s: int, lifetime_s: int) -> str:
        return hexdigits(self._seed, "ticket", uuid, issued_at_s, lifetime_s)

    def _find(self, uuid: str) -> Task:
        task = self._tasks.get(uuid)
        if task is None:
            raise _not_found()
        return task

    def _stop(self, task: Task, now_s: float) -> None:
        """Takes a task off the queue or off its executor; does nothing to one that has ended."""
        self._executors.withdraw(task.uuid, now_s, started=task.started_at_s is not None)
        if task.started_at_s is not None and task.ends_at_s > now_s:
            self._witness.task_stopped(task.ends_at_s - now_s)

    def _drop(self, uuid: str) -> None:
        task = self._tasks.pop(uuid)
        self._deleted.add(uuid)
        self._unfinished.discard(uuid)
        self._witness.task_gone(task.request.name)

    def _check_cap(self) -> None:
        cap, form = self._behaviour.outstanding_cap, self._behaviour.outstanding_cap_form
        if not cap or form == "waits" or len(self._unfinished) < cap:
            return
        if form == "429":
            after = self._behaviour.retry_after_s
            raise Refusal(429, "RequestLimited", "Too many download tasks", after if after >= 0 else None)
        raise Refusal(int(form), "DownloadTaskQuotaExceeded", "Too many download tasks")

    def _begin(self, uuid: str, start_s: float) -> float:
        """Executes a task: what it finds is settled by the moment it starts."""
        task = self._tasks.get(uuid)
        if task is None:  # deleted, and left to finish
            return start_s
        behaviour = self._behaviour
        task = self._searched(replace(task, started_at_s=start_s, behaviour=behaviour), start_s)
        lines = task.rows.count if task.rows is not None else 0
        jitter = 1 + behaviour.run_jitter * (fraction(self._seed, "run", task.number) - 0.5)
        ends_at_s = start_s + (behaviour.run_base_s + behaviour.run_per_line_s * lines) * jitter
        if fraction(self._seed, "stuck", task.number) < behaviour.stuck_probability:
            ends_at_s = float("inf")
        self._witness.task_runs(start_s, ends_at_s)
        heapq.heappush(self._due, (ends_at_s, uuid))
        self._tasks[uuid] = replace(
            task, ends_at_s=ends_at_s, expires_at_s=ends_at_s + behaviour.file_lifetime_s
        )
        return ends_at_s

    def _searched(self, task: Task, start_s: float) -> Task:
        behaviour, request = task.behaviour, task.request
        if fraction(self._seed, "fails", task.number) < behaviour.fail_probability:
            return _failed(task, "InternalError", "Download task failed")
        store = self._account.find_store(request.project, request.logstore)
        if behaviour.store_recreated == "lost" and task.store_generation != self._account.generation(
            request.project, request.logstore
        ):
            store = None
        if store is None:
            if behaviour.store_removed == "empty":
                return task
            code = "LogStoreNotFound" if behaviour.store_removed == "not-found" else "InternalError"
            return _failed(task, code, f"LogStore [{request.logstore}] not exists")
        jumble: dict[str, Literal["none", "ties", "blocks"]] = {
            "by-time": "none",
            "ties-stirred": "ties",
            "stirred": "blocks",
        }
        arrangement = Arrangement(
            request.order == "desc", jumble[behaviour.row_order], whole(self._seed, "salt", task.number)
        )
        found = matching(store, request.logstream, request.query, start_s, behaviour, download=True)
        rows = found.rows(request.start_ms, request.end_ms, request.limit, arrangement)
        task = replace(task, rows=rows, tag_names=store.source.tag_names)
        if rows.count == 0 and behaviour.empty_result == "failed":
            return _failed(task, "NoData", "no record matches")
        return task

    def _make_body(self, uuid: str) -> FileBody:
        task = self._tasks.get(uuid) or self._kept_files[uuid]
        if task.rows is None:
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        return make_body(task.rows, task.behaviour, task.request.format, task.tag_names, task.file_name)


def _quota(behaviour: Behaviour) -> int:
    cap = behaviour.outstanding_cap
    return (
        min(behaviour.executors, cap)
        if cap and behaviour.outstanding_cap_form == "waits"
        else behaviour.executors
    )


def _failed(task: Task, code: str, message: str) -> Task:
    if task.behaviour.fail_codes == "empty":
        code = message = ""
    return replace(task, fate="FAILED", failed_code=code, failed_message=message)


def _not_found() -> Refusal:
    return Refusal(404, "DownloadTaskNotFound", "Download task not found")


def _one_of(wish: Mapping[str, object], key: str, allowed: tuple[str, ...]) -> str:
    value = wish.get(key, allowed[0])
    if value not in allowed:
        raise invalid(f"{key} must be one of {', '.join(allowed)}")
    return str(value)


def paging(wish: Mapping[str, object], behaviour: Behaviour) -> tuple[int, int]:
    """``pageNo`` and ``pageSize`` of a list, with the ceiling applied as the switches say."""
    page_no, page_size = wish.get("pageNo", 1), wish.get("pageSize", 10)
    if not isinstance(page_no, int) or not isinstance(page_size, int) or page_no < 1 or page_size < 1:
        raise invalid("pageNo and pageSize must be at least 1")
    if page_size > behaviour.page_size_max:
        if behaviour.page_size_above_max == "rejected":
            raise invalid(f"pageSize must not exceed {behaviour.page_size_max}")
        if behaviour.page_size_above_max == "lowered":
            page_size = behaviour.page_size_max
    return page_no, page_size
