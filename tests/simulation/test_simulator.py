"""The simulator proves something only if it can fail: every promise it watches turns red when the program is
broken on purpose, and a failure is replayed and taken apart by commands."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core import events as ev
from orchestrator.core import lifecycle, transferring
from orchestrator.core.completeness import Ruling, Verdict
from orchestrator.core.creating import Creating
from orchestrator.core.model import Evidence, Receipt, SliceState
from orchestrator.dataplane.destination import FolderDestination
from orchestrator.dataplane.inline import InlineDataPlane
from orchestrator.engine import admitting, errands, run
from orchestrator.engine.context import StopSignal
from orchestrator.engine.recovery import Resolver
from orchestrator.engine.stages import transfer
from orchestrator.testing.faults import FAULTS
from orchestrator.testing.inspection import PROMISES
from orchestrator.testing.playing import Outcome, play
from orchestrator.testing.scenario import draw_scenario
from orchestrator.testing.script import Ending, EndingKind, Moment, endings_from
from orchestrator.testing.shrink import shrink
from orchestrator.testing.simulate import main


def played(folder: Path, *faults: str, deaths: str = "", slices: int = 3, seed: int = 1) -> Outcome:
    """One small episode."""
    return play(draw_scenario(seed, only=faults, endings=endings_from(deaths), slices=slices), folder)


def played_until(promise: str, folder: Path, *faults: str, points: Sequence[int]) -> Outcome:
    """Episodes with one death each, until one breaks the promise."""
    for point in points:
        outcome = played(folder / str(point), *faults, deaths=str(point), slices=2)
        if promise in outcome.broken:
            return outcome
    return outcome


def always_complete(*args: Any, **words: Any) -> Verdict:
    return Verdict(Ruling.COMPLETE, Evidence.COUNT)


def test_an_unbroken_program_breaks_none_of_them(tmp_path: Path) -> None:
    """The episodes below are kept by the program as it is."""
    for number, faults in enumerate([("start exclusive",), ("strangers", "failures"), ()]):
        outcome = played(tmp_path / str(number), *faults, deaths="stop@20,30")
        assert outcome.kept, outcome.notes


def test_lost_lines_turn_red(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A judge that calls every file complete loses the first row of every window, and that is said with the
    slice and the number of rows."""
    monkeypatch.setattr(transferring, "judge", always_complete)
    outcome = played(tmp_path, "start exclusive")
    assert outcome.broken["lost"] > 0
    assert outcome.broken["unproven"] > 0
    assert any("lacks 1 rows" in note for note in outcome.notes), outcome.notes


