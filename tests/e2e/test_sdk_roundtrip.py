"""Baidu's own Python SDK against the emulator: what it pushes it finds again."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchestrator.emulator.account import Logstore
from orchestrator.emulator.http import TEST_CREDENTIALS, Emulator, run_emulator
from orchestrator.emulator.records import RecordStore
from orchestrator.emulator.world import World

# Faults of the SDK itself: escapes that Python will refuse one day, and sockets left to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

RECORDS = 50_000
BATCH = 1000
START_S = 1_768_348_800
WINDOW = ("2026-01-14T00:00:00Z", "2026-01-14T01:00:00Z")


@pytest.fixture
def endpoint() -> Iterator[str]:
    """An emulator with one empty logstore, served by a thread of its own."""
    world = World([Logstore("sdk", RecordStore())])
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    endpoints: list[str] = []

    def announce(emulator: Emulator) -> None:
        endpoints.append(emulator.endpoint)
        ready.set()

    async def serve() -> None:
        await run_emulator(world, now=time.time, on_ready=announce)

    serving = loop.create_task(serve())

    def run() -> None:
        try:
            loop.run_until_complete(serving)
        except asyncio.CancelledError:
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(30)
    yield endpoints[0]
    loop.call_soon_threadsafe(serving.cancel)
    thread.join(30)
    assert not thread.is_alive()
    gc.collect()  # here, where the SDK's sockets are expected, not in somebody else's test


def client_of(endpoint: str) -> Any:
    from baidubce.auth.bce_credentials import BceCredentials
    from baidubce.bce_client_configuration import BceClientConfiguration
    from baidubce.services.bls.bls_client import BlsClient

    credentials = BceCredentials(TEST_CREDENTIALS.access_key_id, TEST_CREDENTIALS.secret_access_key.reveal())
    return BlsClient(BceClientConfiguration(credentials=credentials, endpoint=endpoint))


def push(client: Any) -> None:
    """Fifty thousand records over an hour, in batches of a thousand, with two tags."""
    from baidubce.services.bls.bls_model import LogRecordModel, TagModel

    tags = [TagModel("env", "prod"), TagModel("service", "auth")]
    for first in range(0, RECORDS, BATCH):
        records = [
            LogRecordModel(f"request {n} took {n % 97} ms", START_S * 1000 + n * 72)
            for n in range(first, first + BATCH)
        ]
        client.push_log_records("sdk", "app/prod-1", records, tags=tags)


def walk(ask: Callable[[str | None], Any], rows_of: Callable[[Any], list[str]]) -> list[str]:
    """Every page of an answer, by its markers."""
    found: list[str] = []
    marker: str | None = None
    while True:
        answer = ask(marker)
        found += rows_of(answer)
        marker = getattr(answer, "next_marker", None)
        if not marker:
            return found


def test_the_official_sdk_finds_again_what_it_pushed(endpoint: str) -> None:
    """Baidu's own Python SDK pushes 50,000 records, counts, queries and pulls them back, each one once."""
    client = client_of(endpoint)
    push(client)
    expected = [f"request {n} took {n % 97} ms" for n in range(RECORDS)]
    counted = client.query_log_records(
        "sdk", *WINDOW, "app/prod-1", query="match env:prod | select count(*) as c"
    )
    assert counted.result_set.rows == [[RECORDS]]

    queried = walk(
        lambda marker: client.query_log_records(
            "sdk", *WINDOW, "", query="match *", sort="asc", limit=1000, marker=marker
        ),
        lambda answer: [row[3] for row in answer.result_set.rows],
    )
    assert queried == expected

    pulled = walk(
        lambda marker: client.pull_log_records("sdk", *WINDOW, "app/prod-1", limit=1000, marker=marker),
        lambda answer: [record.message for record in answer.result],
    )
    assert pulled == expected

    newest = client.pull_log_records_v3("sdk", *WINDOW, "app/prod-1", query="match *", limit=10, sort="desc")
    assert [record.message for record in newest.result] == expected[:-11:-1]


def test_the_official_sdk_is_told_what_is_wrong(endpoint: str) -> None:
    """A refusal reaches the SDK's user with status, code and request id."""
    from baidubce.exception import BceHttpClientError

    with pytest.raises(BceHttpClientError) as error:
        client_of(endpoint).pull_log_records("nothing", *WINDOW, "s")
    assert (error.value.status_code, error.value.code) == (404, "LogStoreNotFound")
    assert error.value.request_id
