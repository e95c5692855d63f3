"""What does a command write to a terminal of a given width?"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

from tests.e2e.conftest import ORCHESTRATOR, PATIENCE_S, Desk


def on_a_terminal(desk: Desk, columns: int, *arguments: str, **environment: str) -> tuple[int, str]:
    """The exit code, and all that was written to stdout, with plain line ends."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    names = ("COLUMNS", "LINES", "NO_COLOR")
    inherited = {name: value for name, value in desk.environment.items() if name not in names}
    child = subprocess.Popen(
        [*ORCHESTRATOR, *arguments],
        cwd=desk.folder,
        env={**inherited, "PYTHONIOENCODING": "utf-8", "TERM": "xterm", **environment},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    drawn = b""
    give_up_at = time.monotonic() + PATIENCE_S
    while child.poll() is None or select.select([ours], [], [], 0)[0]:
        assert time.monotonic() < give_up_at
        if select.select([ours], [], [], 0.1)[0]:
            try:
                drawn += os.read(ours, 65_536)
            except OSError:  # the other side is gone
                break
    os.close(ours)
    return child.wait(), drawn.decode().replace("\r\n", "\n")
