"""What does the program do about each behaviour that no page of the service describes? One row per switch of
the emulator, with every setting it is tested under.

``tests/simulation/test_switches.py`` exports under each setting; ``docs/generate.py`` writes the rows into
docs/reliability.md. A switch without a row, or a setting without a test, fails the build.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from orchestrator.emulator.behaviour import Behaviour
from orchestrator.testing.switch_row import Switch
from orchestrator.testing.switch_rows import SWITCHES

__all__ = ["ITEMS", "SWITCHES", "complaints", "on_the_table"]

ITEMS: Mapping[int, str] = {
    1: "window ends",
    2: "create repeated",
    3: "outcome of a create lost",
    4: "list after create",
    5: "page size",
    6: "spelling of fields",
    7: "which 2xx",
    8: "link before SUCCESS",
    9: "links",
    10: "file lifetime",
    11: "file content",
    12: "empty result",
    13: "`writtenRows`",
    14: "order of ties",
    15: "counts change",
    16: "histogram",
    17: "SQL counts",
    18: "throttling",
    19: "refused signatures",
    20: "states",
    21: "delete",
    22: "times in answers",
    23: "values in requests",
    24: "odd windows",
    25: "logstore goes away",
    26: "stream names",
}
"""bls-api.md section 10, in a word or two each. Item 0 stands for the network, which is no item there."""


def on_the_table() -> dict[str, Switch]:
    """Every row by the name of its switch."""
    return {switch.name: switch for switch in SWITCHES}


def complaints() -> list[str]:
    """Where the rows and the emulator's switches disagree: missing, unknown or doubled rows, defaults that
    are not first, values of a choice that no setting takes, a single setting, items without a switch."""
    hints, defaults = get_type_hints(Behaviour), Behaviour()
    names = [each.name for each in fields(Behaviour)]
    rows = [switch.name for switch in SWITCHES]
    found = [f"{name}: no row" for name in names if name not in rows]
    found += [f"{name}: no such switch" for name in rows if name not in names]
    found += [f"{name}: more than one row" for name in sorted(set(rows)) if rows.count(name) > 1]
    for switch in SWITCHES:
        if switch.name in names:
            found += [
                f"{switch.name}: {wrong}"
                for wrong in _unlike(switch, hints[switch.name], getattr(defaults, switch.name))
            ]
    items = {switch.item for switch in SWITCHES}
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
