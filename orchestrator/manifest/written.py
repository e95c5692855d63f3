"""What did this writer write last, so that it need not be written again?

Of a slice on its way only the state changes in most steps: its remote task is the very same value. Everything
here is forgotten as soon as a commit fails or somebody writes by another way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.core.model import LIVE_STATES, RemoteTask, Slice

__all__ = ["Written"]


@dataclass(slots=True)
class Written:
    """Remote tasks of live slices as they stand in the manifest, and the keys of jobs."""

    keys: dict[str, int] = field(default_factory=dict)
    _tasks: dict[str, RemoteTask] = field(default_factory=dict)
    """By slice; no more than there are live ones."""

    def changed(self, slices: Iterable[Slice]) -> list[RemoteTask]:
        """The current remote tasks of ``slices`` that are not on disk as they are."""
        tasks = ((piece.id, piece.task) for piece in slices)
        return [task for id_, task in tasks if task is not None and self._tasks.get(id_) is not task]

    def note(self, slices: Iterable[Slice], further: Iterable[RemoteTask]) -> None:
        """These slices were written with their current remote tasks, and after them ``further`` ones."""
        for piece in slices:
            if piece.task is not None and piece.state in LIVE_STATES:
                self._tasks[piece.id] = piece.task
            else:
                self._tasks.pop(piece.id, None)
        for task in further:
            self._tasks.pop(task.slice_id, None)

    def forget(self) -> None:
        """Nothing is known any more."""
        self.keys.clear()
        self._tasks.clear()
