"""The client and the file source against the emulator over HTTP, in each of its odd moods."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from orchestrator.clock import SystemClock, SystemRng
from orchestrator.core.job import JobIdentity, Order, ServedFormat, ServiceSpec
from orchestrator.core.model import CreateRequest, RemoteTaskStatus
from orchestrator.core.window import Window
from orchestrator.emulator.http import TEST_CREDENTIALS, Emulator
from orchestrator.emulator.world_file import world_from_dict
from orchestrator.errors import (
    CreateUncertain,
    FileMissing,
    LinkRefused,
    Refused,
    RemoteTaskNotFound,
    ServiceError,
    Throttled,
    Unreachable,
)
from orchestrator.ports.service import CountUnavailable, Histogram
from orchestrator.remote.client import BlsClient
from orchestrator.remote.credentials import StaticCredentials
from orchestrator.remote.files import HttpFileSource
from orchestrator.remote.session import Session
from tests.unit.loopback import RecordingGate

T = TypeVar("T")

START_S = 1_768_348_800
WINDOW = Window(START_S, START_S + 600)
IDENTITY = JobIdentity("emulator", "default", "web-access", "", "match *")
REQUEST = CreateRequest("o-0123456789abcdef-1", IDENTITY, "", WINDOW, ServedFormat.JSON, 1_000_000, Order.ASC)
SPEC: dict[str, Any] = {
    "seed": 5,
    "logstores": [
        {
            "name": "web-access",
            "start": START_S,
            "end": START_S + 3600,
            "retention_days": 3650,
            "streams": ["app/a", "app/b"],
            "density": {"kind": "uniform", "rows_per_s": 2},
        },
        {"name": "bare", "indexed": False, "start": START_S, "end": START_S + 60},
    ],
}


@dataclass
class MovableClock:
    """The machine's clock, moved ahead at will; client and emulator share it."""

    ahead_s: float = 0.0

    def now(self) -> float:
        return SystemClock().now() + self.ahead_s


async def _with_emulator(
    behaviour: dict[str, Any], use: Callable[[BlsClient, HttpFileSource], Awaitable[T]], clock: MovableClock
) -> T:
    quick = {"run_base_s": 0.0, "run_per_line_s": 0.0} | behaviour
    async with Emulator(world_from_dict(SPEC | {"behaviour": quick}), now=clock.now) as emulator:
        session = Session(
            ServiceSpec("", emulator.endpoint),
            credentials=StaticCredentials(TEST_CREDENTIALS),
            gate=RecordingGate(),
            clock=clock,
            rng=SystemRng(),
        )
        client, files = BlsClient(session), HttpFileSource()
        try:
            return await use(client, files)
        finally:
            await client.close()
            await files.close()


def _run(
    behaviour: dict[str, Any],
    use: Callable[[BlsClient, HttpFileSource], Awaitable[T]],
    clock: MovableClock | None = None,
) -> T:
    return asyncio.run(asyncio.wait_for(_with_emulator(behaviour, use, clock or MovableClock()), 60))


async def _finished(client: BlsClient, uuid: str) -> RemoteTaskStatus:
    while (task := await client.describe(uuid)).state in ("WAITING", "RUNNING"):
        await asyncio.sleep(0.01)
    return task


async def _body(client: BlsClient, files: HttpFileSource, uuid: str) -> bytes:
    async with files.open(await client.link(uuid)) as found:
        return b"".join([block async for block in found.chunks])


async def _whole_life(client: BlsClient, files: HttpFileSource) -> tuple[RemoteTaskStatus, bytes, Any, Any]:
    """Create, wait, count, fetch, list, delete, delete again."""
    accepted = await client.create(REQUEST, send_within_s=10)
    task = await _finished(client, accepted.uuid)
    body = await _body(client, files, accepted.uuid)
    count = await client.count(IDENTITY, "", WINDOW)
    histogram = await client.histogram(IDENTITY, "", WINDOW)
    page = await client.list_page(project="default", logstore="web-access", page_no=1, page_size=50)
    assert [each.uuid for each in page.tasks] == [accepted.uuid]
    await client.delete(accepted.uuid)
    await client.delete(accepted.uuid)
    with pytest.raises(RemoteTaskNotFound):
        await client.describe(accepted.uuid)
    return task, body, count, histogram


