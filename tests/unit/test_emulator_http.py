"""The emulator over HTTP: signed calls, links, files, faults, and its own control door."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.core.redact import Secret
from orchestrator.core.signing import Credentials
from orchestrator.emulator.account import Logstore
from orchestrator.emulator.api import Call
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.density import Uniform
from orchestrator.emulator.generated import GeneratedStore
from orchestrator.emulator.http import TEST_CREDENTIALS, Emulator, run_emulator
from orchestrator.emulator.records import RecordStore
from orchestrator.emulator.refusal import Refusal
from orchestrator.emulator.world import World
from tests.unit.emulator_client import Reply, SignedClient

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
    """A task is created, described until SUCCESS, linked, and its file holds every record of the window
    once."""

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


@pytest.mark.parametrize(
    ("style", "stale", "wrong", "unknown"),
    [
        ("platform", (400, "RequestExpired"), (400, "SignatureDoesNotMatch"), (403, "InvalidAccessKeyId")),
        ("bls-401", (401, "RequestExpired"), (401, "Unauthorized"), (401, "Unauthorized")),
        ("bls-403", (403, "RequestExpired"), (403, "AccessDenied"), (403, "AccessDenied")),
    ],
)
def test_only_signed_requests_are_answered(
    style: str, stale: tuple[int, str], wrong: tuple[int, str], unknown: tuple[int, str]
) -> None:
    """Stale, wrongly signed and unknown keys are refused with the codes of the chosen style; nothing is
    made."""

    def outcome(reply: Reply) -> tuple[int, str]:
        return reply.status, reply.json["code"]

    async def play(stage: Stage) -> None:
        client = stage.client
        client.now_s = NOW_S - 1801
        assert outcome(await client.create(logStoreName="web", **WINDOW)) == stale
        client.now_s = NOW_S + 901
        assert outcome(await client.create(logStoreName="web", **WINDOW)) == stale
        client.now_s = NOW_S
        client.credentials = Credentials(TEST_CREDENTIALS.access_key_id, Secret("not the secret"))
        assert outcome(await client.create(logStoreName="web", **WINDOW)) == wrong
        client.credentials = Credentials("nobody", Secret("any"))
        assert outcome(await client.create(logStoreName="web", **WINDOW)) == unknown
        bare = await client.fetch(f"{client.endpoint}/v1/logstore/web")
        assert bare.status in (401, 403)
        garbled = await client.fetch(f"{client.endpoint}/v1/logstore/web", headers={"Authorization": "x"})
        assert garbled.status in (400, 401, 403)
        assert stage.world.tasks.tasks() == ()

    on_stage(play, auth_style=style)


def test_temporary_keys_need_their_token() -> None:
    """A key that comes with a security token is refused without it and accepted with it."""

    async def run() -> None:
        sts = Credentials("AKSTS", Secret("sk"), Secret("token"))
        world = World([Logstore("web", RecordStore())])
        async with (
            Emulator(world, now=lambda: NOW_S, credentials=[sts]) as emulator,
            aiohttp.ClientSession() as session,
        ):
            client = SignedClient(session, emulator.endpoint, NOW_S)
            client.credentials = Credentials("AKSTS", Secret("sk"))
            assert (await client.call("GET", "/v1/logstore/web")).status == 403
            client.credentials = sts
            assert (await client.call("GET", "/v1/logstore/web")).status == 200

    asyncio.run(run())


def test_every_answer_names_its_request_and_the_servers_time() -> None:
    """Answers and refusals carry x-bce-request-id and Date; a caller's own request id comes back."""

    async def play(stage: Stage) -> None:
        good = await stage.client.call("GET", "/v1/logstore/web")
        bad = await stage.client.call("GET", "/v1/logstore/nothing")
        ids = {good.headers["x-bce-request-id"], bad.headers["x-bce-request-id"]}
        assert len(ids) == 2
        assert bad.json == {
            "code": "LogStoreNotFound",
            "message": "LogStore [nothing] not exists",
            "requestId": bad.headers["x-bce-request-id"],
        }
        assert good.headers["Date"] == bad.headers["Date"] == "Thu, 15 Jan 2026 08:31:40 GMT"
        assert (await stage.client.call("GET", "/v9/nothing")).json["code"] == "InvalidURI"

    on_stage(play, clock_offset_s=100.0)


