"""Do two jobs, or a job and the ledger, want the same place?

Each conflict is said once, at the later of the two: a hundred jobs that share one mistake are one or a
hundred complaints, never ten thousand. A job that is wrong otherwise is looked at all the same, as far as it
was read.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core.complaint import KeyPath, Objection, Wrong
from orchestrator.core.jobfile_job import ReadJob
from orchestrator.core.jobfile_places import lies_inside
from orchestrator.core.jobfile_tables import Findings, Table
from orchestrator.core.layout import path_shape, placeholders_for

__all__ = ["Paths", "check_collisions", "check_names", "check_overlaps"]


def check_names(jobs: Sequence[ReadJob], findings: Findings) -> None:
    """No two jobs have one name: the manifest knows them by it."""
    first: dict[str, KeyPath] = {}
    for read in jobs:
        if read.name and read.name in first:
            problem = f"the name of jobs[{first[read.name][1]}] too"
            findings.add(read.table.where("name"), Objection(problem, "a name of its own"))
        first.setdefault(read.name, read.table.path)


def check_overlaps(
    jobs: Sequence[ReadJob], top: Table, manifest: str, mirror: str, findings: Findings
) -> None:
    """Files of ours do not stand where exported files do: nobody could tell one from the other.

    ``manifest`` and ``mirror`` are absolute, or "" when there is none to look at.
    """
    for key, place in (("manifest", manifest), ("mirror", mirror)):
        around = [read for read in jobs if read.destination and lies_inside(place, read.destination.url)]
        if place and around:
            problem = f"the {key} lies inside the destination of jobs[{around[0].table.path[1]}]"
            findings.add(top.where(key), Objection(problem, "a place outside every destination"))


def check_collisions(jobs: Sequence[ReadJob], findings: Findings) -> None:
    """No two jobs can ever give two files one path, also where letters' case is ignored."""
    paths = Paths()
    for read in jobs:
        shape = _shape(read)
        taken = paths.taken_by(shape)
        if taken:
            problem = f"the same paths as {taken}: two files could have one name"
            key = "layout" if read.table.where("layout")[0] == "jobs" else "destination"
            objection = Objection(problem, "another destination, or {job} in the layout")
            findings.add(read.table.where(key), objection)
        paths.add(shape, f"jobs[{read.table.path[1]}]")


class Paths:
    """Shapes of paths so far, found again without comparing each with each: ``layout.could_collide`` holds
    for two shapes when they agree wherever neither of them has a placeholder, and are alike elsewhere.

    So they are kept by what all alike ones share, then by where their placeholders stand; between two such
    groups it is a matter of looking up the characters outside both groups' places."""

    def __init__(self) -> None:
        self._jobs: list[tuple[tuple[str, ...], str]] = []
        self._groups: dict[str, dict[tuple[int, ...], list[int]]] = {}
        self._seen: dict[tuple[str, tuple[int, ...], tuple[int, ...]], tuple[int, dict[str, int]]] = {}

    def add(self, shape: tuple[str, ...], owner: str) -> None:
        """Remember the shape of a job's paths, and how to call the job; an empty shape is none."""
        if not shape:
            return
        groups = self._groups.setdefault(placeholders_for(shape), {})
        groups.setdefault(_placeholders(shape), []).append(len(self._jobs))
        self._jobs.append((shape, owner))

    def taken_by(self, shape: tuple[str, ...]) -> str:
        """The first job whose shape could collide with this one; "" when there is none."""
        alike, mine = placeholders_for(shape), _placeholders(shape)
        found = []
        for theirs, members in self._groups.get(alike, {}).items():
            done, known = self._seen.get((alike, theirs, mine), (0, {}))
            either = {*theirs, *mine}
            for number in members[done:]:
                known.setdefault(_without(self._jobs[number][0], either), number)
            self._seen[alike, theirs, mine] = (len(members), known)
            if (number := known.get(_without(shape, either), -1)) >= 0:
                found.append(number)
        return self._jobs[min(found)][1] if found else ""


def _placeholders(shape: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(at for at, char in enumerate(shape) if char in {"#", "±"})


def _without(shape: tuple[str, ...], places: set[int]) -> str:
    return "".join(char for at, char in enumerate(shape) if at not in places)


def _shape(read: ReadJob) -> tuple[str, ...]:
    """What the paths of a job's files look like; empty when too little of it could be read."""
    values = read.table.values
    if not (read.destination and read.name and "layout" in values and "project" in values):
        return ()
    try:
        return path_shape(
            read.destination.url, values["layout"], read.name, values["project"], values["logstore"]
        )
    except Wrong:  # said already
        return ()
