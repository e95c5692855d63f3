"""What ``merge`` says and leaves: gaps, damage, names that are taken, and what cannot be asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main
from orchestrator.core.model import Slice, SliceState
from orchestrator.core.reasons import Reason, short_by
from orchestrator.core.window import Window
from orchestrator.ports.store import Acceptance
from tests.unit.merge_kit import HOUR, Row, ledger, lines, slice_of, stored

S = HOUR.start_s
HALVES = (Window(S, S + 1800), Window(S + 1800, S + 3600))
JOBS = """\
[service]
region = "bj"
[limits]
disk_reserve = "1kB"
[[jobs]]
name = "web"
logstore = "web"
from = 2026-01-14T00:00:00Z
to = 2026-01-14T01:00:00Z
destination = "archive"
"""


@dataclass(frozen=True)
class Said:
    exit: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        assert found["exit"] == self.exit
        return found


@dataclass(frozen=True)
class Archived:
    """A folder with a job file and the two halves of an hour."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def half(self, number: int, **changes: object) -> Slice:
        window = HALVES[number]
        rows = [Row(window.start_s * 1000 + n, 10 * number + n) for n in range(3)]
        place = self.folder / "archive"
        place.mkdir(exist_ok=True)
        return slice_of(lines(place / f"{number}.jsonl", rows, window), **changes)

    def path(self, number: int) -> Path:
        return self.folder / "archive" / f"{number}.jsonl"

    def merge(self, *arguments: str) -> Said:
        code = main(["merge", str(self.folder / "jobs.toml"), "--job", "web", *arguments])
        said = self.capsys.readouterr()
        assert "Traceback" not in said.err
        return Said(code, said.out, said.err)

    def left(self) -> set[str]:
        own = {"archive", "jobs.toml", "orchestrator.db", "orchestrator.db.lock", "orchestrator.log"}
        return {path.name for path in self.folder.iterdir()} - own


