"""A logstore of any size that is never materialised: its records are a function of seed, second and place in
the second.

Counts over any window, search and stream are closed forms: a difference of ``before`` values for all records,
and for the matching ones a sum over whole turns of the pattern plus a bisection.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from orchestrator.emulator.chance import whole
from orchestrator.emulator.density import Density
from orchestrator.emulator.generated_rows import GeneratedRows, Stretch
from orchestrator.emulator.pattern import TURN, Pattern, Ring, make_pattern
from orchestrator.emulator.record import Arrangement, Lateness
from orchestrator.emulator.search import Search
from orchestrator.emulator.timeline import Timeline

__all__ = ["GeneratedMatching", "GeneratedStore"]


class GeneratedStore:
    """A generated logstore: deterministic in ``seed``; records exist from ``start_s`` to ``end_s``
    (exclusive, UTC)."""

    tag_names = ("level", "status")

    def __init__(
        self,
        seed: int,
        density: Density,
        *,
        start_s: int = 1_600_000_000,
        end_s: int = 4_102_444_800,
        streams: tuple[str, ...] = ("app/prod-1", "app/prod-2", "app/prod-3"),
        multiline_per_mille: int = 3,
        late_per_mille: int = 0,
        late_by_s: float = 0.0,
    ) -> None:
        """``late_per_mille`` of the records can be seen only ``late_by_s`` after their time. Raises
        ValueError when the density holds more records than can be numbered (10^15)."""
        self.seed = seed
        self.start_s = start_s
        self.end_s = end_s
        self.pattern: Pattern = make_pattern(seed, streams, multiline_per_mille)
        self._late = Lateness(late_per_mille, late_by_s)
        self.timeline = Timeline(density, self.pattern, start_s, end_s)

    @property
    def streams(self) -> tuple[str, ...]:
        return self.pattern.streams

    def matching(
        self,
        search: Search,
        stream: str | None,
        *,
        from_ms: int,
        visible_ms: int,
        late: Lateness | None = None,
    ) -> GeneratedMatching:
        """What a search means at one moment: records before ``from_ms`` have left retention, those of
        ``visible_ms`` and later have not arrived yet. ``late`` overrules what the store was made with."""
        ring = self.pattern.ring(search, stream)
        return GeneratedMatching(self, ring, from_ms, visible_ms, late or self._late)

    def prompt_ring(self, ring: Ring, late: Lateness) -> Ring:
        """The rows of a ring that are never late."""
        keys = _late_keys(self.seed, late.per_mille)
        return _without(ring, keys) if keys else ring


@lru_cache(maxsize=64)
def _late_keys(seed: int, per_mille: int) -> frozenset[int]:
    return frozenset(key for key in range(TURN) if whole(seed, "late", key) % TURN < per_mille)


@lru_cache(maxsize=1024)
def _without(ring: Ring, late: frozenset[int]) -> Ring:
    return Ring(tuple(key for key in ring.keys if key not in late))


@dataclass(frozen=True, slots=True)
class GeneratedMatching:
    """The records a search means at one moment."""

    store: GeneratedStore
    ring: Ring
    from_ms: int
    visible_ms: int
    late: Lateness

    def _stretches(self, start_ms: int, end_ms: int) -> tuple[Stretch, ...]:
        start_ms = max(start_ms, self.from_ms)
        end_ms = min(end_ms, self.visible_ms)
        if not self.ring.keys or end_ms <= start_ms:
            return ()
        prompt = self.store.prompt_ring(self.ring, self.late)
        settled_ms = min(max(end_ms if prompt is self.ring else self._settled_ms(), start_ms), end_ms)
        found = []
        for ring, low_ms, high_ms in ((self.ring, start_ms, settled_ms), (prompt, settled_ms, end_ms)):
            if ring.keys and high_ms > low_ms:
                first, last = (
                    ring.before(self.store.timeline.before_ms(low_ms)),
                    ring.before(self.store.timeline.before_ms(high_ms)),
                )
                if last > first:
                    found.append(Stretch(ring, first, last))
        return tuple(found)

    def _settled_ms(self) -> int:
        return self.visible_ms - int(self.late.by_s * 1000)

    def count(self, start_ms: int, end_ms: int) -> int:
        """How many there are in ``[start_ms, end_ms)``."""
        return sum(stretch.last - stretch.first for stretch in self._stretches(start_ms, end_ms))

    def rows(self, start_ms: int, end_ms: int, limit: int, arrangement: Arrangement) -> GeneratedRows:
        """At most ``limit`` of them: the newest when descending, else the oldest."""
        kept = []
        stretches = self._stretches(start_ms, end_ms)
        for stretch in reversed(stretches) if arrangement.descending else stretches:
            take = min(limit, stretch.last - stretch.first)
            limit -= take
            if take and arrangement.descending:
                kept.append(Stretch(stretch.ring, stretch.last - take, stretch.last))
            elif take:
                kept.append(Stretch(stretch.ring, stretch.first, stretch.first + take))
        return GeneratedRows(self.store.timeline, tuple(kept), arrangement)
