"""Gaps of a job with log streams: each stream's is listed, mended and signed off for itself."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Ended
from tests.e2e.test_fleets import JOB, ROWS, STREAMS, Site, logstore, play, records, source_of

__all__ = ["play"]

DAY = ("--from", "2026-01-14T00:00:00Z", "--to", "2026-01-15T00:00:00Z")


def open_gaps(ended: Ended) -> dict[str, dict[str, Any]]:
    """Those nobody accepted, by log stream; one each."""
    found = [gap for gap in ended.document["gaps"] if gap["accepted"] is None]
    assert len({gap["logstream"] for gap in found}) == len(found)
    return {gap["logstream"]: gap for gap in found}


def signed_for(ended: Ended) -> list[str]:
    return [gap["logstream"] for gap in ended.document["accepted"]]


def occupied(site: Site, *streams: str) -> dict[str, Path]:
    """Somebody else's files where those of the streams belong, found out by an export that is forgotten."""
    paths = {path.name.split("~")[1]: path for path in (site.folder / "archive").rglob("*.jsonl")}
    for path in (site.folder / "archive").rglob("*.jsonl"):
        path.unlink()
    for stale in site.folder.glob("orchestrator.db*"):
        stale.unlink()
    for stream in streams:
        paths[stream].write_text("not ours\n", encoding="utf-8")
    return paths


def test_the_mend_of_a_streams_gap_signs_it_off_for_that_stream_alone(play: Callable[..., None]) -> None:
    """Both streams have left retention: accepting one leaves the other open, and a stream that is first seen
    later is a new gap in the same window, not waved through."""

    async def story(site: Site) -> None:
        site.write(STREAMS)
        assert (await site.run()).exit == 7
        gaps = open_gaps(await site.call("gaps", "--json"))
        assert {name: gap["reason"] for name, gap in gaps.items()} == dict.fromkeys("ab", "beyond retention")
        words = shlex.split(gaps["a"]["mend"])
        assert words[words.index("--logstream") + 1] == "a"
        first = await site.call(*words[1:], "--json")
        assert (first.exit, signed_for(first), first.document["complete"]) == (0, ["a"], False)
        left = await site.call("gaps", "--json")
        assert (left.exit, list(open_gaps(left))) == (7, ["b"])
        assert (await site.run()).exit == 7
        second = await site.call(*shlex.split(open_gaps(left)["b"]["mend"])[1:], "--json")
        assert (signed_for(second), second.document["complete"]) == (["b"], True)
        assert (await site.run()).exit == 0

        source_of(site).push(records("new", rows=24))
        again = await site.run()
        unsigned = [gap.logstream for gap in again.jobs[0].gaps if gap.accepted is None]
        assert (again.exit, unsigned) == (7, ["new"])
        rows = (await site.call("manifest", "--json")).document["rows"]
        assert {row["logstream"]: row["accepted_by"] is not None for row in rows} == {
            "a": True,
            "b": True,
            "new": False,
        }
        shown = await site.call("status")
        assert "accepted     2 gaps" in shown.out
        assert "gap in web, log stream new" in shown.out

    play(story, [logstore("web-a", "a", "b", days=30)])


def test_without_a_stream_every_gap_is_signed_off_for_its_own(play: Callable[..., None]) -> None:
    """Those there are now; what another stream comes to miss there later is not."""

    async def story(site: Site) -> None:
        site.write(STREAMS)
        assert (await site.run()).exit == 7
        done = await site.call("accept", "--job", "web", *DAY, "--reason", "too old", "--json")
        assert (done.exit, signed_for(done), done.document["complete"]) == (0, ["a", "b"], True)
        assert (await site.run()).exit == 0
        source_of(site).push(records("new", rows=24))
        assert (await site.run()).exit == 7
        assert list(open_gaps(await site.call("gaps", "--json"))) == ["new"]

    play(story, [logstore("web-a", "a", "b", days=30)])


def test_a_run_leaves_an_accepted_stream_alone_and_mends_its_neighbour(play: Callable[..., None]) -> None:
    """Both paths were occupied and are free again: only the stream nobody signed off is exported."""

    async def story(site: Site) -> None:
        site.write(STREAMS)
        assert (await site.run()).exit == 0
        paths = occupied(site, "a", "b")
        assert (await site.run()).exit == 7
        assert set(open_gaps(await site.call("gaps", "--json"))) == {"a", "b"}
        signed = await site.call(
            "accept", "--job", "web", *DAY, "--logstream", "a", "--reason", "theirs", "--json"
        )
        assert signed_for(signed) == ["a"]
        for path in paths.values():
            path.unlink()
        report = await site.run()
        assert (paths["a"].exists(), paths["b"].exists()) == (False, True)
        assert [gap.accepted for gap in report.jobs[0].gaps if gap.logstream == "a"] == ["theirs"]
        assert [gap for gap in report.jobs[0].gaps if gap.logstream == "b"] == []
        assert len(site.stored("web")) == ROWS

        redone = await site.call("redo", "--job", "web", *DAY, "--no-progress", "--json")
        assert redone.exit == 0, redone.err
        assert paths["a"].exists()
        assert (await site.run()).exit == 0
        paths["a"].unlink()
        assert (await site.call("verify")).exit == 4
        lost = await site.call("gaps", "--json")
        assert (lost.exit, list(open_gaps(lost))) == (3, ["a"]), "stored since: that is a new gap"

    play(story, [logstore("web-a", "a", "b")])


def test_a_stream_that_has_no_gap_of_its_own_is_refused(play: Callable[..., None]) -> None:
    """A name that is not the job's, a stream that is stored, a job without streams: exit 2, and nothing is
    signed."""

    async def story(site: Site) -> None:
        plain = f'[[jobs]]\nname = "plain"\nlogstore = "web-a"\n{JOB}'
        site.write(STREAMS + plain)
        assert (await site.run()).exit == 0
        reason = ("--reason", "no")
        unknown = await site.call("accept", "--job", "web", *DAY, "--logstream", "bb", *reason)
        assert (unknown.exit, "did you mean b?" in unknown.err) == (2, True)
        stored = await site.call("accept", "--job", "web", *DAY, "--logstream", "b", *reason)
        assert (stored.exit, "is stored" in stored.err) == (2, True)
        one = await site.call("accept", "--job", "plain", *DAY, "--logstream", "b", *reason)
        assert (one.exit, "leave --logstream out" in one.err) == (2, True)
        assert json.loads((await site.call("gaps", "--json")).out)["gaps"] == []

    play(story, [logstore("web-a", "a", "b")])
