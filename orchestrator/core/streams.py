"""Which log streams is a job exported by: one, all together, or a listed set one by one?

A job with patterns is several *views*, one per stream that is listed: the same job, about that stream alone.
What is planned, stored and missing is told view by view; whatever concerns the job as a whole (its name, its
identity, its ceilings) stays the job's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from orchestrator.core.job import Job
from orchestrator.core.patterns import chosen, fits, idle, named

__all__ = ["Streams", "find_streams", "is_all", "views", "with_streams"]


def views(job: Job, *, gone: bool = False) -> tuple[Job, ...]:
    """The job itself, or one view of it per listed stream; with those that vanished when ``gone``."""
    if not job.stream_patterns or job.one_stream:
        return (job,)
    streams = sorted({*job.streams, *(job.gone_streams if gone else ())})
    return tuple(
        replace(job, identity=replace(job.identity, logstream=stream), one_stream=True) for stream in streams
    )


def is_all(job: Job) -> bool:
    """Whether the job's streams are to be all there are, so that their rows must add up to those of the
    whole logstore."""
    return "*" in job.stream_patterns and not any(item.startswith("!") for item in job.stream_patterns)


@dataclass(frozen=True, slots=True)
class Streams:
    """The streams of one job: those to be exported, those once seen that are no longer listed, what is new
    of both, and patterns that fit nothing. ``absent`` are streams named in full that were never listed."""

    listed: tuple[str, ...]
    gone: tuple[str, ...] = ()
    appeared: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


def find_streams(job: Job, listed: Collection[str] | None, known: Mapping[str, bool]) -> Streams:
    """Which streams the patterns mean. ``listed`` is what the service says, None when nobody asked; ``known``
    holds every stream an earlier run saw, and whether it was listed when last looked for."""
    mine = {name: there for name, there in known.items() if fits(name, job.stream_patterns)}
    if listed is None:
        return Streams(
            tuple(sorted(name for name, there in mine.items() if there)),
            tuple(sorted(name for name, there in mine.items() if not there)),
        )
    found = chosen((name for name in listed if name), job.stream_patterns)
    gone = tuple(sorted(set(mine) - set(found)))
    names = {*found, *mine}
    return Streams(
        found,
        gone,
        appeared=tuple(name for name in found if not mine.get(name, False)),
        vanished=tuple(name for name in gone if mine[name]),
        idle=idle(job.stream_patterns, names),
        absent=tuple(name for name in named(job.stream_patterns) if name not in names),
    )


def with_streams(job: Job, found: Streams) -> Job:
    """The job with its streams filled in."""
    return replace(job, streams=found.listed, gone_streams=found.gone)
