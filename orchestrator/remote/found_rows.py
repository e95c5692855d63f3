"""What does a search say when it answers with records themselves? (bls-api.md 3.1)"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.remote.wire import Fields, payload, whole_number

__all__ = ["FoundRows", "rows_of"]

_NUMBERS = frozenset({"@timestamp", "@seq", "timestamp", "sequence"})
"""Columns that hold whole numbers; some services write them as text."""
_LONGEST_MARKER = 4096


@dataclass(frozen=True, slots=True)
class FoundRows:
    """One page of records, in the order served. Each row maps column names, then tags, to values.
    ``next_marker`` "" on the last page; ``cut_short`` why the service stopped searching early, "" when it did
    not say so."""

    rows: tuple[dict[str, object], ...]
    next_marker: str = ""
    cut_short: str = ""


def rows_of(found: object, request_id: str) -> FoundRows:
    """The page in the answer to a QueryLogRecord with a ``match`` query. Columns go by their names, in any
    order; a cell without a name and a row that is too short lose nothing else. Raises MalformedAnswer."""
    answer = payload(found, "QueryLogRecord", request_id)
    result = answer.section("resultSet")
    names = [str(name) for name in result.items("columns")]
    tags = result.items("tags")
    rows = []
    for number, row in enumerate(result.items("rows")):
        if not isinstance(row, list):
            raise result.wrong(f"rows[{number}]", "a list of cells", "something else")
        if len(row) > len(names):
            raise result.wrong(f"rows[{number}]", f"{len(names)} cells, one a column", f"{len(row)}")
        fields = {name: _value(name, cell) for name, cell in zip(names, row, strict=False)}
        tag = tags[number] if number < len(tags) else None
        if isinstance(tag, dict):
            fields |= {str(key): value for key, value in tag.items() if key not in fields}
        rows.append(fields)
    marker = answer.text("nextMarker")
    if len(marker) > _LONGEST_MARKER:
        raise answer.wrong("nextMarker", f"at most {_LONGEST_MARKER} characters", f"{len(marker)}")
    return FoundRows(tuple(rows), marker, _cut_short(result, answer.section_or_none("datasetScanInfo")))


def _value(name: str, cell: object) -> object:
    if name not in _NUMBERS or not isinstance(cell, str | float):
        return cell
    try:
        number = whole_number(cell)
    except (TypeError, ValueError):
        return cell
    return cell if number is None else number


def _cut_short(result: Fields, scanned: Fields | None) -> str:
    for part in (result, scanned):
        if part is not None and part.truth("isTruncated"):
            return part.text("truncatedReason") or "the answer says that it is truncated"
    return ""
