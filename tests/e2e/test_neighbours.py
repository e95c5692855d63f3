"""Others use the same account, with names like ours: nobody touches what another made."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clock import SystemClock, SystemRng
from orchestrator.core.job import JobIdentity, Limits, Order, ServedFormat, ServiceSpec
from orchestrator.core.model import CreateRequest
from orchestrator.core.window import Window, iso_utc
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.http import TEST_CREDENTIALS
from orchestrator.engine.context import JobContext, Room
from orchestrator.remote.client import BlsClient
from orchestrator.remote.credentials import StaticCredentials
from orchestrator.remote.session import Session
from orchestrator.testing.archive import Rows, final_files, rows_of, truth
from orchestrator.testing.emulated import EmulatedService, emulated
from orchestrator.testing.episode import Setting
from orchestrator.testing.lives import Export, Life
from orchestrator.testing.loop import SeededRng, VirtualTime
from orchestrator.testing.remains import Remains, read_remains
from tests.e2e.proving import describe_world, same_rows
from tests.simulation.rig import Rig
from tests.unit.loopback import RecordingGate

DAY = Window(1_768_348_800, 1_768_435_200)
ROWS = 6_000
FOREIGN = 300
PATIENCE_S = 240.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmulatedService, Rows]]:
    """An emulator of its own, and the truth of its one logstore."""
    folder = tmp_path_factory.mktemp("service")
    world = describe_world(folder, ROWS)
    every = truth(
        world, project="default", logstore="web", start_ms=DAY.start_s * 1000, end_ms=DAY.end_s * 1000
    )
    with emulated(folder, world) as served:
        yield served, every


@pytest.fixture(autouse=True)
def fair(request: pytest.FixtureRequest) -> None:
    """Each test over HTTP begins in fair weather."""
    if "service" in request.fixturenames:
        request.getfixturevalue("service")[0].behave({"run_base_s": 0.1, "run_per_line_s": 0.0})


def export_in(folder: Path, service: EmulatedService, *, max_lines: int = 400) -> Export:
    """A job of some fifteen slices in a folder with a manifest of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "jobs.toml").write_text(
        f'[service]\nendpoint = "{service.endpoint}"\n[limits]\ndisk_reserve = "1MB"\n'
        f'requests_per_second = 100\n[[jobs]]\nname = "web"\nlogstore = "web"\n'
        f"from = {iso_utc(DAY.start_s)}\nto = {iso_utc(DAY.end_s)}\n"
        f'max_lines = {max_lines}\ndestination = "archive"\n',
        encoding="utf-8",
    )
    return Export(folder, service)


def run(export: Export) -> Life:
    return export.whole(("run", "--no-progress"), PATIENCE_S)


def remains_of(export: Export) -> Remains:
    return read_remains(export.folder / "orchestrator.db", "web")


def archived(export: Export) -> Rows:
    return sum((rows_of(path) for path in final_files(export.folder / "archive")), Rows())


def names_of(tasks: Sequence[dict[str, str]], remains: Remains) -> Counter[str]:
    """How many tasks at the service bear each name of this manifest."""
    return Counter(task["name"] for task in tasks if task["name"].startswith(remains.prefix))


def one_task_a_slice(export: Export, service: EmulatedService) -> None:
    """Each settled slice of this manifest has one remote task at the service, and no other bears its name."""
    remains = remains_of(export)
    names = names_of(service.tasks(), remains)
    assert set(names.values()) == {1}
    assert len(names) == remains.states["done"] >= 12
    assert set(names) == {task.name for task in remains.tasks.values() if task.wanted}


def make_foreign(service: EmulatedService, names: Sequence[str]) -> set[str]:
    """Tasks that somebody else makes over the same logstore and day; their uuids."""
    identity = JobIdentity("emulated", "default", "web", "", "match *")

    async def main() -> set[str]:
        session = Session(
            ServiceSpec("", service.endpoint),
            credentials=StaticCredentials(TEST_CREDENTIALS),
            gate=RecordingGate(),
            clock=SystemClock(),
            rng=SystemRng(),
        )
        client = BlsClient(session)
        try:
            made = [
                await client.create(
                    CreateRequest(name, identity, "", DAY, ServedFormat.JSON, 10, Order.ASC),
                    send_within_s=10.0,
                )
                for name in names
            ]
        finally:
            await client.close()
        return {accepted.uuid for accepted in made}

    return asyncio.run(main())


