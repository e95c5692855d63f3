"""What a fuzz target is: a property, how many inputs it gets, and what counts as a finding.

``@aimed(name, …)`` makes a hypothesis test of a property. ``FUZZ_INPUTS`` says how many inputs each target
gets; without it the suite's small numbers hold. Every input has a budget of processor time of this thread,
so that a noisy machine is no finding and a pattern that backtracks for ever is one. ``python -m tests.fuzz``
runs targets with many inputs and prints a table."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

__all__ = ["LONGEST_S", "TARGETS", "Target", "aimed", "finding", "outcome"]

LONGEST_S = 2.0
"""Processor time one input may take. What is healthy takes a thousandth of it."""
SUITE_INPUTS = 200
BUNDLE = 6
"""Inputs that hypothesis draws at once, on average."""
FRAMES = 900
"""Of Python's thousand, some are taken where a reader is called."""
INPUTS = int(os.environ.get("FUZZ_INPUTS") or 0)


@dataclass(slots=True)
class Target:
    """One property under fire. ``armed`` makes a test of so many inputs of it, with further settings of
    hypothesis; ``inputs`` counts them as they go."""

    name: str
    place: str
    armed: Callable[..., Callable[[], None]]
    inputs: int = 0


TARGETS: dict[str, Target] = {}


def aimed(
    name: str,
    /,
    *,
    suite: int = SUITE_INPUTS,
    longest_s: float = LONGEST_S,
    also: Sequence[dict[str, Any]] = (),
    **strategies: Any,
) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """A property as a target called ``name``; ``suite`` inputs in the test suite, and always those of
    ``also``.

    Hypothesis draws a few inputs at once, because beginning with one costs it more than drawing it; a finding
    shrinks to a single one."""

    def aim(check: Callable[..., None]) -> Callable[[], None]:
        def shot(inputs: list[dict[str, Any]]) -> None:
            for drawn in inputs:
                TARGETS[name].inputs += 1
                with _frames_of_a_program():
                    began = time.thread_time()
                    check(**drawn)
                    spent_s = time.thread_time() - began
                assert spent_s <= longest_s, f"one input took {spent_s:.1f} s of processor time"

        shot.__name__, shot.__doc__, shot.__module__ = check.__name__, check.__doc__, check.__module__
        bundles = st.lists(st.fixed_dictionaries(strategies), min_size=1, max_size=4 * BUNDLE)

        def armed(inputs: int, **chosen: Any) -> Callable[[], None]:
            calm = settings(
                max_examples=max(inputs // BUNDLE, 1),
                deadline=None,
                suppress_health_check=list(HealthCheck),
                **chosen,
            )
            test = calm(given(inputs=bundles)(shot))
            for one in also:
                test = example(inputs=[one])(test)
            return test

        if name in TARGETS and TARGETS[name].place != check.__module__:
            raise ValueError(f"two targets are called {name}")
        TARGETS[name] = Target(name, check.__module__, armed)
        return armed(INPUTS or suite)

    return aim


def outcome(reading: Callable[[], Any], *expected: type[Exception]) -> Any:
    """What ``reading`` returns, or the error it raises when that is one of ``expected``."""
    try:
        return reading()
    except expected as refused:
        return refused


def finding(name: str, inputs: int = 1_000) -> Exception | None:
    """What so many inputs, always the same ones, find wrong at one target; for readers broken on purpose."""
    try:
        TARGETS[name].armed(inputs, database=None, derandomize=True, phases=(Phase.generate,))()
    except Exception as found:
        return found
    return None


@contextmanager
def _frames_of_a_program() -> Iterator[None]:
    """As many stack frames as Python gives a program: hypothesis raises the limit, and would hide
    RecursionErrors."""
    frame, depth = sys._getframe(), 0
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + FRAMES)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
