"""Who would notice if the code that keeps a promise were broken? Each breakage is one change of a copy."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BREAKAGES", "Breakage"]

SIMULATE = ("-m", "orchestrator.testing.simulate", "--seeds", "40")
CRASH = ("-m", "pytest", "-q", "-x", "-n", "2", "tests/crash/test_every_boundary.py")


@dataclass(frozen=True, slots=True)
class Breakage:
    """``old``, which stands exactly once in ``path``, becomes ``new``; then one of ``rings`` must be red."""

    name: str
    path: str
    old: str
    new: str
    rings: tuple[tuple[str, ...], ...]


BREAKAGES = (
    Breakage(
        "skip the intent",
        "orchestrator/engine/driver.py",
        "        if changes:\n            self._room.boundary",
        "        if changes and not any(isinstance(order, ev.Submit) for order in transaction.orders):\n"
        "            self._room.boundary",
        (CRASH, SIMULATE),
    ),
    Breakage(
        "skip the listing",
        "orchestrator/engine/recovery.py",
        "        loop = asyncio.get_running_loop()\n        now = loop.time()\n        wait_s = absence",
        "        return ev.ProvedAbsent(doubt.slice_id, doubt.task.number)\n"
        "        loop = asyncio.get_running_loop()\n        now = loop.time()\n        wait_s = absence",
        (CRASH, SIMULATE),
    ),
    Breakage(
        "publish before verify",
        "orchestrator/core/completeness.py",
        "    asked_again = slice_.recounted_at is not None\n",
        "    if not receipt.truncated:\n        return Verdict(Ruling.COMPLETE, Evidence.COUNT)\n"
        "    asked_again = slice_.recounted_at is not None\n",
        (SIMULATE, CRASH),
    ),
    Breakage(
        "ignore truncation",
        "orchestrator/core/completeness.py",
        "    if receipt.truncated and receipt.kept != slice_.window:\n",
        "    if receipt.truncated:\n        return Verdict(Ruling.COMPLETE, Evidence.COUNT)\n"
        "    if receipt.truncated and receipt.kept != slice_.window:\n",
        (CRASH, SIMULATE),
    ),
    Breakage(
        "forget the edge rows",
        "orchestrator/dataplane/survey.py",
        "            if window.start_s <= second < window.end_s:\n",
        "            if second in allowed:\n",
        (SIMULATE, CRASH),
    ),
)
