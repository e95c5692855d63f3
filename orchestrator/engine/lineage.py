"""Which slices came of one that was divided?"""

from __future__ import annotations

from orchestrator.core.model import Slice
from orchestrator.ports.store import ManifestReader

__all__ = ["descendants"]


async def descendants(slice_id: str, manifest: ManifestReader) -> tuple[Slice, ...]:
    """All slices its window was ever handed on to, through all generations, whatever became of them."""
    found: list[Slice] = []
    for child in await manifest.children(slice_id):
        found += [child, *await descendants(child.id, manifest)]
    return tuple(found)
