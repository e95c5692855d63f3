"""Where inside one second do its early and its late rows meet (design: Slicing, a second above the limit)?

A file of one second that is truncated and in time order to the millisecond holds, up to the last millisecond
it met, every row of that second from one end. So two files in opposite order are the whole second once they
reach each other.
"""

from __future__ import annotations

from orchestrator.core.job import Order
from orchestrator.core.model import Part, Ticket
from orchestrator.core.window import Window

__all__ = ["milliseconds_of", "reaches_edge", "turn_of"]


def milliseconds_of(ticket: Ticket) -> Window:
    """What the ticket keeps, in UTC epoch milliseconds."""
    start_ms, end_ms = ticket.window.start_s * 1000, ticket.window.end_s * 1000
    edge_ms = start_ms + ticket.edge_ms
    match ticket.part:
        case Part.EARLY:
            return Window(start_ms, edge_ms)
        case Part.LATE:
            return Window(edge_ms, end_ms)
        case _:
            return Window(start_ms, end_ms)


def turn_of(ticket: Ticket, earliest_ms: int, latest_ms: int) -> int | None:
    """The millisecond of the second before which an ascending file, or from which on a descending one, surely
    holds every row; None when that would be none of them, or all."""
    start_ms = ticket.window.start_s * 1000
    turn_ms = latest_ms - start_ms if ticket.order is Order.ASC else earliest_ms + 1 - start_ms
    return turn_ms if 0 < turn_ms < 1000 else None


def reaches_edge(ticket: Ticket, earliest_ms: int, latest_ms: int) -> bool:
    """Whether a truncated file of a part, in the part's order, goes on to where the other part begins."""
    edge_ms = ticket.window.start_s * 1000 + ticket.edge_ms
    return latest_ms >= edge_ms if ticket.part is Part.EARLY else earliest_ms < edge_ms
