"""What is seen of a file while its bytes arrive?"""

from __future__ import annotations

from orchestrator.core.model import Ticket
from orchestrator.dataplane.sniff import packing_of
from orchestrator.dataplane.survey import Survey

__all__ = ["Glance"]


class Glance:
    """Takes wire bytes while they arrive: plain ones are surveyed at once, compressed ones later from the
    part file."""

    def __init__(self, ticket: Ticket) -> None:
        self._ticket = ticket
        self.restart()

    def restart(self) -> None:
        self._head: bytes | None = b""
        self._survey: Survey | None = Survey(self._ticket)

    def feed(self, wire: bytes) -> None:
        if self._head is not None:
            wire = self._head + wire
            if len(wire) < 4:
                self._head = wire
                return
            self._head = None
            if packing_of(wire):
                self._survey = None
        if self._survey is not None:
            self._survey.feed(wire)

    def finish(self) -> Survey | None:
        """The finished survey, None when the bytes are compressed."""
        if self._head and self._survey is not None:
            self._survey.feed(self._head)
        if self._survey is not None:
            self._survey.finish()
        return self._survey
