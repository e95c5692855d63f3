"""What is seen of a file while its bytes arrive?"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core.model import Ticket
from orchestrator.dataplane.sniff import packing_of
from orchestrator.dataplane.survey import Survey
from orchestrator.dataplane.surveyor import Surveyor, Surveyors

__all__ = ["Glance"]


class Glance:
    """Takes wire bytes once they stand in the part file: plain ones are surveyed at once, by another process
    where that pays, compressed ones later from the part file."""

    def __init__(self, ticket: Ticket, part: str, surveyors: Surveyors) -> None:
        self._ticket = ticket
        self._part = part
        self._surveyors = surveyors
        self._surveyor: Surveyor | None = None
        self.total_bytes: int | None = None
        """How large the file will be, as far as that is known."""
        self.restart()

    def restart(self) -> None:
        self.let_go()
        self._head: bytes | None = b""
        self._seen = 0
        self._survey: Survey | None = Survey(self._ticket)

    def feed(self, pieces: Sequence[bytes]) -> None:
        self._seen += sum(map(len, pieces))
        if self._surveyor is not None:
            self._told(self._surveyor)
            return
        if self._head is None and self._survey is None:
            return
        wire = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if self._head is not None:
            wire = self._head + wire
            if len(wire) < 4:
                self._head = wire
                return
            self._head = None
            if packing_of(wire):
                self._survey = None
            elif self._handed_over():
                return
        if self._survey is not None:
            self._survey.feed(wire)

    def finish(self) -> Survey | None:
        """The finished survey, None when the file must be surveyed now: it is compressed, or who surveyed it
        is gone."""
        if self._surveyor is not None:
            return self._finished_beside(self._surveyor)
        if self._head and self._survey is not None:
            self._survey.feed(self._head)
        if self._survey is not None:
            self._survey.finish()
        return self._survey

    def let_go(self) -> None:
        """Nobody surveys for us any more; idempotent."""
        surveyor, self._surveyor = self._surveyor, None
        if surveyor is not None:
            self._surveyors.take_back(surveyor, sound=False)

    def _handed_over(self) -> bool:
        self._surveyor = self._surveyors.lend(self.total_bytes)
        if self._surveyor is None:
            return False
        self._survey = None
        try:
            self._surveyor.begin(self._part, self._ticket)
        except OSError:
            self.let_go()
        else:
            self._told(self._surveyor)
        return True

    def _told(self, surveyor: Surveyor) -> None:
        try:
            surveyor.goes_on(self._seen)
        except OSError:
            self.let_go()

    def _finished_beside(self, surveyor: Surveyor) -> Survey | None:
        try:
            survey = surveyor.finish()
        except OSError:
            survey = None
        if survey is None:
            self.let_go()
        else:
            self._surveyor = None
            self._surveyors.take_back(surveyor, sound=True)
        return survey
