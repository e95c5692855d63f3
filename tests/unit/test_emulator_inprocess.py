"""The world through the ports: no sockets, a virtual clock, and every fault as one of our own errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from orchestrator.core.job import JobIdentity, Order, ServedFormat
from orchestrator.core.model import Accepted, CreateRequest
from orchestrator.core.redact import PresignedLink
from orchestrator.core.window import Window
from orchestrator.emulator.account import Logstore
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.density import Uniform
from orchestrator.emulator.generated import GeneratedStore
from orchestrator.emulator.inprocess import InProcessFiles, InProcessService
from orchestrator.emulator.records import RecordStore
from orchestrator.emulator.world import World
from orchestrator.errors import (
    CreateUncertain,
    FileMissing,
    LinkRefused,
    MalformedAnswer,
    Refused,
    RemoteTaskNotFound,
    ServiceError,
    ServiceFault,
    Throttled,
    Unreachable,
)
from orchestrator.ports.control import Family
from orchestrator.ports.service import CountApi, CountUnavailable, FileSource, Histogram, MetaApi, TaskApi
from orchestrator.testing.loop import START_AT, VirtualTime, run_virtual

WINDOW = Window(int(START_AT) - 3600, int(START_AT) - 3000)
LINES = 6000
IDENTITY = JobIdentity("bj", "default", "web", "", "")


class OpenGate:
    """Lets everything pass and remembers it."""

    def __init__(self) -> None:
        self.asked: list[Family] = []
        self.refused: list[tuple[Family, float | None]] = []
        self.taken: list[Family] = []

    @asynccontextmanager
    async def request(self, family: Family) -> AsyncIterator[None]:
        self.asked.append(family)
        yield

    def throttled(self, family: Family, retry_after_s: float | None) -> None:
        self.refused.append((family, retry_after_s))

    def accepted(self, family: Family) -> None:
        self.taken.append(family)


class ShutGate(OpenGate):
    """Lets nothing pass."""

    @asynccontextmanager
    async def request(self, family: Family) -> AsyncIterator[None]:
        await asyncio.sleep(10**5)
        yield


class Stage:
    """A world, its ports, and virtual time."""

    def __init__(self, time: VirtualTime, switches: dict[str, object]) -> None:
        stores = [
            Logstore("web", GeneratedStore(7, Uniform(864_000)), retention_days=30),
            Logstore("bare", RecordStore(), indexed=False),
        ]
        self.time = time
        self.world = World(stores, seed=7, behaviour=Behaviour.from_dict(switches))
        self.gate = OpenGate()
        self.service = InProcessService(self.world, now=time.clock.now, gate=self.gate)
        self.files = InProcessFiles(self.world, now=time.clock.now, gate=self.gate)

    def behave(self, **switches: object) -> None:
        self.world.behave(Behaviour.from_dict(switches, self.world.behaviour), self.time.clock.now())

    def request(self, name: str = "o-1", identity: JobIdentity = IDENTITY) -> CreateRequest:
        return CreateRequest(name, identity, "", WINDOW, ServedFormat.JSON, 1_000_000, Order.ASC)

    async def create(self, name: str = "o-1", identity: JobIdentity = IDENTITY) -> Accepted:
        return await self.service.create(self.request(name, identity), send_within_s=10.0)

    async def finished(self) -> PresignedLink:
        """The link to a finished file."""
        uuid = (await self.create()).uuid
        await asyncio.sleep(60)
        return await self.service.link(uuid)

    async def fetch(self, link: PresignedLink, offset_bytes: int = 0, etag: str = "") -> tuple[int, bytes]:
        async with self.files.open(link, offset_bytes=offset_bytes, etag=etag) as answer:
            return answer.offset_bytes, b"".join([chunk async for chunk in answer.chunks])

    def names(self) -> list[str]:
        return [task.request.name for task in self.world.tasks.tasks()]


def on_stage(play: Callable[[Stage], Awaitable[None]], **switches: object) -> float:
    """Plays in virtual time; returns how long it took."""

    async def run(time: VirtualTime) -> float:
        await play(Stage(time, switches))
        return time.elapsed_s

    return run_virtual(run, horizon_s=10**6)


def test_the_ports_are_offered() -> None:
    """Service and files can stand wherever the ports are asked for."""

    async def play(stage: Stage) -> None:
        tasks: TaskApi = stage.service
        counts: CountApi = stage.service
        meta: MetaApi = stage.service
        files: FileSource = stage.files
        assert [tasks, counts, meta, files]
        await stage.service.close()
        await stage.files.close()

    on_stage(play)


def test_a_window_goes_from_create_to_file() -> None:
    """Create, describe, list, link, fetch and delete work together, and the gate is asked for each."""

    async def play(stage: Stage) -> None:
        service = stage.service
        assert service.server_offset_s == 0.0
        uuid = (await stage.create()).uuid
        assert service.server_offset_s == 7.0
        status = await service.describe(uuid)
        assert (status.state, status.name, status.logstream) == ("RUNNING", "o-1", "")
        assert (status.start_s, status.end_s, status.limit) == (WINDOW.start_s, WINDOW.end_s, 1_000_000)
        await asyncio.sleep(60)
        page = await service.list_page(project="default", logstore="web", page_no=1, page_size=50)
        assert [(task.uuid, task.state, task.written_rows) for task in page.tasks] == [
            (uuid, "SUCCESS", LINES)
        ]
        assert (page.total, page.page_size, page.server_at) == (1, 50, START_AT + 67)
        link = await service.link(uuid)
        _, whole = await stage.fetch(link)
        assert whole.count(b'"@seq"') == LINES
        await service.delete(uuid)
        await service.delete(uuid)
        with pytest.raises(RemoteTaskNotFound):
            await service.describe(uuid)
        families = [Family.CREATE, Family.DESCRIBE, Family.LIST, Family.LINK, Family.FILE, Family.DELETE]
        assert list(dict.fromkeys(stage.gate.asked)) == families
        assert stage.world.witness.requests["create"] == 1

    on_stage(play, clock_offset_s=7.0)


def test_latency_passes_in_virtual_time() -> None:
    """Calls take their latency on the loop's clock."""

    async def play(stage: Stage) -> None:
        await stage.service.describe_logstore("default", "web")

    assert on_stage(play, latency_s=3.0, latency_jitter=0.0) == 3.0


