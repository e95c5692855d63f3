"""With which first digits does every time begin that lies in a stretch of a window?

Times are written in seconds, milliseconds or finer, and the first ten digits are the seconds. So one look for
a few leading digits tells of many rows at once that they lie in a window, however many seconds apart they
are.
"""

from __future__ import annotations

from orchestrator.core.window import Window

__all__ = ["leading_digits"]

_DIGITS = 10
_MOST = 6


def leading_digits(low_s: int, high_s: int, window: Window) -> tuple[bytes, ...]:
    """Beginnings, none the beginning of another, that between them stand for every second from ``low_s`` to
    ``high_s`` and for none outside ``window``: as short ones as that allows. Empty when more than six would
    be needed, or the seconds do not lie in the window, or have not ten digits."""
    inside = window.start_s <= low_s <= high_s < window.end_s
    if not inside or len(str(low_s)) != _DIGITS or len(str(high_s)) != _DIGITS:
        return ()
    found: list[bytes] = []
    at_s = low_s
    while at_s <= high_s:
        if len(found) == _MOST:
            return ()
        start_s, cut = _widest(at_s, window, first=not found)
        found.append(str(start_s)[: _DIGITS - cut].encode())
        at_s = start_s + 10**cut
    return tuple(found)


def _widest(at_s: int, window: Window, *, first: bool) -> tuple[int, int]:
    """Start of the widest decimal stretch in the window that holds ``at_s``, and how many digits it leaves
    open; one that follows another must begin at ``at_s``."""
    for cut in range(_DIGITS - 1, 0, -1):
        start_s = at_s - at_s % 10**cut
        begins = first or start_s == at_s
        if begins and window.start_s <= start_s and start_s + 10**cut <= window.end_s:
            return start_s, cut
    return at_s, 0
