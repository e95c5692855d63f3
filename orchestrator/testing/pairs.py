"""Which few combinations show every pair of odd settings together? A covering array, greedily."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

from orchestrator.testing.switch_row import Switch

__all__ = ["Oddity", "covering"]

Oddity = tuple[str, Any]
"""A switch and a setting that is not its default."""


def covering(
    switches: Sequence[Switch], *, at_once: int, alone: Iterable[Oddity] = ()
) -> list[tuple[Oddity, ...]]:
    """Combinations of at most ``at_once`` oddities, no two of one switch, such that every two oddities that
    can meet do meet in one of them; ``alone`` are left out. The same list every time."""
    shunned = set(alone)
    odd = [
        (switch.name, value)
        for switch in switches
        for value in switch.settings[1:]
        if (switch.name, value) not in shunned
    ]
    number = {oddity: place for place, oddity in enumerate(odd)}
    wanting: dict[int, set[int]] = {place: set() for place in range(len(odd))}
    for one, other in combinations(odd, 2):
        if one[0] != other[0]:
            wanting[number[one]].add(number[other])
            wanting[number[other]].add(number[one])
    found = []
    while any(wanting.values()):
        found.append(tuple(odd[place] for place in _combination(odd, wanting, at_once)))
    return found


def _combination(odd: Sequence[Oddity], wanting: dict[int, set[int]], at_once: int) -> list[int]:
    """The oddity that still lacks most partners, then whoever meets most of those chosen for the first time;
    what has met is struck off."""
    first = max(wanting, key=lambda place: (len(wanting[place]), -place))
    chosen, names = [first], {odd[first][0]}
    gain = dict.fromkeys(wanting, 0)
    while len(chosen) < at_once:
        for place in wanting[chosen[-1]]:
            gain[place] += 1
        best = max(
            (place for place in gain if odd[place][0] not in names),
            key=lambda place: (gain[place], len(wanting[place]), -place),
            default=None,
        )
        if best is None or not gain[best]:
            break
        chosen.append(best)
        names.add(odd[best][0])
    for one, other in combinations(chosen, 2):
        wanting[one].discard(other)
        wanting[other].discard(one)
    return sorted(chosen)
