"""Jobs that are found out by asking: logstores and log streams that come and go while nights pass, and
services side by side in one file."""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

import orchestrator
from orchestrator.clock import SystemClock
from orchestrator.core.report import JobReport, Report
from orchestrator.emulator.account import Logstore
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.http import TEST_CREDENTIALS, Emulator
from orchestrator.emulator.record import Record
from orchestrator.emulator.records import RecordStore
from orchestrator.emulator.world import World
from tests.e2e.conftest import ORCHESTRATOR, PATIENCE_S, Ended

START_MS = 1_768_348_800_000
"""2026-01-14T00:00:00Z."""
ROWS = 48
JOB = """\
from = 2026-01-14T00:00:00Z
to = 2026-01-15T00:00:00Z
destination = "archive"
"""
FLEET = f"""\
[[jobs]]
name = "x-{{logstore}}"
logstore = ["web-*", "!web-test"]
{JOB}"""


def records(stream: str = "s", rows: int = ROWS, offset_ms: int = 0) -> list[Record]:
    step_ms = 86_400_000 // rows
    return [
        Record(START_MS + offset_ms + at * step_ms, at, stream, f"{stream} {at}", arrived_at_ms=0)
        for at in range(rows)
    ]


def logstore(name: str, *streams: str, project: str = "default", days: int = 3650) -> Logstore:
    made = [record for stream in streams or ("s",) for record in records(stream)]
    return Logstore(name, RecordStore(made), project, retention_days=days)


