"""A job of several log streams under the virtual clock: each exported by itself, killed anywhere or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.core.reasons import Reason
from orchestrator.emulator.behaviour import Behaviour
from tests.simulation.rig import Rig, reasons
from tests.simulation.test_overfull_seconds import dense

STREAMS = ("a", "b", "c")


def about(rig: Rig, streams: tuple[str, ...], *, gone: tuple[str, ...] = (), patterns: str = "*") -> None:
    """From now on the job is about these streams."""
    identity = replace(super(Rig, rig).job.identity, logstream=patterns)
    rig.changed |= {
        "identity": identity,
        "stream_patterns": (patterns,),
        "streams": streams,
        "gone_streams": gone,
    }


def streamed(folder: Path, rows: int = 0, **setting: object) -> Rig:
    """A minute of three streams, one second of it with so many more records."""
    rig = dense(folder, rows, STREAMS, **setting)
    about(rig, STREAMS)
    return rig


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(),
        Behaviour(window_end="inclusive", window_start="exclusive"),
        Behaviour(list_lag_s=4.0, lost_reply_made=0.3),
        Behaviour(count_refused=True),
        Behaviour(count_refused=True, histogram_fails="always"),
    ],
    ids=["plain", "odd edges", "lost replies", "histogram only", "no counts"],
)
def test_streams_together_are_the_whole(behaviour: Behaviour, tmp_path: Path) -> None:
    """Every row of the logstore is stored once, and nothing is done twice by a further run."""
    rig = streamed(tmp_path, behaviour=behaviour)
    assert rig.complaints(rig.run()) == []
    assert {path.stem.split("~")[1] for path in rig.files()} == set(STREAMS)
    again = rig.run()
    assert (again.exit, again.jobs[0].remote_tasks_created) == (0, 0)


def test_a_stream_with_an_overfull_second_is_met_from_both_ends(tmp_path: Path) -> None:
    """The parts of the second prove that stream's coverage and no other's."""
    rig = streamed(tmp_path, 120)
    assert rig.complaints(rig.run()) == []
    assert any(path.stem.endswith("~early") for path in rig.files())


@pytest.mark.parametrize("behaviour", [Behaviour(), Behaviour(lost_reply_made=0.5, list_lag_s=2.0)])
def test_killed_anywhere_every_stream_ends_whole(behaviour: Behaviour, tmp_path: Path) -> None:
    """A life that dies at any of its boundaries leaves what the next ones bring to the same rows."""
    points = len(streamed(tmp_path / "whole", behaviour=behaviour).live().met)
    for crash_at in range(1, points, max(1, points // 9)):
        rig = streamed(tmp_path / str(crash_at), behaviour=behaviour)
        assert rig.live(crash_at).crash is not None
        assert rig.complaints(rig.run()) == [], crash_at


def test_a_stream_seen_first_later_is_backfilled(tmp_path: Path) -> None:
    """Until it is listed its rows are what the listed ones fall short by; then it is exported whole, and the
    others are left alone."""
    rig = streamed(tmp_path)
    about(rig, ("a", "b"))
    short = rig.run()
    assert (short.exit, reasons(short)) == (3, {Reason.NOT_COMPARED})  # the list has grown meanwhile
    before = {path: path.stat().st_mtime_ns for path in rig.files()}
    about(rig, STREAMS)
    assert rig.complaints(rig.run()) == []
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_what_a_vanished_stream_left_is_let_go(tmp_path: Path) -> None:
    """Killed with its slices planned or under way, and gone since: nothing more is asked for in its name;
    what the service had made of it by then is still fetched, and none of it is left behind."""
    whole = len(streamed(tmp_path / "whole").live().met)
    for crash_at in range(4, whole, max(1, whole // 7)):
        rig = streamed(tmp_path / str(crash_at))
        assert rig.live(crash_at).crash is not None
        asked = {task.uuid for task in rig.world.tasks.tasks()}
        about(rig, ("a", "b"), gone=("c",), patterns="*")
        rig.changed["stream_patterns"] = ("[abc]",)
        report = rig.run()
        assert (report.exit, report.jobs[0].gaps) == (0, ()), crash_at
        fresh = [task for task in rig.world.tasks.tasks() if task.uuid not in asked]
        assert {task.request.logstream for task in fresh} <= {"a", "b"}, crash_at
        assert (rig.surplus(), rig.left_at_service()) == (0, 0)
        assert not rig.archived() - rig.truth()


def test_a_stream_that_is_refused_leaves_the_others(tmp_path: Path) -> None:
    """One bad stream stops nobody: its gaps are told in its name."""
    rig = dense(tmp_path, 240, ("a", "b", "c"), behaviour=Behaviour(record_time="s"))
    about(rig, STREAMS)
    report = rig.run()
    assert report.exit == 7
    told = {(gap.logstream, str(gap.reason)) for gap in report.jobs[0].gaps}
    assert {reason for _, reason in told} == {Reason.OVERFULL_SECOND}
    assert "*" not in {stream for stream, _ in told}
    assert not rig.archived() - rig.truth()
