"""How far a limited pull looks before it exports, and how it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest

from orchestrator.app.pull import JOB, Pull, Wish, prepared
from orchestrator.app.pulling_order import Hole, Unrolling
from orchestrator.app.pulling_state import Opened, pulling
from orchestrator.app.pulling_stretches import stretches
from orchestrator.app.wiring import Outside
from orchestrator.clock import SystemRng
from orchestrator.core.job import JobIdentity
from orchestrator.core.model import Slice, SliceState
from orchestrator.core.window import Window
from orchestrator.errors import CredentialsError
from orchestrator.ports.service import Bucket, CountUnavailable, Histogram
from orchestrator.ports.store import Changes
from tests.unit.merge_kit import Row, lines, slice_of

ENVIRONMENT = {
    "BCE_REGION": "bj",
    "BCE_ACCESS_KEY_ID": "ak",
    "BCE_SECRET_ACCESS_KEY": "sk",
    "HOME": "/nobody",
}
NOW_S = 1_768_400_000.0
DAY = Window(1_768_348_800, 1_768_435_200)
DEADLINE_S = 20.0


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's state folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


class FixedClock:
    def now(self) -> float:
        return NOW_S + 10**6


class Silent:
    def changed(self, *_: object) -> None: ...

    def noted(self, name: str, **detail: object) -> None: ...


@dataclass
class Counts:
    """So many lines in every second, or a service that does not count, or does not answer."""

    per_s: int | None = 10
    keys_lost: bool = False
    answers: bool = True
    asked: list[Window] = field(default_factory=list)

    async def count(
        self, identity: JobIdentity, logstream: str, window: Window, *, match_all: bool = False
    ) -> int | CountUnavailable:
        found = await self._series(window, 3600)
        return found if isinstance(found, CountUnavailable) else sum(b.lines for b in found.buckets)

    async def buckets(
        self, identity: JobIdentity, logstream: str, window: Window, width_s: int
    ) -> Histogram | CountUnavailable:
        return await self._series(window, width_s)

    async def histogram(
        self, identity: JobIdentity, logstream: str, window: Window
    ) -> Histogram | CountUnavailable:
        return await self._series(window, 3600)

    async def _series(self, window: Window, width_s: int) -> Histogram | CountUnavailable:
        self.asked.append(window)
        if self.keys_lost:
            raise CredentialsError("no keys")
        if not self.answers:
            await asyncio.Event().wait()
        if self.per_s is None:
            return CountUnavailable("no index")
        found, at_s = [], window.start_s
        while at_s < window.end_s:
            end_s = min(at_s - at_s % width_s + width_s, window.end_s)
            found.append(Bucket(float(at_s), (end_s - at_s) * self.per_s))
            at_s = end_s
        return Histogram(float(width_s), tuple(found), None)


Story = Callable[[Opened], Awaitable[None]]


def told(counts: Counts, story: Story) -> None:
    """What happens with a day of such counts, which must end."""
    wish = Wish("web", from_="2026-01-14", to="2026-01-15", slice_lines=50_000)
    pull: Pull = prepared(wish, environment=ENVIRONMENT, now_s=FixedClock().now())

    async def lived() -> None:
        outside = Outside(ENVIRONMENT, FixedClock(), SystemRng(), Silent())
        async with asyncio.timeout(DEADLINE_S), pulling(pull, outside) as opened:
            (context,) = opened.house.contexts
            house = replace(opened.house, contexts=(replace(context, counts=counts),))
            await story(Opened(opened.pull, house))

    asyncio.run(lived())


async def store(opened: Opened, window: Window, rows: int) -> None:
    """As if the stretch had been exported and brought so many rows."""
    made = [Row(window.start_s * 1000 + number, number) for number in range(rows)]
    source = lines(opened.pull.folder / f"{window.start_s}", made, window)
    done = replace(slice_of(source), job=JOB, id=f"{window.start_s:016d}")
    await opened.house.room.manifest.commit(Changes(slices=(done,), jobs=(opened.pull.job,)))


def test_without_a_limit_it_is_all_one_stretch() -> None:
    """Nobody is asked for it."""
    counts = Counts()

    async def story(opened: Opened) -> None:
        assert [stretch async for stretch in stretches(opened, 0)] == [DAY]
        assert counts.asked == []

    told(counts, story)


def test_a_stretch_ends_where_the_counts_say_that_there_are_enough() -> None:
    """The next one begins there, and is as long as the rows that are wanting then need."""

    async def story(opened: Opened) -> None:
        found = stretches(opened, 3000)
        first = await anext(found)
        assert first.start_s == DAY.start_s
        assert 300 <= first.length_s <= 600
        await store(opened, first, 2000)
        second = await anext(found)
        assert second.start_s == first.end_s
        assert 100 <= second.length_s <= 200
        await found.aclose()

    told(Counts(), story)


def test_a_window_that_holds_fewer_is_one_stretch() -> None:
    """More than there is means all there is."""

    async def story(opened: Opened) -> None:
        assert [stretch async for stretch in stretches(opened, 10**6)] == [DAY]

    told(Counts(), story)


@pytest.mark.parametrize("rows", [0, 100])
def test_stretches_grow_where_nothing_can_be_counted(rows: int) -> None:
    """However little comes, the window's end is reached in a few stretches without a hole between them."""

    async def story(opened: Opened) -> None:
        found = []
        async for stretch in stretches(opened, 40_000):
            found.append(stretch)
            if rows:
                await store(opened, stretch, rows)
        assert found[0] == Window(DAY.start_s, DAY.start_s + 3600)
        assert all(one.end_s == next_.start_s for one, next_ in pairwise(found))
        assert found[-1].end_s == DAY.end_s
        assert len(found) <= 5

    told(Counts(per_s=None), story)


