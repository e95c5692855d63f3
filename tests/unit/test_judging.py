"""A judge that finds nothing proves nothing: each broken promise of an export is found when planted."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.core.window import Window
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.testing import judging
from orchestrator.testing.archive import by_second, final_files, rows_of
from orchestrator.testing.judging import Digests, Orphans
from orchestrator.testing.lives import Death, Life, draw_death
from orchestrator.testing.loop import SeededRng
from orchestrator.testing.remains import KnownTask, Remains, read_remains
from orchestrator.testing.weather import GROUPS, calm, draw_weather

ID = "0123456789abcdef"
WINDOWS = (Window(0, 100), Window(100, 200))


def name(number: int) -> str:
    return f"o-{ID}-{number}"


def alive(*tasks: tuple[str, str]) -> list[dict[str, str]]:
    return [{"uuid": uuid, "name": called} for uuid, called in tasks]


@pytest.fixture
def sound(tmp_path: Path) -> Remains:
    """Two slices, each with its file and its remote task; nothing is wrong."""
    archive = tmp_path / "archive"
    (archive / ".orchestrator").mkdir(parents=True)
    (archive / ".orchestrator" / "half.part").write_text("half")
    files = set()
    for number in range(2):
        path = archive / f"{number}.jsonl"
        path.write_text(f'{{"@timestamp": {number}000, "@raw": "row"}}\n')
        files.add((str(path), hashlib.sha256(path.read_bytes()).hexdigest()))
    return Remains(
        manifest_id=ID,
        names=frozenset({name(0), name(1)}),
        tasks={f"u{n}": KnownTask(name(n), surplus=False, deleted=False, wanted=True) for n in range(2)},
        states=Counter(done=2),
        coverage=(Window(0, 200),),
        leaves=tuple((window, 1) for window in WINDOWS),
        files=frozenset(files),
        stored=frozenset(files),
    )


OURS = alive(("u0", name(0)), ("u1", name(1)), ("v", "nightly"))


def found(remains: Remains, folder: Path, tasks: list[dict[str, str]] = OURS) -> list[str]:
    return list(judging.after_a_death(remains, folder / "archive", tasks, Digests()))


def test_nothing_is_found_where_nothing_is_wrong(sound: Remains, tmp_path: Path) -> None:
    """Staged files, others' tasks and a first life without a manifest are no findings."""
    assert found(sound, tmp_path) == []
    assert judging.orphans(sound, OURS) == Orphans()
    assert found(read_remains(tmp_path / "none.db", "web"), tmp_path / "elsewhere") == []


def test_files_that_do_not_belong_are_found(sound: Remains, tmp_path: Path) -> None:
    """A visible file the manifest does not know, one with other bytes, one that is gone."""
    archive = tmp_path / "archive"
    (archive / "2.jsonl").write_text("strange")
    assert [finding.partition(" ")[2] for finding in found(sound, tmp_path)] == [
        "stands there unknown or broken"
    ]
    (archive / "2.jsonl").unlink()
    (archive / "1.jsonl").write_text("half")
    (archive / "0.jsonl").unlink()
    assert sorted(finding.partition(" ")[2] for finding in found(sound, tmp_path)) == [
        "is stored in the manifest only",
        "is stored in the manifest only",
        "stands there unknown or broken",
    ]


def test_contradictions_of_the_manifest_are_found(sound: Remains, tmp_path: Path) -> None:
    """Windows stored twice, windows settled and not covered, damage, remote tasks without an intent."""
    twice = replace(sound, leaves=((Window(0, 150), 1), (Window(100, 200), 1)))
    assert ["overlap" in finding for finding in found(twice, tmp_path)] == [True]
    bare = replace(sound, coverage=(Window(0, 100),))
    assert ["not covered" in finding for finding in found(bare, tmp_path)] == [True]
    assert found(replace(sound, findings=("page 7 is torn",)), tmp_path) == ["page 7 is torn"]
    stray = [*OURS, *alive(("u9", name(9)))]
    assert found(sound, tmp_path, stray) == [f"remote task {name(9)} has no intent"]


def test_orphans_are_told_apart(sound: Remains) -> None:
    """Unknown to the manifest, let go and alive, wanted by nobody, two of one name."""
    assert judging.orphans(sound, [*OURS, *alive(("u9", name(1)))]) == Orphans(unknown=1, twins=1)
    known = {
        **sound.tasks,
        "u2": KnownTask(name(2), surplus=True, deleted=False, wanted=False),
        "u3": KnownTask(name(3), surplus=False, deleted=False, wanted=False),
    }
    left = [*OURS, *alive(("u2", name(2)), ("u3", name(3)))]
    assert judging.orphans(replace(sound, tasks=known), left) == Orphans(surplus=1, unclaimed=1)