def test_spelling_follows_the_switches() -> None:
    """Totals, codes, omitted keys, statuses and times are spelled as the switches say."""

    async def play(stage: Stage) -> None:
        created = await stage.client.create(logStoreName="web", name="n", **WINDOW)
        assert created.status == 200
        assert created.json["code"] == "success"
        assert "message" not in created.json
        uuid = created.json["result"]["uuid"]
        task = (await stage.client.describe(uuid)).json["result"]["task"]
        assert "logStreamName" not in task
        assert task["createdTime"] == "2026-01-15T08:30:00.000Z"
        assert task["execEndTime"] is None
        listed = await stage.client.call(
            "POST", "/v2/logstore/download/list", body={"pageNo": 0, "project": ""}
        )
        assert listed.json["result"]["totalCount"] == 1
        stores = await stage.client.call("GET", "/v1/logstore", [("pageSize", "1"), ("pageNo", "2")])
        assert (stores.json["total"], len(stores.json["result"])) == (2, 1)
        refused = await stage.client.describe("nobody")
        assert "request_id" in refused.json
        deleted = await stage.client.call("DELETE", f"/v2/logstore/download/{uuid}")
        assert (deleted.status, deleted.body) == (204, b"")

    on_stage(
        play,
        create_status=200,
        ok_code="success",
        omitted_keys=["message", "logStreamName"],
        time_form="millis",
        not_yet="null",
        task_total_key="totalCount",
        store_total_key="total",
        request_id_key="request_id",
        delete_status=204,
    )


@pytest.mark.parametrize(("not_yet", "shown"), [("empty", ""), ("null", None), ("absent", "absent")])
def test_a_time_that_has_not_come(not_yet: str, shown: str | None) -> None:
    """The end of a running task is an empty text, null, or left out."""

    async def play(stage: Stage) -> None:
        uuid = (await stage.client.create(logStoreName="web", **WINDOW)).json["result"]["uuid"]
        task = (await stage.client.describe(uuid)).json["result"]["task"]
        assert task.get("execEndTime", "absent") == shown
        assert task["execStartTime"] == "2026-01-15T08:30:00+00:00"

    on_stage(play, not_yet=not_yet, time_form="offset")


def test_metadata_calls() -> None:
    """Logstores, streams, index and projects answer in their documented shapes, and can be made and
    removed."""

    async def play(stage: Stage) -> None:
        call = stage.client.call
        store = (await call("GET", "/v1/logstore/web", [("project", "default")])).json
        assert (store["retention"], store["project"], store["indexEnabled"]) == (30, "default", True)
        streams = (await call("GET", "/v1/logstore/web/logstream", [("project", "default")])).json
        assert [item["logStreamName"] for item in streams["result"]] == [
            "app/prod-1",
            "app/prod-2",
            "app/prod-3",
        ]
        assert streams["totalCount"] == 3
        assert (await call("GET", "/v1/logstore/web/index")).json["fulltext"] is True
        assert (await call("DELETE", "/v1/logstore/web/index")).status == 200
        assert (await call("GET", "/v1/logstore/web/index")).status == 404
        made = await call("POST", "/v1/project", body={"name": "shop", "description": "d"})
        project = made.json["result"]["uuid"]
        body = {"project": "shop", "logStoreName": "new", "retention": 7}
        assert (await call("POST", "/v1/logstore", body=body)).status == 200
        assert (await call("POST", "/v1/logstore", body=body)).status == 409
        assert (await call("PUT", "/v1/logstore/new", [("project", "shop")], {"retention": 9})).status == 200
        for path in ("/v1/logstore/list", "/v2/logstore/list"):
            listed = (await call("POST", path, body={"project": "shop", "namePattern": "ne"})).json
            assert [(item["logStoreName"], item["retention"]) for item in listed["result"]] == [("new", 9)]
        projects = (await call("POST", "/v1/project/list", body={})).json["result"]
        assert [item["name"] for item in projects["projects"]] == ["shop"]
        assert (projects["default"]["name"], projects["total"]) == ("default", 1)
        one = (await call("GET", f"/v1/project/{project}")).json["result"]["project"]
        assert (one["name"], one["logStoreCount"]) == ("shop", 1)
        assert (await call("DELETE", f"/v1/project/{project}")).status == 403
        assert (await call("DELETE", "/v1/logstore/new", [("project", "shop")])).status == 200
        assert (await call("DELETE", f"/v1/project/{project}")).status == 200
        assert (await call("GET", f"/v1/project/{project}")).status == 404

    on_stage(play)