@pytest.mark.parametrize(
    "behaviour",
    [
        {},
        {"task_total_key": "totalCount", "store_total_key": "total", "search_statistic_key": "searchStatics"},
        {
            "request_id_key": "request_id",
            "ok_code": "success",
            "omitted_keys": ["logStreamName", "message", "success"],
        },
        {"create_status": 200, "read_status": 201, "delete_status": 204, "delete_body": False},
        {"time_form": "millis", "not_yet": "null"},
        {"time_form": "offset", "not_yet": "absent"},
        {"link_redirects": 2, "link_kind": "gateway"},
        {"etag": "weak", "ranges": "ignored", "delete_again": "success"},
        {"count_form": "string", "histogram_empty_buckets": "left-out"},
        {"count_form": "float", "retry_after_s": 0.0, "throttle_probability": 0.0},
        {"clock_offset_s": 20.0, "auth_style": "bls-403"},
        {"running_shown": False, "unknown_fields": "rejected"},
    ],
    ids=lambda behaviour: ",".join(behaviour) or "plain",
)
def test_a_remote_task_lives_and_dies_in_every_spelling(behaviour: dict[str, Any]) -> None:
    """From create to delete every call works, however the service spells its answers."""
    task, body, count, histogram = _run(behaviour, _whole_life)
    assert task.state == "SUCCESS"
    assert (task.name, task.start_s, task.end_s) == (REQUEST.name, WINDOW.start_s, WINDOW.end_s)
    assert count == task.written_rows == len(body.splitlines())
    assert isinstance(histogram, Histogram)
    assert histogram.hits == sum(bucket.lines for bucket in histogram.buckets) == count


def test_reads_survive_a_bad_day() -> None:
    """Resets, gateway pages, faults, throttling and broken JSON on reads are repeated until they pass."""
    bad = {
        "bad_gateway_probability": 0.1,
        "server_error_probability": 0.1,
        "malformed_probability": 0.1,
        "reset_probability": 0.1,
        "throttle_probability": 0.1,
        "retry_after_s": 0.0,
    }

    async def use(client: BlsClient, _: HttpFileSource) -> int:
        good = 0
        for _attempt in range(30):
            with suppress(ServiceError):  # five faults in a row do happen
                good += (await client.describe_logstore("default", "web-access")).name == "web-access"
        return good

    assert _run(bad, use) >= 25


@pytest.mark.parametrize("form", ["drop", "500", "502", "503", "504"])
@pytest.mark.parametrize("made", [True, False])
def test_a_lost_reply_to_a_create_is_in_doubt(form: str, made: bool) -> None:
    """Whether or not the task was made, a lost reply is CreateUncertain and only the list knows."""
    lost = "lost_reply_made" if made else "lost_reply_unmade"

    async def use(client: BlsClient, _: HttpFileSource) -> list[str]:
        with pytest.raises(CreateUncertain):
            await client.create(REQUEST, send_within_s=10)
        page = await client.list_page(project="default", logstore="web-access", page_no=1, page_size=10)
        return [task.name for task in page.tasks]

    assert _run({lost: 1.0, "lost_reply_form": form}, use) == ([REQUEST.name] if made else [])


@pytest.mark.parametrize(
    ("form", "kind"),
    [("429", Throttled), ("400", (CreateUncertain, Refused, Throttled)), ("403", ServiceError)],
)
def test_a_hidden_quota_is_an_error_of_ours(form: str, kind: Any) -> None:
    """A cap on outstanding tasks shows as one of our errors, whatever status it hides behind."""

    async def use(client: BlsClient, _: HttpFileSource) -> None:
        await client.create(REQUEST, send_within_s=10)
        with pytest.raises(kind):
            await client.create(REQUEST, send_within_s=10)

    _run({"outstanding_cap": 1, "outstanding_cap_form": form, "run_base_s": 60.0}, use)


