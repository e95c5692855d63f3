"""What was typed as a job in memory, and what an earlier line left of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.app.pull import JOB, Pull, Wish, prepared
from orchestrator.app.pulling_state import Opened, is_begun, let_go, pulling
from orchestrator.app.wiring import Outside
from orchestrator.cli import main
from orchestrator.clock import SystemRng
from orchestrator.core.job import Order, ServedFormat
from orchestrator.core.model import RemoteTask, Slice, SliceState
from orchestrator.core.window import Window
from orchestrator.errors import CredentialsError, ManifestLocked, UsageError
from orchestrator.ports.store import Changes

NOW_S = 1_768_400_000.0
ENVIRONMENT = {
    "BCE_REGION": "bj",
    "BCE_ACCESS_KEY_ID": "ak",
    "BCE_SECRET_ACCESS_KEY": "sk",
    "HOME": "/nobody",
}
WISH = Wish("web", since_s=3600)
DEADLINE_S = 20.0


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's state folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "orchestrator" / "pulls"


class FixedClock:
    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def now(self) -> float:
        return self.now_s


class Silent:
    def changed(self, *_: object) -> None: ...

    def noted(self, name: str, **detail: object) -> None: ...


def ready(wish: Wish = WISH, *, now_s: float = NOW_S, env: Mapping[str, str] | None = None) -> Pull:
    return prepared(wish, environment=ENVIRONMENT if env is None else env, now_s=now_s)


def outside(now_s: float) -> Outside:
    return Outside(ENVIRONMENT, FixedClock(now_s), SystemRng(), Silent())


async def begun(pull: Pull, now_s: float = NOW_S, *, done: bool = False, slices: bool = False) -> Pull:
    """Open the pull, leave something in it, and close it; ``done`` lets it go. What it was opened as."""
    async with asyncio.timeout(DEADLINE_S):
        async with pulling(pull, outside(now_s)) as opened:
            archive = pull.folder / "archive"
            archive.mkdir(exist_ok=True)
            (archive / "rows.jsonl").touch()
            if slices:
                window = Window(opened.pull.window.start_s, opened.pull.window.start_s + 60)
                await opened.house.room.manifest.commit(Changes(slices=(Slice("s1", JOB, "", window),)))
            if done:
                await let_go(opened, unfinished=False)
            return opened.pull


def test_a_wish_is_a_job_without_lag() -> None:
    """The last second before now is part of the window, and its youngest five minutes count as unsettled."""
    pull = ready()
    assert pull.window == Window(int(NOW_S) - 3600, int(NOW_S))
    assert pull.settled_until_s == int(NOW_S) - 300
    assert pull.job.identity.query == "match *"
    assert pull.job.service.endpoint == "https://bls-log.bj.baidubce.com"
    old = ready(Wish("web", from_="2026-01-01", to="2026-01-02"))
    assert old.settled_until_s == old.window.end_s


def test_the_state_belongs_to_what_is_asked_for(state: Path) -> None:
    """The same question has the same place, whatever is done with the rows; every other question another."""
    place = ready().folder
    assert place.parent == state
    assert ready(now_s=NOW_S + 50).folder == place
    for same in (replace(WISH, output="text"), replace(WISH, output="jsonl"), replace(WISH, region="bj")):
        assert ready(same).folder == place
    others = [
        replace(WISH, logstore="other"),
        replace(WISH, project="shop"),
        replace(WISH, region="gz"),
        replace(WISH, logstream="app"),
        replace(WISH, query="level:ERROR"),
        replace(WISH, since_s=3601),
        replace(WISH, output="csv"),
        Wish("web", from_="2026-01-01"),
        Wish("web", from_="2026-01-01", to="2026-01-02"),
    ]
    folders = {ready(other).folder for other in others}
    assert len(folders) == len(others)
    assert place not in folders
    spelled = Wish("web", from_="2026-01-01T08:00:00+08:00")
    assert ready(spelled).folder == ready(Wish("web", from_="2026-01-01T00:00:00Z")).folder


def test_a_search_may_hold_what_a_job_file_would_replace() -> None:
    """``${`` in an argument means itself: the shell has replaced what was to be replaced."""
    pull = ready(replace(WISH, query="match '${HOME}'"))
    assert pull.job.identity.query == "match '${HOME}'"
    assert pull.job_file.redactions == ()


@pytest.mark.parametrize(
    ("wish", "env", "word"),
    [
        (replace(WISH, output="parquet"), ENVIRONMENT, "--output: not available in this version"),
        (replace(WISH, query="select 1"), ENVIRONMENT, "--query: "),
        (Wish("web", from_="2026-13-01"), ENVIRONMENT, "--from: "),
        (Wish("web", from_="now+1h"), ENVIRONMENT, "no second that has passed"),
        (replace(WISH, region="bj", endpoint="http://127.0.0.1:1"), ENVIRONMENT, "exclude each other"),
        (replace(WISH, endpoint="ftp://x"), ENVIRONMENT, "--endpoint: "),
        (replace(WISH, slice_lines=2_000_000), ENVIRONMENT, "--slice-lines: "),
        (replace(WISH, logstore="web-*"), ENVIRONMENT, "LOGSTORE: web-* may mean more than one"),
        (replace(WISH, logstream="app-?"), ENVIRONMENT, "--logstream: app-? may mean more than one"),
        (replace(WISH, since_s=10**11), ENVIRONMENT, "--since: "),
        (WISH, {}, "no service is named"),
    ],
)
def test_what_cannot_be_pulled_is_said_in_the_words_of_the_command_line(
    wish: Wish, env: Mapping[str, str], word: str
) -> None:
    """Every complaint names the option, and nothing is made for it."""
    with pytest.raises(UsageError) as complaint:
        ready(wish, env=env)
    assert word in str(complaint.value)


def test_an_interrupted_line_is_taken_up_with_its_window() -> None:
    """The same line a little later goes on with the window, the files and the slices of the first."""

    async def twice() -> tuple[Pull, Pull]:
        first = await begun(ready(), slices=True)
        later = ready(now_s=NOW_S + 600)
        async with pulling(later, outside(NOW_S + 600)) as opened:
            assert (later.folder / "archive" / "rows.jsonl").exists()
            assert await opened.house.room.manifest.slice("s1") is not None
            return first, opened.pull

    first, second = asyncio.run(twice())
    assert (first.resumed, second.resumed) == (False, True)
    assert second.window == first.window
    assert second.begun_at == first.begun_at
    assert second.job_file.jobs[0].due_until_s == first.window.end_s


def test_one_older_than_its_window_is_long_gives_way() -> None:
    """A line that was left for longer than its window is begun anew: nothing of it is believed, and its
    slices are dropped, so that their remote tasks go."""

    async def twice() -> Pull:
        await begun(ready(), slices=True)
        later = ready(now_s=NOW_S + 3600)
        async with pulling(later, outside(NOW_S + 3600)) as opened:
            assert not (later.folder / "archive").exists()
            assert await opened.house.room.manifest.slice("s1") is None
            return opened.pull

    second = asyncio.run(twice())
    assert second.resumed is False
    assert second.window.end_s == int(NOW_S) + 3600


def test_a_fixed_window_is_taken_up_at_any_age() -> None:
    """Two fixed ends mean the same rows next week."""
    wish = Wish("web", from_="2026-01-01", to="2026-01-02")

    async def twice() -> Pull:
        await begun(ready(wish))
        return await begun(ready(wish, now_s=NOW_S + 10**6), NOW_S + 10**6)

    assert asyncio.run(twice()).resumed


def test_what_is_complete_leaves_nothing(state: Path) -> None:
    """When all is delivered the folder is gone, and the same line begins anew."""

    async def twice() -> Pull:
        await begun(ready(), done=True)
        assert list(state.iterdir()) == []
        return await begun(ready(now_s=NOW_S + 1), NOW_S + 1)

    assert not asyncio.run(twice()).resumed


def test_what_could_not_begin_leaves_nothing(state: Path) -> None:
    """Without keys no state is made; one that stands there already stays as it is."""
    keyless = replace(outside(NOW_S), environment={"HOME": "/nobody"})

    async def without_keys() -> None:
        async with asyncio.timeout(DEADLINE_S):
            with pytest.raises(CredentialsError):
                async with pulling(ready(), keyless):
                    raise AssertionError("nobody has keys")

    asyncio.run(without_keys())
    assert list(state.iterdir()) == []
    pull = asyncio.run(begun(ready(), slices=True))
    asyncio.run(without_keys())
    assert (pull.folder / "archive" / "rows.jsonl").exists()


PLANNED = Slice("s1", JOB, "", Window(0, 60))
TASK = RemoteTask(1, "o-1", "s1", JOB, 1, PLANNED.window, 10, Order.ASC, ServedFormat.JSON, 1.0)


@pytest.mark.parametrize(
    ("slice_", "begun_"),
    [
        (PLANNED, False),
        (replace(PLANNED, state=SliceState.EMPTY), False),
        (replace(PLANNED, state=SliceState.FAILED, reason="refused", task=TASK), False),
        (replace(PLANNED, state=SliceState.FAILED, reason="throttled", task=replace(TASK, uuid="u")), True),
        (replace(PLANNED, state=SliceState.FAILED, reason="short by 1", published_path="/rows"), True),
        (replace(PLANNED, state=SliceState.SUBMITTING, task=TASK), True),
        (replace(PLANNED, state=SliceState.RUNNING, task=replace(TASK, uuid="u")), True),
        (replace(PLANNED, state=SliceState.DONE), True),
    ],
)
def test_only_what_was_begun_can_be_gone_on_with(slice_: Slice, begun_: bool) -> None:
    """A file, or a remote task that exists or may exist; plans and refusals are no state to keep."""

    async def asked() -> bool:
        async with pulling(ready(), outside(NOW_S)) as opened:
            manifest = opened.house.room.manifest
            await manifest.commit(Changes(slices=(slice_,)))
            return await is_begun(manifest)

    assert asyncio.run(asked()) is begun_


def test_the_same_line_runs_once(state: Path) -> None:
    """A second process with the same line is turned away, and disturbs nothing."""

    async def both() -> Opened:
        async with pulling(ready(), outside(NOW_S)) as opened:
            with pytest.raises(ManifestLocked):
                await begun(ready())
            return opened

    assert asyncio.run(both()).pull.folder.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1}', '{"version": 99}', "\x00"])
def test_a_broken_note_counts_as_none(content: str) -> None:
    """State that cannot be read is not taken up, and does not stand in the way."""

    async def twice() -> Pull:
        first = await begun(ready())
        (first.folder / "pull.json").write_text(content)
        return await begun(ready(now_s=NOW_S + 1), NOW_S + 1)

    assert not asyncio.run(twice()).resumed


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--since", "6h", "--output", "parquet"), "not available in this version"),
        (("--since", "6h", "--from", "yesterday"), "either --since or --from"),
        ((), "either --since or --from"),
        (("--since", "6h", "--to", "now"), "--since reaches up to now"),
        (("--since", "0s"), "'--since': no time at all; allowed: more than 0 s"),
        (("--since", "50000d"), "'--since': before all logs"),
        (("--since", "6h", "--json"), "cannot both go to stdout"),
    ],
)
def test_a_line_that_cannot_be_meant_exits_2(
    arguments: tuple[str, ...], word: str, capfd: pytest.CaptureFixture[str], state: Path
) -> None:
    """It says why, in one block, and leaves nothing behind."""
    assert main(["pull", "web", "--region", "bj", *arguments]) == 2
    said = capfd.readouterr()
    assert word in said.err
    if "--json" in arguments:
        assert json.loads(said.out)["exit"] == 2
    assert not state.exists()
