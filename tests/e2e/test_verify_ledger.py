"""What a hand does to the ledger or to the archive, verify finds; and the line it prints, pasted into a
shell, mends it: the installed command against a service over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import orchestrator
from orchestrator import Finding
from orchestrator.app.reading import job_status, manifest_to_read
from orchestrator.core.window import Window
from orchestrator.testing import archive
from orchestrator.testing.archive import Rows
from tests.e2e.proving import DAY, DAY_MS, Program, describe_world, desk_beside, program, same_rows

NOON_S = 1_768_392_000
STORES = """
[[logstores]]
name = "giant"
streams = ["g1", "g2", "g3"]
start = 2026-01-14T00:00:00Z
end = 2026-01-15T00:00:00Z
density = { kind = "giant-second", rows_per_day = 200, at_s = 1768392000, rows = 3000 }
[[logstores]]
name = "single"
streams = ["s"]
start = 2026-01-14T00:00:00Z
end = 2026-01-15T00:00:00Z
density = { kind = "giant-second", rows_per_day = 40, at_s = 1768392000, rows = 1500 }
[[logstores]]
name = "plain"
indexed = false
start = 2026-01-14T00:00:00Z
end = 2026-01-15T00:00:00Z
density = { kind = "uniform", rows_per_day = 30 }
"""
"""A second that is divided by log stream and one of these from both ends, one that is divided from both ends
only, and lines nobody counts."""
MOST_LINES = {"web": 200, "giant": 900, "single": 900, "plain": 900}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One emulator for all tests of this file."""
    folder = tmp_path_factory.mktemp("served")
    world = describe_world(folder, 2000)
    world.write_text(world.read_text("utf-8") + STORES, encoding="utf-8")
    with program(folder, "--world", str(world)) as made:
        yield made


