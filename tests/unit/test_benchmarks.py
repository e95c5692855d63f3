"""What a benchmark found reaches the summary and its page, also when it missed, failed or found nothing."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import lost_replies, report, summary
from benchmarks.report import Figure, Row, Unmeasured
from benchmarks.summary import Outcome
from tests.architecture.tree import ROOT

SOUND = """
import os
from pathlib import Path

def main():
    row = '{"what": "w", "ours": 1, "beside": 2, "target": 1}'
    line = '{"title": "t", "unit": "s", "peer": "p", "row": ' + row + "}"
    Path(os.environ["BENCH_RECORD"]).write_text(line)
"""

ENDLESS = """
import time

def main():
    time.sleep(3600)
"""


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (Row("as promised", 11.0, 10.0, target=1.1), "met"),
        (Row("a little over", 11.1, 10.0, target=1.1), "missed"),
        (Row("more is better", 9.0, 10.0, target=0.8, at_least=True), "met"),
        (Row("more was promised", 7.0, 10.0, target=0.8, at_least=True), "missed"),
        (Row("judged alone", 0.0, 12.0, most=0), "met"),
        (Row("judged alone, whatever the peer", 1.0, 12.0, most=0), "missed"),
        (Row("judged alone, without a peer", 0.0, None, most=0), "met"),
        (Row("nothing promised", 9.0, 1.0), ""),
        (Row("no peer to be judged by", 9.0, None, target=1.0), ""),
    ],
    ids=lambda value: value.what if isinstance(value, Row) else "",
)
def test_a_row_is_judged_by_what_is_promised_of_it(row: Row, verdict: str) -> None:
    """A ratio is held against its target, a figure that is judged alone against its own limit."""
    assert row.verdict == verdict


def test_a_ratio_beside_nothing_is_no_number() -> None:
    """A missing peer makes no ratio, and none is shown; neither is one beside zero."""
    assert math.isnan(Row("alone", 1.0, None).ratio)
    assert math.isinf(Row("beside zero", 1.0, 0.0).ratio)
    assert Row("alone", 1.0, None).ratio_text == Row("beside zero", 1.0, 0.0).ratio_text == ""


def test_the_record_gives_back_what_was_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tables and what could not be measured are read from the record as they were printed, in order."""
    record = tmp_path / "record"
    monkeypatch.setenv(report.RECORD, str(record))
    row = Row("a slice", 3.0, 2.0, target=2.0)
    report.print_table("Cost", "ms", "bare client", [row])
    report.could_not_measure("a big file", "curl is not installed")
    assert "not measured: a big file: curl is not installed" in capsys.readouterr().out
    assert list(report.read_record(record, "control")) == [
        Figure("control", "Cost", "ms", "bare client", row),
        Unmeasured("control", "a big file", "curl is not installed"),
    ]


def outcome(benchmark: str, *rows: Row, failure: str = "") -> Outcome:
    """One benchmark that ended."""
    figures = tuple(Figure(benchmark, "title", "s", "peer", row) for row in rows)
    return Outcome(benchmark, "2026-01-14 12:00 UTC; a machine", 60.0, failure, figures)


def test_the_page_keeps_its_prose_and_what_was_not_measured_anew(tmp_path: Path) -> None:
    """Writing the summary of some benchmarks leaves the lines of the others, and all around the block, as
    they are; lines of benchmarks that are no more go away."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{summary.BEGIN}\n{summary.END}\n\nbehind\n", encoding="utf-8")
    known = ("fetching", "makespan")
    old = [
        outcome(name, Row(f"old {name}", 1.0, 2.0, target=1.0)) for name in ("makespan", "fetching", "gone")
    ]
    summary.write_markdown(page, old, (*known, "gone"))
    summary.write_markdown(page, [outcome("makespan", Row("new", 3.0, 2.0, target=1.0))], known)
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n\n{summary.BEGIN}\n| benchmark |")
    assert text.endswith(f"{summary.END}\n\nbehind\n")
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert rows == [
        "| fetching | title: old fetching | 1.00 s | peer: 2.00 | 0.50 | ≤ 1 | met |",
        "| makespan | title: new | 3.00 s | peer: 2.00 | 1.50 | ≤ 1 | missed |",
    ]
    assert [line.partition(":")[0] for line in text.splitlines() if line.startswith("- ")] == [
        "- `fetching`",
        "- `makespan`",
    ]


def test_a_missing_peer_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A figure whose peer is not there stands in the summary as not measured, with the reason below."""
    alone = outcome("fetching", Row("one file", 1.0, None, target=0.8, at_least=True))
    summary.print_summary([alone, replace(alone, failure="ended with 1: no emulator")])
    said = " ".join(capsys.readouterr().out.split())
    assert "not measured: fetching, one file: nothing to compare it with: no peer" in said
    assert "not measured: fetching, all of it: ended with 1: no emulator" in said


