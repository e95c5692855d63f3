"""What ever happened to one slice? Its journal and its remote tasks, and those of the slices it came from and
was divided into."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.core.complaint import nearest
from orchestrator.core.model import RemoteTask, Slice, SliceState
from orchestrator.errors import UsageError
from orchestrator.ports.store import JournalLine, ManifestReader

__all__ = ["Relative", "Told", "slice_meant", "story_of"]

MOST_RELATIVES = 500
"""A window divided again and again has more descendants than anybody reads."""
SHOWN_CHOICES = 5


@dataclass(frozen=True, slots=True)
class Relative:
    """A slice of the same family: ``parent`` (and theirs), ``child`` (and theirs), or one of the same window
    that a redo made: ``older`` or ``newer``."""

    slice: Slice
    relation: str


@dataclass(frozen=True, slots=True)
class Told:
    """One slice and everything that happened to it and its family, oldest first. ``slice`` is None when it
    was forgotten and only the journal tells of it."""

    id: str
    job: str
    slice: Slice | None
    family: tuple[Relative, ...]
    tasks: tuple[RemoteTask, ...]
    lines: tuple[JournalLine, ...]


async def story_of(place: str, wanted: str, manifest: ManifestReader) -> Told:
    """The slice meant by ``wanted``: its id, a remote task's uuid or name, or the beginning of one that fits
    no other. ``place`` names the manifest in the error. Raises UsageError when nothing or more than one
    fits."""
    id_ = await slice_meant(place, wanted, manifest)
    slice_ = await manifest.slice(id_)
    job = slice_.job if slice_ is not None else await manifest.told_of(id_) or ""
    family = await _family(slice_, manifest) if slice_ is not None else ()
    tasks: list[RemoteTask] = []
    lines: list[JournalLine] = []
    for member in (id_, *(item.slice.id for item in family)):
        tasks += await manifest.tasks_ever(member)
        lines += await manifest.story(member)
    return Told(
        id_,
        job,
        slice_,
        family,
        tuple(sorted(tasks, key=lambda task: (task.number, task.uuid))),
        tuple(sorted(lines, key=lambda line: line.number)),
    )


async def slice_meant(place: str, wanted: str, manifest: ManifestReader) -> str:
    """The id of the slice meant by ``wanted``, as in ``story_of``. Raises UsageError."""
    exact = await _exactly(wanted, manifest)
    if exact:
        return exact
    alike = await manifest.like(wanted, SHOWN_CHOICES + 1) if wanted else ()
    beginning = [word for word in alike if word.startswith(wanted)]
    slices = {word: await _exactly(word, manifest) for word in beginning}
    if len(set(slices.values()) - {""}) == 1:
        return next(id_ for id_ in slices.values() if id_)
    if beginning:
        shown = ", ".join(beginning[:SHOWN_CHOICES])
        more = " and others" if len(beginning) > SHOWN_CHOICES else ""
        raise UsageError(f"{wanted} fits more than one slice: {shown}{more}", hint="give more of it")
    guess = nearest(wanted, alike) or (_next_to(wanted, alike))
    listing = "`orchestrator manifest` lists them"
    raise UsageError(
        f"{place}: no slice and no remote task is called {wanted!r}",
        hint=f"did you mean {guess}? {listing}" if guess else listing,
    )


async def _exactly(wanted: str, manifest: ManifestReader) -> str:
    """The id of the slice with this id, uuid or name of a remote task; "" when there is none."""
    if await manifest.slice(wanted) is not None:
        return wanted
    found = await manifest.by_uuid(wanted)
    if found is not None:
        return found.id
    named = re.fullmatch(re.escape(f"o-{manifest.manifest_id}-") + r"([0-9]{1,18})", wanted)
    rows = await manifest.tasks_of_number(int(named[1])) if named else await manifest.tasks_of_uuid(wanted)
    if rows:
        return rows[0].slice_id
    return wanted if wanted and await manifest.told_of(wanted) is not None else ""


def _next_to(wanted: str, words: tuple[str, ...]) -> str:
    """The neighbour in the alphabet that begins most like ``wanted``."""
    return max(words, key=lambda word: _alike(word, wanted), default="")


def _alike(word: str, wanted: str) -> int:
    pairs = zip(word, wanted, strict=False)
    return next((place for place, (left, right) in enumerate(pairs) if left != right), len(wanted))


async def _family(slice_: Slice, manifest: ManifestReader) -> tuple[Relative, ...]:
    ancestors: list[Relative] = []
    seen, at = {slice_.id}, slice_
    while at.parent and at.parent not in seen and len(ancestors) < MOST_RELATIVES:
        parent = await manifest.slice(at.parent)
        if parent is None:
            break
        seen.add(parent.id)
        ancestors.insert(0, Relative(parent, "parent"))
        at = parent
    descendants: list[Relative] = []
    open_ = [slice_]
    while open_ and len(descendants) < MOST_RELATIVES:
        children = [child for child in await manifest.children(open_.pop(0).id) if child.id not in seen]
        seen.update(child.id for child in children)
        descendants += [Relative(child, "child") for child in children]
        open_ += children
    others = await manifest.slices(slice_.job, tuple(SliceState), window=slice_.window, limit=MOST_RELATIVES)
    generations = [
        Relative(other, "older" if other.generation < slice_.generation else "newer")
        for other in others
        if other.window == slice_.window
        and other.logstream == slice_.logstream
        and other.generation != slice_.generation
        and other.id not in seen
    ]
    return (*ancestors, *generations, *descendants)