@dataclass
class Site:
    """A folder with a job file, and emulators that the test holds in its hands."""

    folder: Path
    worlds: list[World]
    emulators: list[Emulator]

    def write(self, jobs: str, *services: str) -> None:
        first = f'[service]\nendpoint = "{self.emulators[0].endpoint}"\n'
        rest = "".join(
            f'[services.{name}]\nendpoint = "{emulator.endpoint}"\n'
            for name, emulator in zip(services, self.emulators[1:], strict=True)
        )
        text = f'{first}{rest}[limits]\ndisk_reserve = "1MB"\n{jobs}'
        (self.folder / "jobs.toml").write_text(text, encoding="utf-8")

    async def run(self, *jobs: str) -> Report:
        return await orchestrator.run(orchestrator.load(self.folder / "jobs.toml"), jobs=jobs)

    async def call(self, *arguments: str) -> Ended:
        """The installed command, while the emulators of this process serve it."""

        def called() -> Ended:
            done = subprocess.run(
                [*ORCHESTRATOR, *arguments],
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
            return Ended(done.returncode, done.stdout, done.stderr)

        return await asyncio.to_thread(called)

    def stored(self, job: str) -> list[str]:
        """The texts of all rows under a job's folder."""
        files = [path for path in (self.folder / "archive" / job).rglob("*.jsonl") if path.is_file()]
        rows = [json.loads(line) for path in files for line in path.read_text("utf-8").splitlines()]
        return sorted(str(row["@raw"]) for row in rows)


Story = Callable[[Site], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Tells one story against emulators of the given logstores, one emulator per list."""
    monkeypatch.setenv("BCE_ACCESS_KEY_ID", TEST_CREDENTIALS.access_key_id)
    monkeypatch.setenv("BCE_SECRET_ACCESS_KEY", TEST_CREDENTIALS.secret_access_key.reveal())
    monkeypatch.setattr("orchestrator.manifest.lock.FRESH_S", 0.0)  # ceilings are not this ring's matter

    async def told(story: Story, stores: Iterable[list[Logstore]]) -> None:
        behaviour = Behaviour(run_base_s=0.05, run_per_line_s=0.0)
        worlds = [World(each, seed=1, behaviour=behaviour) for each in stores]
        async with AsyncExitStack() as cleanup, asyncio.timeout(PATIENCE_S):
            emulators = [
                await cleanup.enter_async_context(Emulator(world, now=SystemClock().now)) for world in worlds
            ]
            await story(Site(tmp_path, worlds, emulators))

    return lambda story, *stores: asyncio.run(told(story, stores))


def by_name(report: Report) -> dict[str, JobReport]:
    return {job.job: job for job in report.jobs}


def test_a_fleet_follows_its_logstores(play: Callable[..., None]) -> None:
    """What appears is exported, what vanishes keeps its files and coverage and is told on every channel,
    what is excluded is left alone."""

    async def story(site: Site) -> None:
        (world,) = site.worlds
        site.write(FLEET)
        unknown = await site.call("status", "--json")
        assert (unknown.exit, unknown.document["fleets"][0]["listed"]) == (3, False)
        first = await site.run()
        assert (first.exit, [job.job for job in first.jobs]) == (0, ["x-web-a", "x-web-b"])
        assert site.stored("x-web-a") == sorted(f"s {at}" for at in range(ROWS))

        world.account.remove_store("default", "web-a")
        world.account.add_store(logstore("web-c"))
        second = await site.run()
        assert (second.exit, sorted(by_name(second))) == (0, ["x-web-a", "x-web-b", "x-web-c"])
        assert by_name(second)["x-web-c"].lines == ROWS
        assert by_name(second)["x-web-b"].remote_tasks_created == 0
        assert second.fleets[0].vanished == ("x-web-a",)

        third = await site.call("run", "--no-progress")
        assert "fleet.logstore_lost" in third.err
        assert "x-web-a: logstore web-a of project default is no longer listed" in third.out
        status = (await site.call("status", "--json")).document
        told = {job["job"]: job["vanished_since"] for job in status["jobs"]}
        assert told["x-web-a"] is not None
        assert told["x-web-b"] is told["x-web-c"] is None
        assert status["fleets"][0]["vanished"] == ["x-web-a"]
        assert (await site.call("verify")).exit == 0

        world.account.add_store(logstore("web-a"))
        assert (await site.run()).fleets[0].vanished == ()

    play(story, [logstore("web-a"), logstore("web-b"), logstore("web-test"), logstore("api")])


def test_what_is_missing_of_a_vanished_logstore_stays_a_gap(play: Callable[..., None]) -> None:
    """Its window grew after it was last exported: the service's word that it is gone makes exit 5, and every
    other job is exported all the same."""

    async def story(site: Site) -> None:
        site.write(FLEET.replace("2026-01-15", "2026-01-14T12:00:00Z #"))
        assert (await site.run()).exit == 0
        site.worlds[0].account.remove_store("default", "web-a")
        site.write(FLEET)
        report = await site.run()
        jobs = by_name(report)
        assert (report.exit, jobs["x-web-a"].exit, jobs["x-web-b"].exit) == (5, 5, 0)
        (gap,) = jobs["x-web-a"].gaps
        assert gap.window.start_s == START_MS // 1000 + 43_200
        assert len(site.stored("x-web-a")) == ROWS // 2
        assert len(site.stored("x-web-b")) == ROWS

    play(story, [logstore("web-a"), logstore("web-b")])


def test_what_a_vanished_logstore_never_gave_can_be_signed_off(play: Callable[..., None]) -> None:
    """`gaps` says that it is refused, with exit 5 like the run; the line printed accepts it, and then run and
    gaps end with 0. A logstore that comes back is exported all the same."""

    async def story(site: Site) -> None:
        site.write(FLEET.replace("2026-01-15", "2026-01-14T12:00:00Z #"))
        assert (await site.run()).exit == 0
        site.worlds[0].account.remove_store("default", "web-a")
        site.write(FLEET)
        (gap,) = (await site.call("gaps", "--job", "x-web-a", "--json")).document["gaps"]
        assert (gap["reason"], gap["mendable"]) == ("not exported yet", True)
        (refused,) = by_name(await site.run())["x-web-a"].gaps
        assert (refused.reason, refused.mendable) == ("refused", False)
        told = await site.call("gaps")
        assert (told.exit, (await site.call("status", "--json")).exit) == (5, 5)
        assert "  refused; no run can mend it" in told.out
        assert 'in a pattern by "!name"' in told.out
        mend = told.out.splitlines()[-1].strip()
        assert mend == refused.mend
        assert (await site.call(*shlex.split(mend)[1:])).exit == 0
        again = await site.call("run", "--no-progress", "--json")
        assert (again.exit, again.document["error"], "error:" in again.err) == (0, None, False)
        assert (await site.run()).error is None
        assert (await site.call("gaps")).exit == 0
        site.worlds[0].account.add_store(logstore("web-a"))
        assert (await site.run()).complete
        assert len(site.stored("x-web-a")) == ROWS
        assert (await site.call("gaps", "--json")).document["gaps"] == []

    play(story, [logstore("web-a"), logstore("web-b")])


def test_a_misspelt_logstore_is_a_refused_gap_until_its_name_is_right(play: Callable[..., None]) -> None:
    """What the service said of the wrong name is not held against the right one."""
    job = f'[[jobs]]\nname = "till"\nlogstore = "tlil"\n{JOB}'

    async def story(site: Site) -> None:
        site.write(job)
        assert (await site.run()).exit == 5
        told = await site.call("gaps", "--json")
        assert (told.exit, [gap["reason"] for gap in told.document["gaps"]]) == (5, ["refused"])
        site.write(job.replace("tlil", "till"))
        told = await site.call("gaps", "--json")
        assert (told.exit, [gap["reason"] for gap in told.document["gaps"]]) == (3, ["not exported yet"])
        assert (await site.run()).exit == 0
        assert (await site.call("status", "--json")).document["jobs"][0]["vanished_since"] is None
        site.worlds[0].account.remove_store("default", "till")
        site.write(job.replace("tlil", "till").replace("2026-01-15", "2026-01-16"))
        assert (await site.run()).exit == 5
        assert (await site.call("status", "--json")).document["jobs"][0]["vanished_since"] is not None
        site.worlds[0].account.add_store(logstore("till"))
        assert (await site.run()).exit == 0
        assert (await site.call("status", "--json")).document["jobs"][0]["vanished_since"] is None

    play(story, [logstore("till")])


def test_a_logstore_that_is_not_there_leaves_the_plan_of_the_others(play: Callable[..., None]) -> None:
    """One that vanished, one that is misspelt and a pattern that fits nothing are named with what the service
    says, exit 5; every other job is planned, for people and for programs."""
    misspelt = f'[[jobs]]\nname = "till"\nlogstore = "tlil"\n{JOB}'
    nothing = f'[[jobs]]\nname = "y-{{logstore}}"\nlogstore = "db-*"\n{JOB}'

    async def story(site: Site) -> None:
        site.write(FLEET.replace("2026-01-15", "2026-01-14T12:00:00Z #"))
        assert (await site.run()).exit == 0
        site.worlds[0].account.remove_store("default", "web-a")
        site.write(misspelt + FLEET + nothing)
        plans = {
            plan.job: plan for plan in await orchestrator.plan(orchestrator.load(site.folder / "jobs.toml"))
        }
        assert (plans["x-web-b"].error, plans["x-web-b"].lines) == (None, ROWS // 2)
        for name in ("till", "x-web-a", "y-{logstore}"):
            fault = plans[name].error
            assert (fault and fault.service_code, plans[name].slices) == ("LogStoreNotFound", ())
        told = await site.call("plan", "--json")
        assert (told.exit, told.document["complete"]) == (5, False)
        errors = {job["job"]: job["error"] for job in told.document["jobs"]}
        assert errors["x-web-b"] is None
        assert "tlil" in errors["till"]["message"] == told.document["error"]["message"]
        assert (await site.call("plan", "--json", "--job", "x-web-b")).exit == 0
        shown = await site.call("plan")
        assert shown.exit == 5
        assert "error: till: " in shown.err
        assert shown.out.count("  not planned: ") == 3
        assert f"1 slice, {ROWS // 2} lines" in shown.out
        assert "4 jobs, 3 of them not planned: 1 slice" in shown.out

    play(story, [logstore("web-a"), logstore("web-b")])


def test_a_plan_tells_what_lies_beyond_retention(play: Callable[..., None]) -> None:
    """Before a run finds it out and after, for people and for programs, until the gap is accepted."""

    async def story(site: Site) -> None:
        job = f'[[jobs]]\nname = "old"\nlogstore = "old"\n{JOB}'
        site.write(job)
        for plans in ("before", "after"):
            (plan,) = await orchestrator.plan(orchestrator.load(site.folder / "jobs.toml"))
            assert (plan.slices, plan.beyond_retention) == ((), (plan.window,)), plans
            document = (await site.call("plan", "--json")).document
            (told,) = document["jobs"]
            assert not document["complete"]
            span = {"from": "2026-01-14T00:00:00Z", "to": "2026-01-15T00:00:00Z"}
            assert told["beyond_retention"] == [span]
            shown = await site.call("plan")
            assert shown.exit == 0
            assert shown.out.count("  beyond retention, cannot be exported: 2026-01-14") == 1
            assert "nothing to do: the manifest holds all that the logstore still keeps" in shown.out
            assert (await site.run()).exit == 7
        words = ("--from", span["from"], "--to", span["to"], "--reason", "known")
        assert (await site.call("accept", "--job", "old", *words)).exit == 0
        assert (await site.call("plan", "--json")).document["jobs"][0]["beyond_retention"] == []

    play(story, [logstore("old", days=30)])


def test_a_service_that_is_down_leaves_the_plan_of_the_others(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its jobs are told to be out of reach, exit 3, after patience with one of them and not with each."""
    monkeypatch.setattr("orchestrator.engine.takeup.CONTACT_TRIES", 1)

    async def story(site: Site) -> None:
        down = [f'[[jobs]]\nname = "{name}"\nlogstore = "{name}"\nservice = "down"\n{JOB}' for name in "yz"]
        site.write(down[0] + FLEET + down[1], "down")
        await site.emulators[1].__aexit__(None, None, None)
        plans = await orchestrator.plan(orchestrator.load(site.folder / "jobs.toml"))
        faults = {plan.job: plan.error and plan.error.code for plan in plans}
        assert faults == {"y": "unreachable", "x-web-a": None, "z": "unreachable"}
        assert sum(plan.lines or 0 for plan in plans) == ROWS
        asked = {plan.job: plan.planning_requests for plan in plans}
        assert asked["y"] + asked["z"] == max(asked["y"], asked["z"])

    play(story, [logstore("web-a")], [])


def test_a_project_that_cannot_be_listed_stops_its_jobs_alone(play: Callable[..., None]) -> None:
    """Jobs that are known keep what they have and are not begun; the fleet itself is told, with exit 5."""

    async def story(site: Site) -> None:
        account = site.worlds[0].account
        other = FLEET.replace("x-", "y-").replace('["web-*", "!web-test"]', '"*"\nproject = "shop"')
        site.write((FLEET + other).replace("2026-01-15", "2026-01-14T12:00:00Z #"))
        assert (await site.run()).exit == 0
        project = next(project for project in account.projects() if project.name == "shop")
        account.remove_store("shop", "till")
        account.remove_project(project.uuid)
        site.write(FLEET + other)
        before = len(site.worlds[0].tasks.tasks())
        report = await site.run()
        jobs = by_name(report)
        exits = {name: job.exit for name, job in jobs.items()}
        assert exits == {"x-web-a": 0, "y-till": 5, "y-{logstore}": 5}
        assert report.exit == 5
        assert len(site.worlds[0].tasks.tasks()) == before + 1
        error = jobs["y-{logstore}"].error
        assert error is not None
        assert error.service_code == "ProjectNotFound"
        named = await site.run("x-web-a")
        assert (named.exit, len(named.fleets)) == (0, 1)

    play(story, [logstore("web-a"), logstore("till", project="shop")])


def test_a_refused_list_begins_nothing(play: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may export but not list gets exit 5, and not a fleet that is half known: no remote task is made."""

    async def refused(*_: object) -> None:
        raise orchestrator.errors.Refused("not allowed", status=403, service_code="AccessDenied")

    async def story(site: Site) -> None:
        site.write(FLEET.replace("2026-01-15", "2026-01-14T12:00:00Z #"))
        assert (await site.run()).exit == 0
        site.write(FLEET)
        with monkeypatch.context() as patched:
            patched.setattr("orchestrator.remote.client.BlsClient.list_logstores", refused)
            report = await site.run()
        assert {name: job.exit for name, job in by_name(report).items()} == {"x-web-a": 5, "x-{logstore}": 5}
        assert len(site.worlds[0].tasks.tasks()) == 1
        assert (await site.run()).exit == 0

    play(story, [logstore("web-a")])


def test_an_outage_of_the_list_is_no_refusal(play: Callable[..., None]) -> None:
    """Nobody answers: exit 3, for another run may find everything in order; other services go on."""

    async def story(site: Site) -> None:
        second = FLEET.replace("x-", "y-") + 'service = "down"\n'
        site.write(FLEET + second, "down")
        await site.emulators[1].__aexit__(None, None, None)
        report = await site.run()
        assert {name: job.exit for name, job in by_name(report).items()} == {"x-web-a": 0, "y-{logstore}": 3}
        assert report.exit == 3

    play(story, [logstore("web-a")], [logstore("web-z")])


def test_a_pattern_that_fits_nothing_is_no_success(play: Callable[..., None]) -> None:
    """Nothing would be exported, night after night: exit 5 says so, and `plan` refuses too."""

    async def story(site: Site) -> None:
        site.write(FLEET)
        ended = await site.call("run", "--json", "--no-progress")
        assert ended.exit == 5
        assert "no logstore of project default" in ended.document["error"]["message"]
        with pytest.raises(orchestrator.errors.Refused, match="no logstore of project default"):
            await orchestrator.plan(orchestrator.load(site.folder / "jobs.toml"))
        site.write(FLEET.replace('"!web-test"', '"api", "db-*"'))
        some = await site.run()
        assert (some.exit, some.fleets[0].idle) == (0, ("web-*", "db-*"))

    play(story, [logstore("api")])


def test_a_match_that_cannot_be_a_job_is_told_and_the_others_run(play: Callable[..., None]) -> None:
    """A name too long is exit 2 for that match; nothing of it is exported."""

    async def story(site: Site) -> None:
        site.write(FLEET)
        report = await site.run()
        long = "web-" + "y" * 80
        assert {name: job.exit for name, job in by_name(report).items()} == {"x-web-a": 0, f"x-{long}": 2}
        assert report.exit == 2
        assert len(site.worlds[0].tasks.tasks()) == 1

    play(story, [logstore("web-a"), logstore("web-" + "y" * 80)])


def test_services_side_by_side(play: Callable[..., None]) -> None:
    """Each job asks its own service; one that is not enabled runs only by its full name; `logstores` lists
    all services."""

    async def story(site: Site) -> None:
        site.write(
            f'[[jobs]]\nname = "here"\nlogstore = "web-a"\n{JOB}'
            f'[[jobs]]\nname = "there"\nlogstore = "far"\nservice = "gz"\n{JOB}'
            f'[[jobs]]\nname = "off"\nlogstore = "web-a"\nservice = "gz"\nenabled = false\n{JOB}',
            "gz",
        )
        first = await site.run()
        assert (first.exit, [job.job for job in first.jobs]) == (0, ["here", "there"])
        assert [len(world.tasks.tasks()) for world in site.worlds] == [1, 1]
        assert (len(site.stored("here")), len(site.stored("there"))) == (ROWS, ROWS)
        off = await site.run("off")
        assert (off.exit, by_name(off)["off"].lines) == (0, ROWS)
        assert [len(world.tasks.tasks()) for world in site.worlds] == [1, 2]
        listed = (await site.call("logstores", "--json")).document["logstores"]
        ends = [emulator.endpoint for emulator in site.emulators]
        assert [(each["endpoint"], each["logstore"], each["retention_days"]) for each in listed] == [
            (ends[0], "web-a", 3650),
            (ends[1], "brief", 30),
            (ends[1], "far", 3650),
            (ends[1], "web-a", 3650),
        ]
        assert {each["index"] for each in listed} == {True}
        shown = await site.call("logstores")
        assert "30 days" in shown.out
        refused = await site.call("logstores", "--project", "nowhere", "--json")
        assert (refused.exit, refused.document["logstores"]) == (5, [])

    play(story, [logstore("web-a")], [logstore("brief", days=30), logstore("far"), logstore("web-a")])


# --- log streams

STREAMS = f"""\
[[jobs]]
name = "web"
logstore = "web-a"
logstream = "*"
{JOB}"""


def source_of(site: Site, name: str = "web-a") -> RecordStore:
    source = site.worlds[0].account.store("default", name).source
    assert isinstance(source, RecordStore)
    return source


def test_streams_are_exported_one_by_one(play: Callable[..., None]) -> None:
    """Each stream has its own files; one seen first on a later night is backfilled over the whole window, and
    the others are left alone."""

    async def story(site: Site) -> None:
        site.write(STREAMS)
        first = await site.run()
        (job,) = first.jobs
        assert job.streams is not None
        assert (first.exit, job.streams.listed, job.files) == (0, ("a", "b/c"), 2)
        slugs = {path.name.split("~")[1] for path in (site.folder / "archive").rglob("*.jsonl")}
        assert slugs == {"a", "b_c"}
        source_of(site).push(records("new", rows=24))
        second = await site.run()
        (job_again,) = second.jobs
        assert (second.exit, job_again.remote_tasks_created, job_again.lines) == (0, 1, 2 * ROWS + 24)
        assert len(site.stored("web")) == 2 * ROWS + 24
        third = await site.run()
        assert (third.jobs[0].remote_tasks_created, third.requests.get("query", 0)) == (0, 0)

    play(story, [logstore("web-a", "a", "b/c")])


def test_streams_that_are_not_all_there_is_are_told(play: Callable[..., None]) -> None:
    """Rows of a stream that is not listed make a gap of all streams that no run mends; once it is listed, the
    next run exports it and the gap is gone."""

    async def story(site: Site) -> None:
        site.write(STREAMS)
        source = source_of(site)
        hidden = source._streams.pop("b")
        report = await site.run()
        (gap,) = report.jobs[0].gaps
        assert (report.exit, gap.logstream, gap.reason) == (7, "*", "streams fall short")
        told = await site.call("gaps")
        assert (told.exit, "than these together" in told.out or "streams fall short" in told.out) == (7, True)
        site.write(STREAMS + 'query = "nothing-like-it"\n')
        assert (await site.run()).exit == 2  # another job: what it counts proves nothing of this one
        site.write(STREAMS)
        assert (await site.run()).exit == 7
        source._streams["b"] = hidden
        healed = await site.run()
        assert (healed.exit, healed.jobs[0].gaps, len(site.stored("web"))) == (0, (), 2 * ROWS)

    play(story, [logstore("web-a", "a", "b")])


def test_a_gap_of_all_streams_can_be_signed_off(play: Callable[..., None]) -> None:
    """What bears no stream's name is a person's decision; the acceptance holds on later nights."""

    async def story(site: Site) -> None:
        site.write(STREAMS)
        source_of(site)._streams.pop("b")
        report = await site.run()
        (gap,) = report.jobs[0].gaps
        assert (await site.call(*shlex.split(gap.mend)[1:])).exit == 0
        assert (await site.run()).exit == 0

    play(story, [logstore("web-a", "a", "b")])


def test_a_stream_that_vanished_keeps_its_coverage(play: Callable[..., None]) -> None:
    """Nothing is asked for in its name any more, its files stay and are verified, and every report tells."""

    async def story(site: Site) -> None:
        job = STREAMS.replace('"*"', '["a", "b*"]')
        site.write(job.replace("2026-01-15", "2026-01-14T12:00:00Z #"))
        assert (await site.run()).exit == 0
        source = source_of(site)
        source._records = [record for record in source._records if record.stream != "b"]
        source._streams.pop("b")
        site.write(job)
        ended = await site.call("run", "--json", "--no-progress")
        (told,) = ended.document["jobs"]
        assert (ended.exit, told["streams"]["vanished"], told["streams"]["unmatched"]) == (0, ["b"], [])
        assert "streams.stream_lost" in ended.err
        asked = [task.request.logstream for task in site.worlds[0].tasks.tasks()]
        assert sorted(str(stream) for stream in asked) == ["a", "a", "b"]
        assert len(site.stored("web")) == ROWS + ROWS // 2
        next(path for path in (site.folder / "archive").rglob("*~b~*.jsonl")).unlink()
        assert (await site.call("verify")).exit == 4

    play(story, [logstore("web-a", "a", "b")])


@pytest.mark.parametrize("stream", ['"q*"', '["a", "gone"]'])
def test_nothing_is_asked_for_in_the_name_of_a_stream_that_is_not_there(
    stream: str, play: Callable[..., None]
) -> None:
    """A pattern that fits nothing, or a name that never was, stops the job with exit 5."""

    async def story(site: Site) -> None:
        site.write(STREAMS.replace('"*"', stream))
        report = await site.run()
        assert (report.exit, len(site.worlds[0].tasks.tasks())) == (5, 0)
        assert "no log stream" in str(report.jobs[0].error)

    play(story, [logstore("web-a", "a")])


def test_other_patterns_are_another_job(play: Callable[..., None]) -> None:
    """The manifest holds what the streams of the old patterns were proven to be: a change is refused, and so
    is one of a fleet's search, job by job."""

    async def story(site: Site) -> None:
        site.write(STREAMS)
        assert (await site.run()).exit == 0
        site.write(STREAMS.replace('"*"', '["*", "!b"]'))
        changed = await site.run()
        assert changed.exit == 2
        assert changed.jobs[0].error is not None
        assert "logstream: '*' in the manifest" in changed.jobs[0].error.message
        site.write(FLEET)
        assert (await site.run("x-{logstore}")).exit == 0
        site.write(FLEET + 'query = "a"\n')
        other = await site.run()
        assert other.jobs[0].error is not None
        assert (other.exit, "query: 'match *' in the manifest" in other.jobs[0].error.message) == (2, True)

    play(story, [logstore("web-a", "a", "b")])


def test_a_fleet_whose_jobs_export_streams(play: Callable[..., None]) -> None:
    """Both kinds of patterns in one table: each logstore is a job, each of its streams is proven."""

    async def story(site: Site) -> None:
        site.write(FLEET + 'logstream = "*"\n')
        report = await site.run()
        assert (report.exit, [job.lines for job in report.jobs]) == (0, [2 * ROWS, ROWS])
        assert [job.streams.listed for job in report.jobs if job.streams] == [("a", "b"), ("c",)]

    play(story, [logstore("web-a", "a", "b"), logstore("web-b", "c")])
