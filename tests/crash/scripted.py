"""A service that treats every hour of the window in its own way, by a script, however often the caller dies.

What it does with the n-th create of an hour depends on the hour, on n and on the chapter of the story alone.
So an episode meets split, cut, expiry, doubt and all the rest for certain, and meets them again after each
death.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.core.job import JobIdentity
from orchestrator.core.model import Accepted, CreateRequest, LinkExpired, Receipt, Ticket
from orchestrator.core.redact import PresignedLink
from orchestrator.core.window import Window
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.inprocess import InProcessFiles, InProcessService
from orchestrator.emulator.search import EVERYTHING
from orchestrator.emulator.world import World
from orchestrator.errors import CreateUncertain
from orchestrator.ports.control import Family
from orchestrator.ports.files import DataPlane
from orchestrator.ports.service import CountUnavailable, FileAnswer, Histogram

__all__ = [
    "BASE",
    "HOURS",
    "HOUR_S",
    "Deliveries",
    "Hour",
    "HourlyDensity",
    "KeyedPlane",
    "Script",
    "ScriptedFiles",
    "ScriptedService",
    "made_uuids",
]

HOUR_S = 3600
PIECE_BYTES = 1500
BASE = Behaviour(latency_s=0.2)


@dataclass(frozen=True)
class Treatment:
    """What becomes of one create: switches of the emulator for this remote task, rows its file lacks, how
    many remote tasks are made and when, whether the reply arrives."""

    switches: Mapping[str, Any] = field(default_factory=dict)
    forgets: int = 0
    made: int = 1
    late_s: float = 0.0
    heard: bool = True


HONEST = Treatment()


@dataclass
class Seen:
    """What the service remembers of an hour. It outlives every death of the caller."""

    chapter: int = 0
    creates: int = 0
    creates_here: int = 0
    """In this chapter."""
    counts: int = 0


Treats = Callable[[Seen], Treatment]
"""What is remembered of an hour, before its next create, to what becomes of that."""
Counts = Callable[[Seen, int], int | None]
"""What is remembered of an hour, and the true count, to the count that is told."""


@dataclass(frozen=True)
class Hour:
    """One hour of the window. Its rows lie evenly between ``from_s`` and ``to_s`` of it."""

    name: str
    rows: int
    treats: Treats = lambda seen: HONEST
    counts: Counts = lambda seen, truth: truth
    from_s: int = 0
    to_s: int = HOUR_S


def _first(treatment: Treatment | None = None, **switches: Any) -> Treats:
    """The first create is treated so, all others honestly."""
    first = treatment or Treatment(switches)
    return lambda seen: HONEST if seen.creates else first


def _until(chapter: int, *forgets: int) -> Treats:
    """Rows are forgotten up to and including a chapter, by turns so many."""
    return lambda seen: (
        Treatment(forgets=forgets[seen.creates_here % len(forgets)]) if seen.chapter <= chapter else HONEST
    )


def _first_in(chapter: int, **switches: Any) -> Treats:
    treatment = Treatment(switches)
    return lambda seen: treatment if seen.chapter == chapter and not seen.creates_here else HONEST


def _half(seen: Seen, truth: int) -> int:
    """Counts run low until the first create: the slice is planned too large."""
    return truth if seen.creates else truth // 2


def _never(seen: Seen, truth: int) -> int | None:
    """Nothing can be counted while planning."""
    return truth if seen.creates else None


def _once(seen: Seen, truth: int) -> int | None:
    """The first question is answered, the second witness is silent."""
    return truth if seen.creates or seen.counts <= 1 else None


def _more_until(chapter: int, more: int) -> Counts:
    return lambda seen, truth: truth + more if truth and seen.chapter <= chapter else truth


HOURS: dict[str, Hour] = {
    hour.name: hour
    for hour in (
        Hour("plain", 50),
        Hour("parts", 34),
        Hour("quiet at its edges", 12, to_s=HOUR_S - 10),
        Hour("split", 60, _first(row_order="stirred"), _half),
        Hour("cut", 60, counts=_half),
        Hour("expired", 12, _first(file_lifetime_s=0.0)),
        Hour("vanished", 12, _first(file_lifetime_s=0.0, after_lifetime="vanished")),
        Hour("failed", 12, _first(fail_probability=1.0)),
        Hour("reply lost, made", 12, _first(Treatment(heard=False))),
        Hour("reply lost, made late", 12, _first(Treatment(heard=False, late_s=8.0))),
        Hour("reply lost, not made", 12, _first(Treatment(heard=False, made=0))),
        Hour("twins", 12, _first(Treatment(heard=False, made=2))),
        Hour("padded", 20, _first(Treatment(forgets=3))),
        Hour("short, then the same path", 20, _until(1, 2, 5)),
        Hour("short, then another path", 12, _until(2, 5, 2)),
        Hour("short, then split", 32, _first_in(3, row_order="stirred"), _more_until(2, 3), from_s=1800),
        Hour("occupied", 12),
        Hour("burst", 60, from_s=1800, to_s=1801),
        Hour("larger burst", 110, from_s=1800, to_s=1801),
        Hour("empty, two witnesses", 0),
        Hour("empty, by the remote task", 0, counts=_once),
        Hour("empty, by failure", 0, _first(empty_result="failed"), _once),
        Hour("empty file, uncounted", 0, _first(written_rows="missing"), _never),
        Hour("no file, uncounted", 0, _first(written_rows="missing", empty_result="no-file"), _never),
        Hour("failed and empty, uncounted", 0, _first(empty_result="failed", fail_codes="empty"), _never),
    )
}


@dataclass(frozen=True)
class HourlyDensity:
    """Rows by hour, evenly between ``from_s`` and ``to_s`` of each; none outside the window."""

    start_s: int
    hours: tuple[Hour, ...]

    def before(self, second: int) -> int:
        rows = 0
        for number, hour in enumerate(self.hours):
            into = second - self.start_s - number * HOUR_S - hour.from_s
            length_s = hour.to_s - hour.from_s
            rows += hour.rows * max(0, min(into, length_s)) // length_s
        return rows


class Script:
    """The service's own memory of the story."""

    def __init__(self, window: Window, hours: tuple[Hour, ...]) -> None:
        self._window = window
        self._hours = hours
        self._seen = {hour.name: Seen() for hour in hours}

    def enter(self, chapter: int) -> None:
        for seen in self._seen.values():
            seen.chapter, seen.creates_here = chapter, 0

    def at(self, window: Window) -> Hour:
        """The hour in which the middle of a window lies."""
        middle_s = (window.start_s + window.end_s) // 2
        return self._hours[(middle_s - self._window.start_s) // HOUR_S]

    def window_of(self, name: str) -> Window:
        number = [hour.name for hour in self._hours].index(name)
        start_s = self._window.start_s + number * HOUR_S
        return Window(start_s, start_s + HOUR_S)

    def treatment(self, window: Window) -> Treatment:
        """Of the next create for this window."""
        hour = self.at(window)
        seen = self._seen[hour.name]
        treatment = hour.treats(seen)
        seen.creates += 1
        seen.creates_here += 1
        return treatment

    def told(self, window: Window, truth: int) -> int | None:
        """The count that is told for a window; questions that span hours are answered truly."""
        if (window.start_s - self._window.start_s) // HOUR_S != (
            window.end_s - 1 - self._window.start_s
        ) // HOUR_S:
            return truth
        hour = self.at(window)
        seen = self._seen[hour.name]
        seen.counts += 1
        return hour.counts(seen, truth)


