"""Exports any window of logs from Baidu Log Service, and can prove that the export is complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str

__all__ = ["__version__"]


def __getattr__(name: str) -> object:
    """Look the version up when somebody asks: importlib.metadata costs more than the rest of this module."""
    if name == "__version__":
        from importlib.metadata import version

        return version("orchestrator")
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
