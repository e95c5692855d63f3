"""What writes a file of this form?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.core.columns import Table
from orchestrator.core.model import Ticket
from orchestrator.core.window import Window
from orchestrator.dataplane.convert import Form, Rewriting
from orchestrator.dataplane.tabling import TableWriting, Writing

__all__ = ["writing_of"]


def writing_of(
    ticket: Ticket,
    form: Form,
    keep: Window | None,
    sink: Callable[[bytes], None],
    *,
    verbatim: bool,
    ordered: bool = True,
    quick: bool = True,
) -> Writing[Any]:
    """What writes this form. ``verbatim`` as in ``convert.Rewriting``, ``ordered`` and ``quick`` as in
    ``parquet.ParquetWriting``: the others do without."""
    columns = ticket.columns or ()
    match form.shape:
        case Table.PARQUET:
            from orchestrator.dataplane.parquet import ParquetWriting

            return ParquetWriting(ticket, columns, keep, sink, ordered=ordered, quick=quick)
        case Table.CSV:
            return TableWriting(ticket, columns, keep, form, sink)
        case _:
            return Rewriting(ticket, keep, form, sink, verbatim=verbatim)
