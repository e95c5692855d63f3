"""docs/library.md says what is so: its code runs as it stands."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import orchestrator
from tests.e2e.proving import Program, program

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "library.md"
TEXT = PAGE.read_text(encoding="utf-8")
DAY_ROWS = 6_000
WORLD = f"""\
seed = 5
[behaviour]
run_base_s = 0.1
run_per_line_s = 0.0
[[logstores]]
name = "web-access"
start = 2026-01-13T00:00:00Z
end = 2026-01-17T00:00:00Z
density = {{ kind = "uniform", rows_per_day = {DAY_ROWS} }}
"""
JOBS = """\
[service]
endpoint = "{endpoint}"
[[jobs]]
name = "web-access"
logstore = "web-access"
from = 2026-01-14
to = 2026-01-16
destination = "archive"
"""
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """An emulator with four days of the logstore that the page is about."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "world.toml").write_text(WORLD, encoding="utf-8")
    with program(folder, "--world", str(folder / "world.toml")) as made:
        yield made


def blocks() -> list[tuple[int, str]]:
    """The Python of the page, block by block, with the line each begins at."""
    found = re.finditer(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    return [(TEXT.count("\n", 0, match.start(1)), match[1]) for match in found]


def execute(source: str, line: int, names: dict[str, object]) -> None:
    """Run one block like a cell: with a loop where it awaits, without one elsewhere."""
    code = compile("\n" * line + source, str(PAGE), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if not code.co_flags & inspect.CO_COROUTINE:
        exec(code, names)
        return

    async def cell() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await eval(code, names)

    asyncio.run(cell())


def test_its_code_runs_as_it_stands(
    served: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every block does what the page says, one after the other as in a notebook; only the region is put in
    place by the address of the emulator."""
    monkeypatch.chdir(tmp_path)
    for name, value in served.emulated.credentials.items():
        monkeypatch.setenv(name, value)
    endpoint = served.emulated.endpoint
    (tmp_path / "jobs.toml").write_text(JOBS.format(endpoint=endpoint), encoding="utf-8")
    names: dict[str, object] = {"__name__": "page"}
    told = []
    for line, source in blocks():
        execute(source.replace('"region": "bj"', f'"endpoint": "{endpoint}"'), line, names)
        told.append(capsys.readouterr().out)
    assert len(told) >= 12
    assert told[0] == f"web-access {DAY_ROWS:d} lines in 1 files; complete\n"
    assert told[1].startswith("[2026-01-14T00:00:00Z, ")
    assert told[1].endswith(" /srv/logs/orchestrator.db\n")
    assert "logstor" in told[2]
    assert "did you mean" in told[2]
    assert re.match(r"web-access \d+ lines in [1-9]\d* slices, about [1-9]\d* requests\n", told[3])
    assert "only looked at" in "".join(told)
    assert names["stored"].rows > 0  # type: ignore[attr-defined]  # the observer of the page
    assert "did you mean web-access?" in told[-1]
    report = orchestrator.run_sync(orchestrator.load("jobs.toml"))
    assert (report.complete, report.requests["create"]) == (True, 0)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"archive", "jobs.toml", "orchestrator.db", "orchestrator.db.lock"}


def test_it_tells_of_every_field() -> None:
    """Whatever a report, a plan or a verification holds stands in a table of the page."""
    told = set(re.findall(r"`([a-z_]+)`", TEXT))
    kinds = (
        orchestrator.Report,
        orchestrator.JobReport,
        orchestrator.Gap,
        orchestrator.JobPlan,
        orchestrator.PlannedSlice,
        orchestrator.VerifyReport,
        orchestrator.Finding,
    )
    fields = {f"{kind.__name__}.{item.name}" for kind in kinds for item in dataclasses.fields(kind)}
    assert {field for field in fields if field.partition(".")[2] not in told} == set()


def test_it_tells_of_every_call_and_every_error() -> None:
    """No function of the library and no error that it raises is left out."""
    kinds = {name: getattr(orchestrator, name) for name in orchestrator.__all__}
    calls = {name for name, kind in kinds.items() if inspect.isfunction(kind)}
    errors = {
        name
        for name, kind in kinds.items()
        if isinstance(kind, type) and issubclass(kind, orchestrator.OrchestratorError)
    }
    assert len(calls) >= 5
    assert len(errors) > 12
    assert {name for name in calls | errors if not re.search(rf"\b{name}\b", TEXT)} == set()


def test_its_links_lead_somewhere() -> None:
    """Every page and every section it names is there."""
    pages = re.findall(r"\]\(([^)#]+\.md)", TEXT)
    assert pages
    assert [page for page in pages if not (PAGE.parent / page).exists()] == []
    heads = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) >= anchors
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors
