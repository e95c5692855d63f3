"""A run always ends, and one bad job, hour or answer does not cost the rest."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.job import Job
from orchestrator.core.window import Window
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.engine.context import JobContext, Room
from orchestrator.errors import (
    CreateUncertain,
    ExitCode,
    Refused,
    RemoteTaskNotFound,
    ServiceFault,
    Throttled,
    Unreachable,
)
from orchestrator.testing.boundary import SimulatedCrash
from orchestrator.testing.episode import Episode, Setting
from orchestrator.testing.loop import VirtualTime
from tests.simulation.rig import DAY_S, Door, Rig, ceilings, failing, only_first, with_door

# --- a run ends ---


def test_a_run_whose_job_lost_its_window_ends_though_planned_slices_are_left(tmp_path: Path) -> None:
    """A job with nothing due does not wait for slices that a killed run had planned; they go on later."""
    rig = Rig(Setting(seed=2, slices=12, behaviour=Behaviour(run_base_s=300.0)), tmp_path)
    rig.live(90)
    assert rig.ledger("select count(*) from slices where state = 'planned'") != [(0,)]
    rig.changed = {"window": None}
    assert rig.run().exit == ExitCode.COMPLETE
    rig.changed = {}
    rig.behave()
    assert rig.complaints(rig.run()) == []


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_doubt_in_a_window_that_is_no_longer_asked_for_does_not_keep_a_run_waiting(
    at: int, tmp_path: Path
) -> None:
    """A create under way at the death of a run whose window was longer is looked for; what it planned there
    is not waited for."""
    rig = Rig(Setting(seed=2, slices=4), tmp_path)
    rig.run()
    window = rig.setting.window
    rig.changed = {"window": Window(window.start_s, window.end_s + 1200)}
    life = rig.live(at, counts=lambda name: name.startswith("submit"))
    assert isinstance(life.crash, SimulatedCrash)
    rig.changed = {}
    assert rig.run().complete
    assert rig.lives[-1].virtual_s < 300


def test_doubts_that_nobody_can_resolve_and_that_fill_the_ceiling_end_the_run(tmp_path: Path) -> None:
    """When the list is down, a run says after a quarter of an hour what it does not know, and the next run
    finds it out."""
    rig = Rig(Setting(seed=1, slices=12, behaviour=Behaviour(lost_reply_made=0.6)), tmp_path)
    rig.disturb = only_first("tasks", list_page=failing(ServiceFault("the list is down", status=500)))
    report = rig.run()
    assert report.exit == ExitCode.INCOMPLETE
    assert report.jobs[0].slices["in_doubt"] == rig.setting.limits.tasks
    assert report.duration_s < 1800
    rig.disturb = None
    assert rig.complaints(rig.run()) == []


@pytest.mark.parametrize("tasks", [4, 12])
def test_finished_slices_of_a_job_without_links_do_not_stop_another_job(tasks: int, tmp_path: Path) -> None:
    """The job whose links are refused is refused; the one beside it is exported to the end."""
    rig = Rig(Setting(seed=1, slices=30, limits=ceilings(tasks=tasks)), tmp_path)
    rig.second_job = True
    rig.disturb = only_first("tasks", link=failing(Refused("no links for you", status=403)))
    report = rig.run()
    assert [job.exit for job in report.jobs] == [ExitCode.REFUSED, ExitCode.COMPLETE]
    assert report.exit == ExitCode.REFUSED
    assert rig.archived_by_second() == rig.truth()


@pytest.mark.parametrize(("tasks", "beside"), [(1, ExitCode.INCOMPLETE), (20, ExitCode.COMPLETE)])
def test_remote_tasks_that_may_not_be_watched_hold_their_room_and_no_more(
    tasks: int, beside: ExitCode, tmp_path: Path
) -> None:
    """Unwatched remote tasks count against the ceiling: with room left the other job is exported, with none
    the run ends and says so."""
    rig = Rig(Setting(seed=1, slices=12, limits=ceilings(tasks=tasks)), tmp_path)
    rig.second_job = True
    refused = failing(Refused("you may not look", status=403))
    doors = only_first("tasks", describe=refused, list_page=refused)

    def first_goes_first(
        contexts: list[JobContext], room: Room, time: VirtualTime
    ) -> tuple[list[JobContext], Room]:
        contexts, room = doors(contexts, room, time)
        return [replace(contexts[0], job=replace(contexts[0].job, priority=1)), *contexts[1:]], room

    rig.disturb = first_goes_first
    report = rig.run()
    assert [job.exit for job in report.jobs] == [ExitCode.REFUSED, beside]
    assert rig.world.witness.max_outstanding <= tasks
    assert (rig.archived_by_second() == rig.truth()) == (beside is ExitCode.COMPLETE)


@pytest.mark.parametrize(("retention_days", "last"), [(2, "b"), (30, "web")], ids=["leaving", "kept"])
def test_what_is_about_to_leave_retention_goes_before_what_has_priority(
    retention_days: int, last: str, tmp_path: Path
) -> None:
    """A window that may be gone tomorrow is exported first; kept long enough, it waits for its turn."""
    rig = Rig(Setting(seed=1, slices=6, limits=ceilings(tasks=1)), tmp_path)
    rig.second_job = True
    rig.world.account.change_store("shop", "web", retention_days=retention_days)

    def second_has_priority(
        contexts: list[JobContext], room: Room, time: VirtualTime
    ) -> tuple[list[JobContext], Room]:
        later = Window(rig.setting.window.end_s - 600, rig.setting.window.end_s)
        second = replace(contexts[1].job, priority=9, window=later)
        return [contexts[0], replace(contexts[1], job=second)], room

    rig.disturb = second_has_priority
    assert rig.run().complete
    admitted = rig.ledger(
        "select name from journal n join jobs j on j.key = n.job where event = 'admitted' order by n.number"
    )
    assert admitted[-1] == (last,)


@pytest.mark.parametrize(
    ("state", "port", "method", "error"),
    [
        ("ready", "tasks", "link", Unreachable("no route")),
        ("planned", "tasks", "create", Throttled("busy", status=429, retry_after_s=60.0)),
    ],
)
def test_what_was_put_off_goes_on_at_once_after_the_clock_was_set_back(
    state: str, port: str, method: str, error: Exception, tmp_path: Path
) -> None:
    """A pause that an earlier run noted down by another clock does not hold up the next run."""
    rig = Rig(Setting(seed=5, slices=6), tmp_path)
    rig.now_s += 10 * DAY_S
    rig.disturb, rig.stop_at_s = only_first(port, **{method: failing(error)}), 6.0
    rig.run()
    put_off = f"select count(*) from slices where state = '{state}' and not_before_at > {rig.now_s}"
    assert rig.ledger(put_off) != [(0,)]
    rig.now_s -= 5 * DAY_S
    rig.disturb = rig.stop_at_s = None
    assert rig.complaints(rig.run()) == []
    assert rig.lives[-1].virtual_s < 120


def test_ten_minutes_without_network_cost_ten_minutes_and_no_slice(tmp_path: Path) -> None:
    """An outage in the middle is waited out: no attempt is used up by it, and the run ends complete."""
    rig = Rig(Setting(seed=1, slices=36, limits=ceilings(tasks=8)), tmp_path)
    creates, begun_at = [0], [float("inf")]

    def outage(contexts: list[JobContext], room: Room, time: VirtualTime) -> tuple[list[JobContext], Room]:
        def down(name: str) -> Any:
            async def method(behind: Any, *args: Any, **words: Any) -> Any:
                creates[0] += name == "create"
                if creates[0] == 20:
                    begun_at[0] = min(begun_at[0], time.elapsed_s)
                if begun_at[0] <= time.elapsed_s < begun_at[0] + 600:
                    raise Unreachable("no route")
                return await getattr(behind, name)(*args, **words)

            return method

        names = ("create", "describe", "link", "list_page", "delete")
        return [with_door(contexts[0], "tasks", **{name: down(name) for name in names})], room

    rig.disturb = outage
    report = rig.run()
    assert report.duration_s > begun_at[0] + 600
    assert rig.complaints(report) == []
    assert report.jobs[0].slices.keys() == {"done"}


def test_three_minutes_without_the_file_host_cost_no_remote_task(tmp_path: Path) -> None:
    """While files cannot be fetched their remote tasks are kept, and nothing is asked for twice."""
    rig = Rig(Setting(seed=1, slices=40, limits=ceilings(tasks=8, downloads=4)), tmp_path)

    def outage(contexts: list[JobContext], room: Room, time: VirtualTime) -> tuple[list[JobContext], Room]:
        async def transfer(behind: Any, ticket: Any) -> Any:
            if 5 < time.elapsed_s < 185:
                raise Unreachable("the file host is away")
            return await behind.transfer(ticket)

        return contexts, replace(room, data_plane=Door(room.data_plane, transfer=transfer))

    rig.disturb = outage
    report = rig.run()
    assert report.duration_s > 185
    assert rig.complaints(report) == []
    assert rig.world.witness.tasks_made == report.jobs[0].slices["done"]


# --- quotas and refusals ---


@pytest.mark.parametrize("form", ["403", "400", "429"])
def test_a_hidden_quota_is_waited_for_and_is_no_refusal(form: str, tmp_path: Path) -> None:
    """With a quota of two that the service tells nobody of, one run ends complete, in whatever words it
    refuses the third."""
    whims = Behaviour(outstanding_cap=2, outstanding_cap_form=form, run_base_s=6.0)  # type: ignore[arg-type]  # a parameter
    rig = Rig(Setting(seed=1, slices=20, behaviour=whims), tmp_path)
    assert rig.complaints(rig.run()) == []
    assert rig.world.witness.max_outstanding <= 2


def test_two_jobs_share_a_hidden_quota(tmp_path: Path) -> None:
    """The quota that one job fills is no refusal of the other."""
    whims = Behaviour(outstanding_cap=2, outstanding_cap_form="403", run_base_s=40.0)
    rig = Rig(Setting(seed=1, slices=8, behaviour=whims), tmp_path)
    rig.second_job = True
    assert rig.complaints(rig.run()) == []


@pytest.mark.parametrize(("tasks", "soon_s"), [(1, 120.0), (4, 7200.0)])
def test_a_job_refused_in_unknown_words_with_nothing_outstanding_is_refused(
    tasks: int, soon_s: float, tmp_path: Path
) -> None:
    """A refusal that no quota explains stops the job, with the service's own words in the report."""
    rig = Rig(Setting(seed=1, slices=6, limits=ceilings(tasks=tasks)), tmp_path)
    error = CreateUncertain("403 NotToday: go away", answered=True, status=403, service_code="NotToday")
    rig.disturb = only_first("tasks", create=failing(error))
    report = rig.run()
    assert report.exit == ExitCode.REFUSED
    assert report.error is not None
    assert (report.error.code, report.error.service_code) == ("refused", "NotToday")
    assert report.duration_s < soon_s
    assert rig.world.witness.tasks_made == 0


class _Later(Episode):
    """The same job, asked for ten minutes that have not come yet."""

    @property
    def job(self) -> Job:
        return replace(super().job, to_s=self.setting.window.end_s + 600)


def test_what_lies_inside_the_margin_is_named_as_not_due(tmp_path: Path) -> None:
    """An asked end that has not come yet is neither covered nor a gap: the report says from where to
    where."""
    episode = _Later(Setting(slices=3), tmp_path / "later")
    end_s = episode.setting.window.end_s
    report = episode.live().report
    assert report is not None
    assert report.complete
    assert report.jobs[0].gaps == ()
    assert report.jobs[0].not_due == (Window(end_s, end_s + 600),)
    plain = Episode(Setting(slices=3), tmp_path / "plain").live().report
    assert plain is not None
    assert plain.jobs[0].not_due == ()


def test_a_remote_task_that_shows_itself_late_is_not_taken_for_gone(tmp_path: Path) -> None:
    """A service whose answers lag behind its creates by half a minute gets each slice's remote task once."""
    rig = Rig(Setting(seed=1, slices=6), tmp_path)
    clock: list[Any] = []

    async def lagging(behind: Any, uuid: str) -> Any:
        status = await behind.describe(uuid)
        if clock[0].now() < (status.created_at or 0.0) + 30.0:
            raise RemoteTaskNotFound("no such task", status=404)
        return status

    def disturb(contexts: list[JobContext], room: Room, time: VirtualTime) -> tuple[list[JobContext], Room]:
        clock[:] = [time.clock]
        return [with_door(contexts[0], "tasks", describe=lagging)], room

    rig.disturb = disturb
    report = rig.run()
    assert rig.complaints(report) == []
    assert report.jobs[0].remote_tasks_created == len(rig.files())


def test_a_service_that_lets_nobody_through_is_left_within_minutes(tmp_path: Path) -> None:
    """A first question that is held for ever ends the job with a word about it, to be run again."""
    rig = Rig(Setting(seed=1, slices=6), tmp_path)

    async def held(behind: Any, project: str, logstore: str) -> Any:
        await asyncio.sleep(86_400)

    rig.disturb = only_first("meta", describe_logstore=held)
    report = rig.run()
    assert report.exit == ExitCode.INCOMPLETE
    assert report.jobs[0].error is not None
    assert "240 s" in report.jobs[0].error.message
    assert rig.lives[0].virtual_s < 400
