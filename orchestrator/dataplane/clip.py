"""Which rows of a surveyed file are kept: the window's edges and the cut of a truncated file (design: Edges;
Cut, not waste)."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.core.job import Order
from orchestrator.core.model import Ticket
from orchestrator.core.window import LATEST_S, Window, iso_utc
from orchestrator.dataplane.second import reaches_edge, turn_of
from orchestrator.dataplane.survey import Survey
from orchestrator.errors import RowsOutsideWindow

__all__ = ["Verdict", "judge", "needs_order", "needs_turn", "turn_ms"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """``keep`` is the window whose rows are staged, None when none are; ``kept`` as in ``Receipt``."""

    keep: Window | None
    kept: Window | None
    clips: bool
    """Whether rows must be left out; without it the file is kept as it is."""
    truncated: bool
    time_known: bool


def needs_order(survey: Survey, ticket: Ticket) -> bool:
    """Whether the verdict depends on the order of the rows: the file is truncated and may be cut."""
    truncated = survey.rows >= ticket.limit and survey.time_known and survey.rows > 0
    return truncated and not survey.in_order


def needs_turn(verdict: Verdict, ticket: Ticket) -> bool:
    """Whether the file is a truncated one of a single second, which only its milliseconds can divide."""
    whole_second = ticket.window.length_s == 1 and not ticket.part
    return whole_second and verdict.truncated and verdict.time_known and verdict.kept is None


def judge(survey: Survey, ticket: Ticket) -> Verdict:
    """Decide by a finished survey, taken with ``in_order`` when ``needs_order`` says so.

    Raises RowsOutsideWindow for a row more than one second outside what was requested. Rows that cannot be
    dated are never left out, and a file that holds any is neither clipped nor cut.
    """
    truncated = survey.rows >= ticket.limit
    window = ticket.window
    if not survey.time_known:
        whole = None if truncated else window
        keep = window if whole or window.length_s == 1 else None
        return Verdict(keep, whole, clips=keep is None, truncated=truncated, time_known=False)
    if survey.far and survey.far_second is not None:
        far = survey.far_second
        at = iso_utc(far) if 0 <= far < LATEST_S else f"second {far}"
        raise RowsOutsideWindow(
            f"{survey.far} of {survey.rows} rows lie outside {ticket.requested!r}, for instance at {at}"
        )
    if not truncated:
        return Verdict(window, window, clips=survey.inside < survey.rows, truncated=False, time_known=True)
    if ticket.part:
        return _part(survey, ticket)
    kept = _cut(survey, ticket)
    keep = window if kept is None and window.length_s == 1 else kept
    clips = keep is None or keep != window or survey.inside < survey.rows
    return Verdict(keep, kept, clips=clips, truncated=True, time_known=True)


def _part(survey: Survey, ticket: Ticket) -> Verdict:
    window, earliest, latest = ticket.window, survey.earliest, survey.latest
    monotone = survey.ascending if ticket.order is Order.ASC else survey.descending
    met = earliest is not None and latest is not None and reaches_edge(ticket, earliest, latest)
    kept = window if monotone and met else None
    return Verdict(window, kept, clips=survey.inside < survey.rows, truncated=True, time_known=True)


def turn_ms(survey: Survey, ticket: Ticket) -> int | None:
    """``Receipt.turn_ms`` by a finished survey taken with ``fine``."""
    monotone = survey.ascending if ticket.order is Order.ASC else survey.descending
    if not monotone or survey.undated or survey.earliest is None or survey.latest is None:
        return None
    return turn_of(ticket, survey.earliest, survey.latest)


def _cut(survey: Survey, ticket: Ticket) -> Window | None:
    """The part of the window that a truncated file surely holds whole: all but the last second met, in the
    order asked for."""
    window, earliest, latest = ticket.window, survey.earliest, survey.latest
    if earliest is None or latest is None or earliest == latest:
        return None
    if ticket.order is Order.ASC:
        start_s, end_s = window.start_s, min(latest, window.end_s)
        monotone = survey.ascending
    else:
        start_s, end_s = max(earliest + 1, window.start_s), window.end_s
        monotone = survey.descending
    return Window(start_s, end_s) if monotone and start_s < end_s else None