@pytest.mark.parametrize("style", ["platform", "bls-401", "bls-403"])
def test_a_wrong_clock_is_found_and_forgotten(style: str) -> None:
    """A server two hours ahead is understood after one refusal, in whatever status it says so."""

    async def use(client: BlsClient, _: HttpFileSource) -> float:
        await client.describe_logstore("default", "web-access")
        await client.create(REQUEST, send_within_s=10)
        return client.server_offset_s

    assert _run({"clock_offset_s": 7200.0, "auth_style": style}, use) == pytest.approx(7200, abs=2)


def test_counting_without_an_index_is_said() -> None:
    """A logstore without an index has no counts, and says so rather than failing."""

    async def use(client: BlsClient, _: HttpFileSource) -> tuple[object, object, bool | None]:
        bare = JobIdentity("emulator", "default", "bare", "", "match *")
        return (
            await client.count(bare, "", WINDOW),
            await client.histogram(bare, "", WINDOW),
            await client.has_index("default", "bare"),
        )

    count, histogram, index = _run({}, use)
    assert isinstance(count, CountUnavailable)
    assert isinstance(histogram, CountUnavailable)
    assert index is not True


def test_metadata_is_listed() -> None:
    """Logstores and their streams are listed to the end, with what the service says of them."""

    async def use(client: BlsClient, _: HttpFileSource) -> tuple[Any, ...]:
        return (
            await client.list_logstores("default"),
            await client.list_logstreams("default", "web-access"),
            await client.describe_logstore("default", "web-access"),
            await client.has_index("default", "web-access"),
        )

    stores, streams, store, index = _run({}, use)
    assert sorted(each.name for each in stores) == ["bare", "web-access"]
    assert sorted(streams) == ["app/a", "app/b"]
    assert store.retention_days == 3650
    assert index is True


def test_what_does_not_exist_is_refused() -> None:
    """A missing logstore and a missing project are refusals, for every call that names one."""

    async def use(client: BlsClient, _: HttpFileSource) -> None:
        nowhere = JobIdentity("emulator", "default", "nowhere", "", "match *")
        request = CreateRequest("n", nowhere, "", WINDOW, ServedFormat.JSON, 10, Order.ASC)
        for call in (
            client.describe_logstore("default", "nowhere"),
            client.list_logstreams("default", "nowhere"),
            client.count(nowhere, "", WINDOW),
            client.create(request, send_within_s=10),
            client.has_index("default", "nowhere"),
        ):
            with pytest.raises(Refused):
                await call
        with pytest.raises(RemoteTaskNotFound):
            await client.link("no-such-uuid")

    _run({}, use)


@pytest.mark.parametrize("refusal", ["403", "400"])
def test_an_expired_link_asks_for_another(refusal: str) -> None:
    """A link past its lifetime is LinkRefused; a missing file is FileMissing."""

    async def use(client: BlsClient, files: HttpFileSource) -> None:
        accepted = await client.create(REQUEST, send_within_s=10)
        await _finished(client, accepted.uuid)
        link = await client.link(accepted.uuid)
        clock.ahead_s = 1801.0
        with pytest.raises(LinkRefused):
            async with files.open(link):
                pass

    clock = MovableClock()
    _run({"link_refusal": refusal}, use, clock)

    async def early(client: BlsClient, files: HttpFileSource) -> None:
        accepted = await client.create(REQUEST, send_within_s=10)
        with pytest.raises(FileMissing):
            await _body(client, files, accepted.uuid)

    _run({"run_base_s": 60.0}, early)


def test_broken_bodies_are_continued() -> None:
    """A body that breaks off again and again is fetched to its end by ranges, without a byte lost or
    doubled."""

    async def use(client: BlsClient, files: HttpFileSource) -> tuple[bytes, int]:
        accepted = await client.create(REQUEST, send_within_s=10)
        task = await _finished(client, accepted.uuid)
        link, got, etag, breaks = await client.link(accepted.uuid), bytearray(), "", 0
        while True:
            try:
                async with files.open(link, offset_bytes=len(got), etag=etag) as found:
                    del got[found.offset_bytes :]
                    etag = found.etag
                    async for block in found.chunks:
                        got += block
                break
            except Unreachable:
                breaks += 1
        assert task.written_rows == len(got.splitlines())
        return bytes(got), breaks

    whole, _ = _run({}, use)
    broken, breaks = _run({"file_reset_probability": 0.8}, use)
    assert broken == whole
    assert breaks > 0
