"""What goes wrong on the way of one request: throttling, broken connections, gateway pages, lost replies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.chance import Chance
from orchestrator.emulator.refusal import Refusal

__all__ = ["Family", "Kind", "Mishap", "Pace", "draw_latency", "draw_mishap"]

Family = Literal["create", "read", "list", "link", "delete", "query"]


class Kind(StrEnum):
    """What the caller gets instead of the answer."""

    DROP = "drop"  # the connection breaks
    GATEWAY_PAGE = "gateway page"  # HTML with status 502 or 504
    SERVER_ERROR = "server error"  # JSON with status 500 or 503
    MALFORMED = "malformed"  # 200, but no JSON


@dataclass(frozen=True, slots=True)
class Mishap:
    """``after_effect`` tells whether the request is carried out although its answer is lost."""

    kind: Kind
    status: int
    after_effect: bool


def _of_status(status: str, *, after_effect: bool) -> Mishap:
    match status:
        case "drop":
            return Mishap(Kind.DROP, 0, after_effect)
        case "500" | "503":
            return Mishap(Kind.SERVER_ERROR, int(status), after_effect)
        case _:
            return Mishap(Kind.GATEWAY_PAGE, int(status), after_effect)


def draw_mishap(behaviour: Behaviour, chance: Chance, family: Family) -> Mishap | None:
    """What goes wrong with the next request of a family, if anything."""
    if family == "create":
        if chance.happens("lost made", behaviour.lost_reply_made):
            return _of_status(behaviour.lost_reply_form, after_effect=True)
        if chance.happens("lost unmade", behaviour.lost_reply_unmade):
            return _of_status(behaviour.lost_reply_form, after_effect=False)
    for status, probability in (
        ("drop", behaviour.reset_probability),
        ("502", behaviour.bad_gateway_probability),
        ("500", behaviour.server_error_probability),
    ):
        if chance.happens(f"{status} {family}", probability):
            return _of_status(status, after_effect=chance.happens(f"effect {family}", 0.5))
    if chance.happens(f"malformed {family}", behaviour.malformed_probability):
        return Mishap(Kind.MALFORMED, 200, after_effect=True)
    return None


def draw_latency(behaviour: Behaviour, chance: Chance) -> float:
    """How long the next answer takes, in seconds."""
    if not behaviour.latency_s:
        return 0.0
    return behaviour.latency_s * (1 + behaviour.latency_jitter * (2 * chance.fraction("latency") - 1))


class Pace:
    """Requests a second per family: a bucket of tokens each, that refuses with RequestLimited 429 when it is
    empty."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._buckets: dict[Family, tuple[float, float]] = {}

    def admit(self, family: Family, behaviour: Behaviour, now_s: float) -> None:
        """Lets one request pass, or raises the 429."""
        rate = _RATES[family](behaviour)
        full = max(1.0, rate * behaviour.burst_s)
        level, since_s = self._buckets.get(family, (full, now_s))
        level = min(full, level + max(0.0, now_s - since_s) * rate)
        wanting = rate > 0 and level < 1
        self._buckets[family] = (level if wanting or not rate else level - 1, now_s)
        if wanting or self._chance.happens(f"throttle {family}", behaviour.throttle_probability):
            raise self.too_many(behaviour)

    @staticmethod
    def too_many(behaviour: Behaviour) -> Refusal:
        """The 429 itself."""
        after = behaviour.retry_after_s
        return Refusal(429, "RequestLimited", "Request rate is limited", after if after >= 0 else None)


_RATES: dict[Family, Callable[[Behaviour], float]] = {
    "create": lambda behaviour: behaviour.create_per_s,
    "read": lambda behaviour: behaviour.read_per_s,
    "list": lambda behaviour: behaviour.list_per_s,
    "link": lambda behaviour: behaviour.link_per_s,
    "delete": lambda behaviour: behaviour.delete_per_s,
    "query": lambda behaviour: behaviour.query_per_s,
}
