"""The closed list of gap reasons: what each means, whether another run can mend it, and the command line that
does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.core.window import Window, iso_utc

__all__ = ["Reason", "ReasonText", "describe_reason", "mend_line", "mv_line", "shell_word", "short_by"]


class Reason(StrEnum):
    """Public words; ``short by n`` is written with its number."""

    NOT_EXPORTED = "not exported yet"
    ATTEMPTS_EXHAUSTED = "attempts exhausted"
    EXPIRES_BEFORE_FETCH = "expires before fetch"
    NOT_FINISHED = "not finished in time"
    THROTTLED = "throttled"
    REFUSED = "refused"
    SHORT = "short by n"
    OVERFULL_SECOND = "overfull second"
    CROWDED_OUT = "crowded out"
    CROWDED_LATE = "crowded out at its end"
    EDGES_UNPROVEN = "edges unproven"
    ROWS_OUTSIDE_WINDOW = "rows outside window"
    PATH_OCCUPIED = "path occupied"
    BEYOND_RETENTION = "beyond retention"
    DAMAGED = "damaged"
    SOURCE_GONE = "source gone"
    STREAMS_FALL_SHORT = "streams fall short"
    NOT_COMPARED = "not compared yet"
    REPLACED = "replaced"


RUN = "orchestrator run {jobs} --job {job}"
REDO = "orchestrator redo {jobs} --job {job} --slice {slice}"
_OF_STREAM = " --logstream {logstream}"
ACCEPT = "orchestrator accept {jobs} --job {job}" + _OF_STREAM + " --from {from} --to {to} --reason {reason}"
MOVE_AWAY = "mv -n {path} {path}.foreign"
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")


@dataclass(frozen=True, slots=True)
class ReasonText:
    """A reason for people. ``mend`` is the command line that mends it, with ``{names}`` of what differs from
    gap to gap; ``advice`` is what must be done by hand for it to help, or could be done instead."""

    meaning: str
    mendable: bool
    mend: str
    advice: str = ""


_TEXTS: dict[Reason, ReasonText] = {
    Reason.NOT_EXPORTED: ReasonText("no remote task has covered this window so far", True, RUN),
    Reason.ATTEMPTS_EXHAUSTED: ReasonText("every attempt of the run failed", True, RUN),
    Reason.EXPIRES_BEFORE_FETCH: ReasonText(
        "the service dropped the file before it could be fetched",
        True,
        RUN,
        "if it recurs, lower [limits] tasks or raise downloads",
    ),
    Reason.NOT_FINISHED: ReasonText(
        "the remote task was not finished within give_up_after",
        True,
        RUN,
        "if it recurs, raise give_up_after or lower max_lines",
    ),
    Reason.THROTTLED: ReasonText(
        "the service kept refusing for load", True, RUN, "if it recurs, lower [limits]"
    ),
    Reason.REFUSED: ReasonText(
        "the service refused the job", True, RUN, "first mend credentials, permissions or names"
    ),
    Reason.SHORT: ReasonText("the fullest file holds fewer rows than the service counts", True, RUN),
    Reason.OVERFULL_SECOND: ReasonText(
        "one second holds more lines than one remote task may carry",
        False,
        ACCEPT,
        "if max_lines is below 1,000,000, raise it and run again; else only acceptance is left",
    ),
    Reason.CROWDED_OUT: ReasonText(
        "asked for with a margin, the file is filled by rows of a fuller second beside the window", True, RUN
    ),
    Reason.CROWDED_LATE: ReasonText(
        "the file is filled by rows of a fuller second after the window, which the service counts in",
        True,
        RUN,
    ),
    Reason.EDGES_UNPROVEN: ReasonText(
        "the first or last rows are not sure to be there: no count agrees, and nothing else shows it",
        True,
        RUN,
        "first set time_field, if rows carry a time that was not found",
    ),
    Reason.ROWS_OUTSIDE_WINDOW: ReasonText(
        "the file held rows far outside the window asked for", True, RUN, "first check time_field"
    ),
    Reason.PATH_OCCUPIED: ReasonText(
        "a file that is not ours stands at the path",
        False,
        f"{MOVE_AWAY} && {RUN}",
        "look at that file first: it is moved aside, never overwritten",
    ),
    Reason.BEYOND_RETENTION: ReasonText(
        "older than the logstore keeps its records",
        False,
        ACCEPT,
        "or let `from` of the job begin no earlier than the end of this gap",
    ),
    Reason.DAMAGED: ReasonText("what is stored and what the ledger says of it do not agree", True, RUN),
    Reason.SOURCE_GONE: ReasonText(
        "the service has fewer rows now than the file that stands here held",
        False,
        ACCEPT,
        "the file is left as it is; keep it, and a copy if there is one",
    ),
    Reason.STREAMS_FALL_SHORT: ReasonText(
        "every listed log stream is stored, but the logstore holds more lines than these together",
        False,
        ACCEPT,
        'every run counts again; lines of no listed stream are exported by a job with logstream = ""',
    ),
    Reason.NOT_COMPARED: ReasonText(
        "every listed log stream is stored, but was not yet held against the count of all lines", True, RUN
    ),
    Reason.REPLACED: ReasonText("other slices took over the window", True, RUN),
}


def short_by(missing: int) -> str:
    """The reason of a file that holds ``missing`` rows fewer than counted."""
    return f"short by {missing}"


def describe_reason(reason: str) -> ReasonText:
    """Meaning and mend of a stored reason; an unknown word (written by another version) reads as ``not
    exported yet``."""
    if reason.startswith("short by "):
        return _TEXTS[Reason.SHORT]
    try:
        return _TEXTS[Reason(reason)]
    except ValueError:
        return _TEXTS[Reason.NOT_EXPORTED]


def shell_word(text: str) -> str:
    """``text`` as one word of a POSIX shell."""
    if _PLAIN.fullmatch(text):
        return text
    return "'" + text.replace("'", "'\"'\"'") + "'"


def mv_line(path: str) -> str:
    """The command that moves a file aside and overwrites nothing."""
    return MOVE_AWAY.replace("{path}", shell_word(path))


def mend_line(
    reason: str,
    *,
    jobs: str,
    job: str,
    window: Window,
    slice_id: str = "",
    path: str = "",
    logstream: str = "",
    accepted: bool,
    gone: bool = False,
) -> str:
    """The command line that mends one gap, ready for a shell. ``jobs`` is what a shell is to be told of the
    job file, quoted already; ``path`` is where the slice's file belongs; ``logstream`` is that of the gap
    where a job has gaps of several, ``*`` for one of all together. An accepted gap is left alone by `run`:
    only `redo` tries it again; ``gone`` says that its logstore is, so that acceptance alone is left."""
    mend = ACCEPT if gone else describe_reason(reason).mend
    if accepted and slice_id:
        mend = REDO
    elif not path:
        mend = mend.removeprefix(f"{MOVE_AWAY} && ")
    if not logstream:
        mend = mend.replace(_OF_STREAM, "")
    words = {
        "jobs": jobs,
        "job": shell_word(job),
        "from": iso_utc(window.start_s),
        "to": iso_utc(window.end_s),
        "slice": slice_id,
        "path": shell_word(path),
        "logstream": shell_word(logstream),
        "reason": shell_word(reason),
    }
    return re.sub(r"\{(\w+)\}", lambda found: words[found[1]], mend)
