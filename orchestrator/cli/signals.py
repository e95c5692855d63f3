"""What does a signal do? One answer at every moment of a command, and a traceback at none.

    from the first line on   ends at once: nothing has begun
    a command that reads     KeyboardInterrupt, told as such
    ``run`` at work          SIGINT, SIGTERM or SIGHUP drains, a second SIGINT or SIGTERM ends at once
    the answer is written    nothing, so that the exit code stays true; a second one ends at once

Handlers are Python's own and not the loop's: they also run while the loop is held up, as by a terminal that
takes no more output. This module is imported before all others of the command, so it imports little.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

__all__ = ["ENDING", "at_once", "begin", "finished", "obeyed", "reading"]

ENDING = (signal.SIGINT, signal.SIGTERM)
HANGUP = signal.SIGHUP
INTERRUPTED = 130
AT_ONCE_S = 0.8
"""How long the last words may take when nobody reads them."""
_WORDS = b"error: interrupted before it began\n  how to mend it: give the same command again\n"
_DOCUMENT = (
    '{"version":1,"jobs":[],"exit":130,"complete":false,"settled_to":null,"error":{"code":"interrupted",'
    '"message":"interrupted before it began","hint":"give the same command again","request_id":null}}\n'
)

Handler = Callable[[int, FrameType | None], object]
_begun = False


def begin(arguments: list[str]) -> None:
    """From now on signals are this module's. For the process's own command line only."""
    global _begun  # noqa: PLW0603  signals are the process's, and so is this
    _begun = True

    def early(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            if "--json" in arguments:
                os.write(1, _DOCUMENT.encode())
            os.write(
                2, b"error: interrupted before it began\n  how to mend it: give the same command again\n"
            )
        os._exit(INTERRUPTED)

    _handle(early)


def reading() -> None:
    """The command may be interrupted anywhere: the others are told as SIGINT is, which asyncio knows how to
    bring into a loop."""
    if _begun:
        _handle(lambda *_: signal.raise_signal(signal.SIGINT))
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def obeyed(drain: Callable[[str], object], at_once: Callable[[], object]) -> Iterator[None]:
    """The first signal calls ``drain`` with its name, a second SIGINT or SIGTERM ``at_once``; both between
    two instructions of whatever runs, so they must not wait."""
    met: list[int] = []

    def received(number: int, frame: FrameType | None) -> None:
        met.append(number)
        if len(met) == 1:
            drain(signal.Signals(number).name)
        elif number != HANGUP:
            at_once()

    before = _handle(received)
    try:
        yield
    finally:
        if _begun:
            _handle(_patient(met))
        else:
            for number, handler in before.items():
                signal.signal(number, handler)


def at_once(last_words: Callable[[], None]) -> None:
    """End the process now; ``last_words`` get a moment, whatever they meet."""
    try:
        signal.signal(signal.SIGALRM, lambda *_: os._exit(INTERRUPTED))
        signal.setitimer(signal.ITIMER_REAL, AT_ONCE_S)
        last_words()
    finally:
        os._exit(INTERRUPTED)


def finished() -> None:
    """All is said and written: no signal changes the exit code any more."""
    if _begun:
        signal.pthread_sigmask(signal.SIG_BLOCK, {*ENDING, HANGUP})


def _patient(met: list[int]) -> Handler:
    """While the answer is written the first signal waits for it; one more than that does not."""

    def received(number: int, frame: FrameType | None) -> None:
        met.append(number)
        if len(met) > 1 and number != HANGUP:
            os._exit(INTERRUPTED)

    return received


def _handle(handler: Handler) -> dict[signal.Signals, signal._HANDLER]:
    """``handler`` for all of them but a hangup that was to be ignored, as by ``nohup``; what was there
    before."""
    before: dict[signal.Signals, signal._HANDLER] = {}
    for number in (*ENDING, HANGUP):
        if number != HANGUP or signal.getsignal(HANGUP) is not signal.SIG_IGN:
            before[number] = signal.signal(number, handler)
    return before