def test_one_benchmark_that_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A benchmark that raises stands in the summary with its error and makes the exit 1; the next one runs,
    in a process of its own."""
    package = tmp_path / "benchmarks"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "broken.py").write_text("def main(): raise RuntimeError('no emulator')\n")
    (package / "sound.py").write_text(SOUND)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "names", lambda: ["broken", "sound"])
    page = tmp_path / "page.md"
    assert command.main(["--markdown", str(page)]) == 1
    assert [line.split("`")[1] for line in page.read_text().splitlines() if line.startswith("- ")] == [
        "broken",
        "broken",
        "sound",
    ]
    said = " ".join(capfd.readouterr().out.split())
    assert "not measured: broken, all of it: ended with 1: RuntimeError: no emulator" in said
    assert "1 met, 0 missed" in said


def test_a_benchmark_that_does_not_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time a benchmark is interrupted and stands in the summary as not done."""
    package = tmp_path / "benchmarks"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "endless.py").write_text(ENDLESS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "PATIENCE_S", 1.0)
    assert command.run("benchmarks.endless").failure.startswith("not done after 1 s")


def test_an_unknown_benchmark_is_refused_before_any_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is none ends with 2 and the names there are."""
    assert command.main(["startup", "strtup"]) == 2
    assert "no benchmark named strtup; there are: " in capsys.readouterr().err


def test_every_benchmark_can_be_run_by_itself() -> None:
    """Every module that counts as a benchmark says what it measures and has a ``main``."""
    code = (
        "import importlib\n"
        "from benchmarks.__main__ import names\n"
        "for name in names():\n"
        "    module = importlib.import_module(f'benchmarks.{name}')\n"
        "    assert module.__doc__ and callable(module.main), name\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert outcome.returncode == 0, outcome.stderr


def test_what_an_exporter_lost_or_doubled_is_counted() -> None:
    """Remote tasks beyond one for each window, slices of which a row is missing, and rows that came twice are
    told apart."""
    begin, slice_ms = lost_replies.START_MS, lost_replies.SLICE_MS
    wanted = Counter({(begin + 1, "a"): 1, (begin + slice_ms, "b"): 2, (begin + slice_ms + 5, "c"): 1})
    alive = [{"start": start, "end": "x"} for start in ("0", "1", "1", "1", "2")]
    sound = lost_replies.judged(4, alive[:2], wanted, wanted)
    assert sound == lost_replies.Found(4, 0, 0, 0)
    rows = Counter({(begin + 1, "a"): 2, (begin + slice_ms, "b"): 1, (begin + 9, "z"): 1})
    assert lost_replies.judged(6, alive, rows, wanted) == lost_replies.Found(6, 2, 1, 2)


def test_the_page_explains_every_benchmark_and_every_variable() -> None:
    """docs/performance.md has a paragraph for each benchmark and names what makes one longer or shorter."""
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert [name for name in command.names() if f"\n**{name}.** " not in page] == []
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py")]
    variables = {name for text in sources for name in re.findall(r'environ\.get\("([A-Z_]+)", "', text)}
    assert [name for name in sorted(variables) if f"`{name}`" not in page] == []
    assert page.count(summary.BEGIN) == page.count(summary.END) == 1
