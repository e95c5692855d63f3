"""How fast, with how much processor time and in how much memory does one large file come in?

A file of sorted JSON lines of about 300 bytes (``FETCH_BYTES``, a gigabyte by default), served by nginx on
this machine, so that the network is no limit. Ours is the real transfer: fetched over HTTP, digested, every
row counted and held against the window, written and made durable, by a process of its own; its time is that
of the transfer, without the start of the interpreter. Beside it: ``curl -o``, which only stores the bytes and
leaves them to the system to write; the same followed by a ``sync`` of the file, so that one sees what
durability costs; ``aria2c`` with one connection and with four.

Then a file of a fifth of that behind a server that gives each connection 20 MB/s, where four connections pay,
and under a ceiling of bandwidth, which must hold. Everything in turn, ``FETCH_ROUNDS`` times (5); the middle
counts.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.report import Row, could_not_measure, print_table
from orchestrator.core.job import Compression, DestinationSpec, Order, Output, ServedFormat
from orchestrator.core.model import Receipt, Ticket
from orchestrator.core.redact import PresignedLink
from orchestrator.core.window import Window
from orchestrator.dataplane.inline import InlineDataPlane
from orchestrator.remote.files import HttpFileSource

__all__ = ["WINDOW", "Spent", "made", "served", "spent", "ticket"]

SIZE_BYTES: Final = int(os.environ.get("FETCH_BYTES", "1000000000"))
ROUNDS: Final = int(os.environ.get("FETCH_ROUNDS", "5"))
SLOW_BYTES_PER_S: Final = 20_000_000
CEILING_BYTES_PER_S: Final = 30_000_000.0
MOST_BYTES: Final = 300_000_000
WINDOW: Final = Window(1_768_348_800, 1_768_349_400)
_INSTALL: Final = {"nginx": "nginx-light", "curl": "curl", "aria2c": "aria2"}
"""What Debian calls the packages of the programs that stand beside ours."""
_MEASURE: Final = """
import json, os, resource, subprocess, sys, time
def resident(pid):
    try:
        pages = int(open(f'/proc/{pid}/statm').read().split()[1])
        children = open(f'/proc/{pid}/task/{pid}/children').read().split()
    except OSError:
        return 0
    return pages * resource.getpagesize() + sum(map(resident, children))
began = time.monotonic()
child = subprocess.Popen(sys.argv[2:])
most, ended, used = 0, 0, None
while not ended:
    most = max(most, resident(child.pid))
    time.sleep(0.01)
    ended, status, used = os.wait4(child.pid, os.WNOHANG)
found = {'wall_s': time.monotonic() - began, 'cpu_s': used.ru_utime + used.ru_stime,
         'memory_bytes': max(most, used.ru_maxrss * 1024)}