def test_pushed_records_can_be_queried_pulled_and_counted() -> None:
    """What was pushed comes back by match, by pull and as a count; too much at once is refused."""

    async def play(stage: Stage) -> None:
        call = stage.client.call
        path = "/v1/logstore/pushed/logrecord"
        at_ms = (NOW_S - 60) * 1000
        records = [{"message": f"line {n} \u4e2d", "timestamp": at_ms + n} for n in range(30)]
        body = {
            "logStreamName": "s",
            "type": "TEXT",
            "tags": [{"k": "env", "v": "prod"}],
            "logRecords": records,
        }
        assert (await call("POST", path, body=body)).status == 200
        window = [("startDateTime", "2026-01-15T08:29:00Z"), ("endDateTime", "2026-01-15T08:30:00Z")]
        found = (await call("GET", path, [*window, ("query", "match env:prod"), ("sort", "asc")])).json
        assert found["resultSet"]["columns"] == ["@timestamp", "@seq", "@stream", "@raw"]
        assert [row[3] for row in found["resultSet"]["rows"]] == [record["message"] for record in records]
        assert "nextMarker" not in found
        page = (
            await call("GET", path, [*window, ("query", "match *"), ("pageNo", "2"), ("pageSize", "20")])
        ).json
        assert len(page["resultSet"]["rows"]) == 10
        pulled = (await call("GET", path, [*window, ("limit", "25")])).json
        assert (len(pulled["result"]), pulled["isTruncated"]) == (25, True)
        rest = (await call("GET", path, [*window, ("limit", "25"), ("marker", pulled["nextMarker"])])).json
        assert (len(rest["result"]), rest["isTruncated"]) == (5, False)
        counted = (await call("GET", path, [*window, ("query", "match line | select count(*) as c")])).json
        assert counted["resultSet"]["rows"] == [[30]]
        histogram = (
            await call("GET", "/v2/logstore/pushed/loghistogram", [*window, ("query", "match *")])
        ).json
        assert histogram["searchInfo"]["hits"] == 30
        assert histogram["searchStatistic"]["histogram"][0] == {"key": at_ms, "doc_count": 30}
        body["logRecords"] = records * 40
        assert (await call("POST", path, body=body)).status == 413
        for wrong in ([{"message": 1, "timestamp": 1}], [{"message": "x"}], ["x"], "x"):
            assert (await call("POST", path, body={"logRecords": wrong})).json["code"] == "InvalidParameter"
        typed = {"type": "JSON", "logRecords": [{"message": '{"color":"red"}', "timestamp": at_ms}]}
        assert (await call("POST", path, body=typed)).status == 200
        red = [*window, ("query", "match color:red | select count(*) as c")]
        assert (await call("GET", path, red)).json["resultSet"]["rows"] == [[1]]
        assert (await call("POST", "/v1/logstore/web/logrecord", body=body)).json["code"] == "AccessDenied"

    on_stage(play)


def test_bodies_that_are_no_json_are_refused() -> None:
    """A body that is not JSON, or not an object, gets the documented codes."""
    with pytest.raises(Refusal, match="MalformedJSON"):
        Call("POST", "/", {}, b"{").body()
    with pytest.raises(Refusal, match="InappropriateJSON"):
        Call("POST", "/", {}, b"[]").body()


