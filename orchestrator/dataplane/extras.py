"""Is what an optional form of file needs installed?"""

from __future__ import annotations

from importlib.util import find_spec

from orchestrator.errors import UsageError

__all__ = ["need_parquet"]


def need_parquet() -> None:
    """Raises UsageError when Parquet can be neither written nor read here."""
    if find_spec("pyarrow") is None:
        raise UsageError(
            "Parquet needs pyarrow, which is not installed here",
            hint="pip install 'orchestrator[parquet]'",
        )
