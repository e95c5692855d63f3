"""Which files a merge gets: those the ledger calls stored, each row once, and none left out in silence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.app.merging import Archive, archive
from orchestrator.core.model import Evidence, Part, Slice, SliceState
from orchestrator.core.reasons import short_by
from orchestrator.core.window import Window, WindowSet
from orchestrator.errors import UsageError
from tests.unit.merge_kit import HOUR, Row, job_at, ledger, lines, slice_of

S = HOUR.start_s
HALVES = (Window(S, S + 1800), Window(S + 1800, S + 3600))
SECOND = Window(S + 10, S + 11)


def file_of(folder: Path, name: str, window: Window, rows: int = 3, **changes: object) -> Slice:
    made = [Row(window.start_s * 1000 + n, n, name) for n in range(rows)]
    return slice_of(lines(folder / name, made, window), **changes)


def given(
    folder: Path, slices: list[Slice], covered: WindowSet, window: Window = HOUR
) -> list[tuple[str, WindowSet]]:
    """The files and what is asked of them."""
    path = ledger(folder, slices, covered)
    with archive(path, job_at(folder, window=window), window, "jobs.toml") as found:
        sources = [(Path(source.path).name, source.keep) for source in found.sources()]
        assert found.given == replace(found.extent(), unbacked=())
        return sources


def test_done_slices_come_by_their_start(tmp_path: Path) -> None:
    """In the order of their windows, whatever their names and however the ledger came by them."""
    late, early = file_of(tmp_path, "a", HALVES[1]), file_of(tmp_path, "b", HALVES[0])
    assert given(tmp_path, [late, early], (HOUR,)) == [("b", (HALVES[0],)), ("a", (HALVES[1],))]


def test_slices_are_clipped_to_the_asked_window(tmp_path: Path) -> None:
    """A slice that reaches over an end of it is asked for the rows inside only, others not at all."""
    slices = [file_of(tmp_path, "a", HALVES[0]), file_of(tmp_path, "b", HALVES[1])]
    asked = Window(S + 60, S + 1800)
    assert given(tmp_path, slices, (HOUR,), asked) == [("a", (asked,))]


def test_many_slices_are_read_page_by_page(tmp_path: Path) -> None:
    """More slices than one page holds all come, and none twice."""
    windows = [Window(S + n, S + n + 1) for n in range(1203)]
    one = file_of(tmp_path, "one", windows[0])
    slices = [replace(one, id=f"{n:016x}", window=window) for n, window in enumerate(windows)]
    found = given(tmp_path, slices, (Window(S, S + 1203),), Window(S, S + 1203))
    assert [keep for _, keep in found] == [(window,) for window in windows]


def whole(**changes: object) -> Slice:
    return replace(
        Slice("f" * 16, "web", "", SECOND, SliceState.SUPERSEDED, evidence=Evidence.COUNT), **changes
    )


def test_parts_of_a_divided_second_all_come(tmp_path: Path) -> None:
    """Streams, and the two ends of one stream that was too full itself."""
    top = whole()
    stream = replace(top, id="e" * 16, logstream="b", parent=top.id, whole=top.id, evidence=Evidence.NONE)
    parts = [
        file_of(tmp_path, "a", SECOND, logstream="a", whole=top.id, parent=top.id),
        file_of(
            tmp_path, "b1", SECOND, logstream="b", whole=top.id, parent=stream.id, part=Part.EARLY, edge_ms=5
        ),
        file_of(
            tmp_path, "b2", SECOND, logstream="b", whole=top.id, parent=stream.id, part=Part.LATE, edge_ms=5
        ),
    ]
    found = given(tmp_path, [top, stream, *parts], (SECOND,), SECOND)
    assert sorted(name for name, _ in found) == ["a", "b1", "b2"]


def test_parts_of_a_second_that_is_whole_again_do_not_come(tmp_path: Path) -> None:
    """A second exported whole after all has its rows in one file; the parts hold the same ones."""
    top = file_of(tmp_path, "all", SECOND)
    part = file_of(tmp_path, "a", SECOND, logstream="a", whole=top.id, parent=top.id)
    assert [name for name, _ in given(tmp_path, [top, part], (SECOND,), SECOND)] == ["all"]


def test_a_short_file_stands_for_its_gap(tmp_path: Path) -> None:
    """What is stored of a gap comes where gaps are allowed; what is stored elsewhere is not asked of it."""
    short = file_of(
        tmp_path, "short", HOUR, state=SliceState.FAILED, reason=short_by(7), evidence=Evidence.NONE
    )
    done = file_of(tmp_path, "done", HALVES[0])
    found = given(tmp_path, [short, done], (HALVES[0],))
    assert sorted(found) == [("done", (HALVES[0],)), ("short", (HALVES[1],))]


def test_short_files_of_the_same_window_do_not_come_twice(tmp_path: Path) -> None:
    """Where two reach over the same seconds, the one that begins first stands for them; of different log
    streams both do."""
    changes: dict[str, Any] = {"state": SliceState.FAILED, "reason": short_by(7)}
    slices = [
        file_of(tmp_path, "first", Window(S, S + 100), **changes),
        file_of(tmp_path, "second", Window(S + 50, S + 200), **changes),
        file_of(tmp_path, "stream", Window(S + 60, S + 90), logstream="a", **changes),
    ]
    assert given(tmp_path, slices, ()) == [
        ("first", (Window(S, S + 100),)),
        ("second", (Window(S + 100, S + 200),)),
        ("stream", (Window(S + 60, S + 90),)),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"published_path": "", "published_sha256": ""},
        {"published_sha256": "0" * 64},
        {"receipt": None},
    ],
)
def test_a_gap_without_a_known_file_gives_none(tmp_path: Path, changes: dict[str, object]) -> None:
    """Nothing published, another file than the receipt's, or no receipt: the ledger cannot vouch for it."""
    failed = file_of(tmp_path, "short", HOUR, state=SliceState.FAILED, reason=short_by(7), **changes)
    assert given(tmp_path, [failed], ()) == []