class ScriptedService:
    """TaskApi, CountApi and MetaApi of an emulated service that follows a script."""

    def __init__(self, behind: InProcessService, script: Script) -> None:
        self._behind = behind
        self._script = script

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)

    async def create(self, request: CreateRequest, *, send_within_s: float) -> Accepted:
        treatment = self._script.treatment(request.window)

        def effect(now_s: float) -> str:
            return self._make(request, treatment, now_s)

        uuid = await self._behind._call(
            Family.CREATE, "create", effect, unheard=effect, send_within_s=send_within_s
        )
        if not treatment.heard:
            raise CreateUncertain("the connection broke", answered=False)
        return Accepted(uuid, f"request {uuid}")

    def _make(self, request: CreateRequest, treatment: Treatment, now_s: float) -> str:
        """The remote tasks of one create; they start at once, so the switches of this instant are theirs."""
        world, uuid = self._behind.world, ""
        if treatment.forgets:
            request = replace(request, limit=max(1, self._rows(request) - treatment.forgets))
        world.behave(replace(BASE, lost_reply_delay_s=treatment.late_s, **treatment.switches), now_s)
        for _ in range(treatment.made):
            if treatment.late_s:
                world.create_task_unheard(request.body(), now_s)
            else:
                uuid = world.create_task(request.body(), now_s)
        world.behave(BASE, now_s)
        return uuid

    def _rows(self, request: CreateRequest) -> int:
        """How many rows the service has for a create."""
        store = self._behind.world.account.store(request.identity.project, request.identity.logstore)
        everything = store.source.matching(EVERYTHING, None, from_ms=0, visible_ms=1 << 62)
        return everything.count(request.window.start_s * 1000, request.window.end_s * 1000)

    async def count(
        self, identity: JobIdentity, logstream: str, window: Window, *, match_all: bool = False
    ) -> int | CountUnavailable:
        found = await self._behind.count(identity, logstream, window, match_all=match_all)
        assert isinstance(found, int)
        told = self._script.told(window, found)
        return CountUnavailable("not now") if told is None else told

    async def buckets(
        self, identity: JobIdentity, logstream: str, window: Window, width_s: int
    ) -> Histogram | CountUnavailable:
        return CountUnavailable("no buckets here")

    async def histogram(
        self, identity: JobIdentity, logstream: str, window: Window
    ) -> Histogram | CountUnavailable:
        return CountUnavailable("no histograms here")


