"""What an account holds: projects, their logstores, and the records in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.chance import hexdigits
from orchestrator.emulator.record import Arrangement, Lateness, Rows
from orchestrator.emulator.refusal import Refusal, invalid
from orchestrator.emulator.search import Search, SearchError, parse_search

__all__ = ["Account", "Logstore", "Matching", "Project", "Source"]

FOREVER_DAYS = 3650
"""A retention that means permanent (bls-api.md 4.2)."""
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class Matching(Protocol):
    """The records a search means at one moment."""

    def count(self, start_ms: int, end_ms: int) -> int:
        """How many there are in ``[start_ms, end_ms)``."""
        ...

    def rows(self, start_ms: int, end_ms: int, limit: int, arrangement: Arrangement) -> Rows:
        """At most ``limit`` of them: the newest when descending, else the oldest."""
        ...


class Source(Protocol):
    """Where the records of a logstore come from."""

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the log streams."""
        ...

    @property
    def tag_names(self) -> tuple[str, ...]:
        """Names of the fields beside the raw text."""
        ...

    def matching(
        self,
        search: Search,
        stream: str | None,
        *,
        from_ms: int,
        visible_ms: int,
        late: Lateness | None = None,
    ) -> Matching:
        """What a search means; ``stream`` None is every stream. ``late`` overrules what the source itself
        holds back."""
        ...


@dataclass(frozen=True, slots=True)
class Logstore:
    """One logstore. ``removed`` keeps what a waiting task may still look for."""

    name: str
    source: Source
    project: str = "default"
    retention_days: int = FOREVER_DAYS
    indexed: bool = True
    created_at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Project:
    """One project."""

    name: str
    uuid: str
    description: str = ""
    created_at_s: float = 0.0


def _uuid(seed: int, *labels: str | int) -> str:
    digits = hexdigits(seed, *labels)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:32]}"


class Account:
    """Projects and logstores by name. Missing ones are refused with the documented codes (bls-api.md 5)."""

    def __init__(self, seed: int, stores: Iterable[Logstore] = ()) -> None:
        self._seed = seed
        self._projects: dict[str, Project] = {}
        self._stores: dict[tuple[str, str], Logstore] = {}
        self._made: Counter[tuple[str, str]] = Counter()
        self.add_project("default", 0.0)
        for store in stores:
            if store.project not in self._projects:
                self.add_project(store.project, store.created_at_s)
            self.add_store(store)

    def projects(self) -> Iterator[Project]:
        """All projects, oldest first, ``default`` among them."""
        yield from self._projects.values()

    def add_project(self, name: str, now_s: float, description: str = "") -> Project:
        """Makes a project."""
        if not _NAME.fullmatch(name):
            raise invalid(f"project name {name!r}")
        if name in self._projects:
            raise Refusal(409, "ProjectAlreadyExist", f"Project [{name}] already exists")
        project = Project(name, _uuid(self._seed, "project", name, str(now_s)), description, now_s)
        self._projects[name] = project
        return project

    def project_by_uuid(self, uuid: str) -> Project:
        """One project; ProjectNotFound."""
        for project in self._projects.values():
            if project.uuid == uuid:
                return project
        raise Refusal(404, "ProjectNotFound", "Project not found")

    def remove_project(self, uuid: str) -> None:
        """Removes an empty project; ``default`` stays."""
        project = self.project_by_uuid(uuid)
        if project.name == "default" or any(name == project.name for name, _ in self._stores):
            raise Refusal(403, "AccessDenied", "Project is in use")
        del self._projects[project.name]

    def stores(self, project: str) -> list[Logstore]:
        """The logstores of a project, oldest first."""
        if project not in self._projects:
            raise Refusal(404, "ProjectNotFound", f"Project [{project}] not exists")
        return [store for (owner, _), store in self._stores.items() if owner == project]

    def store(self, project: str, name: str) -> Logstore:
        """One logstore; ProjectNotFound or LogStoreNotFound."""
        if project not in self._projects:
            raise Refusal(404, "ProjectNotFound", f"Project [{project}] not exists")
        if (project, name) not in self._stores:
            raise Refusal(404, "LogStoreNotFound", f"LogStore [{name}] not exists")
        return self._stores[project, name]

    def find_store(self, project: str, name: str) -> Logstore | None:
        """One logstore, or None."""
        return self._stores.get((project, name))

    def add_store(self, store: Logstore) -> None:
        """Makes a logstore."""
        if not _NAME.fullmatch(store.name):
            raise invalid(f"logStoreName {store.name!r}")
        if not 1 <= store.retention_days <= FOREVER_DAYS:
            raise invalid(f"retention {store.retention_days}")
        self.stores(store.project)
        if (store.project, store.name) in self._stores:
            raise Refusal(409, "LogStoreAlreadyExist", f"LogStore [{store.name}] already exists")
        self._stores[store.project, store.name] = store
        self._made[store.project, store.name] += 1

    def generation(self, project: str, name: str) -> int:
        """How many logstores have borne this name: one that was made anew is another one."""
        return self._made[project, name]

    def change_store(
        self, project: str, name: str, *, retention_days: int | None = None, indexed: bool | None = None
    ) -> None:
        """Changes what can be changed of a logstore."""
        store = self.store(project, name)
        if retention_days is not None:
            if not 1 <= retention_days <= FOREVER_DAYS:
                raise invalid(f"retention {retention_days}")
            store = replace(store, retention_days=retention_days)
        if indexed is not None:
            store = replace(store, indexed=indexed)
        self._stores[project, name] = store

    def remove_store(self, project: str, name: str) -> None:
        """Removes a logstore and its records."""
        self.store(project, name)
        del self._stores[project, name]


_NO_STREAM = "\x00no stream bears this name"


def matching(
    store: Logstore,
    stream: str | None,
    query: str,
    now_s: float,
    behaviour: Behaviour,
    *,
    download: bool = False,
) -> Matching:
    """The records a search statement means now, with retention, arrival and the stream switches applied."""
    try:
        search = parse_search(query)
    except SearchError as error:
        raise invalid(f"query: {error}") from error
    from_ms = 0
    if store.retention_days < FOREVER_DAYS:
        from_ms = int((now_s - store.retention_days * 86_400) * 1000)
    if behaviour.retention_s:
        from_ms = max(from_ms, int((now_s - behaviour.retention_s) * 1000))
    behind_s = behaviour.visible_after_s + (behaviour.download_lag_s if download else 0.0)
    visible_ms = int((now_s - behind_s) * 1000)
    late = Lateness(behaviour.late_per_mille, behaviour.late_by_s) if behaviour.late_per_mille else None
    chosen = _stream(store, stream, behaviour)
    return store.source.matching(search, chosen, from_ms=from_ms, visible_ms=visible_ms, late=late)


def _stream(store: Logstore, stream: str | None, behaviour: Behaviour) -> str | None:
    if stream is None or (not stream and behaviour.empty_stream == "all"):
        return None
    how = behaviour.missing_stream if stream else behaviour.empty_stream
    if (stream and stream in store.source.streams) or how == "none":
        return stream or _NO_STREAM
    if how == "all":
        return None
    raise Refusal(404, "LogStreamNotFound", f"LogStream [{stream}] not exists")
