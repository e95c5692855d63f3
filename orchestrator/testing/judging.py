"""What is wrong with an export, after any death and at the end? Every finding is a sentence; none is good."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from orchestrator.core.window import Window
from orchestrator.testing.archive import final_files
from orchestrator.testing.lives import Life
from orchestrator.testing.remains import Remains

__all__ = ["Digests", "Orphans", "after_a_death", "ceilings", "exit_code", "hidden_words", "orphans"]

_TRUE_EXITS = {0: True, 3: False, 130: False}
"""What a run may say under faults that pass, and whether that means complete. Everything else would be wrong:
nothing here is refused, damaged, or beyond mending."""
_HIDDEN = ("bce-auth-v1", "authorization=", "ticket=")


class Digests:
    """SHA-256 of files, read again only when they changed."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int, int], str]] = {}

    def of(self, path: Path) -> str:
        """The digest of what stands at ``path`` now."""
        at = path.stat()
        mark = (at.st_mtime_ns, at.st_size, at.st_ino)
        known = self._known.get(path)
        if known is None or known[0] != mark:
            known = (mark, hashlib.sha256(path.read_bytes()).hexdigest())
            self._known[path] = known
        return known[1]


@dataclass(frozen=True, slots=True)
class Orphans:
    """Remote tasks of ours that live at the service: with a uuid the manifest lacks (``unknown``), let go
    and not deleted (``surplus``), known, but stood on by no settled slice (``unclaimed``), of a name that
    another one bears as well (``twins``)."""

    unknown: int = 0
    surplus: int = 0
    unclaimed: int = 0
    twins: int = 0


def after_a_death(
    remains: Remains, archive: Path, alive: Sequence[Mapping[str, str]], digests: Digests
) -> Iterator[str]:
    """What no moment may show: a damaged manifest, a visible file that the manifest does not know as whole,
    a stored one that is not there, a remote task without an intent, a window stored twice."""
    yield from remains.findings
    found = {(str(path), digests.of(path)) for path in final_files(archive)}
    known = {(_placed(archive, path), sha) for path, sha in remains.files}
    stored = {(_placed(archive, path), sha) for path, sha in remains.stored}
    yield from (f"{path} stands there unknown or broken" for path, _ in sorted(found - known))
    yield from (f"{path} is stored in the manifest only" for path, _ in sorted(stored - found))
    if remains.manifest_id:
        ours = {task["name"] for task in alive if task["name"].startswith(remains.prefix)}
        yield from (f"remote task {name} has no intent" for name in sorted(ours - remains.names))
    windows = sorted(window for window, _ in remains.leaves)
    yield from (f"{one} and {other} overlap" for one, other in pairwise(windows) if other.start_s < one.end_s)
    yield from (f"{window} is settled, not covered" for window in windows if not _within(window, remains))


def _placed(archive: Path, path: str) -> str:
    return str(archive.parent / path) if not Path(path).is_absolute() else path


def _within(window: Window, remains: Remains) -> bool:
    return any(part.start_s <= window.start_s and window.end_s <= part.end_s for part in remains.coverage)


def orphans(remains: Remains, alive: Iterable[Mapping[str, str]]) -> Orphans:
    """What lives at the service and should not, once the export is complete."""
    ours = [task for task in alive if task["name"].startswith(remains.prefix)]
    known = [remains.tasks[task["uuid"]] for task in ours if task["uuid"] in remains.tasks]
    names = Counter(task["name"] for task in ours)
    return Orphans(
        unknown=len(ours) - len(known),
        surplus=sum(task.surplus for task in known),
        unclaimed=sum(not task.surplus and not task.wanted for task in known),
        twins=sum(count - 1 for count in names.values()),
    )


def exit_code(life: Life, *, complete: bool) -> Iterator[str]:
    """Whether a run that ended by itself said what is true; ``complete`` is what the archive says."""
    if life.exit not in _TRUE_EXITS:
        error = life.document.get("error") or {}
        yield f"a run ({life.death}) ended with {life.exit}: {error.get('message', '')}"
        return
    if _TRUE_EXITS[life.exit] and not complete:
        yield f"a run ({life.death}) ended with 0, but the archive lacks rows"
    said = (life.document.get("exit"), life.document.get("complete"))
    if said != (life.exit, _TRUE_EXITS[life.exit]):
        yield f"a run ({life.death}) ended with {life.exit}, but its document says {said}"


def ceilings(stats: Mapping[str, Any], *, requests_per_s: int, tasks: int, queries: int) -> Iterator[str]:
    """The limits of the job file against what the service saw."""
    for seen, allowed in (
        ("max_requests_in_1s", requests_per_s),
        ("max_outstanding", tasks),
        ("max_queries_at_once", queries),
    ):
        if stats[seen] > allowed:
            yield f"{seen} was {stats[seen]}, {allowed} are allowed"


def hidden_words(folder: Path, archive: Path, *secrets: str) -> Iterator[str]:
    """Where keys, signatures or links were left; exported rows may hold any word but a secret."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            words = secrets if archive in path.parents else (*_HIDDEN, *secrets)
            yield from (f"{word[:12]}… stands in {path.name}" for word in words if word.encode() in content)
