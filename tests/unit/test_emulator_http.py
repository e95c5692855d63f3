"""The emulator over HTTP: signed calls, links, files, faults, and its own control door."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from orchestrator.emulator.account import Logstore
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.density import Uniform
from orchestrator.emulator.generated import GeneratedStore
from orchestrator.emulator.http import Emulator
from orchestrator.emulator.records import RecordStore
from orchestrator.emulator.world import World
from tests.unit.emulator_client import SignedClient

NOW_S = 1_768_465_800
WINDOW = {"queryStartTime": "2026-01-14T00:00:00Z", "queryEndTime": "2026-01-14T00:10:00Z"}
ROWS = 600 * 10


@dataclass
class Stage:
    """An emulator, a client, and the hand on the clock."""

    emulator: Emulator
    client: SignedClient
    clock: list[float]

    @property
    def world(self) -> World:
        return self.emulator.world

    def behave(self, **switches: object) -> None:
        self.world.behave(Behaviour.from_dict(switches, self.world.behaviour), self.clock[0])

    def later(self, seconds: float) -> None:
        self.clock[0] += seconds
        self.client.now_s = self.clock[0]

    async def finished(self, **body: object) -> str:
        """A finished task over the ten minutes of WINDOW."""
        reply = await self.client.create(logStoreName="web", **{**WINDOW, **body})
        self.later(60)
        uuid: str = reply.json["result"]["uuid"]
        return uuid


def on_stage(play: Callable[[Stage], Awaitable[None]], **switches: object) -> None:
    async def run() -> None:
        clock = [float(NOW_S)]
        stores = [
            Logstore("web", GeneratedStore(7, Uniform(864_000)), retention_days=30),
            Logstore("pushed", RecordStore()),
        ]
        world = World(stores, seed=7, behaviour=Behaviour.from_dict(switches))
        async with (
            Emulator(world, now=lambda: clock[0]) as emulator,
            aiohttp.ClientSession(auto_decompress=False) as session,
        ):
            await play(Stage(emulator, SignedClient(session, emulator.endpoint, NOW_S), clock))

    asyncio.run(run())


def test_a_window_goes_from_create_to_file() -> None:
    """A task is created, described until SUCCESS, linked, and its file holds every record of the window once."""

    async def play(stage: Stage) -> None:
        created = await stage.client.create(name="first", logStoreName="web", order="asc", **WINDOW)
        assert created.status == 201
        uuid = created.json["result"]["uuid"]
        assert (await stage.client.describe(uuid)).json["result"]["task"]["state"] == "RUNNING"
        stage.later(10)
        task = (await stage.client.describe(uuid)).json["result"]["task"]
        assert (task["state"], task["writtenRows"], task["name"]) == ("SUCCESS", ROWS, "first")
        file = await stage.client.fetch(await stage.client.link(uuid))
        rows = [json.loads(line) for line in file.body.splitlines()]
        assert len({row["@seq"] for row in rows}) == len(rows) == ROWS
        assert [row["@timestamp"] for row in rows] == sorted(row["@timestamp"] for row in rows)
        assert rows[0]["@timestamp"] == 1_768_348_800_000
        assert rows[-1]["@timestamp"] < 1_768_348_800_000 + 600_000

    on_stage(play)
