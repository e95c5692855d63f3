"""``python -m benchmarks [NAME ...] [--markdown FILE]``: runs every benchmark of this folder, or the ones
named, each in a process of its own, and ends with one table of all figures of which something is promised.

A benchmark is a module with a docstring that says what it measures and beside what, and a ``main()`` that
prints its tables (``benchmarks.report``). It raises only when it could not measure, never for a missed
target; the others run all the same. With ``--markdown`` the summary is also written into that page.
"""

from __future__ import annotations

import argparse
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.report import RECORD, machine, read_record
from benchmarks.summary import Outcome, print_summary, write_markdown

NOT_BENCHMARKS = {"__main__", "emulated", "report", "summary"}
PATIENCE_S = 3600.0
"""How long one benchmark may take."""
GRACE_S = 30.0


def names() -> list[str]:
    """Every benchmark of this folder."""
    found = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(module.name for module in found if not module.ispkg and module.name not in NOT_BENCHMARKS)


def main(arguments: Sequence[str]) -> int:
    """Run the benchmarks asked for, all of them by default; 1 when one could not measure, 2 when one of the
    names is unknown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; left out: all")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="a page to write the summary into")
    asked, known = parser.parse_args(arguments), names()
    unknown = sorted(set(asked.names) - set(known))
    if unknown:
        print(f"no benchmark named {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    outcomes = []
    for name in asked.names or known:
        outcomes.append(run(f"benchmarks.{name}"))
        if asked.markdown:  # at once: what was measured stays when a later one is interrupted
            write_markdown(asked.markdown, outcomes[-1:], known)
    print_summary(outcomes)
    return int(any(outcome.failure for outcome in outcomes))


def run(module: str) -> Outcome:
    """One benchmark as a child, so that memory and CPU are its own; what it prints goes where ours goes."""
    name = module.rpartition(".")[2]
    measured_on = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {machine()}"
    with tempfile.TemporaryDirectory() as folder:
        record, said = Path(folder) / "record", Path(folder) / "stderr"
        begun = time.monotonic()
        with said.open("w+", encoding="utf-8") as errors:
            child = subprocess.Popen(
                [sys.executable, "-c", f"from {module} import main; main()"],
                env={**os.environ, RECORD: str(record)},
                stdin=subprocess.DEVNULL,
                stderr=errors,
            )
            failure = _ended(child)
        last_words = said.read_text(encoding="utf-8", errors="replace")
        print(last_words, end="", file=sys.stderr)
        if failure and (lines := last_words.strip().splitlines()):
            failure += f": {lines[-1]}"
        return Outcome(
            name,
            measured_on,
            time.monotonic() - begun,
            failure,
            tuple(read_record(record, name)),
        )


def _ended(child: subprocess.Popen[bytes]) -> str:
    """Waits for a benchmark; empty when it ended well."""
    try:
        code = child.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGINT)  # it takes what it has started with it
        try:
            child.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        return f"not done after {PATIENCE_S:,.0f} s"
    except KeyboardInterrupt:
        child.wait()  # it got the same signal
        raise
    return f"ended with {code}" if code else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
