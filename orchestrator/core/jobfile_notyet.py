"""Which parts of the contract does this version refuse, because it cannot keep them yet?

A key that is merely without effect until later (schedule, priority, workers, columns) is read and kept; a key
whose promise would be broken silently is refused here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["NOT_YET", "NotYet"]

NotYet = Mapping[tuple[str, str], Callable[[Any], bool]]
"""By section and key: whether a value, already read, asks for something this version does not have."""


def _any(_: object) -> bool:
    return True


def _is_object_url(value: str) -> bool:
    return value.startswith(("s3://", "bos://"))


NOT_YET: NotYet = {
    ("", "mirror"): _any,
    ("data_plane", "engine"): lambda engine: engine != "inline",
    ("destinations", "url"): _is_object_url,
    ("jobs", "destination"): _is_object_url,
    ("jobs", "deliver"): lambda deliver: deliver == "bos",
    ("jobs", "on_complete"): _any,
    ("jobs", "on_incomplete"): _any,
}
