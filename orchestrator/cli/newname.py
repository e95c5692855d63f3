"""May what was written take this name? Not that of something that stands there, unless that was said."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.errors import StorageError, UsageError

__all__ = ["check_name", "place"]


def check_name(path: Path, *, replace: bool) -> None:
    """Raises UsageError when ``path`` exists, and with ``replace`` when it is no file; StorageError when its
    folder cannot be written to."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint="give -o the name of a file")
    if os.path.lexists(path):
        if not replace:
            raise _taken(path)
        if path.exists() and not path.is_file():  # a device, a pipe
            raise UsageError(f"{path} is no file that can be replaced", hint="give -o - and redirect it")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise StorageError(f"{path.parent} is no folder that can be written to")


def place(part: Path, path: Path, *, replace: bool) -> None:
    """Give ``part`` the name ``path``. Raises UsageError when that was taken meanwhile and is not to be
    replaced, and OSError."""
    if replace:
        part.replace(path)
        return
    try:
        os.link(part, path)
    except FileExistsError as error:
        raise _taken(path) from error
    except OSError:  # a file system without links gets a look
        if os.path.lexists(path):
            raise _taken(path) from None
        part.rename(path)
    part.unlink(missing_ok=True)


def _taken(path: Path) -> UsageError:
    return UsageError(f"{path} exists", hint="choose another name, or give --force to replace it")
