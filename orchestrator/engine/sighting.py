"""How do the lines lie in time, as far as planning gets to see it? Kept to be drawn."""

from __future__ import annotations

from contextlib import suppress

from orchestrator.core.job import Job, JobIdentity
from orchestrator.core.raster import Raster, together
from orchestrator.core.series import WIDTHS_S, Series, width_s_for
from orchestrator.core.window import Window
from orchestrator.errors import ServiceError
from orchestrator.ports.service import CountApi, CountUnavailable, Histogram

__all__ = ["Sighting"]

_BUCKETS_TO_DRAW = 200
_MOST_BUCKETS = 20_000


class Sighting:
    """A ``CountApi`` that passes every question on and notes what the answers say about ``window``."""

    def __init__(self, counts: CountApi, window: Window) -> None:
        self._counts = counts
        self._rasters: dict[str, Raster] = {}
        self._window = window

    def seen(self) -> Series | None:
        """Lines over time, of all streams together; None when nothing was seen in buckets."""
        return together(self._rasters.values())

    async def look(self, job: Job) -> None:
        """Ask once for buckets of the whole window, unless some were seen already, or they would be too many
        for one answer. Without an answer nothing is known, and that is no error."""
        width_s = width_s_for(self._window.length_s / _BUCKETS_TO_DRAW)
        if self._rasters or self._window.length_s > WIDTHS_S[-1] * _MOST_BUCKETS:
            return
        with suppress(ServiceError):
            await self.buckets(job.identity, job.identity.logstream, self._window, width_s)

    async def count(
        self, identity: JobIdentity, logstream: str, window: Window, *, match_all: bool = False
    ) -> int | CountUnavailable:
        """Passed on; a number without buckets says nothing about the time inside."""
        return await self._counts.count(identity, logstream, window, match_all=match_all)

    async def buckets(
        self, identity: JobIdentity, logstream: str, window: Window, width_s: int
    ) -> Histogram | CountUnavailable:
        """Passed on, and noted."""
        return self._noted(
            logstream, window, await self._counts.buckets(identity, logstream, window, width_s)
        )

    async def histogram(
        self, identity: JobIdentity, logstream: str, window: Window
    ) -> Histogram | CountUnavailable:
        """Passed on, and noted."""
        return self._noted(logstream, window, await self._counts.histogram(identity, logstream, window))

    def _noted(
        self, logstream: str, window: Window, answer: Histogram | CountUnavailable
    ) -> Histogram | CountUnavailable:
        if isinstance(answer, Histogram) and not answer.truncated and answer.buckets:
            buckets = ((bucket.start_s, bucket.lines) for bucket in answer.buckets)
            raster = self._rasters.setdefault(logstream, Raster(self._window))
            raster.add(Series.of_buckets(window, answer.interval_s, buckets))
        return answer
