"""No remote task of ours is forgotten and no ceiling is broken, whatever the service does and whenever a run
is interrupted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from orchestrator.core.window import Window
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.engine.context import JobContext, Room
from orchestrator.errors import DiskFull, ExitCode, Refused
from orchestrator.testing.episode import Setting
from orchestrator.testing.loop import VirtualTime
from orchestrator.testing.whims import draw_whims
from tests.simulation.rig import DAY_S, Door, Rig, ceilings, failing, only_first, reasons, with_door


def killed_with_all_places_taken(rig: Rig) -> None:
    """A death while as many remote tasks run as may."""
    life = rig.live(1, counts=lambda name: rig.world.tasks.outstanding(rig.now_s) >= rig.setting.limits.tasks)
    assert life.crash is not None


def test_remote_tasks_whose_delete_a_drain_dropped_are_deleted_by_the_next_run(tmp_path: Path) -> None:
    """The window moves on and the run that lets the old remote tasks go is interrupted at once: the next one
    deletes them, and counts them until then."""
    rig = Rig(Setting(seed=2, slices=8, behaviour=Behaviour(run_base_s=3000.0)), tmp_path)
    killed_with_all_places_taken(rig)
    window = rig.setting.window
    moved = Window(window.start_s - DAY_S, window.end_s - DAY_S)
    rig.changed, rig.stop_at_s = {"window": moved}, 0.0
    assert rig.run().exit == ExitCode.INTERRUPTED
    assert rig.surplus() > 0
    rig.stop_at_s = None
    rig.behave()
    assert rig.run().complete
    assert rig.surplus() == 0
    assert rig.left_at_service() == 0
    assert rig.world.witness.max_outstanding <= rig.setting.limits.tasks


@pytest.mark.parametrize("at", [1, 2, 4])
def test_remote_tasks_whose_delete_a_death_dropped_are_deleted_by_the_next_run(
    at: int, tmp_path: Path
) -> None:
    """Death right after the commit that lets a remote task go, before its delete is sent: it is not
    forgotten."""
    whims = Behaviour(lost_reply_made=0.5, lost_reply_form="503", list_lag_s=18.0, fail_probability=0.2)
    rig = Rig(Setting(seed=1, slices=8, behaviour=whims), tmp_path)
    life = rig.live(at, counts=lambda name: name == "driver.commit.after" and rig.surplus() > 0)
    assert life.crash is not None
    assert rig.surplus() > 0
    rig.behave()
    assert rig.complaints(rig.run()) == []
    assert rig.surplus() == 0
    assert rig.left_at_service() == 0


def test_a_job_refused_at_the_door_still_counts_what_it_left_running(tmp_path: Path) -> None:
    """Remote tasks of a job that may no longer be exported keep their places beside the other job's."""
    rig = Rig(Setting(seed=2, slices=8, behaviour=Behaviour(run_base_s=300.0)), tmp_path)
    killed_with_all_places_taken(rig)
    rig.second_job = True
    rig.disturb = only_first("meta", describe_logstore=failing(Refused("who are you?", status=401)))
    report = rig.run()
    assert [job.exit for job in report.jobs] == [ExitCode.REFUSED, ExitCode.COMPLETE]
    assert rig.world.witness.max_outstanding <= rig.setting.limits.tasks


def test_a_remote_task_given_up_keeps_its_place_until_it_is_deleted(tmp_path: Path) -> None:
    """Remote tasks that never finish are replaced only when the service has let them go."""
    whims = Behaviour(stuck_probability=0.5, latency_s=1.0)
    rig = Rig(Setting(seed=2, slices=12, behaviour=whims), tmp_path)
    rig.changed = {"give_up_after_s": 60.0}
    assert reasons(rig.run()) == {"not finished in time"}
    assert rig.world.witness.max_outstanding <= rig.setting.limits.tasks
    assert rig.surplus() == 0
    rig.behave()
    assert rig.complaints(rig.run()) == []


def test_a_list_without_total_and_with_short_pages_is_walked_to_its_end(tmp_path: Path) -> None:
    """A remote task far down such a list is found and adopted: no create is repeated, no twin is made."""
    whims = Behaviour(lost_reply_made=0.3)
    rig = Rig(Setting(seed=1, slices=24, limits=ceilings(tasks=12), behaviour=whims), tmp_path)

    async def in_fives(behind: Any, **words: Any) -> Any:
        page = await behind.list_page(**{**words, "page_size": 5})
        return replace(page, total=None, page_size=words["page_size"])

    rig.disturb = only_first("tasks", list_page=in_fives)
    assert rig.complaints(rig.run()) == []
    assert not rig.world.witness.duplicate_names


def test_other_peoples_remote_tasks_do_not_make_a_run_read_the_whole_list(tmp_path: Path) -> None:
    """Watching reads as many pages as ours may fill and two more, whoever else uses the service."""
    whims = Behaviour(run_base_s=60.0, list_lag_s=600.0)
    rig = Rig(Setting(seed=1, slices=12, limits=ceilings(tasks=12), behaviour=whims), tmp_path)
    for number in range(5000):
        foreign = {
            "name": f"x{number}",
            "project": "shop",
            "logStoreName": "web",
            "queryStartTime": "2020-01-01T00:00:00Z",
            "queryEndTime": "2020-01-01T00:00:01Z",
            "limit": 1,
        }
        rig.world.create_task(foreign, rig.now_s - DAY_S)
    pages: list[int] = []

    async def noted(behind: Any, **words: Any) -> Any:
        if words.get("order_by") == "updatedTime":
            pages.append(words["page_no"])
        return await behind.list_page(**words)

    rig.disturb = only_first("tasks", list_page=noted)
    assert rig.run().complete
    assert pages
    assert max(pages) <= 3
    assert len(pages) <= 60