def test_lines_twice_turn_red(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Files that keep the margin they were asked with hold their neighbours' rows."""
    ticket = transfer._ticket

    def wide(*args: Any, **words: Any) -> Any:
        found = ticket(*args, **words)
        return replace(found, window=found.requested)

    monkeypatch.setattr(transfer, "_ticket", wide)
    assert played(tmp_path, "start exclusive").broken.get("twice", 0) > 0


def test_visible_files_that_are_not_proven_turn_red(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that appears before its intent to publish is committed is found after the crash."""
    moved = InlineDataPlane.transfer

    async def hasty(self: InlineDataPlane, ticket: Any) -> Any:
        receipt = await moved(self, ticket)
        if isinstance(receipt, Receipt) and receipt.staged_path:
            shutil.copy(receipt.staged_path, f"{ticket.destination.url}/{ticket.slice_id}.jsonl")
        return receipt

    monkeypatch.setattr(InlineDataPlane, "transfer", hasty)
    assert played(tmp_path, deaths="30").broken.get("unproven", 0) > 0


def test_a_partial_file_under_its_final_name_turns_red(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A publication that leaves half a file is found, whatever the ledger says."""
    published = FolderDestination.publish

    async def halved(self: FolderDestination, batch: Any) -> Any:
        found = await published(self, batch)
        for item in batch:
            content = Path(item.path).read_bytes()
            Path(item.path).write_bytes(content[: len(content) // 2])
        return found

    monkeypatch.setattr(FolderDestination, "publish", halved)
    outcome = played(tmp_path)
    assert outcome.broken.get("unproven", 0) > 0
    assert outcome.broken.get("lost", 0) > 0


def test_verified_files_fetched_again_turn_red(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A recovery that fetches what was about to be published is found out by the service's own count."""

    def again(slice_: Any, event: Any, now: float, rules: Any) -> ev.Step:
        after = replace(slice_, state=SliceState.READY, receipt=None, fetch_round=slice_.fetch_round + 1)
        return ev.Step(after)

    row = lifecycle.Row(again, frozenset({SliceState.READY}))
    monkeypatch.setitem(lifecycle.TABLE, (SliceState.SETTLING, ev.Resumed), row)
    assert "refetched" in played_until("refetched", tmp_path, points=range(20, 90)).broken


def test_twins_turn_red(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A recovery that submits instead of looking leaves two remote tasks of one name."""

    def submit_again(slice_: Any, event: Any, now: float, rules: Any) -> ev.Step:
        return ev.Step(slice_, (ev.Submit(slice_, slice_.task),))

    row = lifecycle.Row(submit_again, frozenset({SliceState.SUBMITTING}))
    monkeypatch.setitem(lifecycle.TABLE, (SliceState.SUBMITTING, ev.Resumed), row)
    assert "twins" in played_until("twins", tmp_path, points=range(1, 60)).broken


def test_orphans_turn_red(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Deletes that are said to be done and are not leave remote tasks that somebody pays for."""

    async def idle(self: Resolver, uuid: str) -> None:
        """Deletes nothing."""

    monkeypatch.setattr(Resolver, "delete", idle)
    assert played(tmp_path, "failures", slices=12).broken.get("orphans", 0) > 0


def test_trespasses_turn_red(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Somebody else's remote task that goes with ours is noticed."""

    async def greedy(self: Resolver, uuid: str) -> None:
        page = await self._tasks.list_page(project="shop", logstore="web", page_no=1, page_size=100)
        for status in page.tasks:
            if status.name.startswith("nightly-") or status.uuid == uuid:
                await self._tasks.delete(status.uuid)

    monkeypatch.setattr(Resolver, "delete", greedy)
    assert played(tmp_path, "strangers", "failures", slices=12).broken.get("trespasses", 0) > 0


def test_broken_ceilings_turn_red(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """More remote tasks than allowed, or more requests a second than allowed, is counted."""
    with monkeypatch.context() as patch:
        patch.setattr(admitting, "room_for_creates", lambda **_: 9)
        patch.setattr(Creating, "room", lambda *_, **__: 9)
        outcome = played(tmp_path / "tasks", slices=12)
        assert outcome.broken["ceilings"] > 0
        assert any("outstanding" in note for note in outcome.notes), outcome
    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.core.pace.Pacer.take", lambda *_, **__: None)
        patch.setattr("orchestrator.core.pace.Pacer.common_wait_s", lambda *_: 0.0)
        patch.setattr("orchestrator.core.pace.Pacer.family_wait_s", lambda *_: 0.0)
        outcome = played(tmp_path / "requests", "many at once", slices=20, seed=2)
        assert any("within a second" in note for note in outcome.notes), outcome


def test_a_life_that_says_it_ended_otherwise_turns_red(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A stopped run must say 130."""
    told = StopSignal.set

    def planned(self: StopSignal, reason: str, *, interrupted: bool = True) -> None:
        told(self, reason, interrupted=False)

    monkeypatch.setattr(StopSignal, "set", planned)
    assert "misreported" in played(tmp_path, deaths="stop@20").broken


def test_a_run_that_finds_work_in_what_is_complete_turns_red(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A further run asks the service for nothing; one that counts everything again is noticed."""

    async def everything(job: Any, window: Any, *rest: Any) -> Any:
        return (window,)

    monkeypatch.setattr(run, "missing_of", everything)
    assert "restless" in played(tmp_path, slices=2).broken


def test_an_export_that_is_never_complete_turns_red(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Twelve lives without an end are not an end."""
    monkeypatch.setattr(transferring, "judge", lambda *_, **__: Verdict(Ruling.SHORT, missing=1))
    outcome = played(tmp_path, slices=1)
    assert outcome.broken.get("incomplete", 0) > 0
    assert any("short by" in note for note in outcome.notes), outcome.notes


def test_a_defect_turns_red(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the program raises is a broken promise, named with its kind."""

    async def broken(*args: Any) -> Any:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(errands, "fetch", broken)
    outcome = played(tmp_path, slices=1)
    assert outcome.broken["defects"] > 0
    assert any("on purpose" in note for note in outcome.notes)


def test_every_promise_has_a_test_that_turns_it_red() -> None:
    """No promise is watched by a check that was never seen to fail."""
    text = Path(__file__).read_text(encoding="utf-8")
    assert [promise for promise in PROMISES if f'"{promise}"' not in text] == []


# --- replaying and taking apart ---


def test_a_failing_episode_is_taken_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of many faults and deaths only the fault that matters is left, and the command printed with it plays
    exactly that."""
    monkeypatch.setattr(transferring, "judge", always_complete)
    faults = ("latency", "zip files", "start exclusive", "stop signal", "throttled")
    scenario = draw_scenario(5, only=faults, slices=10)
    assert len(scenario.endings) == 3
    told: list[Outcome] = []
    smallest = shrink(scenario, told=told.append)
    assert (smallest.faults, smallest.deaths) == (("start exclusive",), ())
    assert smallest.slices < 5
    assert len(told) > 2
    assert main(shlex.split(smallest.command)[3:]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("BROKEN seed 5: ")
    assert smallest.command in printed
    assert max(map(len, printed.splitlines())) < 400


def test_shrinking_ends_when_its_plays_are_used_up() -> None:
    """A failure that everything keeps is not chased for ever."""
    plays = []

    def broken(scenario: Any) -> Outcome:
        plays.append(scenario)
        return Outcome(1, "", (), {}, {}, (), 0, 0.0, {"lost": 1}, ())

    shrink(draw_scenario(1), played=broken, most_plays=9)
    assert len(plays) <= 9


def test_what_keeps_every_promise_is_not_taken_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """--shrink of a sound episode says so and ends with 0."""
    assert main(["--seed", "1", "--only", "", "--deaths", "", "--slices", "2", "--shrink"]) == 0
    assert "nothing to shrink" in capsys.readouterr().out


def test_a_command_names_exactly_one_scenario() -> None:
    """What a scenario prints is read back as the same scenario, fault names with commas included."""
    scenario = replace(
        draw_scenario(9, only=("reply lost, made", "list lags"), slices=4),
        endings=(Ending(EndingKind.CRASH, Moment(40, 3)), Ending(EndingKind.NO_ROOM, Moment(0, 7))),
    )
    words = shlex.split(str(scenario))
    assert words[:3] == ["python", "-m", "orchestrator.testing.simulate"]
    assert endings_from(words[words.index("--deaths") + 1]) == scenario.endings
    assert str(draw_scenario(9)) == "python -m orchestrator.testing.simulate --seed 9"
    assert draw_scenario(9) == draw_scenario(9) != draw_scenario(10)


@pytest.mark.parametrize("text", ["0", "x", "bang@3", "5%", "3%+"])
def test_endings_that_cannot_be_read_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped ending is said, and nothing is played."""
    with pytest.raises(ValueError, match="write 17"):
        endings_from(text)
    assert main(["--seed", "1", "--deaths", text]) == 2
    assert main(["--seed", "1", "--only", "no such fault"]) == 2
    assert "no such fault" in capsys.readouterr().err


def test_the_figures_come_as_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    """--json has seeds, virtual hours, faults met, deaths by boundary, and a zero for every promise."""
    assert main(["--seeds", "2", "--json", "--processes", "1"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["seeds"] == 2
    assert document["virtual_hours"] > 0
    assert sum(document["crashes"].values()) == 4
    assert document["broken"] == dict.fromkeys(PROMISES, 0)
    assert document["faults"].keys() == FAULTS.keys()


def test_the_simulator_says_what_it_met(capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints seeds, virtual hours, faults met and zeros, and ends with 0."""
    assert main(["--seeds", "2", "--processes", "1"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("seeds 2, virtual hours ")
    assert "      0  lines lost\n" in text
    assert "episodes with a broken promise: 0; too easy: 0" in text


def test_a_fault_that_was_never_met_fails_a_long_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fault that is switched on and never happens is no proof: the run says its name and ends with 1."""
    monkeypatch.setattr("orchestrator.testing.simulate.ENOUGH_SEEDS", 1)
    assert main(["--seeds", "1", "--processes", "1"]) == 1
    assert "never met: " in capsys.readouterr().out