def test_what_an_earlier_line_has_under_way_is_part_of_the_first() -> None:
    """Remote tasks of a line that was stopped behind the first stretch are not let go."""

    async def story(opened: Opened) -> None:
        window = Window(DAY.start_s + 7200, DAY.start_s + 7300)
        running = Slice("r1", JOB, "", window, state=SliceState.RUNNING)
        await opened.house.room.manifest.commit(Changes(slices=(running,), jobs=(opened.pull.job,)))
        assert await anext(stretches(opened, 3000)) == Window(DAY.start_s, window.end_s)

    told(Counts(), story)


def test_whoever_cannot_be_asked_leaves_it_to_the_run() -> None:
    """Keys that are lost, and a stop while the service stands still, end the looking: the run over what is
    left says why."""

    async def lost(opened: Opened) -> None:
        assert await anext(stretches(opened, 3000)) == DAY

    async def stopped(opened: Opened) -> None:
        asyncio.get_running_loop().call_later(0.05, opened.house.room.stop.set, "SIGINT")
        assert await anext(stretches(opened, 3000)) == DAY

    told(Counts(keys_lost=True), lost)
    told(Counts(answers=False), stopped)


def test_more_is_wanted_once_all_before_is_told() -> None:
    """Pieces go on behind the end of a stretch when the next one is stored; a hole in the first is told once
    its run is over."""

    async def story(opened: Opened) -> None:
        manifest, job = opened.house.room.manifest, opened.pull.job
        unrolling = Unrolling(job, manifest)
        at_s = DAY.start_s + 3600
        pieces = unrolling.pieces(DAY)
        first = asyncio.ensure_future(anext(pieces))
        wants = asyncio.ensure_future(unrolling.wants(at_s))
        await asyncio.sleep(0.05)
        assert (first.done(), wants.done()) == (False, False)
        unrolling.over([Hole(Window(DAY.start_s, at_s), "throttled")], at_s)
        hole = await first
        assert isinstance(hole, Hole)
        assert hole.window.end_s == at_s
        assert not wants.done()
        second = asyncio.ensure_future(anext(pieces))
        await wants
        assert not second.done()
        unrolling.over([Hole(Window(at_s, DAY.end_s), "throttled")], DAY.end_s)
        assert (await second).window == Window(at_s, DAY.end_s)
        await pieces.aclose()

    told(Counts(), story)
