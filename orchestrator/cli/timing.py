"""Where did the time of a run go: how is that told, to a person and to a program?"""

from __future__ import annotations

from typing import Any

from orchestrator.cli.print import span_text
from orchestrator.cli.stdout import Stdout
from orchestrator.core.timing import Cause, Timing

__all__ = ["show_timing", "timing_json"]

_TOLD = {
    Cause.SERVICE: "waiting for the service's tasks",
    Cause.THROTTLED: "held back by the service",
    Cause.CEILING: "held back by requests_per_second",
    Cause.FETCHING: "fetching",
    Cause.CONVERTING: "checking and converting",
    Cause.PLANNING: "planning: counting lines",
    Cause.OTHER: "ledger, publishing, idle",
}


def timing_json(timing: Timing | None) -> dict[str, Any] | None:
    """Seconds by cause, which add up to the duration, and seconds by limit, which may overlap; null when
    nobody asked for it."""
    if timing is None:
        return None
    return {
        "duration_s": round(timing.duration_s, 3),
        "seconds": {cause.value: round(timing.seconds.get(cause, 0.0), 3) for cause in Cause},
        "full_s": {limit: round(full_s, 3) for limit, full_s in sorted(timing.full_s.items())},
        "hints": list(timing.hints),
    }


def show_timing(out: Stdout, timing: Timing) -> None:
    """One line per cause, the greatest first, and what would have made the run shorter."""
    out.line(f"where {span_text(timing.duration_s)} went:")
    for cause in sorted(Cause, key=lambda cause: -timing.share(cause)):
        if timing.seconds.get(cause, 0.0):
            out.line(f"  {timing.share(cause):>4.0%}  {_TOLD[cause]}")
    for hint in timing.hints:
        out.line(f"  {hint}")
