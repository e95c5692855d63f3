"""The emulated service as a child process: where it is, what opens it, what it was asked."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ORCHESTRATOR", "Emulated", "emulated", "environment"]

ORCHESTRATOR = str(Path(sys.executable).with_name("orchestrator"))


@dataclass(frozen=True)
class Emulated:
    """A running emulator. ``credentials`` are the environment variables that hold its keys."""

    endpoint: str
    credentials: Mapping[str, str]

    def stats(self) -> dict[str, Any]:
        """What it was asked so far, as it counts."""
        return self._ask("stats", None)

    def tasks(self) -> list[dict[str, str]]:
        """Every remote task that has not been deleted."""
        found: list[dict[str, str]] = self._ask("tasks", None)["tasks"]
        return found

    def behave(self, **switches: object) -> None:
        """Change some switches of its behaviour."""
        self._ask("behaviour", switches)

    def _ask(self, path: str, body: object) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(f"{self.endpoint}/_emulator/{path}", data)) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


def environment() -> dict[str, str]:
    """Ours without what would change an export: keys, settings and proxies of whoever runs the benchmark."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BCE_", "ORCHESTRATOR_")) and not name.lower().endswith("_proxy")
    }


@contextmanager
def emulated(folder: Path, world: str) -> Iterator[Emulated]:
    """An emulator of ``world`` (TOML, see orchestrator/emulator/world_file.py), stopped at the end."""
    (folder / "world.toml").write_text(world, encoding="utf-8")
    child = subprocess.Popen(
        [ORCHESTRATOR, "emulate", "--port", "0", "--world", str(folder / "world.toml")],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert child.stdout is not None
        said = {}
        for _ in range(3):
            name, separator, value = child.stdout.readline().strip().removeprefix("export ").partition("=")
            if not separator:
                raise RuntimeError("the emulator ended before it said where it is")
            said[name] = shlex.split(value)[0]
        yield Emulated(said.pop("BLS_ENDPOINT"), said)
    finally:
        child.terminate()
        child.wait()
