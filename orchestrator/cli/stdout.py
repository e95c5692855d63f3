"""How does text reach stdout? Whoever reads it may go away at any time, and that is no failure of ours."""

from __future__ import annotations

import contextlib
import os
import sys

from orchestrator.errors import StorageError

__all__ = ["Stderr", "Stdout"]


class Stdout:
    """Results, and nothing else. ``broken`` once the reader is gone: what is written after that is dropped.

    Raises StorageError when stdout cannot be written for another reason, such as a full disk behind ``>``.
    """

    def __init__(self) -> None:
        self.broken = False

    def write(self, text: str) -> None:
        if self.broken:
            return
        try:
            sys.stdout.write(text)
        except BrokenPipeError:
            self._reader_left()
        except OSError as error:
            self._reader_left()
            raise StorageError(f"stdout cannot be written: {error.strerror or error}") from error

    def line(self, text: str = "") -> None:
        self.write(text + "\n")

    def write_bytes(self, piece: bytes) -> None:
        """Rows, past every buffer: what is interrupted in the middle leaves nothing to be flushed later."""
        self.flush()
        left = memoryview(piece)
        try:
            while left and not self.broken:
                left = left[os.write(sys.stdout.fileno(), left) :]
        except BrokenPipeError:
            self._reader_left()
        except OSError as error:
            self._reader_left()
            raise StorageError(f"stdout cannot be written: {error.strerror or error}") from error

    def flush(self) -> None:
        if self.broken:
            return
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            self._reader_left()
        except OSError as error:
            self._reader_left()
            raise StorageError(f"stdout cannot be written: {error.strerror or error}") from error

    def _reader_left(self) -> None:
        """Let the interpreter's own flush at exit go nowhere, or it would complain in our name."""
        self.broken = True
        try:
            descriptor = sys.stdout.fileno()
        except (OSError, ValueError):  # no file behind it, as under a test
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


class Stderr(Stdout):
    """What is said beside the results, when stdout carries rows; a closed stderr is no reason to end."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
