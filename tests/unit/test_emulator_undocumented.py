"""Switches of the emulated service for what no page says, where a unit shows them best: names, records that
come late or go, logstores made anew, links elsewhere."""

from __future__ import annotations

import asyncio
from email.utils import parsedate_to_datetime

import aiohttp
import pytest

from orchestrator.emulator.account import Logstore
from orchestrator.emulator.behaviour import Behaviour, BehaviourError
from orchestrator.emulator.density import Uniform
from orchestrator.emulator.generated import GeneratedStore
from orchestrator.emulator.http import Emulator
from orchestrator.emulator.record import Record
from orchestrator.emulator.records import RecordStore
from orchestrator.emulator.refusal import Refusal
from orchestrator.emulator.world import World
from tests.unit.emulator_client import SignedClient

NOW_S = 1_768_348_860.0  # 2026-01-14T00:01:00Z
WINDOW = {"queryStartTime": "2026-01-14T00:00:00Z", "queryEndTime": "2026-01-14T00:00:10Z"}
BODY = {"name": "n", "logStoreName": "web", "order": "asc", **WINDOW}
STEADY = {"run_base_s": 10.0, "run_per_line_s": 0.0, "run_jitter": 0.0}
GENERATED = Logstore("web", GeneratedStore(7, Uniform(864_000)))
RECORDED = Logstore("web", RecordStore(Record(1_768_348_800_000 + n * 100, n, "s", "x") for n in range(100)))


def world_of(store: Logstore = GENERATED, **switches: object) -> World:
    return World([store], seed=7, behaviour=Behaviour.from_dict({**STEADY, **switches}))


def wish() -> dict[str, str]:
    return {
        "query": "match * | select count(*) as c",
        "startDateTime": WINDOW["queryStartTime"],
        "endDateTime": WINDOW["queryEndTime"],
    }


def rows_written(world: World, now_s: float = NOW_S) -> int | None:
    uuid = world.create_task(BODY, now_s)
    return world.tasks.describe(uuid, now_s + 20).written_rows


def counted(world: World, now_s: float = NOW_S) -> int:
    found = world.ask(wish(), "web", now_s).matching("match *", world.behaviour)
    return found.count(1_768_348_800_000, 1_768_348_810_000)


def test_a_create_may_replace_the_task_of_its_name() -> None:
    """The second uuid stands alone, and the executor of the first is free again."""
    world = world_of(create_repeated="replaced", executors=1)
    first, second = world.create_task(BODY, NOW_S), world.create_task(BODY, NOW_S + 4)
    assert first != second
    with pytest.raises(Refusal, match="DownloadTaskNotFound"):
        world.tasks.describe(first, NOW_S + 5)
    assert world.tasks.describe(second, NOW_S + 20).exec_end_at_s == NOW_S + 14
    assert world.witness.live_duplicate_names() == ()


@pytest.mark.parametrize("store", [GENERATED, RECORDED], ids=["generated", "recorded"])
def test_late_records_come_when_they_said(store: Logstore) -> None:
    """A tenth of the records is missing from counts and files until ten minutes after their time."""
    world = world_of(store, late_per_mille=100, late_by_s=600.0)
    early = counted(world)
    assert 70 <= early < 100
    assert rows_written(world) == early
    assert counted(world, NOW_S + 600) == rows_written(world, NOW_S + 600) == 100


def test_retention_takes_records_whatever_the_logstore_says() -> None:
    """What is older than the switch says is neither counted nor written."""
    world = world_of(retention_s=55.0)
    assert counted(world) == rows_written(world) == 50
    assert counted(world, NOW_S + 2) == 30


def test_a_download_may_see_less_than_a_count() -> None:
    """The count is ahead of the file by the lag, and later they agree."""
    world = world_of(download_lag_s=55.0)
    assert (counted(world), rows_written(world)) == (100, 50)
    assert rows_written(world, NOW_S + 10) == 100


def test_rows_may_be_told_only_at_the_end() -> None:
    """Nothing but a zero until the task ends, then the number."""
    world = world_of(written_rows="zero-until-end")
    uuid = world.create_task(BODY, NOW_S)
    told = [world.tasks.describe(uuid, NOW_S + after_s).written_rows for after_s in (0, 9, 11)]
    assert told == [0, 0, 100]


@pytest.mark.parametrize(("how", "state", "rows"), [("found", "SUCCESS", 0), ("lost", "FAILED", 0)])
def test_a_logstore_made_anew_is_found_or_not(how: str, state: str, rows: int) -> None:
    """A task that waited while its logstore was removed and made anew sees the new one, or none."""
    world = world_of(executors=1, store_recreated=how)
    world.create_task({**BODY, "name": "before"}, NOW_S)
    uuid = world.create_task(BODY, NOW_S)
    world.account.remove_store("default", "web")
    world.account.add_store(Logstore("web", RecordStore()))
    view = world.tasks.describe(uuid, NOW_S + 25)
    assert (view.state, view.written_rows) == (state, rows)


def test_an_answer_without_a_body_is_no_setting_for_reads() -> None:
    """204 for every read would be a service that cannot be used, and is refused as a setting."""
    with pytest.raises(BehaviourError, match="read_status must not be 204"):
        Behaviour(read_status=204)
    with pytest.raises(BehaviourError, match="late_per_mille"):
        Behaviour(late_per_mille=1001)


def over_http(**switches: object) -> tuple[str, int, bytes, str]:
    """A create, a link, the file behind it, and the Retry-After of a refused call."""

    async def main() -> tuple[str, int, bytes, str]:
        now = [NOW_S]
        world = world_of(**switches)
        async with Emulator(world, now=lambda: now[0]) as emulator, aiohttp.ClientSession() as session:
            client = SignedClient(session, emulator.endpoint, NOW_S)
            created = await client.create(**BODY)
            (task,) = world.tasks.tasks()
            now[0] += 20
            link = await client.link(task.uuid)
            file = await client.fetch(link.replace("https://", "http://"))
            world.behave(Behaviour.from_dict({**switches, "throttle_probability": 1.0}), now[0])
            refused = await client.describe(task.uuid)
            return (
                link,
                created.status,
                created.body,
                refused.headers.get("Retry-After", "") or file.body[:1].decode(),
            )

    return asyncio.run(main())


@pytest.mark.parametrize("kind", ["presigned", "gateway"])
def test_a_link_may_lead_to_another_name(kind: str) -> None:
    """Under another host name and scheme the link opens all the same file."""
    link, *_, first = over_http(link_host="other", link_scheme="https", link_kind=kind)
    assert link.startswith("https://localhost:")
    assert first == "{"


def test_a_created_task_may_be_answered_with_nothing() -> None:
    """A 204 has no body, though the task is made."""
    assert over_http(create_status=204)[1:3] == (204, b"")


def test_retry_after_may_be_a_date() -> None:
    """The same moment, said as a number of seconds or as a date."""
    assert over_http(retry_after_s=7.0)[3] == "7"
    at = parsedate_to_datetime(over_http(retry_after_s=7.0, retry_after_form="date")[3])
    assert at.timestamp() == NOW_S + 27