@pytest.mark.parametrize(
    ("form", "answered"), [("drop", False), ("500", True), ("502", False), ("503", True), ("504", False)]
)
@pytest.mark.parametrize("made", [True, False])
def test_a_lost_reply_leaves_the_create_in_doubt(form: str, answered: bool, made: bool) -> None:
    """Whether or not the task was made, a lost reply is CreateUncertain, and says whether the service
    answered."""

    async def play(stage: Stage) -> None:
        with pytest.raises(CreateUncertain) as doubt:
            await stage.create()
        assert doubt.value.answered is answered
        assert stage.names() == (["o-1"] if made else [])

    switch = "lost_reply_made" if made else "lost_reply_unmade"
    on_stage(play, **{switch: 1.0, "lost_reply_form": form})


def test_a_create_may_be_executed_after_everybody_gave_up() -> None:
    """A task in doubt can appear long after its reply was lost."""

    async def play(stage: Stage) -> None:
        with pytest.raises(CreateUncertain):
            await stage.create()
        stage.behave(lost_reply_made=0.0)
        service = stage.service
        assert (await service.list_page(project="", logstore="", page_no=1, page_size=9)).total == 0
        await asyncio.sleep(26)
        assert (await service.list_page(project="", logstore="", page_no=1, page_size=9)).total == 1

    on_stage(play, lost_reply_made=1.0, lost_reply_delay_s=25.0)


@pytest.mark.parametrize(
    ("switches", "identity", "error", "status"),
    [
        ({"create_per_s": 0.01, "burst_s": 0.0}, IDENTITY, Throttled, 429),
        ({"overload_rows": 1}, IDENTITY, Throttled, 413),
        ({}, JobIdentity("bj", "default", "nothing", "", ""), Refused, 404),
        ({}, JobIdentity("bj", "default", "web", "", "match ("), Refused, 400),
        ({"outstanding_cap": 1, "outstanding_cap_form": "429"}, IDENTITY, Throttled, 429),
        ({"outstanding_cap": 1, "outstanding_cap_form": "400"}, IDENTITY, CreateUncertain, 400),
        ({"outstanding_cap": 1, "outstanding_cap_form": "403"}, IDENTITY, CreateUncertain, 403),
        ({"create_repeated": "error"}, IDENTITY, CreateUncertain, 409),
        ({"malformed_probability": 1.0}, IDENTITY, CreateUncertain, 200),
    ],
)
def test_refused_creates(
    switches: dict[str, object], identity: JobIdentity, error: type[ServiceError], status: int
) -> None:
    """Only an answer that proves that nothing was made is a refusal; an unknown 400 or 403 is a doubt."""

    async def play(stage: Stage) -> None:
        await stage.create()
        stage.behave(**switches)
        with suppress(CreateUncertain, Refused, Throttled):
            await stage.create(identity=identity)
        with pytest.raises(error) as refused:
            await stage.create(identity=identity)
        assert refused.value.status == status

    on_stage(play)


