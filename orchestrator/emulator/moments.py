"""How moments are read from requests and written into answers (bls-api.md 1, 10.22)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.refusal import invalid

__all__ = ["moment_text", "parse_moment"]

_MOMENT = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?Z")


def parse_moment(text: object, name: str, behaviour: Behaviour) -> int:
    """Epoch milliseconds of a moment in a request; InvalidParameter for anything but UTC with a literal
    ``Z``."""
    match = _MOMENT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise invalid(f"{name} must be UTC like 2026-01-15T08:30:00Z, not {text!r}")
    try:
        whole = datetime(*(int(part) for part in match.groups()[:6]), tzinfo=UTC)  # type: ignore[arg-type,misc]
    except ValueError as error:
        raise invalid(f"{name} is no moment: {text!r}") from error
    ms = int((match[7] or "").ljust(3, "0")[:3])
    if match[7] and behaviour.subsecond_windows == "rejected":
        raise invalid(f"{name} must be a whole second, not {text!r}")
    return int(whole.timestamp()) * 1000 + (ms if behaviour.subsecond_windows == "accepted" else 0)


def moment_text(at_s: float | None, behaviour: Behaviour) -> str | None:
    """A moment in an answer; "" or None for one that has not come."""
    if at_s is None:
        return "" if behaviour.not_yet == "empty" else None
    at = datetime.fromtimestamp(int(at_s * 1000) / 1000, UTC)
    text = at.strftime("%Y-%m-%dT%H:%M:%S")
    if behaviour.time_form == "offset":
        return text + "+00:00"
    return f"{text}.{at.microsecond // 1000:03d}Z" if behaviour.time_form == "millis" else text + "Z"
