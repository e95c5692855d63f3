"""Exporting anew: the old file stands and stays covered until the new one is verified, whoever dies when."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import orchestrator.testing.episode as lives
from orchestrator.app.mending import redo_exit
from orchestrator.core.model import Slice, SliceState
from orchestrator.core.report import RedoOutcome, Report
from orchestrator.core.window import Window
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.engine.audit import VerifyReport, verify
from orchestrator.engine.redo import REDOABLE
from orchestrator.engine.run import run
from orchestrator.errors import RemoteTaskNotFound
from orchestrator.testing.boundary import FaultPlan
from orchestrator.testing.episode import Life, Setting
from orchestrator.testing.loop import VirtualTime, run_virtual
from tests.simulation.rig import Rig, only_first

DAY_S = 86_400
LATE = {"late_per_mille": 300, "late_by_s": 2.5 * DAY_S}
"""Three tenths of the records cannot be seen when the export is made first, and three days later they can."""
DURABLE = ("manifest.", "submit.", "settle.", "transfer.receipt", "transfer.staged", "redo.", "clean.")


def exported(folder: Path, slices: int = 4, **behaviour: Any) -> Rig:
    """A whole export of so many slices, some days ago."""
    rig = Rig(Setting(seed=5, slices=slices, lines_per_slice=40, behaviour=Behaviour(**behaviour)), folder)
    report = rig.run()
    assert report.complete, report
    rig.now_s += 3 * DAY_S
    return rig


def stored(rig: Rig) -> tuple[Slice, ...]:
    """What can be exported anew."""
    manifest = rig.manifest.reopen()
    return asyncio.run(manifest.slices("web", REDOABLE))


def redo(rig: Rig, chosen: tuple[Slice, ...], crash_at: int | None = None) -> Life:
    """One life that exports these anew, to its end or its death at a durable boundary."""
    first = lives.run
    lives.run = partial(run, again={"web": chosen})  # type: ignore[assignment]  # the one caller passes no more
    try:
        return rig.live(crash_at, counts=lambda name: name.startswith(DURABLE))
    finally:
        lives.run = first


def outcomes(life: Life) -> list[tuple[str, str]]:
    """What became of each slice, and why."""
    assert life.report is not None
    return [(item.outcome.value, item.reason) for item in life.report.jobs[0].redone]


def whole(rig: Rig) -> bool:
    """Whether the coverage is the job's window."""
    assert rig.job.window is not None
    return asyncio.run(rig.manifest.reopen().coverage("web")) == (rig.job.window,)


def states(rig: Rig) -> Counter[str]:
    return Counter(state for (state,) in rig.ledger("select state from slices"))


def idle(rig: Rig) -> bool:
    """Whether a further run has nothing to ask and nothing to fetch."""
    report = rig.run()
    return report.complete and not sum(n for family, n in report.requests.items() if family != "list")


def nothing_left_over(rig: Rig) -> None:
    """No remote task that nobody wants, nothing staged, no redo that was begun and not ended."""
    assert rig.surplus() == 0
    assert rig.ledger("select count(*) from slices where replaces <> ''") == [(0,)]
    staging = rig.folder / ".orchestrator" / "staging"
    assert [path.name for path in staging.glob("*")] == []


def test_a_redo_takes_the_place_of_the_old_file(tmp_path: Path) -> None:
    """Records that came late are there afterwards, once each; the old slices end as superseded, in place."""
    rig = exported(tmp_path, **LATE)
    before, paths = rig.archived(), rig.files()
    rig.changed = {"max_lines": 100}  # else they would not fit
    assert 0 < before.total() < rig.truth().total()
    chosen = stored(rig)
    life = redo(rig, chosen)
    assert outcomes(life) == [("replaced", "")] * len(chosen)
    assert life.report is not None
    assert redo_exit(life.report, interrupted=False) == 0
    assert rig.archived() == rig.truth()
    assert whole(rig)
    assert rig.files() == paths, "under the same names"
    assert states(rig) == {"done": len(chosen), "superseded": len(chosen)}
    assert rig.world.witness.duplicate_names == {}
    nothing_left_over(rig)
    assert idle(rig)


def test_what_has_to_be_divided_is_swapped_together(tmp_path: Path) -> None:
    """With a smaller max_lines one old file gives way to several new ones; each row stands once."""
    rig = exported(tmp_path)
    before = rig.archived()
    chosen = stored(rig)
    rig.changed = {"max_lines": 15}
    life = redo(rig, chosen)
    assert outcomes(life) == [("replaced", "")] * len(chosen)
    assert rig.archived() == before == rig.truth()
    assert whole(rig)
    assert len(rig.files()) > 2 * len(chosen)
    divided = {slice_.path for slice_ in chosen if slice_.published_rows > 15}
    assert divided
    assert not divided & {str(path) for path in rig.files()}
    nothing_left_over(rig)
    assert idle(rig)


