"""Which queries can a download task run? Only searches: what follows a ``|`` is SQL (bls-api.md 3.2)."""

from __future__ import annotations

import re

from orchestrator.core.complaint import Wrong

__all__ = ["EVERYTHING", "read_query"]

EVERYTHING = "match *"

_ALLOWED = "empty, `match SEARCH` or a bare search, without SQL and without | outside quotes"
_SQL = re.compile(r"select\b(?!\s*[:=<>])", re.IGNORECASE)
_MATCH = re.compile(r"match(?:\s+(.*))?", re.IGNORECASE | re.DOTALL)
_QUOTED = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|\\.", re.DOTALL)


def read_query(text: str) -> str:
    """The search as it is sent: ``match `` in front of a bare one, ``match *`` for an empty one. Raises
    Wrong.

    A quote without a partner is an ordinary character, so it cannot hide a ``|``.
    """
    stripped = text.strip()
    if not stripped:
        return EVERYTHING
    if "|" in _QUOTED.sub("", stripped):
        raise Wrong("a query with | outside quotes: download tasks take no SQL", _ALLOWED)
    if _SQL.match(stripped):
        raise Wrong("an SQL query: download tasks take none", _ALLOWED)
    matched = _MATCH.fullmatch(stripped)
    if not matched:
        return f"match {stripped}"
    if not matched[1]:
        raise Wrong("`match` without a search", _ALLOWED)
    return f"match {matched[1]}"
