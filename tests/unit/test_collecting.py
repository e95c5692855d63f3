"""A run looks for garbage seldom, and finds what there is all the same."""

from __future__ import annotations

import subprocess
import sys

CHILD = """
import gc
from orchestrator.cli.collecting import collect_seldom

collect_seldom()
looks = []
gc.callbacks.append(lambda phase, found: looks.append(found["generation"]) if phase == "start" else None)
kept = [[] for _ in range(15_000)]
assert looks == [], looks
kept += [[] for _ in range(10_000)]
assert looks, "never looked"
circle = []
circle.append(circle)
del circle
assert gc.collect() >= 1
assert gc.get_freeze_count() > 1_000
"""


def test_garbage_is_looked_for_after_twenty_thousand_new_objects() -> None:
    """Not sooner, not never, and what was imported before is left out."""
    subprocess.run([sys.executable, "-c", CHILD], check=True)
