"""What does the program do about each behaviour that no page of the service describes? One row per switch of
the emulator, with every setting it is tested under.

``tests/simulation/test_switches.py`` exports under each setting; ``docs/generate.py`` writes the rows into
docs/reliability.md. A switch without a row, or a setting without a test, fails the build.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from orchestrator.emulator.behaviour import Behaviour
from orchestrator.testing.switch_row import Switch
from orchestrator.testing.switch_rows import SWITCHES

__all__ = ["ITEMS", "SWITCHES", "complaints", "on_the_table"]

ITEMS: Mapping[int, str] = {
    1: "ends of a task's window: start or end, inclusive or exclusive",
    2: "the same create again: two tasks, one, another one in its place, or an error",
    3: "a create whose answer is lost: made, made later, or not",
    4: "a new task is listed at once or later; a walk sees an item twice, or misses one",
    5: "a page size above the ceiling: honoured, lowered in silence, rejected",
    6: "names of fields: `total`, `searchStatistic`, `requestId` and their variants; fields "
    "left out; `OK` or `success`",
    7: "which 2xx, with or without a body",
    8: "a link before SUCCESS: given, or refused",
    9: "links: lifetime, fresh or the same again, presigned or opaque, host, scheme, redirected",
    10: "files: lifetime; afterwards EXPIRED, or the task is gone",
    11: "form of the file: lines, array, header, compression, byte order mark, line ends; ETag, ranges",
    12: "no rows: an empty file, no file, or FAILED",
    13: "`writtenRows`: exact, late, missing, zero, the limit, off by one",
    14: "rows of equal time in any order, another one each time",
    15: "counts and files of one window differ: late records, retention, a lag, inexact counts",
    16: "histogram: width, alignment, empty buckets, `hits`; refused or timed out",
    17: "a count: number or text, truncated, refused; SQL buckets",
    18: "pace: 429 on any call, with or without Retry-After; a hidden quota of tasks as 429, "
    "400, 403 or long WAITING; 413",
    19: "status of a refused signature; clocks that differ",
    20: "states: RUNNING never shown or falling back, unknown words, FAILED without a code, "
    "EXPIRED before the link, running for ever",
    21: "deleting what runs: cancelled, refused, or it runs on; the file goes or stays; a second delete",
    22: 'times in answers: fractions, offsets; empty, null or absent for "not yet"',
    23: "empty texts and zeros in requests mean absent, or not; unknown fields",
    24: "windows below a second; start equal to end",
    25: "the logstore goes away, or is made anew, while a task waits",
    26: "an empty stream name; a stream that does not exist",
    0: "the way there and back, and the file on it",
}
"""What may be so or otherwise: the items of bls-api.md section 10, and the network, which is none there, as
0."""


def on_the_table() -> dict[str, Switch]:
    """Every row by the name of its switch."""
    return {switch.name: switch for switch in SWITCHES}


def complaints(switches: Sequence[Switch] = SWITCHES) -> list[str]:
    """Where the rows and the emulator's switches disagree: missing, unknown or doubled rows, defaults that
    are not first, values of a choice that no setting takes, a single setting, items without a switch."""
    hints, defaults = get_type_hints(Behaviour), Behaviour()
    names = [each.name for each in fields(Behaviour)]
    rows = [switch.name for switch in switches]
    found = [f"{name}: no row" for name in names if name not in rows]
    found += [f"{name}: no such switch" for name in rows if name not in names]
    found += [f"{name}: more than one row" for name in sorted(set(rows)) if rows.count(name) > 1]
    for switch in switches:
        if switch.name in names:
            found += [
                f"{switch.name}: {wrong}"
                for wrong in _unlike(switch, hints[switch.name], getattr(defaults, switch.name))
            ]
    items = {switch.item for switch in switches}
    return found + [f"item {item}: no switch" for item in ITEMS if item not in items]


def _unlike(switch: Switch, hint: Any, default: Any) -> list[str]:
    found = [] if switch.settings[0] == default else [f"the default {default!r} is not the first setting"]
    if len(set(switch.settings)) < 2:
        found.append("one setting proves nothing")
    wanted: tuple[Any, ...] = ()
    if get_origin(hint) is Literal:
        wanted = get_args(hint)
    elif hint is bool:
        wanted = (True, False)
    return found + [f"no test of {value!r}" for value in wanted if value not in switch.settings]
