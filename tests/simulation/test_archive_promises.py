"""What stands in the archive is what is true, once, or a gap says what is missing: whatever the service
does."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import pytest

from orchestrator.core.job import Compression
from orchestrator.core.model import Slice, SliceState, slice_id
from orchestrator.core.report import Gap
from orchestrator.core.window import Window
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.engine import audit
from orchestrator.engine.audit import VerifyReport, gaps_of, verify
from orchestrator.engine.context import JobContext, Room
from orchestrator.errors import ExitCode, RemoteTaskNotFound, ServiceFault
from orchestrator.manifest.store import SqliteManifest
from orchestrator.ports.store import Changes, Covered
from orchestrator.testing.boundary import FaultPlan
from orchestrator.testing.episode import Setting
from orchestrator.testing.loop import START_AT, VirtualTime, run_virtual
from tests.simulation.rig import DAY_S, Rig, only_first, reasons, with_door

# --- nothing is called empty that was counted ---


def test_no_file_nothing_written_and_no_count_is_not_emptiness(tmp_path: Path) -> None:
    """Where the plan counted rows, a remote task that says it wrote none and has no file proves nothing while
    nobody can count: the window is a gap, and the next run fills it."""
    rig = Rig(Setting(seed=1, slices=12, behaviour=Behaviour(written_rows="zero")), tmp_path)
    linked: set[str] = set()
    counts = [0]

    def silent(contexts: list[JobContext], room: Room, time: VirtualTime) -> tuple[list[JobContext], Room]:
        async def link(behind: Any, uuid: str) -> Any:
            if uuid not in linked:
                linked.add(uuid)
                raise RemoteTaskNotFound("not there yet", status=404)
            return await behind.link(uuid)

        async def count(behind: Any, *args: Any, **words: Any) -> Any:
            counts[0] += 1
            if counts[0] > planned:
                raise ServiceFault("the query engine is down", status=503)
            return await behind.count(*args, **words)

        return [with_door(with_door(contexts[0], "tasks", link=link), "counts", count=count)], room

    probe = Rig(rig.setting, tmp_path / "probe")
    planned = probe.run().requests["query"] - probe.lives[0].notes["Recounted"]
    rig.disturb = silent
    report = rig.run()
    assert counts[0] > planned
    assert report.exit == ExitCode.INCOMPLETE
    assert report.jobs[0].slices.keys() == {"failed"}
    rig.disturb = None
    rig.behave()
    assert rig.complaints(rig.run()) == []


@pytest.mark.parametrize("whims", [{"indexed": False}, {"behaviour": {"bad_gateway_probability": 0.15}}])
def test_a_file_that_vanishes_before_it_is_fetched_is_not_emptiness(
    whims: dict[str, Any], tmp_path: Path
) -> None:
    """Remote tasks that say they wrote nothing and vanish between a look and the link leave a gap, never an
    empty window."""
    switches: dict[str, Any] = {
        "written_rows": "zero",
        "file_lifetime_s": 1.2,
        "latency_s": 0.8,
        "after_lifetime": "vanished",
    }
    behaviour = Behaviour(**switches, **whims.get("behaviour", {}))
    rig = Rig(Setting(seed=1, slices=12, indexed=whims.get("indexed", True), behaviour=behaviour), tmp_path)
    report = rig.run()
    assert report.exit == ExitCode.INCOMPLETE
    assert "empty" not in report.jobs[0].slices
    assert not report.complete
    rig.behave()
    assert rig.complaints(rig.run()) == []


# --- short files ---


def short(folder: Path) -> Rig:
    """After a run in which the service counted 30 % too many: every slice keeps a short file of all its
    rows."""
    whims = Behaviour(count_error=0.3, sql_histogram="refused", histogram_fails="always")
    rig = Rig(Setting(seed=3, slices=6, attempts=2, behaviour=whims), folder)
    report = rig.run()
    assert report.exit == ExitCode.INCOMPLETE
    assert report.jobs[0].slices.keys() == {"failed"}
    assert len(rig.files()) == report.jobs[0].slices["failed"]
    rig.behave()
    return rig


@pytest.mark.parametrize("attempts", [2, 3])
def test_the_fullest_short_file_keeps_its_path(attempts: int, tmp_path: Path) -> None:
    """When attempts differ, the best file is published and the gap says by how much it is short: never that
    its own path is occupied."""
    whims = Behaviour(count_error=0.3, fail_probability=0.4)
    rig = Rig(Setting(seed=2, slices=12, attempts=attempts, behaviour=whims), tmp_path)
    told = reasons(rig.run())
    assert any(reason.startswith("short by ") for reason in told)
    assert all(reason.startswith("short by ") or reason == "attempts exhausted" for reason in told)
    stand = rig.ledger("select published_path from slices where reason like 'short by %' or state = 'done'")
    assert {path for (path,) in stand} == {str(path) for path in rig.files()}
    rig.behave()
    assert rig.complaints(rig.run()) == []


@pytest.mark.parametrize(("order", "state"), [("by-time", "cut"), ("stirred", "superseded")])
def test_slices_cut_or_split_replace_the_short_file_of_the_whole(
    order: str, state: str, tmp_path: Path
) -> None:
    """A later run with a smaller ``max_lines`` stores the window in more files: the short one of the whole
    goes."""
    rig = short(tmp_path)
    rig.behave(row_order=order)
    rig.changed = {"max_lines": 20}
    report = rig.run()
    assert report.jobs[0].slices.get(state)
    assert rig.complaints(report) == []
    assert len(rig.files()) == report.jobs[0].files


def test_a_whole_file_in_another_form_replaces_the_short_one(tmp_path: Path) -> None:
    """A later run that compresses leaves no uncompressed short file beside it."""
    rig = short(tmp_path)
    rig.changed = {"compression": Compression.GZIP}
    report = rig.run()
    assert report.complete
    assert report.jobs[0].lines == rig.truth().total()
    assert {path.suffix for path in rig.files()} == {".gz"}
    assert len(rig.files()) == report.jobs[0].files


@dataclass(frozen=True)
class Late:
    """Twenty rows a second, but only in the last ten seconds before ``end_s``."""

    end_s: int

    def before(self, second: int) -> int:
        return 20 * max(0, min(second, self.end_s) - (self.end_s - 10))


def test_an_empty_half_of_a_split_slice_retires_the_short_file_of_the_whole(tmp_path: Path) -> None:
    """Split in two, a window may have all its rows in one half: the file that stood for the whole goes with
    the empty one."""
    end_s = int(START_AT) - DAY_S
    setting = Setting(
        seed=3,
        slices=1,
        lines_per_slice=1000,
        attempts=2,
        behaviour=Behaviour(count_error=0.3),
        density=Late(end_s),
    )
    rig = Rig(setting, tmp_path)
    assert reasons(rig.run()) == {"short by 60"}
    assert len(rig.files()) == 1
    rig.behave(row_order="stirred")
    rig.changed = {"max_lines": 150}
    report = rig.run()
    assert report.jobs[0].slices.get("superseded")
    assert report.jobs[0].slices.get("empty")
    assert rig.complaints(report) == []
    assert len(rig.files()) == report.jobs[0].files


@pytest.mark.parametrize("order", ["by-time", "stirred"])
@pytest.mark.parametrize("layout", ["", "{job}/{start_utc:%Y%m%dT%H%M%SZ}"], ids=["default", "start only"])
def test_no_stored_row_is_ever_missing_while_a_slice_is_divided(
    order: str, layout: str, tmp_path: Path
) -> None:
    """The file of the whole stands until all of its window stands elsewhere, whenever the process dies, and
    then it goes."""
    points, crash_at = 40, 1
    while crash_at <= points:
        rig = short(tmp_path / str(crash_at))
        stored = rig.archived()
        rig.behave(row_order=order)
        rig.changed = {"max_lines": 20} | ({"layout": layout} if layout else {})
        life = rig.live(crash_at)
        points = max(points, len(life.met))
        assert not stored - rig.archived()
        report = rig.run()
        assert rig.complaints(report) == []
        assert len(rig.files()) == report.jobs[0].files
        crash_at += 29


# --- damage ---


def audited(rig: Rig) -> VerifyReport:
    """What ``verify`` finds and marks."""

    async def main(time: VirtualTime) -> VerifyReport:
        contexts, room = rig._furnish(time, FaultPlan(None), None)
        return await verify(
            contexts, room.manifest, share=1.0, rng=time.rng, writer=room.manifest, clock=room.clock
        )

    return run_virtual(main, start_at=rig.now_s)


def test_a_damaged_file_is_marked_once_and_mended_by_the_next_run(tmp_path: Path) -> None:
    """``verify`` names the damaged file in one finding, the next run exports it anew, and then nothing is
    found."""
    rig = Rig(Setting(seed=1, slices=8), tmp_path)
    rig.run()
    rig.files()[2].write_bytes(b"xx")
    (finding,) = audited(rig).findings
    assert (finding.problem, finding.path, finding.marked) == ("size differs", str(rig.files()[2]), True)
    assert rig.complaints(rig.run()) == []
    assert audited(rig).findings == ()


def test_what_is_damaged_here_and_gone_there_is_a_gap_and_stays_as_it_is(tmp_path: Path) -> None:
    """When the service no longer has the rows of a damaged file, the file is left alone and the gap says that
    its source is gone."""
    rig = Rig(Setting(seed=1, slices=8), tmp_path)
    rig.run()
    damaged = rig.files()[2]
    damaged.write_bytes(b"xx")
    assert len(audited(rig).findings) == 1
    rig.world.account.change_store("shop", "web", retention_days=1)
    rig.now_s += 3 * DAY_S
    report = rig.run()
    assert report.exit == ExitCode.UNMENDABLE
    assert reasons(report) == {"source gone"}
    assert report.jobs[0].slices["failed"] == 1
    assert damaged.read_bytes() == b"xx"


# --- dense seconds ---


@pytest.mark.parametrize(
    "whims",
    [{"indexed": False}, {"behaviour": Behaviour(window_start="exclusive")}, {}],
    ids=["no index", "start exclusive", "plain"],
)
def test_seconds_that_nearly_fill_a_remote_task_are_complete(whims: dict[str, Any], tmp_path: Path) -> None:
    """A second that fits alone is exported although it must be asked for with its neighbours."""
    rig = Rig(Setting(seed=1, slices=12, window_s=20, lines_per_slice=50, **whims), tmp_path)
    assert rig.complaints(rig.run()) == []


@pytest.mark.parametrize(
    "whims",
    [
        {"indexed": False},
        {"behaviour": Behaviour(window_start="exclusive")},
        {"behaviour": Behaviour(window_end="whole-second")},
        {"behaviour": Behaviour(row_order="stirred")},
    ],
    ids=["no index", "start exclusive", "end whole second", "stirred"],
)
def test_one_row_per_remote_task_is_enough(whims: dict[str, Any], tmp_path: Path) -> None:
    """With ``max_lines`` of one, each row comes by a remote task of its own, and none is lost or doubled."""
    rig = Rig(Setting(seed=1, slices=6, lines_per_slice=1, window_s=60, **whims), tmp_path)
    assert rig.complaints(rig.run()) == []


# --- log streams ---


@pytest.mark.parametrize("missing_stream", ["none", "all", "not-found"])
def test_a_log_stream_that_is_not_there_is_refused_whatever_the_service_makes_of_it(
    missing_stream: Any, tmp_path: Path
) -> None:
    """Nothing is asked for under a name that might mean all log streams, or none."""
    rig = Rig(Setting(seed=1, behaviour=Behaviour(missing_stream=missing_stream)), tmp_path)
    rig.changed = {"identity": replace(rig.job.identity, logstream="no-such-stream")}
    report = rig.run()
    assert (report.exit, reasons(report)) == (ExitCode.REFUSED, {"not exported yet"})
    error = report.jobs[0].error
    assert error is not None
    assert "no-such-stream" in error.message
    assert (rig.files(), report.jobs[0].remote_tasks_created) == ([], 0)


@pytest.mark.parametrize("order", ["by-time", "stirred"])
def test_one_log_stream_is_exported_alone(order: Any, tmp_path: Path) -> None:
    """The rows of the others stay away, and what is stored says which stream it is."""
    rig = Rig(Setting(seed=1, slices=6, behaviour=Behaviour(row_order=order)), tmp_path)
    rig.changed = {"identity": replace(rig.job.identity, logstream="app/prod-2")}
    report = rig.run()
    assert (report.exit, report.complete) == (0, True)
    stored, truth = rig.archived(), rig.truth()
    assert stored
    assert stored < truth
    assert all("~app_prod-2~" in path.name for path in rig.files())


# --- gaps ---


def failed(rig: Rig, window: Window, reason: str) -> Slice:
    """A slice that an earlier run gave up."""
    return Slice(
        id=slice_id(rig.job, "", window),
        job=rig.job.name,
        logstream="",
        window=window,
        state=SliceState.FAILED,
        reason=reason,
        expected_lines=5,
        counted_at=1.0,
    )


def held(rig: Rig, slices: list[Slice], covered: list[Window]) -> SqliteManifest:
    """A manifest with these failed slices and this coverage."""
    manifest = rig.manifest.reopen(None)
    proven = tuple(Covered(rig.job.name, "*", window) for window in covered)
    asyncio.run(manifest.commit(Changes(jobs=(rig.job,), slices=tuple(slices), covered=proven)))
    return manifest


def told(gaps: tuple[Gap, ...]) -> dict[int, str]:
    """The reason of every second that is a gap; a second told twice is a defect."""
    seconds: dict[int, str] = {}
    for gap in gaps:
        for second in range(gap.window.start_s, gap.window.end_s):
            assert second not in seconds
            seconds[second] = str(gap.reason)
    return seconds


@pytest.mark.parametrize("seed", range(25))
def test_gaps_and_coverage_are_the_window_exactly(seed: int, tmp_path: Path) -> None:
    """Every second that is not covered is told once, with the reason of the first failed slice that meets
    it."""
    random = Random(seed)
    rig = Rig(Setting(seed=1, window_s=60), tmp_path)
    start_s = rig.job.window.start_s if rig.job.window else 0

    def drawn() -> Window:
        at = random.randrange(-5, 62)
        return Window(start_s + at, start_s + at + random.randrange(1, 12))

    windows = sorted({drawn() for _ in range(random.randrange(12))})
    slices = [failed(rig, window, f"short by {n + 1}") for n, window in enumerate(windows)]
    slices = sorted(slices, key=lambda slice_: (slice_.window.start_s, slice_.id))
    covered = [drawn() for _ in range(random.randrange(4))]
    expected: dict[int, str] = {}
    for second in range(start_s, start_s + 60):
        if not any(window.start_s <= second < window.end_s for window in covered):
            mine = [s.reason for s in slices if s.window.start_s <= second < s.window.end_s]
            expected[second] = mine[0] if mine else "not exported yet"
    manifest = held(rig, slices, covered)
    gaps = asyncio.run(gaps_of(rig.job, manifest, None, "jobs.toml"))
    assert told(gaps) == expected
    assert list(gaps) == sorted(gaps, key=lambda gap: gap.window)


def steps_in(files: set[str], work: Callable[[], object]) -> int:
    """How many lines of these files run while ``work`` does."""
    steps = [0]

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        steps[0] += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return steps[0]


def test_telling_twice_as_many_gaps_takes_twice_the_work(tmp_path: Path) -> None:
    """Thousands of failed slices between covered seconds are explained in one pass: work grows with their
    number, not with its square."""
    files = {audit.__file__, sys.modules[Window.__module__].__file__ or ""}
    steps = []
    for number in (200, 400):
        rig = Rig(Setting(seed=1, window_s=2 * number + 10), tmp_path / str(number))
        start_s = rig.job.window.start_s if rig.job.window else 0
        windows = [Window(start_s + 2 * n, start_s + 2 * n + 1) for n in range(number)]
        slices = [failed(rig, window, "short by 1") for window in windows]
        manifest = held(rig, slices, [Window(w.end_s, w.end_s + 1) for w in windows])
        steps.append(
            steps_in(files, lambda m=manifest, r=rig: asyncio.run(gaps_of(r.job, m, None, "x")))  # type: ignore[misc]
        )
    assert steps[1] < 2.5 * steps[0]


@pytest.mark.parametrize(
    "harm", ["update coverage set end_s = end_s - 1000", "delete from coverage"], ids=["some of it", "all"]
)
def test_coverage_that_was_lost_by_hand_is_not_stored_twice(harm: str, tmp_path: Path) -> None:
    """What a stored slice holds is covered again, and no remote task is made for it."""
    rig = Rig(Setting(seed=1, slices=8), tmp_path)
    assert rig.run().complete
    made = rig.world.witness.tasks_made
    rig.manifest._connection.execute(harm)
    assert rig.complaints(rig.run()) == []
    assert rig.world.witness.tasks_made == made


def test_a_staged_file_that_is_lost_before_it_is_published_is_fetched_anew(tmp_path: Path) -> None:
    """One file that somebody removed holds up no other, and ends no run."""
    rig = Rig(Setting(seed=1, slices=8), tmp_path)
    removed: list[str] = []

    async def publish(behind: Any, batch: Any) -> Any:
        if not removed:
            removed.append(batch[0].staged_path)
            Path(removed[0]).unlink()
        return await behind.publish(batch)

    rig.disturb = only_first("destination", publish=publish)
    assert rig.complaints(rig.run()) == []
    assert removed