def test_what_the_service_has_no_more_keeps_its_file(tmp_path: Path) -> None:
    """Fewer rows than stand here: nothing is replaced, nothing loses its coverage, and the reason is said."""
    rig = exported(tmp_path)
    before = {path: path.read_bytes() for path in rig.files()}
    chosen = stored(rig)
    rig.behave(retention_s=3600.0)
    life = redo(rig, chosen)
    assert outcomes(life) == [("kept", "source gone")] * len(chosen)
    assert life.report is not None
    assert redo_exit(life.report, interrupted=False) == 7
    assert {path: path.read_bytes() for path in rig.files()} == before
    assert whole(rig)
    assert states(rig) == {"done": len(chosen), "abandoned": len(chosen)}
    nothing_left_over(rig)
    assert idle(rig)


def test_a_redo_that_ends_short_keeps_the_old_file(tmp_path: Path) -> None:
    """When the service counts more than it hands out, nothing proves the new file: the old one stays."""
    rig = exported(tmp_path)
    before = {path: (path.read_bytes(), path.stat().st_ino) for path in rig.files()}
    chosen = stored(rig)[:1]
    rig.behave(count_error=0.2)
    ((outcome, reason),) = outcomes(redo(rig, chosen))
    assert (outcome, reason.startswith("short by ")) == ("kept", True)
    assert {path: (path.read_bytes(), path.stat().st_ino) for path in rig.files()} == before
    assert whole(rig)
    nothing_left_over(rig)


def test_parts_that_hold_less_than_the_whole_did_replace_nothing(tmp_path: Path) -> None:
    """Each part may agree with its count: together they must hold what stands here."""
    rig = exported(tmp_path)
    before = {path: path.read_bytes() for path in rig.files()}
    chosen = stored(rig)[:1]
    rig.changed = {"max_lines": 15}
    third_s = chosen[0].window.start_s + chosen[0].window.length_s // 3
    rig.behave(retention_s=rig.now_s - third_s)
    assert outcomes(redo(rig, chosen)) == [("kept", "source gone")]
    assert {path: path.read_bytes() for path in rig.files()} == before
    assert whole(rig)
    nothing_left_over(rig)


def test_parts_that_were_placed_go_when_one_finds_its_place_taken(tmp_path: Path) -> None:
    """Somebody else's file is never overwritten, and no row stands twice afterwards."""
    trial = exported(tmp_path / "trial")
    trial.changed = {"max_lines": 15}
    old = set(trial.files())
    redo(trial, stored(trial)[:1])
    last = max(set(trial.files()) - old).relative_to(trial.folder)
    rig = exported(tmp_path / "real")
    rig.changed = {"max_lines": 15}
    foreign = rig.folder / last
    before = {path: path.read_bytes() for path in rig.files()} | {foreign: b"not ours\n"}
    foreign.write_bytes(b"not ours\n")
    assert outcomes(redo(rig, stored(rig)[:1])) == [("kept", "path occupied")]
    assert {path: path.read_bytes() for path in rig.files()} == before
    assert whole(rig)
    nothing_left_over(rig)


def test_a_file_damaged_while_its_redo_is_under_way_is_exported_once(tmp_path: Path) -> None:
    """The damaged slice waits for the newer one instead of being exported besides."""
    rig = exported(tmp_path, slices=2)
    chosen = stored(rig)[-1:]  # the one that is not full: asked for anew with a margin it stays whole
    made = rig.world.witness.tasks_made
    assert redo(rig, chosen, crash_at=3).crash is not None
    Path(chosen[0].path).unlink()

    async def audited(time: VirtualTime) -> VerifyReport:
        contexts, room = rig._furnish(time, FaultPlan(None), None)
        return await verify(
            contexts, room.manifest, share=0.0, rng=time.rng, writer=room.manifest, clock=time.clock
        )

    report = run_virtual(audited, seed="audit", start_at=rig.now_s)
    assert [finding.marked for finding in report.findings] == [True]
    assert rig.run().complete
    assert rig.world.witness.tasks_made == made + 1
    assert rig.archived() == rig.truth()
    assert whole(rig)
    nothing_left_over(rig)


async def _gone(behind: Any, uuid: str) -> Any:
    raise RemoteTaskNotFound(f"{uuid} is not there")


def after_links(count: int) -> Any:
    """A link that opens so many times, and then no more."""
    left = [count]

    async def link(behind: Any, uuid: str) -> Any:
        left[0] -= 1
        return await (behind.link(uuid) if left[0] >= 0 else _gone(behind, uuid))

    return link


@pytest.mark.parametrize("links", [0, 1, 2])
def test_a_redo_that_fails_in_part_replaces_nothing(links: int, tmp_path: Path) -> None:
    """What was verified already is thrown away with the rest; the old file never moved."""
    rig = exported(tmp_path)
    before = {path: path.read_bytes() for path in rig.files()}
    chosen = stored(rig)[:1]
    rig.changed = {"max_lines": 15}
    rig.disturb = only_first("tasks", link=after_links(links))
    life = redo(rig, chosen)
    assert outcomes(life) == [("kept", "expires before fetch")]
    assert life.report is not None
    assert redo_exit(life.report, interrupted=False) == 3
    assert {path: path.read_bytes() for path in rig.files()} == before
    assert whole(rig)
    nothing_left_over(rig)
    rig.disturb = None
    assert outcomes(redo(rig, chosen)) == [("replaced", "")]
    assert rig.archived() == rig.truth()
    assert idle(rig)


