"""How do the planner's questions reach the service, and its slices the driver?

``core.slicing`` decides, this module asks: every question of a step becomes one call, answered in whatever
order, and finished slices are handed out as they come.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from orchestrator.core.align import align_boundaries
from orchestrator.core.job import Job
from orchestrator.core.slicing import (
    Answer,
    Book,
    Kind,
    PlannedWindow,
    Proof,
    Question,
    Rules,
    capacity_lines,
    step,
)
from orchestrator.core.window import Window
from orchestrator.engine.counting import Counting
from orchestrator.ports.time import Clock

__all__ = ["PlanPart", "parts_of", "rules_for"]


def rules_for(job: Job, *, at_once: int, observed_excess: float = 0.0) -> Rules:
    """The slicing rules a job asks for. ``at_once``: questions out at a time (``limits.queries``);
    ``observed_excess``: share by which the newest files of the job exceeded their counts."""
    return Rules(
        capacity=capacity_lines(job.max_lines, observed_excess),
        next_boundary=align_boundaries(job.align, ZoneInfo(job.timezone)),
        at_once=at_once,
    )


@dataclass(frozen=True, slots=True)
class PlanPart:
    """What became certain at one moment, in time order: slices to make, windows proven empty, windows in
    which nothing can be counted."""

    ready: tuple[PlannedWindow, ...]
    proofs: tuple[Proof, ...]
    blind: tuple[Window, ...]


async def parts_of(
    missing: Iterable[Window], logstream: str, rules: Rules, counting: Counting, clock: Clock
) -> AsyncGenerator[PlanPart, None]:
    """Plan ``missing`` of one stream ("" for all); the first parts come before the last window was asked
    about.

    All parts together are exactly ``missing``, in time order. Raises what is no fault of the service's; its
    refusals and errors only leave windows without counts.
    Close the iterator (``contextlib.aclosing``) when leaving early: questions that are out are then
    cancelled.
    """
    out: set[asyncio.Task[Answer]] = set()
    taken = step(Book.start(missing, rules))
    try:
        while True:
            out |= {
                asyncio.create_task(_answer(question, logstream, counting, clock))
                for question in taken.questions
            }
            if taken.ready or taken.proofs or taken.blind:
                yield PlanPart(taken.ready, taken.proofs, taken.blind)
            if taken.finished:
                return
            done, _ = await asyncio.wait(out, return_when=asyncio.FIRST_COMPLETED)
            answers = [task.result() for task in done]
            out -= done  # not before all results were taken: of two refusals only the first is raised
            taken = step(taken.book, answers)
    finally:
        for task in out:
            task.cancel()
        await asyncio.gather(*out, return_exceptions=True)


async def _answer(question: Question, logstream: str, counting: Counting, clock: Clock) -> Answer:
    asked_at = clock.now()
    window = question.window
    match question.kind:
        case Kind.COUNT:
            found = await counting.count(logstream, window)
        case Kind.BUCKETS:
            found = await counting.buckets(logstream, window, question.width_s)
        case _:
            found = await counting.witness(logstream, window)
    return Answer(question.id, found.lines, asked_at, found.series, found.too_much)
