"""Which rows of a file are kept, and what is known of it that tells them apart?"""

from __future__ import annotations

from orchestrator.core.model import Ticket
from orchestrator.core.window import Window
from orchestrator.dataplane.dating import Dater, dater_for, fine_dater_for
from orchestrator.dataplane.rows import RowStream, split_rows
from orchestrator.dataplane.second import milliseconds_of
from orchestrator.dataplane.survey import count_rows, served_shape

__all__ = ["Picking"]


class Picking:
    """Decoded bytes go in, whole rows inside ``keep`` (all, when it is None) come out, with their number
    where it was learned on the way. ``feed`` gives those of the next bytes, ``finish`` those left over as
    ``finish`` of ``RowStream`` does."""

    def __init__(self, ticket: Ticket, keep: Window | None) -> None:
        self.stream = RowStream(served_shape(ticket), ticket.time_field)
        self._ticket = ticket
        self._keep = milliseconds_of(ticket) if keep is not None and ticket.part else keep
        self._dater: Dater | None = None
        self._dater_chosen = False

    def feed(self, plain: bytes) -> tuple[bytes, int | None]:
        return self._picked(self.stream.feed(plain))

    def finish(self) -> tuple[bytes, int | None]:
        return self._picked(self.stream.finish())

    def count(self, region: bytes) -> int:
        """How many rows of this file a region holds."""
        return count_rows(region, self.stream.shape)

    def _picked(self, region: bytes) -> tuple[bytes, int | None]:
        if not region:
            return b"", 0
        served = self.stream.shape
        if self._keep is None:
            return region, None
        if not self._dater_chosen and count_rows(region, served):
            fine = bool(self._ticket.part)
            of_file = (served, region, self.stream.columns, self._ticket.time_field)
            self._dater = fine_dater_for(*of_file) if fine else dater_for(*of_file)
            self._dater_chosen = True
        if self._dater is None:
            return region, None
        proven = self._dater.all_inside(region, self._keep)
        if proven is not None:
            return region, proven
        seconds = self._dater.seconds(region)
        start_s, end_s = self._keep.start_s, self._keep.end_s
        inside = [second is not None and start_s <= second < end_s for second in seconds]
        count = sum(inside)
        if count == len(inside):
            return region, count
        rows = split_rows(region, served)
        return b"".join(row for row, kept in zip(rows, inside, strict=True) if kept), count