@pytest.mark.parametrize(
    ("exit", "complete", "document", "true"),
    [
        (0, True, {"exit": 0, "complete": True}, True),
        (0, False, {"exit": 0, "complete": True}, False),
        (3, False, {"exit": 3, "complete": False}, True),
        (3, False, {"exit": 0, "complete": True}, False),
        (130, False, {"exit": 130, "complete": False}, True),
        (0, True, {}, False),
        (7, False, {"exit": 7, "complete": False}, False),
        (1, False, {"exit": 1, "complete": False, "error": {"message": "bug"}}, False),
    ],
)
def test_exit_codes_are_held_against_the_archive(
    exit: int, complete: bool, document: dict[str, object], true: bool
) -> None:
    """0 only when every row is there, 3 and 130 only when the document says so too; others never."""
    life = Life("none", exit, 1.0, document)
    assert (list(judging.exit_code(life, complete=complete)) == []) is true


def test_ceilings_and_hidden_words_are_found(tmp_path: Path) -> None:
    """One request, task or query too many; a signature in a log, a secret even among the rows."""
    stats = {"max_requests_in_1s": 21, "max_outstanding": 5, "max_queries_at_once": 11}
    over = list(judging.ceilings(stats, requests_per_s=20, tasks=5, queries=10))
    assert over == [
        "max_requests_in_1s was 21, 20 are allowed",
        "max_queries_at_once was 11, 10 are allowed",
    ]
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "rows.jsonl").write_text("ticket=1 is what a row may say")
    assert list(judging.hidden_words(tmp_path, archive, "SECRET")) == []
    (archive / "rows.jsonl").write_text("SECRET")
    (tmp_path / "run.log").write_text("GET /x?ticket=1")
    assert sorted(judging.hidden_words(tmp_path, archive, "SECRET")) == [
        "SECRET… stands in rows.jsonl",
        "ticket=… stands in run.log",
    ]


def test_every_fault_comes_within_some_weathers() -> None:
    """Each weather has one fault of every group; a hundred have them all, as switches the emulator knows."""
    met: Counter[str] = Counter()
    for number in range(100):
        weather = draw_weather(3, number, lost_replies=0.3)
        assert len(weather.names) == len(GROUPS)
        assert not {"bodies end early", "counts low"} <= set(weather.names)
        behaviour = Behaviour.from_dict(weather.switches)
        assert (
            0.29
            < behaviour.lost_reply_made + (1 - behaviour.lost_reply_made) * (behaviour.lost_reply_unmade)
            < 0.31
        )
        met.update(weather.names)
    assert set(met) == {choice for choices in GROUPS.values() for choice in choices}
    assert draw_weather(3, 7, lost_replies=0.3) == draw_weather(3, 7, lost_replies=0.3)
    assert Behaviour.from_dict(calm(3)).lost_reply_made == 0


def test_deaths_are_spread_over_the_export() -> None:
    """All ways to die are drawn; an export ahead of its kills gets short lives, one that stands still gets
    time."""
    rng = SeededRng("deaths")
    drawn = [draw_death(rng, stretch=1.0, stalled=False, files=5) for _ in range(300)]
    assert {death.kind for death in drawn} == {
        "at birth",
        "young",
        "grown",
        "behind a create",
        "terminated",
    }
    ahead = [draw_death(rng, stretch=0.1, stalled=False, files=5) for _ in range(300)]
    assert {death.kind for death in ahead} == {"at birth", "young"}
    assert max(death.at_s for death in ahead) < 0.6
    assert draw_death(rng, stretch=1.0, stalled=True, files=5) == Death("long", 75.0, files=5)


def test_rows_are_read_in_every_form(tmp_path: Path) -> None:
    """Both spellings of fields and all spellings of times mean the same rows; staged files are none."""
    forms = {
        "a.jsonl": '{"@timestamp": 1768348800250, "@raw": "x"}\n',
        "b.json": '[{"timestamp": 1768348800, "message": "x"}]',
        "c.csv": "@timestamp,@seq,@stream,@raw\n2026-01-14T00:00:00.25Z,1,s,x\n",
        "d.csv": "1768348800250000,1,s,x\n",
    }
    for called, text in forms.items():
        (tmp_path / called).write_text(text, encoding="utf-8")
    (tmp_path / ".orchestrator").mkdir()
    (tmp_path / ".orchestrator" / "e.part").write_text("half")
    files = final_files(tmp_path)
    assert [path.name for path in files] == list(forms)
    assert all(by_second(rows_of(path)) == Counter({(1_768_348_800_000, "x"): 1}) for path in files)
    assert rows_of(files[0]) == rows_of(files[2]) == Counter({(1_768_348_800_250, "x"): 1})