def set_up(served: Program, folder: Path, *stores: str) -> Program:
    desk = desk_beside(served, folder)
    jobs = "".join(
        f'[[jobs]]\nname = "{store}"\nlogstore = "{store}"\nfrom = {DAY[0]}\nto = {DAY[1]}\n'
        f'max_lines = {MOST_LINES[store]}\ndestination = "archive/{store}"\n'
        for store in stores
    )
    (folder / "jobs.toml").write_text(
        f'[service]\nendpoint = "{desk.emulated.endpoint}"\n'
        f'[limits]\ndisk_reserve = "1MB"\nrequests_per_second = 500\n{jobs}',
        encoding="utf-8",
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{desk.environment['PATH']}"
    desk.environment = {**desk.environment, "PATH": path}
    return desk


@pytest.fixture(scope="module")
def desk(served: Program, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Three days exported. Every test puts right again what it spoils, so one export does for all."""
    made = set_up(served, tmp_path_factory.mktemp("desk"), "web", "giant", "single")
    assert made.run().exit == 0
    return made


def sql(desk: Program, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(desk.folder / "orchestrator.db")) as ledger, ledger:
        for statement in statements:
            ledger.execute(statement)


def verified(
    desk: Program, *, share: float = 1.0, recount: bool = False, mark: bool = True
) -> tuple[int, tuple[Finding, ...]]:
    """What `verify` says, asked of the library because it answers sooner."""
    job_file = orchestrator.load(str(desk.folder / "jobs.toml"))
    audit = orchestrator.verify(
        job_file, share=share, recount=recount, mark=mark, environment=desk.environment
    )
    report = asyncio.run(audit)
    return report.exit, report.findings


def problems(findings: Iterable[Finding]) -> set[str]:
    return {finding.problem for finding in findings}


def gap_reasons(desk: Program) -> set[str]:
    job_file = orchestrator.load(str(desk.folder / "jobs.toml"))

    async def found() -> set[str]:
        async with manifest_to_read(job_file.manifest) as reader:
            statuses = [await job_status(job, reader, "jobs.toml") for job in job_file.jobs]
        return {gap.reason for status in statuses for gap in status.gaps}

    return asyncio.run(found())


def pasted(desk: Program, findings: Iterable[Finding]) -> None:
    """Every line that is named, once, as it stands."""
    for line in dict.fromkeys(finding.mend for finding in findings if finding.mend):
        ended = subprocess.run(
            ["bash", "-c", line],
            cwd=desk.folder,
            env=desk.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, (line, ended.stdout, ended.stderr)


def as_the_service_has_it(served: Program, desk: Program, *stores: str) -> None:
    """Nothing disagrees, file by file and count by count, and each row is there once."""
    assert verified(desk, recount=True) == (0, ())
    world, (start_ms, end_ms) = served.folder / "world.toml", DAY_MS
    for store in stores:
        truth = archive.truth(world, project="default", logstore=store, start_ms=start_ms, end_ms=end_ms)
        files = archive.final_files(desk.folder / "archive" / store)
        same_rows(sum((archive.rows_of(path) for path in files), Rows()), truth)


@dataclass(frozen=True)
class Harm:
    """What is done by hand, what is said of it, and the reason its gap has once it is marked: "" where
    nothing is to be exported anew."""

    statements: tuple[str, ...]
    problem: str
    reason: str = "damaged"
    beside: Callable[[Program], None] = lambda desk: None


WEB = "job = (select key from jobs where name = 'web')"
GIANT = "job = (select key from jobs where name = 'giant')"
THIRD = f"(select id from slices where {WEB} and state = 'done' order by start_s limit 1 offset 2)"
FIGURES = "stored_rows = stored_rows {0}, served_rows = served_rows {0}, published_rows = published_rows {0}"


def _folder_in_place(desk: Program) -> None:
    file = archive.final_files(desk.folder / "archive" / "web")[1]
    file.unlink()
    file.mkdir()


HARMS = {
    "a slice's row removed": Harm((f"delete from slices where id = {THIRD}",), "covered without a slice"),
    "neighbours' rows removed": Harm(
        (f"delete from slices where {WEB} and start_s between {NOON_S - 20_000} and {NOON_S}",),
        "covered without a slice",
    ),
    "a slice's state altered": Harm(
        (f"update slices set state = 'superseded' where id = {THIRD}",), "covered without a slice"
    ),
    "a slice's window altered": Harm(
        (f"update slices set end_s = end_s - 1000 where id = {THIRD}",), "ledger row altered"
    ),
    "a remote task's row removed": Harm(
        ("pragma foreign_keys = off", f"delete from remote_tasks where slice_id = {THIRD}"), "no remote task"
    ),
    "rows altered": Harm(
        (f"update slices set {FIGURES.format('- 5')} where id = {THIRD}",), "rows differ"
    ),
    "more rows said than there are": Harm(
        (f"update slices set {FIGURES.format('+ 5')} where id = {THIRD}",), "rows differ"
    ),
    "one figure altered": Harm(
        (f"update slices set published_rows = published_rows + 1 where id = {THIRD}",), "rows do not add up"
    ),
    "a folder in the place of a file": Harm((), "not a file", "path occupied", _folder_in_place),
    "a part's row removed": Harm(
        ("delete from slices where whole <> '' and logstream = 'g2'",), "parts do not add up", "short by"
    ),
    "half a second's row removed": Harm(
        ("delete from slices where part = 'late' and logstream <> 'g1'",), "parts do not add up", "short by"
    ),
    "a divided second's row removed": Harm(
        (f"delete from slices where start_s = {NOON_S} and end_s = {NOON_S + 1} and whole = '' and {GIANT}",),
        "covered without a slice",
    ),
    "coverage cut short": Harm(
        (f"update coverage set end_s = end_s - 7000 where {WEB}",), "stored but not covered", ""
    ),
    "coverage of a divided second removed": Harm(
        (f"delete from coverage where logstream = '*' and {GIANT}",),
        "stored but not covered",
        "",
    ),
    "coverage beyond the window": Harm(
        (f"update coverage set end_s = end_s + 7000 where {WEB}",), "covered without a slice", ""
    ),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS.keys())
def test_what_a_hand_did_is_found_marked_and_mended(served: Program, desk: Program, harm: Harm) -> None:
    """Each is named with a problem of its own; what must be exported anew is a gap with its reason from then
    on, and the named line mends it; what is only not covered is covered again, and nothing is fetched."""
    sql(desk, *harm.statements)
    harm.beside(desk)
    served_before = desk.emulated.stats()["bytes_served"]
    code, findings = verified(desk)
    assert code == 4
    assert problems(findings) == {harm.problem}
    told = gap_reasons(desk)
    if harm.reason:
        assert all(finding.marked for finding in findings)
        assert {reason.rstrip(" 0123456789") for reason in told} == {harm.reason}
    else:
        assert (told, [finding.mend for finding in findings]) == (set(), [""])
    pasted(desk, findings)
    if not harm.reason:
        assert desk.emulated.stats()["bytes_served"] == served_before
    as_the_service_has_it(served, desk, "web", "giant", "single")


@pytest.mark.parametrize(
    "name",
    ["neighbours' rows removed", "a slice's window altered", "a part's row removed", "coverage cut short"],
)
def test_what_is_only_told_is_mended_by_the_line_all_the_same(
    served: Program, desk: Program, name: str
) -> None:
    """With --no-mark nothing changes; the named line still mends it, without a terminal."""
    sql(desk, *HARMS[name].statements)
    HARMS[name].beside(desk)
    code, findings = verified(desk, mark=False)
    assert code == 4
    assert problems(findings) == {HARMS[name].problem}
    assert not any(finding.marked for finding in findings)
    assert verified(desk, mark=False) == (4, findings)
    pasted(desk, findings)
    as_the_service_has_it(served, desk, "web", "giant", "single")


@pytest.mark.parametrize("mark", [True, False], ids=["marked", "told"])
def test_rows_stored_twice_are_found_and_stand_once_afterwards(
    served: Program, desk: Program, *, mark: bool
) -> None:
    """Two slices that hold the same seconds: one gives way to the others, and its file goes."""
    hidden = f"{WEB} and end_s > {DAY_MS[1] // 1000 - 7000}"
    sql(
        desk,
        f"update slices set state = 'abandoned' where state = 'done' and {hidden}",
        f"update coverage set end_s = end_s - 7000 where {WEB}",
    )
    assert desk.run("--job", "web").exit == 0  # to a ledger that forgot them for a while, these are missing
    sql(desk, f"update slices set state = 'done' where state = 'abandoned' and {hidden}")
    code, findings = verified(desk, mark=mark)
    assert code == 4
    assert problems(findings) == {"stored twice"}
    pasted(desk, findings)
    as_the_service_has_it(served, desk, "web", "giant", "single")


def test_rows_that_came_late_in_a_divided_second_are_found_and_exported(
    served: Program, tmp_path: Path
) -> None:
    """A second that was divided is counted as a whole, against its parts together; the named redo exports it
    anew, by a line that works as it stands. So is a slice whose row was removed and that grew since: its file
    is known from the journal to be ours."""
    desk = set_up(served, tmp_path, "giant", "single")
    desk.emulated.behave(late_per_mille=100, late_by_s=10**9)
    assert desk.run().exit == 0
    assert verified(desk, recount=True) == (0, ())
    desk.emulated.behave(late_per_mille=0)
    first = f"select id from slices where {GIANT} and state = 'done' order by start_s limit 1"
    sql(desk, f"delete from slices where id = ({first})")
    code, removed = verified(desk)
    assert (code, problems(removed)) == (4, {"covered without a slice"})
    code, findings = verified(desk, share=0.0, recount=True)
    assert code == 4
    seconds = [finding for finding in findings if finding.window == Window(NOON_S, NOON_S + 1)]
    assert {finding.job for finding in seconds} == {"giant", "single"}
    assert all("more lines" in finding.problem for finding in findings)
    assert gap_reasons(desk) == {"damaged"}
    pasted(desk, [*removed, *findings])
    as_the_service_has_it(served, desk, "giant", "single")


def test_an_audit_that_could_count_nothing_says_so(served: Program, tmp_path: Path) -> None:
    """A count that cannot be had disagrees with nothing, so the exit is 0; but nothing is said to agree, and
    a line on stderr and a field say that nothing was counted."""
    desk = set_up(served, tmp_path, "plain")
    assert desk.run().exit == 0
    files = len(desk.final_files())
    ended = desk.call("verify", "--recount", "--quiet")
    assert ended.exit == 0
    assert (
        f"0 of {files} slices counted again, {files} cannot be counted: what was checked agrees" in ended.out
    )
    assert "could not count a single slice" in ended.err
    document = desk.call("verify", "--recount", "--json").document
    assert (document["slices_recounted"], document["slices_uncounted"]) == (0, files)
    assert document["counted_nothing"] is True