def test_ranges_resume_a_file() -> None:
    """Ranges with and without If-Range give the pieces asked for, and 416 beyond the end."""

    async def play(stage: Stage) -> None:
        fetch = stage.client.fetch
        link = await stage.client.link(await stage.finished())
        whole = await fetch(link)
        size, etag = len(whole.body), whole.headers["ETag"]
        assert (whole.status, whole.headers["Content-Length"]) == (200, str(size))
        for text, start, end in (
            ("0-99", 0, 100),
            ("100-", 100, size),
            ("-7", size - 7, size),
            (f"5-{size + 9}", 5, size),
        ):
            piece = await fetch(link, headers={"Range": f"bytes={text}"})
            assert (piece.status, piece.body) == (206, whole.body[start:end])
            assert piece.headers["Content-Range"] == f"bytes {start}-{end - 1}/{size}"
        assert (await fetch(link, headers={"Range": "bytes=9-", "If-Range": etag})).status == 206
        assert (await fetch(link, headers={"Range": "bytes=9-", "If-Range": '"other"'})).status == 200
        assert (await fetch(link, headers={"Range": "lines=9-"})).status == 200
        beyond = await fetch(link, headers={"Range": f"bytes={size}-"})
        assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{size}")
        uuid = link.split("/")[4]
        assert stage.world.witness.bytes_served[uuid] > size
        stage.behave(ranges="ignored")
        assert (await fetch(link, headers={"Range": "bytes=9-"})).status == 200

    on_stage(play)


def test_entity_tags_have_several_kinds() -> None:
    """An ETag is opaque, the MD5, weak, different each time, or missing."""

    async def play(stage: Stage) -> None:
        link = await stage.client.link(await stage.finished(query="match level:ERROR"))
        stage.behave(etag="md5")
        file = await stage.client.fetch(link)
        assert file.headers["ETag"] == f'"{hashlib.md5(file.body).hexdigest()}"'
        stage.behave(etag="weak")
        assert (await stage.client.fetch(link)).headers["ETag"].startswith('W/"')
        stage.behave(etag="changing")
        tags = {(await stage.client.fetch(link)).headers["ETag"] for _ in range(3)}
        assert len(tags) == 3
        stage.behave(etag="none")
        assert "ETag" not in (await stage.client.fetch(link)).headers

    on_stage(play)


@pytest.mark.parametrize("kind", ["presigned", "gateway"])
def test_links_expire_and_cannot_be_forged(kind: str) -> None:
    """A link opens its own file until its lifetime is over, by the method it was made for."""

    async def play(stage: Stage) -> None:
        fetch = stage.client.fetch
        uuid = await stage.finished()
        other = await stage.finished()
        link = await stage.client.link(uuid)
        assert (await fetch(link)).status == 200
        assert (await fetch(link.replace(uuid, other))).status == 403
        assert (await fetch(link.split("?")[0])).status == 403
        if kind == "presigned":
            assert (await fetch(link, method="HEAD")).status == 403
        else:
            assert (await fetch(link, method="HEAD")).status == 200
        stage.later(61)
        expired = await fetch(link)
        assert (expired.status, "code" in expired.json) == (403, True)
        assert (await fetch(await stage.client.link(uuid))).status == 200
        stage.behave(link_refusal="400")
        assert (await fetch(link)).status == 400
        await stage.client.call("DELETE", f"/v2/logstore/download/{other}")
        assert (await fetch(await stage.client.link(uuid))).status == 200

    on_stage(play, link_kind=kind, link_lifetime_s=60)


def test_a_link_may_redirect() -> None:
    """A link can lead through redirects, on the same host only, to the file."""

    async def play(stage: Stage) -> None:
        link = await stage.client.link(await stage.finished())
        for _ in range(2):
            hop = await stage.client.fetch(link)
            assert hop.status == 302
            link = hop.headers["Location"]
        assert (await stage.client.fetch(link)).status == 200
        away = f"{stage.client.endpoint}/bls-hop/?to={b'http://example.invalid/'.hex()}"
        assert (await stage.client.fetch(away)).status == 400

    on_stage(play, link_redirects=2)


def test_a_file_may_be_compressed_or_encoded() -> None:
    """The file may be gzip itself, or plain under Content-Encoding; both unpack to the same rows."""

    async def play(stage: Stage) -> None:
        plain = await stage.client.fetch(await stage.client.link(await stage.finished()))
        stage.behave(file_compression="gzip")
        packed = await stage.client.fetch(await stage.client.link(await stage.finished()))
        assert "Content-Encoding" not in packed.headers
        stage.behave(file_compression="none", content_encoding="gzip")
        encoded = await stage.client.fetch(await stage.client.link(await stage.finished()))
        assert encoded.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.body) == gzip.decompress(encoded.body) == plain.body

    on_stage(play)