@pytest.mark.parametrize(
    ("switch", "error"),
    [
        ("reset_probability", Unreachable),
        ("bad_gateway_probability", ServiceFault),
        ("server_error_probability", ServiceFault),
        ("malformed_probability", MalformedAnswer),
        ("throttle_probability", Throttled),
    ],
)
def test_reads_fail_as_our_own_errors(switch: str, error: type[ServiceError]) -> None:
    """Every fault on the way of a read is the error that the client over HTTP would raise."""

    async def play(stage: Stage) -> None:
        with pytest.raises(error):
            await stage.service.describe_logstore("default", "web")

    on_stage(play, **{switch: 1.0})


def test_a_throttling_reaches_the_gate() -> None:
    """The gate learns of a 429 and its Retry-After, and of every other answer."""

    async def play(stage: Stage) -> None:
        with pytest.raises(Throttled) as throttled:
            await stage.service.describe("any")
        assert throttled.value.retry_after_s == 4.0
        stage.behave(throttle_probability=0.0)
        with pytest.raises(RemoteTaskNotFound):
            await stage.service.describe("any")
        assert stage.gate.refused == [(Family.DESCRIBE, 4.0)]
        assert stage.gate.taken == [Family.DESCRIBE]

    on_stage(play, throttle_probability=1.0, retry_after_s=4.0)


@pytest.mark.parametrize("form", ["int", "float", "string"])
def test_counts_and_histograms(form: str) -> None:
    """Counts are whole numbers whatever their form; histograms add up."""

    async def play(stage: Stage) -> None:
        errors = JobIdentity("bj", "default", "web", "", "match level:ERROR")
        assert await stage.service.count(IDENTITY, "", WINDOW) == LINES
        part = await stage.service.count(errors, "", WINDOW)
        assert isinstance(part, int)
        assert 0 < part < LINES
        assert await stage.service.count(errors, "", WINDOW, match_all=True) == LINES
        streams = [
            await stage.service.count(IDENTITY, name, WINDOW)
            for name in await stage.service.list_logstreams("default", "web")
        ]
        assert sum(count for count in streams if isinstance(count, int)) == LINES
        found = await stage.service.histogram(errors, "", WINDOW)
        assert isinstance(found, Histogram)
        assert sum(bucket.lines for bucket in found.buckets) == found.hits == part

    on_stage(play, count_form=form)


@pytest.mark.parametrize(
    ("switches", "logstore"),
    [
        ({"count_truncated": True}, "web"),
        ({"count_refused": True}, "web"),
        ({"overload_rows": 5}, "web"),
        ({}, "bare"),
    ],
)
def test_a_count_that_cannot_be_had(switches: dict[str, object], logstore: str) -> None:
    """Truncated, refused, too large or without index: an answer that says so, not an error."""

    async def play(stage: Stage) -> None:
        identity = JobIdentity("bj", "default", logstore, "", "")
        assert isinstance(await stage.service.count(identity, "", WINDOW), CountUnavailable)

    on_stage(play, **switches)


@pytest.mark.parametrize(
    ("switches", "logstore"),
    [({"histogram_fails": "always"}, "web"), ({"histogram_fails": "timeout"}, "web"), ({}, "bare")],
)
def test_a_histogram_that_cannot_be_had(switches: dict[str, object], logstore: str) -> None:
    """A histogram that fails or has no index is an answer that says so."""

    async def play(stage: Stage) -> None:
        identity = JobIdentity("bj", "default", logstore, "", "")
        assert isinstance(await stage.service.histogram(identity, "", WINDOW), CountUnavailable)

    on_stage(play, **switches)


def test_metadata() -> None:
    """Logstores, streams and indexes are named; what does not exist is refused."""

    async def play(stage: Stage) -> None:
        service = stage.service
        web = await service.describe_logstore("default", "web")
        assert (web.name, web.retention_days, web.index_enabled) == ("web", 30, True)
        assert [store.name for store in await service.list_logstores("default")] == ["web", "bare"]
        assert await service.has_index("default", "bare") is False
        for project, logstore in (("default", "nothing"), ("nothing", "web")):
            with pytest.raises(Refused):
                await service.describe_logstore(project, logstore)

    on_stage(play)


def test_files_resume_where_they_stopped() -> None:
    """An offset gives the rest of the file; a changed ETag, an ignored range or an offset beyond the end, all
    of it."""

    async def play(stage: Stage) -> None:
        link = await stage.finished()
        _, whole = await stage.fetch(link)
        async with stage.files.open(link) as answer:
            etag, total = answer.etag, answer.total_bytes
        assert total == len(whole)
        assert await stage.fetch(link, 1000) == (1000, whole[1000:])
        assert await stage.fetch(link, 1000, etag) == (1000, whole[1000:])
        assert await stage.fetch(link, len(whole)) == (len(whole), b"")
        assert await stage.fetch(link, 1000, '"other"') == (0, whole)
        assert await stage.fetch(link, len(whole) + 1) == (0, whole)
        stage.behave(ranges="ignored")
        assert await stage.fetch(link, 1000) == (0, whole)

    on_stage(play)