@pytest.mark.parametrize("max_lines", [100, 25])
@pytest.mark.parametrize("group", range(4))
def test_a_redo_may_die_anywhere(group: int, max_lines: int, tmp_path: Path) -> None:
    """At every durable boundary: the coverage stays whole, no row that stood is missing, and the next run
    ends what was begun, with each row once and one remote task per slice."""

    def prepared(folder: Path) -> tuple[Rig, tuple[Slice, ...], Counter[bytes]]:
        rig = exported(folder, slices=2, **LATE)
        chosen = stored(rig)[:1]
        rig.changed = {"max_lines": max_lines}
        return rig, chosen, rig.archived()

    rig, chosen, _ = prepared(tmp_path / "undisturbed")
    met = redo(rig, chosen).met
    end = rig.archived()
    points = sum(name.startswith(DURABLE) for name in met)
    assert points > 20
    for crash_at in range(1 + group, points + 1, 4):
        rig, chosen, before = prepared(tmp_path / str(crash_at))
        life = redo(rig, chosen, crash_at)
        assert life.crash is not None, crash_at
        where = f"death {crash_at} at {life.crash.name}"
        assert whole(rig), where
        assert not before - rig.archived(), where
        again = rig.run()
        assert again.complete, where
        begun = len(rig.ledger("select id from slices where generation > 0")) > 0
        assert rig.archived() == (end if begun else before), where
        assert rig.world.witness.duplicate_names == {}, where
        assert whole(rig), where
        nothing_left_over(rig)
        assert outcomes(redo(rig, stored(rig)[:1])) == [("replaced", "")], where


def test_a_failed_slice_is_tried_again_although_it_was_accepted(tmp_path: Path) -> None:
    """`run` leaves an accepted gap alone; redo tries it, and what it stores ends the acceptance."""
    rig = Rig(Setting(seed=5, slices=2, lines_per_slice=40, attempts=1), tmp_path)
    rig.behave(fail_probability=1.0)
    assert rig.run().exit == 3
    failed = stored(rig)
    assert {slice_.state for slice_ in failed} == {SliceState.FAILED}
    for slice_ in failed:
        asyncio.run(rig.manifest.reopen().accept("web", slice_.window, "known", "ann", rig.now_s))
    made = rig.world.witness.tasks_made
    accepted = rig.run()
    assert (accepted.exit, accepted.complete) == (0, True)
    assert {gap.accepted for gap in accepted.jobs[0].gaps} == {"known"}
    assert accepted.settled_to == rig.setting.window.end_s
    assert rig.world.witness.tasks_made == made
    rig.behave()
    assert outcomes(redo(rig, failed)) == [("replaced", "")] * len(failed)
    assert rig.archived() == rig.truth()
    assert whole(rig)
    assert asyncio.run(rig.manifest.reopen().acceptances("web")) == ()
    assert rig.run().jobs[0].gaps == ()


def test_a_half_accepted_slice_is_still_tried(tmp_path: Path) -> None:
    """The part that nobody signed off is wanted, and a slice is exported whole; its gaps are told apart."""
    rig = Rig(Setting(seed=5, slices=1, lines_per_slice=40, attempts=1), tmp_path)
    rig.behave(fail_probability=1.0)
    assert rig.run().exit == 3
    window = stored(rig)[0].window
    middle_s = window.start_s + window.length_s // 2
    half = Window(window.start_s, middle_s)
    asyncio.run(rig.manifest.reopen().accept("web", half, "known", "ann", rig.now_s))
    made = rig.world.witness.tasks_made
    report = rig.run()
    assert (report.exit, report.settled_to) == (3, middle_s)
    first, second = report.jobs[0].gaps[:2]
    assert (first.window, first.accepted, second.accepted) == (half, "known", None)
    assert rig.world.witness.tasks_made > made
    rig.behave()
    assert rig.run().exit == 0


def test_a_stopped_redo_says_that_it_is_not_finished(tmp_path: Path) -> None:
    """Interrupted, the old files stay, and the exit says 130; a later run ends it."""
    rig = exported(tmp_path, **LATE)
    chosen, before = stored(rig), rig.archived()
    rig.stop_at_s = 1.0
    life = redo(rig, chosen)
    assert {outcome for outcome, _ in outcomes(life)} == {RedoOutcome.UNFINISHED}
    report: Report | None = life.report
    assert report is not None
    assert redo_exit(report, interrupted=True) == 130
    assert rig.archived() == before
    assert whole(rig)
    rig.stop_at_s = None
    rig.run()
    assert rig.archived() == rig.truth()
