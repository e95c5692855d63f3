"""How does a day pass in a test within a second? An asyncio loop whose clock is a number.

The loop's selector never blocks: asked to wait, it adds the time asked for to a virtual ``now`` and returns
at once, so every ``asyncio.sleep``, ``timeout`` and ``call_later`` fires in the order of its deadline and no
test waits for anything. When every task waits and no timer runs, nothing can ever happen again: that is
``Deadlock``, said at once instead of a test that hangs. Executors run inline, on the loop's own thread;
threads that call back into the loop would be invisible to it, and sockets would be polled but never waited
for. Keep both out of simulations.
"""

from __future__ import annotations

import asyncio
import hashlib
import selectors
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, TypeVarTuple, Unpack

__all__ = [
    "START_AT",
    "Deadlock",
    "OutOfTime",
    "SeededRng",
    "Spinning",
    "VirtualClock",
    "VirtualTime",
    "VirtualTimeLoop",
    "run_virtual",
]

START_AT = 1_768_348_800.0
"""2026-01-14T00:00:00Z: where the virtual wall clock starts unless a test says otherwise."""

_SPIN_LIMIT = 1_000_000
"""Turns of the loop at one and the same instant before it counts as spinning."""

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class Deadlock(RuntimeError):
    """Every task waits for another one and no timer runs."""


class OutOfTime(RuntimeError):
    """The horizon was passed: what should have ended goes on."""


class Spinning(RuntimeError):
    """The loop turns and turns and its time stands still."""


class _VirtualSelector(selectors.BaseSelector):
    """Looks at real descriptors without waiting (asyncio registers one of its own) and turns waiting into
    virtual time."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self._turns = 0
        self.now_s = 0.0
        self.horizon_s: float | None = None
        self.waiting: Callable[[], str] = str

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or (timeout is not None and timeout <= 0):
            self._turns += 1
            if self._turns > _SPIN_LIMIT:
                self._turns = 0
                raise Spinning(f"{_SPIN_LIMIT} turns at virtual second {self.now_s:.6f}:{self.waiting()}")
            return ready
        if timeout is None:
            raise Deadlock(f"no timer runs at virtual second {self.now_s:.6f} and all wait:{self.waiting()}")
        self._turns = 0
        self.now_s += timeout
        if self.horizon_s is not None and self.now_s > self.horizon_s:
            self.horizon_s = None  # the loop is closed after this, which may take timers of its own
            raise OutOfTime(f"not done at virtual second {self.now_s:.6f}:{self.waiting()}")
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """``time()`` starts at 0.0 and moves only when all tasks wait. ``horizon_s``: raise OutOfTime beyond that
    second."""

    def __init__(self, *, horizon_s: float | None = None) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)
        self._virtual.horizon_s = horizon_s
        self._virtual.waiting = self._who_waits
        # Timers due within this are due now. The default of 1 ns is less than a float can tell apart after a
        # virtual year, and a timer that is never quite due would turn the loop for ever.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._virtual.now_s

    def run_in_executor(
        self, executor: object, func: Callable[[Unpack[_Ts]], _T], *args: *_Ts
    ) -> asyncio.Future[_T]:
        """Call ``func`` here and now; the future returned is done and carries the result or the exception."""
        done: asyncio.Future[_T] = self.create_future()
        try:
            done.set_result(func(*args))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as fault:  # noqa: BLE001  a simulated crash travels through executors like anything else
            done.set_exception(fault)
        return done

    def _who_waits(self) -> str:
        tasks = sorted(asyncio.all_tasks(self), key=lambda task: task.get_name())
        return "".join(f"\n  {task!r}" for task in tasks)


class VirtualClock:
    """The Clock port on the loop's time: ``start_at`` when the loop stands at 0, plus every jump made since.

    Waiting never depends on it, as on a real machine: a jump moves dates only.
    """

    def __init__(self, loop_time: Callable[[], float], start_at: float = START_AT) -> None:
        self._loop_time = loop_time
        self._offset_s = start_at

    def now(self) -> float:
        return self._offset_s + self._loop_time()

    def jump(self, by_s: float) -> None:
        """Set the wall clock forward, or back with a negative ``by_s``."""
        self._offset_s += by_s


class SeededRng:
    """The Rng port as a function of a seed: the n-th draw is a hash of (seed, n), equal on every machine and
    version."""

    def __init__(self, seed: int | str) -> None:
        self._seed = str(seed)
        self._drawn = 0

    def _block(self) -> bytes:
        self._drawn += 1
        return hashlib.sha256(f"{self._seed}\x1f{self._drawn}".encode()).digest()

    def random(self) -> float:
        return (int.from_bytes(self._block()[:8], "big") >> 11) / (1 << 53)

    def token_hex(self, n_bytes: int) -> str:
        text = b""
        while len(text) < n_bytes:
            text += self._block()
        return text[:n_bytes].hex()

    def fork(self, label: str) -> SeededRng:
        """An independent generator for one part of a simulation: draws elsewhere do not shift the draws
        there."""
        return SeededRng(f"{self._seed}\x1e{label}")


@dataclass(frozen=True, slots=True)
class VirtualTime:
    """What a coroutine under ``run_virtual`` is given."""

    clock: VirtualClock
    rng: SeededRng
    loop: VirtualTimeLoop

    @property
    def elapsed_s(self) -> float:
        """Virtual seconds since the start; no jump of the clock changes it."""
        return self.loop.time()


def run_virtual(
    coro_fn: Callable[[VirtualTime], Awaitable[_T]],
    *,
    seed: int | str = 0,
    start_at: float = START_AT,
    horizon_s: float | None = None,
) -> _T:
    """Run ``await coro_fn(virtual_time)`` to its end in virtual time and return its result.

    Raises whatever it raises; Deadlock when nothing can happen any more; OutOfTime past ``horizon_s``;
    Spinning when time stands still. Tasks left over are cancelled, as ``asyncio.run`` does.
    """
    loop = VirtualTimeLoop(horizon_s=horizon_s)
    found: list[_T] = []

    async def main() -> None:
        # Not returned: the runner sets its signal handler back, which spells the whole result out.
        found.append(await coro_fn(VirtualTime(VirtualClock(loop.time, start_at), SeededRng(seed), loop)))

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
    return found[0]
