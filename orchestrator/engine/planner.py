"""Planner."""
from __future__ import annotations
import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from orchestrator.core.align import align_boundaries
from orchestrator.core.slicing import Answer, Book, Kind, PlannedWindow, Proof, Question, Rules, capacity_lines, step
from orchestrator.core.window import WindowSet
from orchestrator.engine.context import JobContext
from orchestrator.errors import Refused, ServiceError
from orchestrator.ports.service import CountUnavailable
from orchestrator.ports.time import Clock

@dataclass(frozen=True, slots=True)
class PlanPart:
    ready: tuple[PlannedWindow, ...]
    proofs: tuple[Proof, ...]

class Planner:
    def __init__(self, context: JobContext, *, clock: Clock, lanes: int) -> None:
        self.c, self.clock, self.lanes = context, clock, lanes
    async def _ask(self, q: Question) -> Answer:
        at = self.clock.now()
        i = self.c.job.identity
        try:
            n = await self.c.counts.count(i, i.logstream, q.window, match_all=q.kind is Kind.WITNESS and i.query == "match *")
        except Refused:
            raise
        except ServiceError:
            n = CountUnavailable("x")
        return Answer(q.id, None if isinstance(n, CountUnavailable) else n, at)
    async def plan(self, missing: WindowSet) -> AsyncIterator[PlanPart]:
        job = self.c.job
        book = Book.start(missing, Rules(capacity_lines(job.max_lines), align_boundaries(job.align, self.c.zone), self.lanes))
        out: set[asyncio.Task[Answer]] = set()
        answers: list[Answer] = []
        try:
            while True:
                s = step(book, answers)
                book = s.book
                if s.ready or s.proofs:
                    yield PlanPart(s.ready, s.proofs)
                if s.finished:
                    return
                out |= {asyncio.create_task(self._ask(q)) for q in s.questions}
                done, out = await asyncio.wait(out, return_when=asyncio.FIRST_COMPLETED)
                answers = [t.result() for t in done]
        finally:
            for t in out:
                t.cancel()
