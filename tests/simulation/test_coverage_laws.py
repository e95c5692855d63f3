"""Whatever was done in whatever order: what is stored and what is missing are the window, exactly, and what
is stored is what the service has."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestrator.core.window import Window, WindowSet, normalise, subtract
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.engine.audit import gaps_of
from orchestrator.testing.episode import Setting
from tests.simulation.rig import DAY_S, Rig

HOURS = 6
LATE = Behaviour(late_per_mille=60, late_by_s=1.2 * DAY_S)
SPANS = st.lists(st.integers(0, HOURS), min_size=2, max_size=2, unique=True).map(sorted)
ACTIONS = st.one_of(
    st.tuples(st.just("run"), SPANS),
    st.tuples(st.just("run"), st.just([0, HOURS])),
    st.tuples(st.just("crash"), st.integers(1, 60)),
    st.tuples(st.just("fail"), st.sampled_from(["fail_probability", "file_error_probability"])),
    st.tuples(st.just("recheck"), st.none()),
    st.tuples(st.just("forget"), SPANS),
    st.tuples(st.just("smaller"), st.integers(15, 40)),
)


def hours(rig: Rig, span: list[int]) -> Window:
    start_s = rig.setting.window.start_s
    return Window(start_s + span[0] * 3600, start_s + span[1] * 3600)


def act(rig: Rig, kind: str, what: Any) -> None:
    """One thing that a person, a timer or fate does."""
    whole = rig.setting.window
    rig.changed = {**rig.changed, "window": whole, "due_until_s": whole.end_s}
    if kind == "run":
        rig.changed["window"] = hours(rig, what)
        rig.live()
    elif kind == "crash":
        rig.live(crash_at=what)
    elif kind == "fail":
        rig.world.behave(replace(LATE, **{what: 1.0}), rig.now_s)
        rig.live()
        rig.world.behave(LATE, rig.now_s)
    elif kind == "recheck":
        rig.now_s += 0.7 * DAY_S
        rig.changed["recheck_s"] = 5 * DAY_S
        rig.live()
    elif kind == "forget":
        window = hours(rig, what)
        files = rig.ledger(
            "select path from slices where path <> ''"
            f" and start_s < {window.end_s} and end_s > {window.start_s}"
        )
        asyncio.run(rig.manifest.reopen().forget("web", window, rig.now_s))
        for (path,) in files:  # what nobody remembers is a foreign file, and would be in the way
            Path(path).unlink(missing_ok=True)
    else:
        rig.changed["max_lines"] = what
        rig.live()


def rows_of(path: str) -> Counter[bytes]:
    content = Path(path).read_bytes().splitlines()
    return Counter(orjson.dumps(orjson.loads(line), option=orjson.OPT_SORT_KEYS) for line in content)


def within(rows: Counter[bytes], window: Window) -> Counter[bytes]:
    inside = (
        row
        for row in rows.elements()
        if window.start_s <= orjson.loads(row)["@timestamp"] // 1000 < window.end_s
    )
    return Counter(inside)


def gap_windows(rig: Rig) -> WindowSet:
    job = replace(rig.job, window=rig.setting.window)
    gaps = asyncio.run(gaps_of(job, rig.manifest.reopen(), rig.setting.window, "jobs.toml"))
    windows = [gap.window for gap in gaps]
    assert all(left.end_s <= right.start_s for left, right in pairwise(windows)), "gaps overlap"
    return normalise(windows)


def laws(rig: Rig, truth: Counter[bytes]) -> None:
    """What holds at any moment between two lives."""
    whole = rig.setting.window
    covered = asyncio.run(rig.manifest.reopen().coverage("web"))
    missing = gap_windows(rig)
    assert subtract((whole,), covered) == missing
    stored = [
        (Window(start_s, end_s), path)
        for start_s, end_s, path in rig.ledger(
            "select start_s, end_s, path from slices where state in ('done', 'empty') order by start_s"
        )
    ]
    assert all(left.end_s <= right.start_s for (left, _), (right, _) in pairwise(stored)), "slices overlap"
    assert normalise([window for window, _ in stored]) == covered
    for window, path in stored:
        held = rows_of(path) if path else Counter[bytes]()
        assert not held - within(truth, window), "rows of other seconds, or twice"


@given(st.lists(ACTIONS, min_size=2, max_size=6), st.integers(0, 2**20))
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@example([("run", [0, 3]), ("smaller", 32), ("forget", [2, 3])], 132)
def test_coverage_and_gaps_are_the_window_whatever_was_done(
    actions: list[tuple[str, Any]], seed: int
) -> None:
    """After every run, death, failure, backfill, recheck and forgetting; and a last run, when all late rows
    have come, makes the archive of what is covered exactly what the service has."""
    with TemporaryDirectory() as folder:
        setting = Setting(
            seed=seed, slices=8, lines_per_slice=30, window_s=HOURS * 3600, attempts=2, behaviour=LATE
        )
        rig = Rig(setting, Path(folder))
        truth = rig.truth()
        for kind, what in actions:
            act(rig, kind, what)
            laws(rig, truth)
        rig.now_s += 3 * DAY_S
        rig.changed = {**rig.changed, "window": setting.window, "recheck_s": 30 * DAY_S}
        report = rig.run()
        assert report.complete, report
        laws(rig, truth)
        held = sum(
            (rows_of(path) for (path,) in rig.ledger("select path from slices where state = 'done'")),
            Counter[bytes](),
        )
        assert held == truth
