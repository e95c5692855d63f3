"""Small blocks, so that files of some kilobytes are fetched in parts and recorded on the way."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from orchestrator.dataplane import draft, fetch, inflow, transfer

WHOLE = os.environ.get("RING") == "whole"
"""``make crash-ring``: every boundary instead of one of each kind."""


@pytest.fixture(autouse=True, scope="session")
def _small_blocks() -> Iterator[None]:
    """64 MiB become 6,000 bytes, and everything else in proportion."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inflow, "BLOCK_BYTES", 1500)
        for module in (inflow, fetch, draft):
            patch.setattr(module, "RECORD_BYTES", 6000)
        patch.setattr(fetch, "OVERLAP_BYTES", 500)
        patch.setattr(transfer, "_WORTH_MARKING_BYTES", 3000)
        yield
