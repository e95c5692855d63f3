"""HTTP over memory behaves as HTTP over sockets does, where tests of the whole engine rely on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp
import pytest
from aiohttp import web

from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.http import Emulator
from orchestrator.emulator.world import World
from orchestrator.testing.loop import VirtualTime, run_virtual
from orchestrator.testing.wire import Wire

T = TypeVar("T")
PATH = "http://emulated/v1/logstore/web"


def over_the_wire(use: Callable[[aiohttp.ClientSession, Wire], Awaitable[T]], **switches: object) -> T:
    """What ``use`` returns of a virtual day against an emulator without logstores."""

    async def main(time: VirtualTime) -> T:
        world = World(behaviour=Behaviour.from_dict(switches))
        wire = Wire(Emulator(world, now=time.clock.now))
        async with wire.client() as client:
            try:
                return await use(client, wire)
            finally:
                await wire.close()

    return run_virtual(main, horizon_s=86_400.0)


def test_requests_and_answers_cross_and_are_kept() -> None:
    """A request reaches the handler with its body, its answer comes back, and both are on record."""

    async def use(client: aiohttp.ClientSession, wire: Wire) -> None:
        for body in (b'{"n": 1}', b'{"n": 2}'):
            async with client.post(PATH, data=body) as answer:
                assert (answer.status, (await answer.json())["code"]) == (403, "AccessDenied")
        assert [each.asked for each in wire.exchanges] == [b'{"n": 1}', b'{"n": 2}']
        assert {(each.method, each.host, each.scheme) for each in wire.exchanges} == {
            ("POST", "emulated", "http")
        }
        assert {each.status for each in wire.exchanges} == {403}
        assert wire.exchanges[0].document["code"] == "AccessDenied"
        assert "x-bce-request-id" in wire.exchanges[0].headers

    over_the_wire(use)


def test_any_host_and_both_schemes_lead_to_the_emulator() -> None:
    """What a link names as its host is seen by the server, and https needs no certificate here."""

    async def use(client: aiohttp.ClientSession, wire: Wire) -> None:
        async with client.get("https://elsewhere/bls-download/x") as answer:
            await answer.read()
        assert [(each.scheme, each.host) for each in wire.exchanges] == [("https", "elsewhere")]

    over_the_wire(use)


def test_a_patient_client_times_out_in_virtual_time() -> None:
    """A service that takes an hour is left after the client's own minute, and no test waits for it."""

    async def never(_: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError

    async def use(client: aiohttp.ClientSession, wire: Wire) -> float:
        wire._handle = never
        with pytest.raises(TimeoutError):
            async with client.get(PATH, timeout=aiohttp.ClientTimeout(total=60)):
                pass
        return asyncio.get_running_loop().time()

    assert over_the_wire(use) == pytest.approx(60, abs=1)


def test_a_broken_connection_is_no_answer() -> None:
    """When the handler aborts, the client sees the connection close and the record shows no status."""

    async def broken(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response(status=500)

    async def use(client: aiohttp.ClientSession, wire: Wire) -> None:
        wire._handle = broken
        with pytest.raises(aiohttp.ServerDisconnectedError):
            async with client.get(PATH):
                pass
        await asyncio.sleep(0)
        assert [each.status for each in wire.exchanges] == [0]

    over_the_wire(use)
