"""The installed command as a child process, and an emulator of the service as another one."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ORCHESTRATOR = (str(Path(sys.executable).with_name("orchestrator")),)
DAY_ROWS = 20_000
WORLD = f"""\
seed = 3
[behaviour]
run_base_s = 0.2
run_per_line_s = 0.0
[[logstores]]
name = "web"
start = 2026-01-14T00:00:00Z
end = 2026-01-15T00:00:00Z
density = {{ kind = "uniform", rows_per_day = {DAY_ROWS} }}
"""
PATIENCE_S = 90.0


@dataclass(frozen=True)
class Emulated:
    """A running emulator: where it is, what opens it, and the door to its switches."""

    endpoint: str
    credentials: Mapping[str, str]

    def behave(self, **switches: object) -> None:
        self._ask("behaviour", switches)

    def stats(self) -> dict[str, Any]:
        return self._ask("stats", None)

    def reset(self) -> None:
        self._ask("behaviour?reset=1", {"run_base_s": 0.2, "run_per_line_s": 0.0})

    def _ask(self, path: str, body: object) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(f"{self.endpoint}/_emulator/{path}", data)) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    exit: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout; fails when there is more or less than one."""
        found: dict[str, Any] = json.loads(self.out)
        assert {"version", "exit", "complete", "settled_to", "error"} <= set(found)
        assert found["version"] == 1
        assert found["exit"] == self.exit
        return found


@dataclass
class Desk:
    """A folder with a job file, and the command line in it."""

    folder: Path
    emulated: Emulated
    environment: dict[str, str]
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    def write_jobs(self, *, head: str = "", limits: str = 'disk_reserve = "1MB"', job: str = "") -> None:
        (self.folder / "jobs.toml").write_text(
            f"""\
{head}
[service]
endpoint = "{self.emulated.endpoint}"
[limits]
{limits}
[[jobs]]
name = "web"
logstore = "web"
from = 2026-01-14T00:00:00Z
to = 2026-01-15T00:00:00Z
max_lines = 5000
destination = "archive"
{job}
""",
            encoding="utf-8",
        )

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [*ORCHESTRATOR, *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.children.append(child)
        return child

    def end(self, child: subprocess.Popen[str]) -> Ended:
        out, err = child.communicate(timeout=PATIENCE_S)
        return Ended(child.returncode, out, err)

    def call(self, *arguments: str, **environment: str) -> Ended:
        return self.end(self.start(*arguments, **environment))

    def files(self) -> list[Path]:
        return sorted(path for path in (self.folder / "archive").rglob("*.jsonl") if path.is_file())

    def rows(self) -> list[str]:
        return sorted(line for path in self.files() for line in path.read_text("utf-8").splitlines())


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    """One emulator for the whole ring; tests put its switches back."""
    folder = tmp_path_factory.mktemp("emulator")
    (folder / "world.toml").write_text(WORLD, encoding="utf-8")
    child = subprocess.Popen(
        [*ORCHESTRATOR, "emulate", "--port", "0", "--world", str(folder / "world.toml")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    found = {}
    for _ in range(3):
        name, _, value = child.stdout.readline().strip().removeprefix("export ").partition("=")
        found[name] = shlex.split(value)[0]
    yield Emulated(found.pop("BLS_ENDPOINT"), found)
    child.terminate()
    child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 0


def furnished(folder: Path, emulated: Emulated) -> Desk:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV_")}
    desk = Desk(folder, emulated, {**environment, **emulated.credentials})
    desk.write_jobs()
    return desk


@pytest.fixture
def desk(tmp_path: Path, emulator: Emulated) -> Iterator[Desk]:
    """A job file for one day of 20,000 lines in five slices; nothing is exported yet."""
    made = furnished(tmp_path, emulator)
    yield made
    for child in made.children:
        if child.poll() is None:
            child.kill()
            child.communicate()
    emulator.reset()


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, emulator: Emulated) -> Desk:
    """The same, exported whole; for tests that only read."""
    made = furnished(tmp_path_factory.mktemp("exported"), emulator)
    assert made.call("run", "--no-progress").exit == 0
    return made