@pytest.mark.parametrize("seed", range(4))
def test_stop_signals_at_any_moment_lose_nothing_and_double_nothing(seed: int, tmp_path: Path) -> None:
    """Four runs are interrupted wherever they are; the ones after them complete the export, row for row."""
    whims, random = draw_whims(seed, slices=14), Random(seed)
    setting = Setting(
        seed=seed,
        slices=whims.slices,
        lines_per_slice=whims.lines_per_slice,
        behaviour=whims.behaviour,
        indexed=whims.indexed,
    )
    rig = Rig(setting, tmp_path)
    for _ in range(4):
        rig.stop_at_s = random.choice([0.0, 0.01, random.uniform(0, 5), random.uniform(0, 40)])
        rig.run()
        assert rig.lives[-1].virtual_s < rig.stop_at_s + 25
    rig.stop_at_s = None
    for _ in range(10):
        report = rig.run()
        if report.complete:
            break
    assert rig.complaints(report) == []


def test_two_jobs_of_one_service_keep_the_ceilings_together(tmp_path: Path) -> None:
    """Ceilings hold for a run, not for each of its jobs; and both jobs are exported."""
    whims = Behaviour(latency_s=0.3, run_base_s=4.0, file_bytes_per_s=4000.0)
    rig = Rig(Setting(seed=4, slices=20, behaviour=whims), tmp_path)
    rig.second_job = True
    assert rig.complaints(rig.run()) == []
    witness, limits = rig.world.witness, rig.setting.limits
    assert witness.max_outstanding == limits.tasks
    assert witness.max_files_at_once <= limits.downloads
    assert witness.max_queries_at_once <= limits.queries
    assert witness.max_requests_in_1s <= limits.requests_per_s


def test_one_request_in_two_seconds_is_a_ceiling_too(tmp_path: Path) -> None:
    """A rate below one per second is kept over the whole run, and the export ends complete."""
    rig = Rig(Setting(seed=1, slices=12, limits=ceilings(requests_per_s=0.5)), tmp_path)
    report = rig.run()
    assert rig.complaints(report) == []
    signed = sum(count for family, count in report.requests.items() if family != "file")
    assert signed <= 0.5 * report.duration_s + 1
    assert rig.world.witness.max_requests_in_1s == 1


@pytest.mark.parametrize("at", [2, 5, 11, 20])
def test_a_commit_without_room_on_the_disk_ends_the_run_and_dispatches_nothing(
    at: int, tmp_path: Path
) -> None:
    """What could not be written down is not done: exit 6, not a request of its doing after it, and the next
    run completes."""
    rig = Rig(Setting(seed=1, slices=8, behaviour=Behaviour(lost_reply_made=0.1, latency_s=0.3)), tmp_path)
    begun: list[str] = []
    commits = [0]

    def small_disk(
        contexts: list[JobContext], room: Room, time: VirtualTime
    ) -> tuple[list[JobContext], Room]:
        async def commit(behind: Any, changes: Any) -> None:
            commits[0] += 1
            if commits[0] == at:
                begun.clear()
                raise DiskFull("no room")
            await behind.commit(changes)

        def heard(name: str) -> Any:
            async def method(behind: Any, *args: Any, **words: Any) -> Any:
                begun.append(name)
                return await getattr(behind, name)(*args, **words)

            return method

        doors = with_door(contexts[0], "tasks", **{n: heard(n) for n in ("create", "delete", "link")})
        doors = with_door(doors, "destination", publish=heard("publish"))
        plane = Door(room.data_plane, transfer=heard("transfer"))
        return [doors], replace(room, manifest=Door(room.manifest, commit=commit), data_plane=plane)

    rig.disturb = small_disk
    assert rig.run().exit == ExitCode.STORAGE
    assert commits == [at]
    assert begun == []
    rig.disturb = None
    assert rig.complaints(rig.run()) == []


def test_files_that_keep_expiring_lower_how_many_are_asked_for_at_once(tmp_path: Path) -> None:
    """When slices lose their files to time twice, fewer remote tasks are kept outstanding, and the export
    still ends whole."""
    rig = Rig(
        Setting(seed=2, slices=24, attempts=30, behaviour=Behaviour(expires_at_link_probability=0.6)),
        tmp_path,
    )
    assert rig.complaints(rig.run()) == []
    assert rig.lives[0].notes["admission.lowered"] > 0


def test_a_job_that_may_not_create_asks_once(tmp_path: Path) -> None:
    """The first create goes alone: a refusal that concerns the job costs one request, whatever ``tasks``
    is."""
    rig = Rig(Setting(seed=2, slices=24, limits=ceilings(tasks=10)), tmp_path)
    asked: list[str] = []

    async def refused(behind: Any, request: Any, *, send_within_s: float) -> Any:
        asked.append(request.name)
        await asyncio.sleep(2.0)
        raise Refused("not yours", status=403, service_code="AccessDenied")

    rig.disturb = only_first("tasks", create=refused)
    report = rig.run()
    assert (report.exit, len(asked)) == (ExitCode.REFUSED, 1)