def test_a_body_may_break_off_or_end_early() -> None:
    """A download can be reset in its middle, or end early without a length and look finished; 503 is
    possible."""

    async def play(stage: Stage) -> None:
        link = await stage.client.link(await stage.finished())
        whole = await stage.client.fetch(link)
        stage.behave(file_reset_probability=1.0)
        with pytest.raises(aiohttp.ClientError):
            await stage.client.fetch(link)
        stage.behave(file_reset_probability=0.0, file_short_probability=1.0)
        short = await stage.client.fetch(link)
        assert "Content-Length" not in short.headers
        assert len(short.body) < len(whole.body)
        assert whole.body.startswith(short.body)
        stage.behave(file_short_probability=0.0, file_error_probability=1.0)
        assert (await stage.client.fetch(link)).status == 503
        stage.behave(file_error_probability=0.0, file_bytes_per_s=len(whole.body) * 10.0)
        assert (await stage.client.fetch(link)).body == whole.body

    on_stage(play)


@pytest.mark.parametrize(
    ("form", "status"), [("drop", None), ("500", 500), ("502", 502), ("503", 503), ("504", 504)]
)
@pytest.mark.parametrize("made", [True, False])
def test_the_reply_to_a_create_may_be_lost(form: str, status: int | None, made: bool) -> None:
    """A create can end in a broken connection or a 5xx, with the task made or not."""

    async def play(stage: Stage) -> None:
        if status is None:
            with pytest.raises(aiohttp.ClientError):
                await stage.client.create(logStoreName="web", name="lost", **WINDOW)
        else:
            assert (await stage.client.create(logStoreName="web", name="lost", **WINDOW)).status == status
        assert [task.request.name for task in stage.world.tasks.tasks()] == (["lost"] if made else [])
        told = "create carried out" if made else "create not carried out"
        assert stage.world.witness.replies_lost == {told: 1}

    switch = "lost_reply_made" if made else "lost_reply_unmade"
    on_stage(play, **{switch: 1.0, "lost_reply_form": form})


def test_gateways_and_garbage() -> None:
    """An answer can be an HTML page, JSON that breaks off, a broken connection, or a throttling with
    Retry-After."""

    async def play(stage: Stage) -> None:
        call = stage.client.call
        stage.behave(bad_gateway_probability=1.0)
        page = await call("GET", "/v1/logstore/web")
        assert (page.status, page.body[:6]) == (502, b"<html>")
        stage.behave(bad_gateway_probability=0.0, malformed_probability=1.0)
        garbage = await call("GET", "/v1/logstore/web")
        assert garbage.status == 200
        with pytest.raises(ValueError, match="unexpected end"):
            _ = garbage.json
        stage.behave(malformed_probability=0.0, server_error_probability=1.0)
        assert (await call("GET", "/v1/logstore/web")).json["code"] == "InternalError"
        stage.behave(server_error_probability=0.0, reset_probability=1.0)
        with pytest.raises(aiohttp.ClientError):
            await call("GET", "/v1/logstore/web")
        stage.behave(reset_probability=0.0, throttle_probability=1.0, retry_after_s=2.5)
        throttled = await call("GET", "/v1/logstore/web")
        assert (throttled.status, throttled.headers["Retry-After"]) == (429, "2.5")
        assert throttled.json["code"] == "RequestLimited"

    on_stage(play)


def test_too_many_queries_at_once_are_throttled() -> None:
    """Above the ceiling on queries in flight the rest get 429."""

    async def play(stage: Stage) -> None:
        query = [
            ("query", "match * | select count(*) as c"),
            ("startDateTime", WINDOW["queryStartTime"]),
            ("endDateTime", WINDOW["queryEndTime"]),
        ]
        replies = await asyncio.gather(
            *(stage.client.call("GET", "/v1/logstore/web/logrecord", query) for _ in range(6))
        )
        assert sorted(reply.status for reply in replies) == [200] * 3 + [429] * 3
        assert 4 <= stage.world.witness.max_queries_at_once <= 6

    on_stage(play, queries_at_once=3, latency_s=0.3, latency_jitter=0.0)


