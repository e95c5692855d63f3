"""What a later pull removes of earlier ones that nobody took up again, and what it leaves alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest

from orchestrator.app.pull import JOB, Pull, Wish, prepared
from orchestrator.app.pulling_state import Opened, pulling
from orchestrator.app.sweeping import KEPT_S, sweep
from orchestrator.app.wiring import Outside
from orchestrator.clock import SystemRng
from orchestrator.core.job import Order, ServedFormat
from orchestrator.core.model import RemoteTask, RemoteTaskStatus, Slice, SliceState, TaskPage
from orchestrator.core.window import Window
from orchestrator.engine.clean import TRIES
from orchestrator.errors import OrchestratorError, Refused, Unreachable
from orchestrator.ports.service import TaskApi
from orchestrator.ports.store import Changes

NOW_S = 1_768_400_000.0
ENVIRONMENT = {
    "BCE_REGION": "bj",
    "BCE_ACCESS_KEY_ID": "ak",
    "BCE_SECRET_ACCESS_KEY": "sk",
    "HOME": "/nobody",
}
OLD = Wish("old", from_="2026-01-01", to="2026-01-02")
NEW = Wish("new", from_="2026-01-01", to="2026-01-02")
DEADLINE_S = 20.0


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's state folder, and pauses between deletes that take no time."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("orchestrator.engine.clean.backoff_s", lambda *_, **__: 0.0)
    return tmp_path / "state" / "orchestrator" / "pulls"


@dataclass
class Clock:
    def now(self) -> float:
        return NOW_S


@dataclass
class Told:
    """An Observer that keeps what it is told."""

    lines: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def changed(self, *_: object) -> None: ...

    def noted(self, name: str, **detail: object) -> None:
        if name.startswith("pull."):
            self.lines.append((name, detail))


@dataclass
class Service:
    """A list of remote tasks, and what is deleted of them."""

    there: dict[str, str] = field(default_factory=dict)
    failing: OrchestratorError | None = None
    undeletable: OrchestratorError | None = None
    asked: list[str] = field(default_factory=list)
    server_offset_s: float = 0.0

    async def list_page(self, *, page_no: int, **_: object) -> TaskPage:
        self.asked.append("list")
        if self.failing is not None:
            raise self.failing
        names = self.there if page_no == 1 else {}
        items = tuple(
            RemoteTaskStatus(uuid=uuid, name=name, state="RUNNING", created_at=NOW_S)
            for uuid, name in names.items()
        )
        return TaskPage(items, len(self.there))

    async def delete(self, uuid: str) -> None:
        self.asked.append(f"delete {uuid}")
        if self.undeletable is not None:
            raise self.undeletable
        self.there.pop(uuid, None)


def outside(told: Told) -> Outside:
    return Outside(ENVIRONMENT, Clock(), SystemRng(), told)


def ready(wish: Wish) -> Pull:
    return prepared(wish, environment=ENVIRONMENT, now_s=NOW_S)


@asynccontextmanager
async def opened(wish: Wish, service: Service, told: Told) -> AsyncIterator[Opened]:
    """A pull at work in front of ``service``."""
    async with asyncio.timeout(DEADLINE_S), pulling(ready(wish), outside(told)) as found:
        contexts = tuple(replace(context, tasks=cast("TaskApi", service)) for context in found.house.contexts)
        yield replace(found, house=replace(found.house, contexts=contexts))


async def abandoned(wish: Wish = OLD, *, uuid: str | None = None, days: float = 15.0) -> Path:
    """A pull that was killed, and how long ago; ``uuid`` is what it has at the service, "" a doubt."""
    async with opened(wish, Service(), Told()) as found:
        manifest = found.house.room.manifest
        await manifest.commit(Changes(jobs=(found.pull.job,), slices=(slice_of(manifest.manifest_id, uuid),)))
        (found.pull.folder / "archive").mkdir()
        (found.pull.folder / "archive" / "rows").write_text("rows")
        folder = found.pull.folder
    aged(folder, days)
    return folder


def slice_of(manifest_id: str, uuid: str | None) -> Slice:
    window = Window(1_767_225_600, 1_767_225_660)
    if uuid is None:
        return Slice("s1", JOB, "", window)
    task = RemoteTask(
        1, f"o-{manifest_id}-1", "s1", JOB, 1, window, 10, Order.ASC, ServedFormat.JSON, NOW_S, uuid=uuid
    )
    state = SliceState.RUNNING if uuid else SliceState.IN_DOUBT
    return Slice("s1", JOB, "", window, state=state, task=task)


def aged(folder: Path, days: float) -> None:
    for place in (folder, *folder.rglob("*")):
        os.utime(place, (NOW_S - days * 86_400, NOW_S - days * 86_400))


async def swept(
    service: Service, *, wish: Wish = NEW, answers: bool = True
) -> list[tuple[str, dict[str, object]]]:
    """What a later pull says when it has swept."""
    told = Told()
    async with opened(NEW, service, told) as found:
        await sweep(found, answers=answers)
    return told.lines


def test_what_nobody_took_up_for_two_weeks_is_removed() -> None:
    """With what it fetched; what it has at the service is deleted first, and one line tells."""

    async def work() -> None:
        folder = await abandoned(uuid="u1")
        service = Service({"u1": "o-1"})
        said = await swept(service)
        assert said == [("pull.swept", {"states": 1, "remote_tasks_deleted": 1})]
        assert service.asked == ["list", "delete u1"]
        assert not folder.exists()
        assert await swept(service) == [], "there is nothing left to tell of"

    asyncio.run(work())


def test_several_are_told_in_one_line() -> None:
    """What has nothing at the service goes without a question to it."""

    async def work() -> None:
        folders = [await abandoned(replace(OLD, logstore=f"old-{number}")) for number in range(3)]
        service = Service(failing=Unreachable("nobody answers"))
        assert await swept(service, answers=False) == [
            ("pull.swept", {"states": 3, "remote_tasks_deleted": 0})
        ]
        assert service.asked == []
        assert not any(folder.exists() for folder in folders)

    asyncio.run(work())


def test_what_was_used_lately_stays() -> None:
    """Thirteen days are not two weeks, and the same line given again begins the count anew."""

    async def work() -> None:
        folder = await abandoned(days=KEPT_S / 86_400 - 1)
        assert await swept(Service()) == []
        aged(folder, 30)
        async with opened(OLD, Service(), Told()) as found:
            assert found.pull.resumed
        os.utime(folder / "pull.json", (NOW_S, NOW_S))  # the wall clock of this machine is not the test's
        assert await swept(Service()) == []
        assert folder.exists()

    asyncio.run(work())


def test_a_line_that_is_taken_up_dates_its_note() -> None:
    """Resuming is using."""

    async def work() -> None:
        folder = await abandoned(days=15)
        before = (folder / "pull.json").stat().st_mtime
        async with opened(OLD, Service(), Told()):
            assert (folder / "pull.json").stat().st_mtime > before

    asyncio.run(work())


def test_a_state_that_another_pull_holds_is_left_alone() -> None:
    """However old it looks: nothing of it is touched, asked for or said."""

    async def work() -> None:
        async with opened(OLD, Service(), Told()) as old:
            manifest = old.house.room.manifest
            piece = slice_of(manifest.manifest_id, "u1")
            await manifest.commit(Changes(jobs=(old.pull.job,), slices=(piece,)))
            aged(old.pull.folder, 40)
            service = Service({"u1": "o-1"})
            assert await swept(service) == []
            assert service.asked == []
            assert await manifest.slice("s1") is not None
            assert (old.pull.folder / "pull.json").exists()

    asyncio.run(work())


@pytest.mark.parametrize("elsewhere", [replace(OLD, region="gz"), replace(OLD, credentials="env")])
def test_what_has_remote_tasks_elsewhere_stays(elsewhere: Wish) -> None:
    """Another service, or perhaps another account: it is not asked, and the state is all that knows of these
    tasks. The line says so, and how to remove it all the same."""

    async def work() -> None:
        folder = await abandoned(elsewhere, uuid="u1")
        service = Service({"u1": "o-1"})
        ((name, detail),) = await swept(service)
        assert (name, detail["state"], detail["by_hand"]) == (
            "pull.sweep_failed",
            str(folder),
            f"rm -r {folder}",
        )
        assert "with the same credentials" in str(detail["why"])
        assert service.asked == []
        assert (folder / "archive" / "rows").exists()
        assert len(await swept(service)) == 1, "every pull says it until it can go"

    asyncio.run(work())


@pytest.mark.parametrize("answers", [True, False])
def test_what_has_remote_tasks_at_a_service_out_of_reach_stays_whole(answers: bool) -> None:
    """The same line could still be taken up as it was left; once the service answers, the state goes."""

    async def work() -> None:
        folder = await abandoned(uuid="u1")
        away = Service({"u1": "o-1"}, failing=Unreachable("connection refused"))
        ((name, detail),) = await swept(away, answers=answers)
        assert name == "pull.sweep_failed"
        assert ("connection refused" if answers else "did not answer") in str(detail["why"])
        async with opened(OLD, Service(), Told()) as found:
            assert found.pull.resumed
            assert await found.house.room.manifest.slice("s1") is not None
        assert (folder / "archive" / "rows").exists()
        aged(folder, 15)
        assert await swept(Service({"u1": "o-1"})) == [
            ("pull.swept", {"states": 1, "remote_tasks_deleted": 1})
        ]

    asyncio.run(work())


def test_a_delete_that_is_refused_keeps_the_state_that_knows_of_it() -> None:
    """Until a later pull can delete what is left."""

    async def work() -> None:
        folder = await abandoned(uuid="u1")
        service = Service({"u1": "o-1"}, undeletable=Refused("not allowed", status=403))
        ((name, detail),) = await swept(service)
        assert (name, detail["why"]) == ("pull.sweep_failed", "not allowed")
        assert (folder / "pull.db").exists()
        service.undeletable = None
        assert await swept(service) == [("pull.swept", {"states": 1, "remote_tasks_deleted": 1})]
        assert (folder.exists(), service.there) == (False, {})

    asyncio.run(work())


def test_an_outage_of_deletes_is_tried_as_often_as_any() -> None:
    """And then left for the next pull."""

    async def work() -> None:
        folder = await abandoned(uuid="u1")
        service = Service({"u1": "o-1"}, undeletable=Unreachable("reset"))
        assert [name for name, _ in await swept(service)] == ["pull.sweep_failed"]
        assert service.asked == ["list"] + ["delete u1"] * TRIES
        assert folder.exists()

    asyncio.run(work())


def test_what_a_create_in_doubt_made_goes_too() -> None:
    """It is looked for under the names of that state; what others made stays."""

    async def work() -> None:
        folder = await abandoned(uuid="")
        async with opened(OLD, Service(), Told()) as found:
            own = f"o-{found.house.room.manifest.manifest_id}-1"
        aged(folder, 15)
        service = Service({"u1": own, "u2": "somebody's"})
        assert await swept(service) == [("pull.swept", {"states": 1, "remote_tasks_deleted": 1})]
        assert (list(service.there), folder.exists()) == (["u2"], False)

    asyncio.run(work())


def test_a_state_that_cannot_be_read_stays() -> None:
    """A damaged ledger cannot tell what it has at the service."""

    async def work() -> None:
        folder = await abandoned(uuid="u1")
        (folder / "pull.db").write_bytes(b"not a database at all" * 100)
        aged(folder, 15)
        ((name, detail),) = await swept(Service())
        assert (name, detail["state"]) == ("pull.sweep_failed", str(folder))
        assert folder.exists()

    asyncio.run(work())


def test_what_is_not_a_state_of_a_pull_is_not_touched(state: Path, tmp_path: Path) -> None:
    """Only folders with the name of a question; no link is followed; an empty one of a pull that never began
    is swept like any other."""

    async def work() -> None:
        elsewhere = tmp_path / "precious"
        elsewhere.mkdir()
        (elsewhere / "pull.json").write_text("{}")
        state.mkdir(parents=True)
        (state / "notes").mkdir()
        (state / ("a" * 16)).symlink_to(elsewhere)
        (state / ("b" * 16)).mkdir()
        (state / ("c" * 16)).write_text("a file")
        for place in (elsewhere, elsewhere / "pull.json", *state.iterdir()):
            os.utime(place, (0, 0))
        assert await swept(Service()) == [("pull.swept", {"states": 1, "remote_tasks_deleted": 0})]
        assert {place.name[0] for place in state.iterdir()} >= {"n", "a", "c"}
        assert not (state / ("b" * 16)).exists()
        assert (elsewhere / "pull.json").exists()

    asyncio.run(work())


def test_an_interrupted_pull_stops_sweeping() -> None:
    """A signal is obeyed at once; what was not swept is for the next pull."""

    async def work() -> None:
        folder = await abandoned(uuid="u1")
        told = Told()
        begun = asyncio.Event()

        class Hanging(Service):
            async def list_page(self, **_: object) -> TaskPage:
                begun.set()
                await asyncio.sleep(3600)
                raise AssertionError

        async with opened(NEW, Hanging(), told) as found:
            sweeping = asyncio.create_task(sweep(found, answers=True))
            await begun.wait()
            found.house.room.stop.set("SIGINT")
            await sweeping
        assert told.lines == []
        assert (folder / "archive" / "rows").exists()

    asyncio.run(work())


def test_a_sweep_that_takes_too_long_is_left_for_the_next_pull(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for more than a minute behind rows that are there."""
    monkeypatch.setattr("orchestrator.app.sweeping.LONGEST_S", 0.05)

    class Hanging(Service):
        async def list_page(self, **_: object) -> TaskPage:
            await asyncio.sleep(3600)
            raise AssertionError

    async def work() -> None:
        await abandoned(uuid="u1")
        ((name, detail),) = await swept(Hanging())
        assert (name, "the next pull goes on" in str(detail["why"])) == ("pull.sweep_failed", True)

    asyncio.run(work())


def test_a_line_that_waits_for_its_like_begins_when_that_one_is_gone() -> None:
    """Who ends takes the folder away, with the lock in it: who waited makes it anew."""

    async def work() -> None:
        async with asyncio.timeout(DEADLINE_S):
            held = asyncio.Event()

            async def second() -> bool:
                await held.wait()
                async with pulling(ready(OLD), outside(Told()), wait_s=10.0) as found:
                    return found.pull.resumed

            task = asyncio.create_task(second())
            async with pulling(ready(OLD), outside(Told())) as first:
                held.set()
                await asyncio.sleep(0.5)
                first.gone = True
            assert await task is False

    asyncio.run(work())