def test_coverage_without_a_slice_is_seen(tmp_path: Path) -> None:
    """A row of the ledger that somebody removed leaves a window that is covered by nothing."""
    path = ledger(tmp_path, [file_of(tmp_path, "a", HALVES[0])], (HOUR,))
    with archive(path, job_at(tmp_path), HOUR, "jobs.toml") as found:
        assert found.extent().unbacked == (HALVES[1],)


def test_empty_windows_back_their_coverage(tmp_path: Path) -> None:
    """A window proven to hold no row has no file, and needs none."""
    empty = Slice("1" * 16, "web", "", HALVES[1], SliceState.EMPTY, evidence=Evidence.COUNT)
    path = ledger(tmp_path, [file_of(tmp_path, "a", HALVES[0]), empty], (HOUR,))
    with archive(path, job_at(tmp_path), HOUR, "jobs.toml") as found:
        assert found.extent().unbacked == ()
        assert found.extent().files == 1


def test_a_ledger_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    """Another digest under the same slice is another extent; a slice that filled a gap is not."""
    first, second = file_of(tmp_path, "a", HALVES[0]), file_of(tmp_path, "b", HALVES[1])
    path = ledger(tmp_path, [first], (HALVES[0],))
    with archive(path, job_at(tmp_path), HOUR, "jobs.toml") as found:
        before = found.extent()
        ledger(tmp_path, [second], (HALVES[1],))
        assert [Path(source.path).name for source in found.sources()] == ["a", "b"]
        assert found.given.mark == before.mark
        anew = file_of(tmp_path, "a2", HALVES[0], id=first.id)
        ledger(tmp_path, [anew], ())
        assert len(list(found.sources())) == 2
        assert found.given.mark != before.mark


def test_a_file_of_the_archive_is_never_the_output(tmp_path: Path) -> None:
    """Also when it is named through a link."""
    path = ledger(tmp_path, [file_of(tmp_path, "a", HALVES[0])], (HALVES[0],))
    (tmp_path / "link").symlink_to("a")

    def refused(found: Archive, name: str) -> None:
        with pytest.raises(UsageError, match="a file of the archive itself"):
            found.extent(str(tmp_path / name))

    with archive(path, job_at(tmp_path), HOUR, "jobs.toml") as found:
        refused(found, "a")
        refused(found, "link")
        assert found.extent(str(tmp_path / "b")).rows == 3


def test_files_this_version_cannot_merge_are_named(tmp_path: Path) -> None:
    """Forms of a later one, and files the service wrote elsewhere."""
    unknown = file_of(tmp_path, "a", HALVES[0], form="avro")
    with pytest.raises(UsageError, match="is avro"):
        given(tmp_path, [unknown], (HALVES[0],))
    elsewhere = Slice("1" * 16, "web", "", HALVES[1], SliceState.DELIVERED)
    with pytest.raises(UsageError, match="written by the service"):
        given(tmp_path, [elsewhere], (HALVES[1],), HALVES[1])


def test_a_manifest_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """Readers leave no trace: the job has gaps only."""
    with archive(str(tmp_path / "none.db"), job_at(tmp_path), HOUR, "jobs.toml") as found:
        assert [gap.window for gap in found.status.gaps] == [HOUR]
        assert list(found.sources()) == []
    assert list(tmp_path.iterdir()) == []


def test_paths_in_the_ledger_are_those_of_the_destination(tmp_path: Path) -> None:
    """A path is taken as it is, or from the job's folder."""
    one = file_of(tmp_path, "a", HALVES[0])
    relative = replace(one, path="a", published_path="a")
    path = ledger(tmp_path, [relative], (HALVES[0],))
    with archive(path, job_at(tmp_path), HOUR, "jobs.toml") as found:
        (source,) = found.sources()
        assert source.path == str(tmp_path / "a")
