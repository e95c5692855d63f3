"""The gate tells what holds requests back, and lets go of it."""

from __future__ import annotations

import asyncio

from orchestrator.core.timing import Brake
from orchestrator.engine.gate import RequestGate
from orchestrator.ports.control import Family
from orchestrator.testing.loop import VirtualTime, run_virtual


class Noted:
    """What a stopwatch was told last."""

    def __init__(self) -> None:
        self.brakes: set[Brake] = set()
        self.questions = 0

    def held(self, by: Brake, *, on: bool) -> None:
        (self.brakes.add if on else self.brakes.discard)(by)

    def counting(self, questions: int) -> None:
        self.questions = questions


def gate_of(time: VirtualTime, noted: Noted, per_s: float = 10.0) -> RequestGate:
    return RequestGate(requests_per_s=per_s, queries=1, rng=time.rng, stopwatch=noted)


def test_a_request_above_the_ceiling_is_held_by_it_until_it_goes() -> None:
    """The brake is on from the moment it waits; files and what went meanwhile do not put it on."""

    async def main(time: VirtualTime) -> None:
        noted = Noted()
        gate = gate_of(time, noted, per_s=1.0)
        async with gate.request(Family.CREATE):
            assert noted.brakes == set()
        async with gate.request(Family.FILE):
            assert noted.brakes == set()

        async def another() -> None:
            async with gate.request(Family.CREATE):
                assert noted.brakes == set()

        waits = asyncio.create_task(another())
        await asyncio.sleep(0.5)
        assert noted.brakes == {Brake.CEILING}
        await waits

    run_virtual(main)


def test_a_refused_family_is_held_by_the_service() -> None:
    """A Retry-After holds back requests of its family, and no others."""

    async def main(time: VirtualTime) -> None:
        noted = Noted()
        gate = gate_of(time, noted)
        async with gate.request(Family.LINK):
            gate.throttled(Family.LINK, 5.0)

        async def another(family: Family) -> None:
            async with gate.request(family):
                pass

        link = asyncio.create_task(another(Family.LINK))
        await asyncio.sleep(1.0)
        assert noted.brakes == {Brake.REFUSALS}
        await another(Family.DESCRIBE)
        assert noted.brakes == {Brake.REFUSALS}
        await link
        assert noted.brakes == set()

    run_virtual(main)


def test_questions_out_are_counted_and_those_without_a_place_are_held() -> None:
    """One question at a time: the second one waits for the place of the first, by no other brake."""

    async def main(time: VirtualTime) -> None:
        noted = Noted()
        gate = gate_of(time, noted)

        async def ask() -> None:
            async with gate.request(Family.QUERY):
                await asyncio.sleep(10)

        asked = [asyncio.create_task(ask()) for _ in range(2)]
        await asyncio.sleep(5)
        assert (noted.questions, noted.brakes) == (1, {Brake.QUERIES})
        await asyncio.sleep(10)
        assert (noted.questions, noted.brakes) == (1, set())
        await asyncio.gather(*asked)
        assert noted.questions == 0

    run_virtual(main)