@dataclass
class Deliveries:
    """What the service sent, by attempt key: it outlives every death of the caller."""

    served: Counter[str] = field(default_factory=Counter)
    sizes: dict[str, int] = field(default_factory=dict)
    useless: set[str] = field(default_factory=set)
    """Of these files nothing was kept, so there is nothing to keep a receipt for until it is committed."""


class KeyedPlane:
    """A DataPlane that lets ``ScriptedFiles`` know for which attempt a file is opened."""

    def __init__(self, behind: DataPlane, deliveries: Deliveries) -> None:
        self._behind = behind
        self._deliveries = deliveries

    async def transfer(self, ticket: Ticket) -> Receipt | LinkExpired:
        _KEY.set(ticket.attempt_key)
        outcome = await self._behind.transfer(ticket)
        if isinstance(outcome, Receipt) and not outcome.staged_path:
            self._deliveries.useless.add(ticket.attempt_key)
        return outcome

    async def close(self) -> None:
        await self._behind.close()


_KEY: ContextVar[str] = ContextVar("attempt key")


class ScriptedFiles:
    """FileSource whose larger files come in small pieces, so that fetching them has a middle."""

    def __init__(self, behind: InProcessFiles, deliveries: Deliveries) -> None:
        self._behind = behind
        self._deliveries = deliveries

    def open(
        self, link: PresignedLink, *, offset_bytes: int = 0, etag: str = ""
    ) -> AbstractAsyncContextManager[FileAnswer]:
        return self._open(link, offset_bytes, etag)

    @asynccontextmanager
    async def _open(self, link: PresignedLink, offset_bytes: int, etag: str) -> AsyncIterator[FileAnswer]:
        async with self._behind.open(link, offset_bytes=offset_bytes, etag=etag) as answer:
            assert answer.total_bytes is not None
            self._deliveries.sizes[_KEY.get()] = answer.total_bytes
            yield replace(answer, chunks=self._pieces(answer.chunks))

    async def close(self) -> None:
        await self._behind.close()

    async def _pieces(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            for at in range(0, len(chunk), PIECE_BYTES):
                piece = chunk[at : at + PIECE_BYTES]
                self._deliveries.served[_KEY.get()] += len(piece)
                yield piece


def made_uuids(world: World) -> Counter[str]:
    """Every remote task the service ever made, deleted ones too."""
    return Counter([*(task.uuid for task in world.tasks.tasks()), *world.tasks._deleted])