@pytest.fixture
def archived(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Archived:
    """Nothing is in the ledger yet."""
    (tmp_path / "jobs.toml").write_text(JOBS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return Archived(tmp_path, capsys)


def known(archived: Archived, *slices: Slice, covered: tuple[Window, ...] = (HOUR,)) -> None:
    (archived.folder / ledger(archived.folder, slices, covered)).rename(archived.folder / "orchestrator.db")


def test_a_whole_window_becomes_a_file(archived: Archived) -> None:
    """One line for a person; stdout of --json is the document alone."""
    known(archived, archived.half(0), archived.half(1))
    done = archived.merge("-o", "hour.jsonl")
    assert (done.exit, done.err) == (0, "")
    assert "6 rows of 2 files" in done.out
    written = (archived.folder / "hour.jsonl").read_bytes()
    assert written == archived.path(0).read_bytes() + archived.path(1).read_bytes()
    again = archived.merge("-o", "again.jsonl", "--json").document
    assert (again["rows"], again["files"], again["complete"], again["settled_to"]) == (
        6,
        2,
        True,
        "2026-01-14T01:00:00Z",
    )


@pytest.mark.parametrize(
    ("reason", "exit_code"), [(Reason.ATTEMPTS_EXHAUSTED, 3), (Reason.BEYOND_RETENTION, 7)]
)
def test_gaps_exit_as_their_reasons_say(archived: Archived, reason: Reason, exit_code: int) -> None:
    """Each gap is named on stderr with what mends it, and nothing is written."""
    failed = Slice("1" * 16, "web", "", HALVES[1], SliceState.FAILED, reason=reason)
    known(archived, archived.half(0), failed, covered=HALVES[:1])
    done = archived.merge("-o", "hour.jsonl", "--json")
    assert (done.exit, done.document["complete"], done.document["error"]) == (exit_code, False, None)
    (gap,) = done.document["gaps"]
    assert (gap["reason"], gap["from"]) == (reason, "2026-01-14T00:30:00Z")
    assert gap["mend"] in done.err
    assert "1 gap in [2026-01-14T00:00:00Z, 2026-01-14T01:00:00Z), so nothing is merged" in done.err
    assert archived.left() == set()
    assert archived.merge("-o", "half.jsonl", "--to", "2026-01-14T00:30:00Z").exit == 0


def test_allowed_gaps_are_named_and_what_is_stored_of_them_is_merged(archived: Archived) -> None:
    """A file that stayed short of its count is all there is of its window."""
    short = archived.half(1, state=SliceState.FAILED, reason=short_by(2))
    known(archived, archived.half(0), short, covered=HALVES[:1])
    done = archived.merge("-o", "hour.jsonl", "--allow-gaps", "--json")
    assert (done.exit, done.document["complete"], done.document["rows"]) == (3, False, 6)
    assert "short by 2" in done.err
    assert (archived.folder / "hour.jsonl").read_bytes().count(b"\n") == 6
    assert [gap["reason"] for gap in done.document["gaps"]] == ["short by 2"]


def test_accepted_gaps_are_named_and_no_reason_to_refuse(
    archived: Archived, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed off means that the rest counts as complete."""
    from orchestrator.manifest.store import SqliteReader

    async def signed(_: SqliteReader, job: str) -> tuple[Acceptance, ...]:
        return (Acceptance(job, HALVES[1], "known", "somebody", 1.0),)

    monkeypatch.setattr(SqliteReader, "acceptances", signed)
    known(archived, archived.half(0), covered=HALVES[:1])
    done = archived.merge("-o", "hour.jsonl", "--json")
    assert (done.exit, done.document["complete"], done.document["rows"]) == (0, True, 3)
    assert "accepted: known" in done.err


def test_a_damaged_archive_gives_nothing(archived: Archived) -> None:
    """One byte of one file, or a file gone: exit 4, which one and what to do; no file, not even in part."""
    known(archived, archived.half(0), archived.half(1))
    last = archived.path(1)
    last.write_bytes(last.read_bytes().replace(b'"n":11', b'"n":13'))
    done = archived.merge("-o", "hour.jsonl", "--json")
    assert (done.exit, done.document["error"]["code"]) == (4, "integrity")
    assert f"{last} is not the file of slice" in done.err
    assert "digest differs" in done.err
    words = f"{archived.folder}/jobs.toml --job web"
    assert f"how to mend it: orchestrator verify {words}; orchestrator run {words}\n" in done.err
    last.unlink()
    gone = archived.merge("-o", "hour.jsonl")
    assert (gone.exit, gone.out) == (4, "")
    assert "it is missing" in gone.err
    assert archived.left() == set()


def test_coverage_that_no_file_backs_is_refused(archived: Archived) -> None:
    """A row of the ledger is gone: nothing is merged around the hole."""
    known(archived, archived.half(0))
    done = archived.merge("-o", "hour.jsonl")
    assert done.exit == 4
    assert "[2026-01-14T00:30:00Z, 2026-01-14T01:00:00Z) covered and names no file" in done.err
    words = f"{archived.folder}/jobs.toml --job web"
    span = "--from 2026-01-14T00:30:00Z --to 2026-01-14T01:00:00Z"
    assert f"orchestrator forget {words} {span} && orchestrator run {words}\n" in done.err
    assert archived.left() == set()


@pytest.mark.parametrize("step", ["form_of", "framed"])
def test_a_file_swapped_under_a_merge_is_no_damage(
    archived: Archived, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Where the ledger changed with it, a run did its work: the merge says so and asks to be repeated. The
    swap may come before the ledger's page is read, or between that and the file."""
    from orchestrator.cli import merging

    (archived.folder / "jobs.toml").write_text('manifest = "m.db"\n' + JOBS, encoding="utf-8")
    other = archived.half(1)
    ledger(archived.folder, [archived.half(0), other], (HOUR,))
    go_on = getattr(merging, step)

    def meanwhile(*arguments: Any) -> object:
        rows = [Row(HALVES[1].start_s * 1000 + n, n) for n in range(5)]
        anew = slice_of(lines(archived.path(1), rows, HALVES[1]), id=other.id)
        ledger(archived.folder, [anew], ())
        return go_on(*arguments)

    monkeypatch.setattr(merging, step, meanwhile)
    done = archived.merge("-o", "hour.jsonl")
    assert done.exit == 4
    assert "exported anew or forgotten while they were merged" in done.err
    assert "merge again" in done.err
    assert not (archived.folder / "hour.jsonl").exists()


def test_rows_of_another_search_are_not_given_out_under_the_jobs_name(archived: Archived) -> None:
    """What was exported before the query changed is not what the job asks for now: told with the ways out."""
    known(archived, archived.half(0), archived.half(1))
    changed = JOBS.replace('logstore = "web"\n', 'logstore = "web"\nquery = "level:ERROR"\n')
    (archived.folder / "jobs.toml").write_text(changed, encoding="utf-8")
    refused = archived.merge("-o", "hour.jsonl", "--allow-gaps")
    assert refused.exit == 2
    assert "query: 'match *' in the manifest, 'match level:ERROR' in the job file" in refused.err
    assert "orchestrator forget --job web" in refused.err
    assert archived.left() == set()


def test_an_existing_file_is_replaced_only_when_told_so(archived: Archived) -> None:
    """And a file of the archive not even then."""
    known(archived, archived.half(0), archived.half(1))
    target = archived.folder / "hour.jsonl"
    target.write_text("not ours\n")
    archived.path(1).rename(archived.path(2))
    refused = archived.merge("-o", "hour.jsonl")
    assert refused.exit == 2, "told before a file of the archive is looked at"
    archived.path(2).rename(archived.path(1))
    assert "--force" in refused.err
    assert target.read_text() == "not ours\n"
    assert archived.merge("-o", "hour.jsonl", "--force").exit == 0
    assert target.read_bytes().count(b"\n") == 6
    kept = archived.path(0).read_bytes()
    own = archived.merge("-o", str(archived.path(0)), "--force")
    assert own.exit == 2
    assert "a file of the archive itself" in own.err
    assert archived.path(0).read_bytes() == kept
    assert archived.left() == {"hour.jsonl"}


def test_a_name_taken_while_rows_are_written_is_not_overwritten(
    archived: Archived, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that appeared meanwhile stays, and ours leaves nothing."""
    from orchestrator.cli import merging

    known(archived, archived.half(0), archived.half(1))
    found = merging.form_of

    def meanwhile(*arguments: Any) -> object:
        (archived.folder / "hour.jsonl").write_text("not ours\n")
        return found(*arguments)

    monkeypatch.setattr(merging, "form_of", meanwhile)
    assert archived.merge("-o", "hour.jsonl").exit == 2
    assert (archived.folder / "hour.jsonl").read_text() == "not ours\n"
    assert archived.left() == {"hour.jsonl"}


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (("-o", "-", "--json"), 2, "stdout carries the rows"),
        ((), 2, "give -o FILE"),
        (("-o", "none/hour.jsonl"), 6, "none is no folder that can be written to"),
        (("-o", "archive"), 2, "is a folder"),
        (("-o", "hour.jsonl", "--job", "other"), 2, "no job fits"),
        (("-o", "hour.jsonl", "--from", "2026-01-13"), 2, "does not lie in its window"),
        (("-o", "hour.jsonl", "--output", "parquet"), 2, "parquet"),
    ],
)
def test_what_cannot_be_asked_for_is_said(
    archived: Archived, arguments: tuple[str, ...], exit_code: int, said: str
) -> None:
    """With what is allowed instead, and without a trace in the folder."""
    known(archived, archived.half(0), archived.half(1))
    done = archived.merge(*arguments)
    assert done.exit == exit_code
    assert said in done.err
    assert archived.left() == set()


def test_rows_without_a_time_are_told_with_their_place(archived: Archived) -> None:
    """And the option that keeps them."""
    plain = b'{"n":1}\n{"n":2}\n'
    path = archived.folder / "archive"
    path.mkdir()
    source = stored(path / "0.jsonl", plain, 2)
    known(archived, slice_of(source))
    done = archived.merge("-o", "hour.jsonl")
    assert done.exit == 2
    assert "0.jsonl, row 1 has no readable time" in done.err
    assert "--undated follow" in done.err
    assert archived.merge("-o", "hour.jsonl", "--undated", "follow").exit == 0
    assert (archived.folder / "hour.jsonl").read_bytes() == plain


def test_rows_outside_their_slice_are_told_with_what_to_do(archived: Archived) -> None:
    """The file is the ledger's: neither `verify` nor another run would change it."""
    rows = [Row(HALVES[1].end_s * 1000 + 60_000, 1)]
    place = archived.folder / "archive"
    place.mkdir(exist_ok=True)
    known(archived, archived.half(0), slice_of(lines(place / "1.jsonl", rows, HALVES[1])))
    done = archived.merge("-o", "hour.jsonl")
    assert done.exit == 4
    assert "row 1 is dated 2026-01-14T01:01:00Z, outside [2026-01-14T00:30:00Z" in done.err
    assert "how to mend it: check time_field; --undated follow" in done.err
