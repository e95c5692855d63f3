"""What becomes of pulls that nobody took up again: two weeks after they were last used a later pull removes
them, and first deletes what they have at the service.

Only what nobody uses is touched: each state is locked while it is looked at. One whose remote tasks cannot be
deleted stays, since it is all that knows of them, and is told of until it can go.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.app.pull import JOB
from orchestrator.app.pulling_state import LET_GO, NOTE, Opened, has_tasks, remove
from orchestrator.core.job import JobIdentity
from orchestrator.core.reasons import shell_word
from orchestrator.engine.clean import Surplus, delete_surplus, find_surplus
from orchestrator.engine.context import JobContext, Room
from orchestrator.errors import ManifestLocked, OrchestratorError
from orchestrator.ports.store import ManifestWriter

__all__ = ["KEPT_S", "sweep"]

KEPT_S = 14 * 86_400
"""So long a pull that is not complete waits for the same line."""
LONGEST_S = 60.0
_NAME = re.compile(r"[0-9a-f]{16}")
_USED = (NOTE, LET_GO, "pull.log")
"""What a pull writes, and a look at its state does not."""


@dataclass(slots=True)
class _Swept:
    states: int = 0
    remote_tasks: int = 0


async def sweep(opened: Opened, *, answers: bool) -> None:
    """Remove what earlier pulls left and nobody used for ``KEPT_S``; ``answers``: the service of this pull
    does. Ends when this pull is interrupted, or after a minute; the rest is for the next one. Says what it
    did in one line, and one for each state that has to stay; raises nothing for what cannot be done."""
    room = opened.house.room
    stale = list(_stale(opened))
    if not stale:
        return
    swept = _Swept()
    work = asyncio.create_task(_all_of(stale, opened, swept, answers=answers))
    waits = {work} if room.stop.is_set() else {work, asyncio.create_task(room.stop.wait())}
    try:
        done, _ = await asyncio.wait(waits, timeout=LONGEST_S, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            room.observer.noted(
                "pull.sweep_failed", why=f"not done after {LONGEST_S:.0f} s; the next pull goes on"
            )
    finally:
        for task in waits:
            task.cancel()
        ended = await asyncio.gather(*waits, return_exceptions=True)
        if swept.states:
            room.observer.noted("pull.swept", states=swept.states, remote_tasks_deleted=swept.remote_tasks)
    for answer in ended:
        if isinstance(answer, Exception):
            raise answer


def _stale(opened: Opened) -> Iterator[Path]:
    own = opened.pull.folder
    now = opened.house.room.clock.now()
    try:
        found = sorted(own.parent.iterdir())
    except OSError:
        return
    for folder in found:
        mine = _NAME.fullmatch(folder.name) and folder != own and folder.is_dir() and not folder.is_symlink()
        if not mine:
            continue
        used_at = _used_at(folder) or _modified_at(folder)
        if used_at is not None and now - used_at >= KEPT_S:
            yield folder


def _used_at(folder: Path) -> float | None:
    """Goes by the notes and the log of the pull itself, else by its manifest; None when it never came as far
    as either."""
    for names in (_USED, ("pull.db",)):
        used = [at for at in map(_modified_at, (folder / name for name in names)) if at is not None]
        if used:
            return max(used)
    return None


def _modified_at(place: Path) -> float | None:
    try:
        return place.stat().st_mtime
    except OSError:
        return None


async def _all_of(stale: list[Path], opened: Opened, swept: _Swept, *, answers: bool) -> None:
    for folder in stale:
        why = ""
        try:
            why = await _one(folder, opened, swept, answers=answers)
        except ManifestLocked:
            continue  # somebody is at work with it, or sweeps it
        except OrchestratorError as error:
            why = error.message
        if why:
            by_hand = f"rm -r {shell_word(str(folder))}"
            opened.house.room.observer.noted(
                "pull.sweep_failed", state=str(folder), why=why[:300], by_hand=by_hand
            )


async def _one(folder: Path, opened: Opened, swept: _Swept, *, answers: bool) -> str:
    """Remove one state, or say why it stays."""
    from orchestrator.manifest.lock import ManifestLock
    from orchestrator.manifest.store import open_writer

    room = opened.house.room
    place = folder / "pull.db"
    async with ManifestLock(place, now=room.clock.now).holding():
        used_at = _used_at(folder)
        if used_at is not None and room.clock.now() - used_at < KEPT_S:
            return ""  # between our looks somebody took it up
        if place.exists():
            async with open_writer(
                place, now=room.clock.now, new_id=lambda: room.rng.token_hex(8)
            ) as manifest:
                if await has_tasks(manifest):
                    context = await _context_of(folder, manifest, opened)
                    if context is None or not answers:
                        return _why(folder, await manifest.job_identity(JOB), answers=answers)
                    deleted, why = await _let_go(context, replace(room, manifest=manifest))
                    swept.remote_tasks += deleted
                    if why:
                        return why
        remove(folder)
        swept.states += 1
    return ""


async def _context_of(folder: Path, manifest: ManifestWriter, opened: Opened) -> JobContext | None:
    """The door to the state's own service, when it is that of this pull, with the same keys."""
    (context,) = opened.house.contexts
    noted, known = _noted(folder), await manifest.job_identity(JOB)
    service = known.service if known else noted.get("service")
    project = known.project if known else noted.get("project")
    job = context.job
    same = service == job.identity.service and noted.get("credentials", "auto") == job.service.credentials
    if not same or not isinstance(project, str):
        return None
    identity = known or replace(job.identity, project=project, logstore="")
    return replace(context, job=replace(job, identity=identity))


def _why(folder: Path, known: JobIdentity | None, *, answers: bool) -> str:
    service = known.service if known else _noted(folder).get("service")
    if not isinstance(service, str):
        return "nobody knows at which service it has remote tasks"
    reason = "was not asked by this pull" if answers else "did not answer"
    return f"it has remote tasks at {service}, which {reason} with the same credentials"


def _noted(folder: Path) -> dict[str, Any]:
    for name in (NOTE, LET_GO):
        try:
            found = json.loads((folder / name).read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(found, dict):
            return found
    return {}


async def _let_go(context: JobContext, room: Room) -> tuple[int, str]:
    """How many remote tasks were deleted, and why some were not. Nothing of the state changes unless the
    service answers."""
    identity = context.job.identity
    await context.tasks.list_page(
        project=identity.project, logstore=identity.logstore, page_no=1, page_size=10
    )
    doubts = await room.manifest.in_doubt_since(0.0)
    live = [slice_.task for slice_ in await room.manifest.live(JOB)]
    await room.manifest.forget(JOB, None, room.clock.now())
    if doubts or any(task is not None and not task.uuid for task in live):
        found = await find_surplus((context,), room.manifest, room)
        if found.faults:
            return 0, found.faults[0].message
        mine = found.surplus
    else:
        tasks = await room.manifest.surplus(JOB)
        mine = tuple(Surplus(context, task, "let go") for task in tasks if task.uuid)
    done = await delete_surplus(mine, room)
    kept = [item.fault.message for item in done if item.fault is not None]
    return len(done) - len(kept), kept[0] if kept else ""