@pytest.mark.parametrize(
    ("kind", "has_tag"),
    [("md5", True), ("opaque", True), ("changing", True), ("weak", False), ("none", False)],
)
def test_only_strong_tags_are_shown(kind: str, has_tag: bool) -> None:
    """A weak ETag counts as none."""

    async def play(stage: Stage) -> None:
        async with stage.files.open(await stage.finished()) as answer:
            assert bool(answer.etag) is has_tag

    on_stage(play, etag=kind)


def test_file_faults() -> None:
    """A body breaks off after its bytes, or ends early unnoticed; a link expires; a file is gone; 503
    happens."""

    async def play(stage: Stage) -> None:
        link = await stage.finished()
        _, whole = await stage.fetch(link)
        stage.behave(file_reset_probability=1.0)
        before = stage.world.witness.bytes_served.total()
        with pytest.raises(Unreachable):
            await stage.fetch(link)
        assert 0 < stage.world.witness.bytes_served.total() - before < len(whole)
        stage.behave(file_reset_probability=0.0, file_short_probability=1.0)
        async with stage.files.open(link) as answer:
            assert answer.total_bytes is None
            assert len(b"".join([chunk async for chunk in answer.chunks])) < len(whole)
        stage.behave(file_short_probability=0.0, file_error_probability=1.0)
        with pytest.raises(ServiceFault):
            await stage.fetch(link)
        stage.behave(file_error_probability=0.0, file_bytes_per_s=len(whole) / 50)
        began = stage.time.elapsed_s
        await stage.fetch(link)
        assert stage.time.elapsed_s - began == pytest.approx(50)
        for wrong in ("http://files.emulator.invalid/x", link.reveal().replace("ticket=", "ticket=0")):
            with pytest.raises(LinkRefused):
                await stage.fetch(PresignedLink(wrong))
        await asyncio.sleep(1801)
        with pytest.raises(LinkRefused):
            await stage.fetch(link)
        uuid = stage.world.tasks.tasks()[0].uuid
        fresh = await stage.service.link(uuid)
        await stage.service.delete(uuid)
        with pytest.raises(FileMissing):
            await stage.fetch(fresh)

    on_stage(play)


def test_an_encoded_file_says_so() -> None:
    """Content-Encoding is handed on, the bytes as on the wire."""

    async def play(stage: Stage) -> None:
        async with stage.files.open(await stage.finished()) as answer:
            assert answer.content_encoding == "gzip"
            assert (await anext(aiter(answer.chunks))).startswith(b"\x1f\x8b")

    on_stage(play, content_encoding="gzip")


def test_too_many_queries_at_once_are_throttled() -> None:
    """Above the ceiling on queries in flight the rest are throttled."""

    async def play(stage: Stage) -> None:
        counts = (stage.service.count(IDENTITY, "", WINDOW) for _ in range(5))
        found = await asyncio.gather(*counts, return_exceptions=True)
        assert [isinstance(each, Throttled) for each in found] == [False] * 3 + [True] * 2

    on_stage(play, queries_at_once=3, latency_s=1.0)


def test_the_same_seed_tells_the_same_story() -> None:
    """Two runs with equal seed and calls meet the same faults at the same times."""

    def story() -> list[str]:
        told: list[str] = []

        async def play(stage: Stage) -> None:
            for number in range(40):
                try:
                    await stage.create(f"o-{number}")
                    told.append("made")
                except ServiceError as error:
                    told.append(f"{stage.time.elapsed_s:.6f} {error}")

        on_stage(
            play,
            lost_reply_made=0.2,
            lost_reply_unmade=0.2,
            reset_probability=0.2,
            throttle_probability=0.1,
            latency_s=0.5,
        )
        return told

    assert story() == story()
    assert len(set(story())) > 5


def test_a_create_waits_for_the_gate_only_so_long() -> None:
    """A create that gets no permission in time is throttled, and nothing was sent."""

    async def play(stage: Stage) -> None:
        shut = InProcessService(stage.world, now=stage.time.clock.now, gate=ShutGate())
        with pytest.raises(Throttled):
            await shut.create(stage.request(), send_within_s=10.0)
        assert (stage.time.elapsed_s, stage.world.witness.requests.total()) == (10.0, 0)

    on_stage(play)
