"""Which of many files are read whole when only a share of them is to be?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

__all__ = ["picks"]

_ROUNDING = 1e-9
"""7 % of 100 files are 7, though 0.07 * 100 is a little more in binary."""


def picks(share: float, files: int, random: Callable[[], float]) -> Iterator[bool]:
    """For one file after the other whether it is picked: ``share`` (0 to 1) of ``files`` to come, rounded up,
    so one at least unless ``share`` is 0. Every file has the same chance, and so has every set of that many;
    ``random`` draws from ``[0, 1)``. Files that come beyond the number foretold are picked with the chance
    ``share`` each. Never ends, and remembers two numbers whatever ``files`` is.
    """
    wanted = math.ceil(share * files - _ROUNDING)
    for left in range(files, 0, -1):
        picked = random() * left < wanted
        wanted -= picked
        yield picked
    while True:
        yield random() < share