@pytest.mark.slow
def test_two_manifests_export_one_logstore_at_once(
    service: tuple[EmulatedService, Rows], tmp_path: Path
) -> None:
    """Two runs at the same time, replies lost, remote tasks failing, the list late and full of others' tasks:
    each ends with every row, one remote task a slice, and has deleted only its own."""
    served, every = service
    one, other = export_in(tmp_path / "one", served), export_in(tmp_path / "other", served, max_lines=450)
    foreign = make_foreign(served, [f"o-00000000000000{n % 7:02d}-{n}" for n in range(FOREIGN)])
    served.behave(
        {
            "run_base_s": 0.2,
            "executors": 400,
            "list_lag_s": 1.0,
            "lost_reply_made": 0.15,
            "lost_reply_form": "503",
            "fail_probability": 0.1,
        }
    )
    children = [export.start("run", "--no-progress") for export in (one, other)]
    assert [child.wait(PATIENCE_S) for child in children] == [0, 0]
    for export in (one, other):
        same_rows(archived(export), every)
        one_task_a_slice(export, served)
    first, second = remains_of(one), remains_of(other)
    assert first.manifest_id != second.manifest_id
    assert set(first.tasks).isdisjoint(second.tasks)
    let_go = {uuid for remains in (first, second) for uuid, task in remains.tasks.items() if task.surplus}
    assert set(served.stats()["deletes_asked"]) <= let_go
    assert foreign <= {task["uuid"] for task in served.tasks()}


def test_a_window_forgotten_and_exported_again(service: tuple[EmulatedService, Rows], tmp_path: Path) -> None:
    """After ``forget`` the window is exported anew under names never used before: the same rows stand once,
    what was made before is neither adopted nor deleted."""
    served, every = service
    export = export_in(tmp_path, served)
    assert run(export).exit == 0
    before = remains_of(export)
    old = {task["uuid"] for task in served.tasks() if task["name"].startswith(before.prefix)}
    deleted = set(served.stats()["deletes_asked"])
    forgotten = export.whole(("forget", "--job", "web", "--yes"), PATIENCE_S)
    assert (forgotten.exit, remains_of(export).coverage) == (0, ())
    assert run(export).exit == 0
    after = remains_of(export)
    assert after.manifest_id == before.manifest_id
    assert [(window.start_s, window.end_s) for window in after.coverage] == [(DAY.start_s, DAY.end_s)]
    same_rows(archived(export), every)
    ours = [task for task in served.tasks() if task["name"].startswith(after.prefix)]
    assert old < {task["uuid"] for task in ours}
    assert len(ours) == len({task["name"] for task in ours}) == 2 * len(old)
    assert set(served.stats()["deletes_asked"]) == deleted
    again = run(export)
    assert (again.exit, again.document["requests"]["create"], again.document["requests"]["file"]) == (0, 0, 0)


def test_a_second_run_on_one_manifest_touches_nothing(
    service: tuple[EmulatedService, Rows], tmp_path: Path
) -> None:
    """While the first run stands still in the middle, the second exits 8 at once: no request, no byte of the
    manifest or the archive changed. The first then completes."""
    served, every = service
    served.behave({"run_base_s": 1.0, "executors": 2})
    export = export_in(tmp_path, served)
    first = export.start("run", "--no-progress")
    try:
        begun = time.monotonic()
        while time.monotonic() - begun < 60.0 and not final_files(tmp_path / "archive"):
            time.sleep(0.02)
        first.send_signal(signal.SIGSTOP)
        before = (settled_contents(tmp_path), settled_requests(served))
        begun = time.monotonic()
        second = Export(tmp_path / "elsewhere", served)
        (tmp_path / "elsewhere").mkdir()
        life = second.whole(
            ("run", str(tmp_path / "jobs.toml"), "--no-progress", "--log-file", "second.log"), PATIENCE_S
        )
        assert time.monotonic() - begun < 30.0
        assert life.exit == 8
        assert life.document["error"]["code"] == "manifest_locked"
        assert (contents(tmp_path), settled_requests(served)) == before
    finally:
        first.send_signal(signal.SIGCONT)
    assert first.wait(PATIENCE_S) == 0
    same_rows(archived(export), every)
    one_task_a_slice(export, served)


def settled_contents(folder: Path) -> dict[str, bytes]:
    """What lies there once nothing changes any more: a stopped process may still be inside a call that
    writes."""
    deadline = time.monotonic() + PATIENCE_S
    seen, again = None, contents(folder)
    while seen != again:
        assert time.monotonic() < deadline, "it goes on writing"
        time.sleep(0.3)
        seen, again = again, contents(folder)
    return again


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the job and its bytes, but for what children say and SQLite's shared memory."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and "elsewhere" not in path.parts
        and path.name not in ("said.json", "lives.log")
        and not path.name.endswith("-shm")
    }