open(sys.argv[1], 'w').write(json.dumps(found))
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A small parent: what a process inherits at its birth counts among its most, and children count too."""


@dataclass(frozen=True)
class Spent:
    """What a command cost, its children included. ``said`` is the JSON it printed, if any."""

    wall_s: float
    cpu_s: float
    memory_bytes: int
    said: Any = None


def spent(command: list[str], folder: Path) -> Spent:
    """Run ``command`` in ``folder``. What it says of its own ``wall_s`` and ``cpu_s`` counts in place of the
    whole process. Raises RuntimeError when it fails."""
    figures = folder / "figures.json"
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(figures), *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    found = json.loads(figures.read_text("utf-8"))
    said = json.loads(done.stdout) if done.stdout.startswith("{") else None
    own = {key: said[key] for key in ("wall_s", "cpu_s") if said and key in said}
    return Spent(**{**found, **own}, said=said)


def made(path: Path, size_bytes: int, *, leads: bool = True) -> Path:
    """A file of at least that many bytes of rows in order, over the whole window; the time is the first thing
    in a row, or the last."""
    kinds = ("GET", "POST", "PUT", "DELETE")
    rows = size_bytes // 300
    span_ms = WINDOW.length_s * 1000 - 1
    with path.open("wb") as file:
        written = row = 0
        while written < size_bytes:
            lines = []
            for number in range(row, row + 10_000):
                at = WINDOW.start_s * 1000 + min(number * span_ms // rows, span_ms)
                mixed = number * 2654435761 % 2**32
                rest = (
                    f'"@stream":"host-{number % 40:02}","level":"INFO","trace":"{mixed * mixed:032x}",'
                    f'"@raw":"{kinds[mixed % 4]} /api/v2/items/{mixed % 100_000}?page={mixed % 50}\\" 200 '
                    f'{mixed % 9973} 0.{mixed % 997:03} \\"okhttp/4.12.0 (Linux; Android 14; Pixel 8)\\" '
                    f'upstream=10.2.{mixed % 250}.{number % 250}:8080 request_id={mixed:08x}"'
                )
                lines.append(
                    f'{{"@timestamp":{at},{rest}}}\n' if leads else f'{{{rest},"@timestamp":{at}}}\n'
                )
            block = "".join(lines).encode()
            file.write(block)
            written, row = written + len(block), row + len(lines)
    return path


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The files of ``folder`` behind nginx; below ``/slow/`` each connection gets 20 MB/s. Yields the
    address. Raises RuntimeError when nginx does not come up."""
    with socket.socket() as asked, tempfile.TemporaryDirectory() as own:
        asked.bind(("127.0.0.1", 0))
        port = asked.getsockname()[1]
        temporary = "".join(
            f"{name}_temp_path {own}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        settings = Path(own) / "nginx.conf"
        settings.write_text(
            f"daemon off; worker_processes 1; pid {own}/pid; error_log {own}/errors;"
            "events { worker_connections 64; }"
            f"http {{ access_log off; sendfile on; sendfile_max_chunk 2m; {temporary}"
            f"server {{ listen 127.0.0.1:{port}; root {folder};"
            f"location /slow/ {{ alias {folder}/; limit_rate {SLOW_BYTES_PER_S}; }} }} }}\n",
            encoding="utf-8",
        )
        asked.close()
        server = subprocess.Popen(
            ["nginx", "-e", f"{own}/errors", "-c", str(settings)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _await_port(port, server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()


def _await_port(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError("nginx does not answer")


def ticket(folder: Path, url: str, **changes: Any) -> Ticket:
    """What a run asks of the data plane for one file of ``made``."""
    values: dict[str, Any] = {
        "slice_id": "s",
        "job": "web",
        "attempt_key": "a-1",
        "window": WINDOW,
        "requested": WINDOW,
        "limit": 10**9,
        "order": Order.ASC,
        "format": ServedFormat.JSON,
        "output": Output.RAW,
        "compression": Compression.NONE,
        "time_field": "auto",
        "destination": DestinationSpec(str(folder)),
        "link": PresignedLink(url),
    }
    return Ticket(**{**values, **changes})


async def _transferred(folder: Path, url: str, ceiling: float | None, files: int) -> dict[str, Any]:
    source = HttpFileSource()
    plane = InlineDataPlane(source)
    before, began = _cpu_s(), time.monotonic()
    receipts = await asyncio.gather(
        *(
            plane.transfer(ticket(folder, url, attempt_key=f"a-{n}", bandwidth_bytes_per_s=ceiling))
            for n in range(files)
        )
    )
    wall_s = time.monotonic() - began
    await plane.close()
    await source.close()
    rows = {receipt.stored_rows for receipt in receipts if isinstance(receipt, Receipt)}
    fetched = sum(receipt.fetched_bytes for receipt in receipts if isinstance(receipt, Receipt))
    return {"wall_s": wall_s, "cpu_s": _cpu_s() - before, "rows": max(rows), "bytes": fetched}


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _ours(url: str, *, ceiling: float = 0, files: int = 1) -> list[str]:
    return [sys.executable, "-m", "benchmarks.fetching", url, str(ceiling), str(files)]


def _rounds(commands: dict[str, list[str]], rounds: int) -> dict[str, list[Spent]]:
    """Each command in turn, in a folder of its own; what was written is on disk before the next begins."""
    found: dict[str, list[Spent]] = defaultdict(list)
    for _ in range(rounds):
        for name, command in commands.items():
            with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as place:
                found[name].append(spent(command, Path(place)))
            os.sync()
    return found


def _middle(of: list[Spent], figure: Callable[[Spent], float]) -> float:
    return median(map(figure, of))


def _aria(url: str, connections: int) -> list[str]:
    quiet = [
        "--quiet=true",
        "--no-conf=true",
        "--file-allocation=none",
        "--allow-overwrite=true",
        "-o",
        "file",
    ]
    return ["aria2c", *quiet, f"-x{connections}", f"-s{connections}", "-k1M", url]


def _fast(origin: str) -> None:
    first, last = f"{origin}/leads.jsonl", f"{origin}/ends.jsonl"
    commands = {"ours": _ours(first), "ours, time last": _ours(last)}
    if shutil.which("curl"):
        store = f"curl -sS -o file {first}"
        commands |= {
            "curl -o": ["sh", "-c", f"exec {store}"],
            "curl -o, then sync": ["sh", "-c", f"{store} && sync file"],
        }
    if shutil.which("aria2c"):
        commands |= {"aria2c": _aria(first, 1), "aria2c -x4": _aria(first, 4)}
    found = _rounds(commands, ROUNDS)
    speed: list[Row] = []
    cpu: list[Row] = []
    for name in commands:
        if name.startswith("ours"):
            continue
        for ours in ("ours", "ours, time last"):
            if ours != "ours" and name != "curl -o":
                continue
            what = f"beside {name}" + ours.removeprefix("ours")
            target = 0.8 if name == "curl -o" else None
            mine, theirs = (_middle(found[who], lambda one: one.wall_s) for who in (ours, name))
            speed.append(Row(what, SIZE_BYTES / 1e6 / mine, SIZE_BYTES / 1e6 / theirs, target, at_least=True))
            mine, theirs = (_middle(found[who], lambda one: one.cpu_s) for who in (ours, name))
            cpu.append(Row(what, mine, theirs))
    print_table(f"one file of {SIZE_BYTES / 1e6:,.0f} MB, digest, rows and edges", "MB/s", "peer", speed)
    print_table("processor time for it", "s", "peer", cpu)
    most = max(one.memory_bytes for name in ("ours", "ours, time last") for one in found[name])
    print_table(
        "the most memory it took",
        "MB",
        "promised",
        [Row("ours, children included", most / 1e6, MOST_BYTES / 1e6, 1.0)],
    )


def _throttled(origin: str, size_bytes: int) -> None:
    slow = f"{origin}/slow/fifth.jsonl"
    commands = {"ours": _ours(slow)}
    if shutil.which("curl"):
        commands["curl -o"] = ["curl", "-sS", "-o", "file", slow]
    if shutil.which("aria2c"):
        commands["aria2c -x4"] = _aria(slow, 4)
    found = _rounds(commands, min(ROUNDS, 3))
    rate = {name: size_bytes / 1e6 / _middle(of, lambda one: one.wall_s) for name, of in found.items()}
    rows = [
        Row(f"beside {name}", rate["ours"], rate[name], at_least=True) for name in commands if name != "ours"
    ]
    title = f"one file of {size_bytes / 1e6:,.0f} MB at {SLOW_BYTES_PER_S / 1e6:.0f} MB/s a connection"
    print_table(title, "MB/s", "peer", rows)


def _held(origin: str) -> None:
    url, rows = f"{origin}/fifth.jsonl", []
    for files in (1, 3):
        name = f"{files} transfer{'s' if files > 1 else ''}"
        (ran,) = _rounds({name: _ours(url, ceiling=CEILING_BYTES_PER_S, files=files)}, 1)[name]
        rate = ran.said["bytes"] / ran.wall_s
        rows += [Row(f"{name}, at most", rate / 1e6, CEILING_BYTES_PER_S / 1e6, target=1.05)]
        rows += [Row(f"{name}, at least", rate / 1e6, CEILING_BYTES_PER_S / 1e6, target=0.95, at_least=True)]
    print_table("a ceiling of bandwidth, all transfers together", "MB/s", "ceiling", rows)


def main() -> None:
    """Print the tables; says which peer is absent and measures without it."""
    absent = [name for name in _INSTALL if not shutil.which(name)]
    for name in absent:
        could_not_measure(
            f"beside {name}", f"it is not on the path; on Debian: apt-get install {_INSTALL[name]}"
        )
    if "nginx" in absent:
        return  # there is no server to fetch from
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as place:
        files = Path(place)
        files.chmod(0o755)  # nginx reads as another user
        made(files / "leads.jsonl", SIZE_BYTES)
        made(files / "ends.jsonl", SIZE_BYTES, leads=False)
        fifth = made(files / "fifth.jsonl", SIZE_BYTES // 5)
        os.sync()
        with served(files) as origin:
            _fast(origin)
            _throttled(origin, fifth.stat().st_size)
            _held(origin)


def _one(url: str, ceiling: str, files: str) -> None:
    print(json.dumps(asyncio.run(_transferred(Path.cwd(), url, float(ceiling) or None, int(files)))))


if __name__ == "__main__":
    _one(*sys.argv[1:])
