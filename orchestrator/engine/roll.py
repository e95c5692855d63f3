"""Which slices are in memory, and how many of them are in which state? Kept by the driver as it commits, so
that nobody has to look through them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from orchestrator.core.model import OUTSTANDING_STATES, Slice, SliceState

__all__ = ["Roll"]


class Roll:
    """The live slices of a run by id. ``parked`` ones are left to a later run: they stay where they are."""

    def __init__(self) -> None:
        self._slices: dict[str, Slice] = {}
        self._by_state: dict[SliceState, dict[str, Slice]] = {state: {} for state in SliceState}
        self._parked: Counter[SliceState] = Counter()
        self._parked_ids: set[str] = set()
        self._outstanding: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._slices)

    def __contains__(self, slice_id: str) -> bool:
        return slice_id in self._slices

    def get(self, slice_id: str) -> Slice | None:
        """The slice as it was committed last."""
        return self._slices.get(slice_id)

    def of(self, state: SliceState) -> Collection[Slice]:
        """All in ``state``, parked ones too."""
        return self._by_state[state].values()

    def going(self, state: SliceState) -> Iterator[Slice]:
        """Those in ``state`` that this run goes on with."""
        return (s for s in self._by_state[state].values() if s.id not in self._parked_ids)

    def count(self, *states: SliceState) -> int:
        """How many are in one of ``states``, parked ones too."""
        return sum(len(self._by_state[state]) for state in states)

    def count_going(self, *states: SliceState) -> int:
        """How many of those this run goes on with."""
        return sum(len(self._by_state[state]) - self._parked[state] for state in states)

    def outstanding_of(self, job: str) -> int:
        """Remote tasks of one job that hold a place, or may."""
        return self._outstanding[job]

    def all_parked(self) -> bool:
        """Whether this run goes on with none of them."""
        return len(self._parked_ids) == len(self._slices)

    def put(self, slice_: Slice, *, parked: bool = False) -> None:
        """``slice_`` is in memory as it is now."""
        self.drop(slice_.id)
        self._slices[slice_.id] = slice_
        self._by_state[slice_.state][slice_.id] = slice_
        if slice_.state in OUTSTANDING_STATES:
            self._outstanding[slice_.job] += 1
        if parked:
            self._parked_ids.add(slice_.id)
            self._parked[slice_.state] += 1

    def drop(self, slice_id: str) -> None:
        """It is in memory no more."""
        before = self._slices.pop(slice_id, None)
        if before is None:
            return
        del self._by_state[before.state][slice_id]
        if before.state in OUTSTANDING_STATES:
            self._outstanding[before.job] -= 1
        if slice_id in self._parked_ids:
            self._parked_ids.discard(slice_id)
            self._parked[before.state] -= 1
