"""How is the emulated service reached as a process of its own, one that outlives whoever exports from it?"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from orchestrator.settings import environment

__all__ = ["PROGRAM", "EmulatedService", "emulated"]

PROGRAM: Final[Sequence[str]] = (sys.executable, "-m", "orchestrator")
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class EmulatedService:
    """A running emulator: where it is, what opens it, and the door to its switches and to the truth."""

    endpoint: str
    credentials: Mapping[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """For children that export from it: nothing of the user's own accounts, and no proxy in between."""
        kept = {
            name: value
            for name, value in environment().items()
            if not name.startswith(("BCE_", "ORCHESTRATOR_", "COV_")) and name.lower() != "no_proxy"
        }
        return {**kept, **self.credentials, "NO_PROXY": "127.0.0.1"}

    def behave(self, switches: Mapping[str, object]) -> None:
        """These switches from now on, all others at their defaults."""
        self._ask("behaviour?reset=1", dict(switches))

    def stats(self) -> dict[str, Any]:
        """What the service saw of its callers."""
        return self._ask("stats")

    def requests(self) -> dict[str, Any]:
        """Requests and their statuses so far; small enough to be asked for often."""
        return self._ask("requests")

    def tasks(self) -> list[dict[str, str]]:
        """Every remote task that has not been deleted."""
        found: list[dict[str, str]] = self._ask("tasks")["tasks"]
        return found

    def _ask(self, path: str, body: object = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(f"{self.endpoint}/_emulator/{path}", data)  # noqa: S310  our own child
        with direct.open(request, timeout=_PATIENCE_S) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


@contextmanager
def emulated(folder: Path, world: Path) -> Iterator[EmulatedService]:
    """``emulate --world`` as a child; its stderr goes to ``emulator.log`` in ``folder``. Raises RuntimeError
    when it does not start, or had an error of its own by the end."""
    log = folder / "emulator.log"
    with log.open("wb") as errors:
        child = subprocess.Popen(  # noqa: S603  our own program
            [*PROGRAM, "emulate", "--port", "0", "--world", str(world)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield _introduced(child, log)
    finally:
        child.terminate()
        try:
            child.communicate(timeout=_PATIENCE_S)
        finally:
            child.kill()
    if child.returncode != 0 or "Traceback" in log.read_text(encoding="utf-8", errors="replace"):
        raise RuntimeError(f"the emulator ended with {child.returncode}; see {log}")


def _introduced(child: subprocess.Popen[str], log: Path) -> EmulatedService:
    found: dict[str, str] = {}
    for _ in range(3):
        line = child.stdout.readline() if child.stdout else ""
        if not line:
            raise RuntimeError(f"the emulator did not start; see {log}")
        name, _, value = line.strip().removeprefix("export ").partition("=")
        found[name] = shlex.split(value)[0]
    return EmulatedService(found.pop("BLS_ENDPOINT"), found)
