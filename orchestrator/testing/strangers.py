"""Who else uses the account? Tasks of others, that come and go while somebody walks the list."""

from __future__ import annotations

from contextlib import suppress

from orchestrator.core.window import iso_utc
from orchestrator.emulator.refusal import Refusal
from orchestrator.emulator.world import World
from orchestrator.testing.loop import SeededRng

__all__ = ["Strangers"]

_SPACING_S = 7.0


class Strangers:
    """``crowd`` foreign tasks of the same logstore, finished long ago when the episode begins; with every
    page of the list up to ``per_page`` more come and as many of them go."""

    def __init__(self, world: World, rng: SeededRng, *, crowd: int, per_page: int, end_s: int) -> None:
        self._world = world
        self._rng = rng
        self._crowd = crowd
        self._per_page = per_page
        self._end_s = end_s
        self._names = 0
        self.uuids: list[str] = []
        self.came = 0
        self.went = 0

    def settle(self, now_s: float) -> None:
        """They were here first."""
        for place in range(self._crowd):
            self._come(now_s - 300.0 - _SPACING_S * (self._crowd - place))
        self._world.tasks.advance(now_s)

    async def come_and_go(self, now_s: float) -> None:
        """Some come and some go, of whatever age."""
        for _ in range(int(self._rng.random() * (self._per_page + 1))):
            self._come(now_s)
            self.came += 1
        while len(self.uuids) > self._crowd:
            uuid = self.uuids.pop(int(self._rng.random() * len(self.uuids)))
            with suppress(Refusal):  # the service may refuse to, or has dropped it
                self._world.tasks.delete(uuid, now_s)
                self.went += 1

    def _come(self, now_s: float) -> None:
        self._names += 1
        # Half of them look like ours, from a manifest long lost.
        name = f"o-00000000deadbeef-{self._names}" if self._names % 2 else f"nightly-{self._names}"
        body = {
            "name": name,
            "project": "shop",
            "logStoreName": "web",
            "queryStartTime": iso_utc(self._end_s - 1),
            "queryEndTime": iso_utc(self._end_s),
        }
        with suppress(Refusal):  # a quota is for everybody
            self.uuids.append(self._world.create_task(body, now_s))
