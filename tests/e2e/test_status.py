"""`status` while nothing, a part, and all of a day is stored, and while a run goes on."""

from __future__ import annotations

import re
import time

from orchestrator.cli.bar import ASCII, BLOCKS
from orchestrator.core.standing import Mark
from tests.e2e.conftest import PATIENCE_S, Desk, Emulated, Ended
from tests.e2e.terminal import on_a_terminal

NOON = "2026-01-14T12:00:00Z"
WIDE = 77
"""Eighty columns less the indent and one that stays free."""


def bar(ended: Ended) -> str:
    head, drawn, ends, *_ = ended.out.splitlines()
    assert head.startswith("web  ")
    assert ends.split() == ["2026-01-14", "00:00:00Z", "2026-01-15", "00:00:00Z"]
    assert len(drawn) == len(ends) == WIDE + 2
    assert max(map(len, ended.out.splitlines()[:4])) <= 80
    return drawn.removeprefix("  ")


def test_the_bar_follows_what_is_stored(desk: Desk) -> None:
    """Nothing, then half of the day, then all of it but a gap, which then is accepted."""
    untried, stored = BLOCKS[Mark.UNTRIED], BLOCKS[Mark.STORED]
    assert bar(desk.call("status", PYTHONIOENCODING="utf-8")) == untried * WIDE
    assert desk.call("run", "--no-progress", "--to", NOON).exit == 0
    half = desk.call("status", PYTHONIOENCODING="utf-8")
    assert bar(half) == stored * (WIDE // 2) + BLOCKS[Mark.PARTLY] + untried * (WIDE // 2)
    assert "█ stored; ▄ partly stored; · not tried yet" in half.out
    assert "not due from" not in desk.call("status", "--to", NOON).out, "nobody asked for what is after"
    last = desk.call("plan", "--json").document["jobs"][0]["slices"][-1]
    start, end = (last[key].replace("-", "").replace(":", "") for key in ("from", "to"))
    foreign = desk.folder / "archive" / "web" / "2026" / "01" / "14" / f"{start}_{end}.jsonl"
    foreign.write_text("not ours\n", encoding="utf-8")
    assert desk.call("run", "--no-progress").exit == 7
    gap = bar(desk.call("status", PYTHONIOENCODING="ascii"))
    assert re.fullmatch("#{60,}x+", gap)
    span = ("--from", last["from"], "--to", last["to"])
    assert desk.call("accept", "--job", "web", *span, "--reason", "known").exit == 0
    signed = desk.call("status", PYTHONIOENCODING="ascii")
    assert signed.out.isascii()
    assert (signed.exit, bar(signed)) == (0, gap.replace("x", "o"))
    assert "# stored; o gap, accepted" in signed.out


def test_a_day_that_is_whole_is_drawn_whole(exported: Desk) -> None:
    """One kind of mark from end to end, and nobody runs."""
    done = exported.call("status", PYTHONIOENCODING="utf-8")
    assert (done.exit, bar(done)) == (0, BLOCKS[Mark.STORED] * WIDE)
    assert "no run in progress" in done.out
    assert exported.call("status", "--json").document["run"] is None


def test_a_run_in_progress_is_told_with_what_it_has_planned(desk: Desk, emulator: Emulated) -> None:
    """Host, process, since when and how fast; the slices it waits for are drawn as under way; after its death
    nobody is said to run."""
    emulator.behave(run_base_s=3600.0)
    desk.write_jobs(limits='disk_reserve = "1MB"\ntasks = 2')
    made = emulator.stats()["tasks_made"]
    child = desk.start("run", "--no-progress")
    give_up_at = time.monotonic() + PATIENCE_S
    while emulator.stats()["tasks_made"] < made + 2:
        assert time.monotonic() < give_up_at, child.communicate()
        time.sleep(0.05)
    told = desk.call("status", PYTHONIOENCODING="utf-8")
    running = desk.call("status", "--json").document["run"]
    child.kill()
    child.communicate()
    assert bar(told) == BLOCKS[Mark.UNDER_WAY] * WIDE
    assert f"run in progress: process {child.pid} on {running['host']} since {running['since']}" in told.out
    assert "no line stored in the last" in told.out
    assert (running["pid"], running["lines_per_s"], running["time_left_s"]) == (child.pid, 0.0, None)
    dead = desk.call("status", PYTHONIOENCODING="utf-8")
    assert bar(dead) == BLOCKS[Mark.UNDER_WAY] * WIDE
    assert "no run in progress" in dead.out


def test_a_terminal_gets_colour_unless_its_person_refuses(desk: Desk) -> None:
    """The bar is as wide as the terminal; `NO_COLOR` leaves the same characters."""
    assert desk.call("run", "--no-progress", "--to", NOON).exit == 0
    _, coloured = on_a_terminal(desk, 120, "status", NO_COLOR="")
    _, plain = on_a_terminal(desk, 120, "status", NO_COLOR="1")
    assert "\x1b[32m" + BLOCKS[Mark.STORED] in coloured
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain
    assert len(plain.splitlines()[1]) == 119
    assert ASCII[Mark.STORED] not in plain


OTHER = """\
query = "match row"
[[jobs]]
name = "night"
logstore = "web"
from = 2026-01-14T20:00:00Z
to = 2026-01-15T00:00:00Z
destination = "night"
"""


def test_nothing_is_told_of_another_job_under_the_same_name(desk: Desk, emulator: Emulated) -> None:
    """When the search of a stored job is changed, `gaps`, `status` and `verify` say what differs and the ways
    out, as `run` does, with exit 2: no share, no gap, no recount by the new search. Other jobs are told."""
    assert desk.call("run", "--no-progress").exit == 0
    desk.write_jobs(job=OTHER)
    asked = emulator.stats()["requests"]
    for words in (["gaps"], ["status"], ["verify"], ["verify", "--quick", "--recount"]):
        told = desk.call(*words)
        assert told.exit == 2, words
        assert "query: 'match *' in the manifest, 'match row' in the job file" in told.err
        assert "orchestrator forget --job web" in told.err
        document = desk.call(*words, "--json").document
        assert document["error"]["code"] == "usage"
        assert "run jobs.toml --job web" not in told.out
    assert emulator.stats()["requests"] == asked
    (gap,) = desk.call("gaps", "--json").document["gaps"]
    assert gap["job"] == "night"
    web, night = desk.call("status", "--json").document["jobs"]
    assert (web["covered_percent"], web["gaps"], web["error"]["code"]) == (0.0, [], "usage")
    assert night["error"] is None
    assert "web  not told: the manifest holds another job under that name" in desk.call("status").out
    alone = desk.call("verify", "--job", "web")
    assert (alone.exit, alone.out) == (2, "")
    assert len(desk.files()) == 5
