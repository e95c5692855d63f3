"""Requests that the program itself never sends, by another client: they show that a switch is no dead one,
and that the program's own client reads what comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.core.job import JobIdentity, Order, ServedFormat, ServiceSpec
from orchestrator.core.model import CreateRequest
from orchestrator.core.window import Window
from orchestrator.emulator.account import Logstore
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.density import Uniform
from orchestrator.emulator.generated import GeneratedStore
from orchestrator.emulator.http import TEST_CREDENTIALS, Emulator
from orchestrator.emulator.world import World
from orchestrator.errors import FileMissing, Refused
from orchestrator.remote.client import BlsClient
from orchestrator.remote.credentials import StaticCredentials
from orchestrator.remote.files import HttpFileSource
from orchestrator.remote.session import Session
from orchestrator.testing.loop import START_AT, VirtualTime, run_virtual
from orchestrator.testing.wire import Wire
from tests.simulation.wired import ENDPOINT
from tests.unit.emulator_client import Reply, SignedClient
from tests.unit.loopback import RecordingGate

__all__ = ["PROBES", "Asking", "answer_of"]

WINDOW = Window(int(START_AT) - 86_400, int(START_AT) - 86_340)
IDENTITY = JobIdentity("emulated", "shop", "web", "", "match *")
TASK: Mapping[str, Any] = {
    "name": "n",
    "project": "shop",
    "logStoreName": "web",
    "queryStartTime": "2026-01-13T00:00:00Z",
    "queryEndTime": "2026-01-13T00:01:00Z",
}
"""A minute of sixty rows, one each second."""


@dataclass(frozen=True, slots=True)
class Asking:
    """The program's client and file source, and a client that sends what it is told."""

    world: World
    client: BlsClient
    files: HttpFileSource
    signed: SignedClient
    wire: Wire
    time: VirtualTime

    async def written(self, **body: Any) -> int | str:
        """How many rows the file of a task with this body holds; the code of its refusal."""
        reply = (
            await self.signed.create(**TASK, **body) if not set(TASK) & set(body) else await self.odd(body)
        )
        if reply.status >= 400:
            return str(reply.json["code"])
        uuid = reply.json["result"]["uuid"]
        self.time.clock.jump(30.0)
        self.signed.now_s = self.time.clock.now()
        view = (await self.signed.describe(uuid)).json["result"]["task"]
        return int(view["writtenRows"])

    async def odd(self, body: Mapping[str, Any]) -> Reply:
        """A create whose body overrules that of the ordinary task."""
        return await self.signed.create(**{**TASK, **body})

    async def sql(self, query: str) -> Reply:
        """An analysis of the minute."""
        return await self.signed.call(
            "GET",
            "/v1/logstore/web/logrecord",
            [
                ("project", "shop"),
                ("query", query),
                ("startDateTime", str(TASK["queryStartTime"])),
                ("endDateTime", str(TASK["queryEndTime"])),
            ],
        )


Probe = Callable[[Asking], Awaitable[object]]

_BUCKETS = (
    "match * | select histogram(cast(`@timestamp` as timestamp), interval 10 second) as h, "
    "count(*) as c group by h order by h"
)


def answer_of(probe: Probe, **switches: Any) -> object:
    """What a probe finds under these switches."""

    async def main(time: VirtualTime) -> object:
        store = Logstore("web", GeneratedStore(3, Uniform(86_400)), project="shop")
        world = World([store], seed=3, behaviour=Behaviour(**switches))
        wire = Wire(Emulator(world, now=time.clock.now))
        session = Session(
            ServiceSpec("", ENDPOINT),
            credentials=StaticCredentials(TEST_CREDENTIALS),
            gate=RecordingGate(),
            clock=time.clock,
            rng=time.rng,
        )
        client, files, other = BlsClient(session), HttpFileSource(), wire.client()
        session._http, files._http = wire.client(), wire.client()
        try:
            signed = SignedClient(other, ENDPOINT, time.clock.now())
            return await probe(Asking(world, client, files, signed, wire, time))
        finally:
            for door in (client, files, other, wire):
                await door.close()

    return run_virtual(main, horizon_s=86_400.0)


async def _store_total(ask: Asking) -> object:
    stores = await ask.client.list_logstores("shop")
    keys = set(ask.wire.exchanges[-1].document)
    return [store.name for store in stores], keys & {"total", "totalCount"}


async def _link_before_success(ask: Asking) -> object:
    """Whether the program's client is given a link that opens nothing, or none."""
    request = CreateRequest("n", IDENTITY, "", WINDOW, ServedFormat.JSON, 1000, Order.ASC)
    accepted = await ask.client.create(request, send_within_s=10.0)
    try:
        link = await ask.client.link(accepted.uuid)
    except Refused as refused:
        return refused.service_code
    try:
        async with ask.files.open(link):
            return "a file"
    except FileMissing as missing:
        return missing.status


async def _file_after_delete(ask: Asking) -> object:
    uuid = (await ask.signed.create(**TASK)).json["result"]["uuid"]
    ask.time.clock.jump(30.0)
    ask.signed.now_s = ask.time.clock.now()
    link = await ask.signed.link(uuid)
    await ask.client.delete(uuid)
    return (await ask.signed.fetch(link)).status


async def _empty_texts(ask: Asking) -> object:
    """A body as one SDK sends it: every text that was not set is empty."""
    return await ask.written(logStreamName="", fileDir="", format="")


async def _unknown_field(ask: Asking) -> object:
    return await ask.written(description="nobody knows this field")


async def _subsecond(ask: Asking) -> object:
    return await ask.written(
        queryStartTime="2026-01-13T00:00:00.500Z", queryEndTime="2026-01-13T00:00:03.500Z"
    )


async def _no_time_at_all(ask: Asking) -> object:
    return await ask.written(queryEndTime=TASK["queryStartTime"])


async def _empty_stream(ask: Asking) -> object:
    return await ask.written(logStreamName="")


PROBES: Mapping[str, tuple[Probe, Mapping[Any, object], Mapping[str, Any]]] = {
    "store_total_key": (
        _store_total,
        {"totalCount": (["web"], {"totalCount"}), "total": (["web"], {"total"})},
        {},
    ),
    "link_before_success": (
        _link_before_success,
        {"given": 404, "refused": "InvalidParameter"},
        {"run_base_s": 60.0},
    ),
    "delete_removes_file": (_file_after_delete, {True: 404, False: 200}, {}),
    "empty_equals_absent": (_empty_texts, {True: 60, False: "InvalidParameter"}, {}),
    "unknown_fields": (_unknown_field, {"ignored": 60, "rejected": "InvalidParameter"}, {}),
    # Half a second late at both ends: the row of the first second is out, that of the third is in; rounded
    # down it is the other way round.
    "subsecond_windows": (_subsecond, {"rejected": "InvalidParameter", "accepted": 3, "rounded": 3}, {}),
    "empty_windows": (_no_time_at_all, {"rejected": "InvalidParameter", "accepted": 0}, {}),
    "empty_stream": (
        _empty_stream,
        {"all": 60, "none": 0, "not-found": "LogStreamNotFound"},
        {"empty_equals_absent": False},
    ),
}
"""Switch to the request that shows it, what is found under each setting, and what it is staged with."""