def test_the_control_door() -> None:
    """Evidence is read and switches are swapped at run time; wrong switches change nothing and are named."""

    async def play(stage: Stage) -> None:
        fetch, control = stage.client.fetch, f"{stage.client.endpoint}/_emulator/"
        await stage.finished(name="seen")
        stats = (await fetch(control + "stats")).json
        assert (stats["requests"], stats["tasks_made"], stats["outstanding"]) == ({"create": 1}, 1, 0)
        assert (await fetch(control + "requests")).json == {
            "requests": {"create": 1},
            "statuses": {"create 201": 1},
        }
        (seen,) = (await fetch(control + "tasks")).json["tasks"]
        assert (seen["name"], seen["project"], seen["logstore"]) == ("seen", "default", "web")
        assert (seen["start"], seen["end"]) == (WINDOW["queryStartTime"], WINDOW["queryEndTime"])
        assert seen["state"] == "SUCCESS"
        assert (await stage.client.call("DELETE", f"/v2/logstore/download/{seen['uuid']}")).status == 200
        assert (await fetch(control + "tasks")).json == {"tasks": []}
        assert (await fetch(control + "stats")).json["deletes_asked"] == {seen["uuid"]: 1}
        assert (await fetch(control + "behaviour")).json["list_lag_s"] == 0.0
        swapped = await fetch(control + "behaviour", method="POST", data=b'{"list_lag_s": 9.5}')
        assert swapped.json["list_lag_s"] == stage.world.behaviour.list_lag_s == 9.5
        wrong = await fetch(control + "behaviour", method="POST", data=b'{"list_lag": 1, "etag": "x"}')
        assert (wrong.status, len(wrong.json["complaints"])) == (400, 2)
        for data in (b"[]", b"{"):
            assert (await fetch(control + "behaviour", method="POST", data=data)).status == 400
        assert stage.world.behaviour.list_lag_s == 9.5
        await fetch(control + "behaviour?reset=1", method="POST", data=b"{}")
        assert stage.world.behaviour == Behaviour()
        assert (await fetch(control + "nothing")).status == 404

    on_stage(play)


def test_the_official_wire_forms_are_accepted() -> None:
    """Every request that the official clients are known to send passes the signature check as it stands."""
    vectors = json.loads((Path(__file__).parents[1] / "vectors" / "bce-auth-v1.json").read_text())
    keys = vectors["credentials"]

    async def run() -> None:
        credentials = [
            Credentials(keys["ak"]["access_key_id"], Secret(keys["ak"]["secret_access_key"])),
            Credentials(
                keys["sts"]["access_key_id"],
                Secret(keys["sts"]["secret_access_key"]),
                Secret(keys["sts"]["session_token"]),
            ),
        ]
        async with Emulator(World(), now=lambda: NOW_S, credentials=credentials) as emulator:
            for wire in vectors["wire"]:
                reply = await exchange(emulator.endpoint, wire)
                assert reply.startswith(b"HTTP/1.1 "), wire["name"]
                for code in (b"SignatureDoesNotMatch", b"InvalidAccessKeyId", b"AccessDenied", b"AuthHeader"):
                    assert code not in reply, wire["name"]

    async def exchange(endpoint: str, wire: dict[str, Any]) -> bytes:
        """The request exactly as the client put it on the wire, and everything that comes back."""
        host, port = endpoint.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        lines = [
            f"{wire['method']} {wire['target']} HTTP/1.1",
            *(f"{name}: {value}" for name, value in wire["headers"]),
        ]
        writer.write("\r\n".join([*lines, "Connection: close", "", wire["body"]]).encode())
        reply = await reader.read()
        writer.close()
        await writer.wait_closed()
        return reply

    asyncio.run(run())


def test_run_emulator_serves_until_cancelled() -> None:
    """The command's loop announces its endpoint, serves, and ends when cancelled."""

    async def run() -> None:
        ready: asyncio.Future[Emulator] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(
            run_emulator(
                World([Logstore("web", RecordStore())]), now=lambda: NOW_S, on_ready=ready.set_result
            )
        )
        emulator = await ready
        async with aiohttp.ClientSession() as session:
            client = SignedClient(session, emulator.endpoint, NOW_S)
            assert (await client.call("GET", "/v1/logstore/web")).status == 200
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving
            with pytest.raises(aiohttp.ClientConnectorError):
                await client.call("GET", "/v1/logstore/web")

    asyncio.run(run())