def settled_requests(service: EmulatedService) -> dict[str, Any]:
    """What the service has seen once requests under way have arrived."""
    seen = service.requests()
    while (later := _after_a_while(service)) != seen:
        seen = later
    return seen


def _after_a_while(service: EmulatedService) -> dict[str, Any]:
    time.sleep(0.2)
    return service.requests()


# --- thousands of others, in virtual time


class Crowd:
    """Others on the account: thousands of tasks before the run, and more while it walks the list. Their names
    look like ours in every way but the right one."""

    def __init__(self, rig: Rig, manifest_id: str) -> None:
        self._rig = rig
        self.manifest_id = manifest_id
        self._made = 0
        self.uuids: set[str] = set()
        self.deleted: set[str] = set()
        """What the others deleted themselves."""

    def joins(self, count: int, now_s: float) -> None:
        """So many more tasks; every name of ours meets its look-alikes sooner or later."""
        window = self._rig.setting.window
        for _ in range(count):
            number, kind = divmod(self._made, len(LOOK_ALIKES))
            self._made += 1
            body = {
                "name": LOOK_ALIKES[kind].format(id=self.manifest_id, n=number),
                "project": "shop",
                "logStoreName": "web",
                "queryStartTime": iso_utc(window.start_s),
                "queryEndTime": iso_utc(window.end_s),
                "limit": 10,
                "order": "asc",
            }
            self.uuids.add(self._rig.world.create_task(body, now_s))

    def comes_and_goes(self, contexts: list[JobContext], room: Room, time: VirtualTime) -> Any:
        """A few more every now and then, as long as the run lasts; some of the older ones are deleted."""

        def arrive(left: int) -> None:
            now_s = time.clock.now()
            self.joins(3, now_s)
            gone = min(self.uuids)
            self.uuids.remove(gone)
            self._rig.world.tasks.delete(gone, now_s)
            self.deleted.add(gone)
            if left:
                time.loop.call_later(0.4, arrive, left - 1)

        time.loop.call_soon(arrive, 400)
        return contexts, room


LOOK_ALIKES = (
    "nightly-{n}",
    "o-0123456789abcdef-{n}",
    "o-{id}-{n}x",
    "o-{id}-0{n}",
    "O-{id}-{n}",
    "o-{id}_{n}",
    "",
    "o-{id}-{n}",  # ours to the letter; only its window is another
)


@pytest.mark.slow
def test_thousands_of_look_alikes_are_left_alone(tmp_path: Path) -> None:
    """With two deaths, lost replies, a late list, failing tasks and slow deletes, among thousands of tasks
    whose names look like ours: none of them is deleted or adopted, and each slice has one remote task."""
    behaviour = Behaviour(
        run_base_s=1.0,
        executors=10_000,
        lost_reply_made=0.1,
        lost_reply_unmade=0.1,
        list_lag_s=2.0,
        fail_probability=0.1,
        expires_at_link_probability=0.05,
        page_border="repeats",
    )
    rig = Rig(
        Setting(
            seed=5,
            slices=40,
            lines_per_slice=20,
            behaviour=behaviour,
            limits=Limits(tasks=12, downloads=4, disk_reserve_bytes=0),
        ),
        tmp_path,
    )
    crowd = Crowd(rig, SeededRng("manifest 5").token_hex(8))
    for age_s in (3000.0, 800.0, 400.0, 60.0):
        crowd.joins(600, rig.now_s - age_s)
    rig.disturb = crowd.comes_and_goes
    for crash_at in (150, 300):
        assert rig.live(crash_at).crash is not None
    report = rig.run()
    while not report.complete and len(rig.lives) < 8:
        report = rig.run()
    assert report.complete
    assert rig.archived() == rig.truth()
    assert rig.ledger("select value from meta where key = 'manifest_id'") == [(crowd.manifest_id,)]
    known = {uuid for (uuid,) in rig.ledger("select uuid from remote_tasks where uuid <> ''")}
    others = crowd.uuids | crowd.deleted
    assert len(others) > 2500
    assert known.isdisjoint(others)
    asked = set(rig.world.witness.deletes_asked) - crowd.deleted
    assert asked, "nothing of ours had to go"
    assert asked <= known
    alive = {task.uuid: task.request.name for task in rig.world.tasks.tasks()}
    assert crowd.uuids <= set(alive)
    names = Counter(alive[uuid] for uuid in known & set(alive))
    assert set(names.values()) == {1}
    assert len(names) == rig.ledger("select count(*) from slices where state = 'done'")[0][0] >= 40
