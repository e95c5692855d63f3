"""Is a file without times an error that came with status 200?

No time field would give it away as foreign, and where one row was counted, one such "row" would be taken for
it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import orjson

from orchestrator.dataplane.survey import Survey
from orchestrator.errors import BrokenBody

__all__ = ["refuse_complaint"]

_LONGEST_BYTES: Final = 16 * 1024
_KEYS: Final = frozenset({"code", "message", "requestId"})
"""What an error body holds (bls-api.md 1)."""


def refuse_complaint(survey: Survey, size_bytes: int, read: Callable[[int, int], bytes]) -> None:
    """Raises BrokenBody when nothing in a plain file of ``size_bytes`` could be dated and all of it is one
    error of the service, or of the store behind it. ``read(start, size)`` gives its bytes."""
    if not 0 < survey.rows == survey.undated or size_bytes > _LONGEST_BYTES:
        return
    said = read(0, size_bytes).strip()
    if said.startswith(b"<Error") or _KEYS <= _keys_of(said):  # noqa: SIM300  a subset, not a constant
        raise BrokenBody(
            "the link answered with an error instead of rows", hint="run again: a fresh link may open"
        )


def _keys_of(document: bytes) -> frozenset[str]:
    """The keys of a JSON object; none of anything else."""
    try:
        found = orjson.loads(document)
    except orjson.JSONDecodeError:
        return frozenset()
    return frozenset(found) if isinstance(found, dict) else frozenset()
