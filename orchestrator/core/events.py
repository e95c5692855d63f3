"""What can happen to a slice (past tense) and what can be ordered because of it (imperative).

Every event names its slice; those that concern one remote task carry its intent ``number`` too, so that a
late one can be told from a current one. Stages turn one instruction into one event.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.core.model import Fault, Receipt, RemoteTask, RemoteTaskStatus, Slice
from orchestrator.core.window import Window

# --- events ---


@dataclass(frozen=True, slots=True)
class Resumed:
    """A run begins and finds the slice unfinished."""

    slice_id: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """There is room for one more remote task: an intent is made."""

    slice_id: str
    number: int
    name: str


@dataclass(frozen=True, slots=True)
class Created:
    """The create was answered with a uuid."""

    slice_id: str
    number: int
    uuid: str
    request_id: str
    at: float


@dataclass(frozen=True, slots=True)
class CreateRefused:
    """The create was refused in words that leave no doubt: no remote task exists."""

    slice_id: str
    number: int
    fault: Fault


@dataclass(frozen=True, slots=True)
class CreateDoubted:
    """The create's outcome is unknown. ``expires_at`` is set when no reply came at all."""

    slice_id: str
    number: int
    fault: Fault
    expires_at: float | None
    at: float


@dataclass(frozen=True, slots=True)
class Adopted:
    """A walk of the list found the remote task of a doubtful create. ``twins`` are further ones of the same
    name."""

    slice_id: str
    number: int
    status: RemoteTaskStatus
    twins: tuple[RemoteTaskStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class ProvedAbsent:
    """Walks late enough showed no remote task of that name."""

    slice_id: str
    number: int


@dataclass(frozen=True, slots=True)
class LeftInDoubt:
    """The list could not be walked to an end in this run; the next run looks again."""

    slice_id: str
    number: int
    fault: Fault


@dataclass(frozen=True, slots=True)
class WatchRefused:
    """The service refused to tell about the remote task, in words that concern the whole job."""

    slice_id: str
    number: int
    fault: Fault


@dataclass(frozen=True, slots=True)
class Observed:
    """The service said something new about the remote task."""

    slice_id: str
    number: int
    status: RemoteTaskStatus


@dataclass(frozen=True, slots=True)
class Vanished:
    """Describe answered 404 twice, some seconds apart."""

    slice_id: str
    number: int


@dataclass(frozen=True, slots=True)
class StoodStill:
    """The remote task was not finished within ``give_up_after``."""

    slice_id: str
    number: int


@dataclass(frozen=True, slots=True)
class TransferAdmitted:
    """There is room for one more download."""

    slice_id: str
    number: int


@dataclass(frozen=True, slots=True)
class Staged:
    """A transfer ended well. ``path`` is where its rows belong once proved."""

    slice_id: str
    number: int
    receipt: Receipt
    path: str


@dataclass(frozen=True, slots=True)
class TransferFailed:
    """A transfer ended badly; the fault says whose it was."""

    slice_id: str
    number: int
    fault: Fault


@dataclass(frozen=True, slots=True)
class Recounted:
    """The service was asked again how many lines the window holds; ``count`` is None when it cannot say."""

    slice_id: str
    number: int
    count: int | None
    at: float


@dataclass(frozen=True, slots=True)
class Divided:
    """What there is to divide an overfull second by: its log streams with what each was counted to hold (none
    when they cannot tell), and the slices an earlier division left."""

    slice_id: str
    number: int
    streams: tuple[tuple[str, int], ...]
    earlier: tuple[Slice, ...]
    untold: bool = False
    """An outage kept the service from telling its streams."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """All parts of an overfull second are stored: ``rows`` together. ``whole`` is the slice they are parts
    of, as the manifest has it."""

    slice_id: str
    whole: Slice
    rows: int


@dataclass(frozen=True, slots=True)
class Relieved:
    """The file that stood for a divided slice is gone: others hold its window now. ``whole`` is that slice,
    as the manifest has it."""

    slice_id: str
    whole: Slice


@dataclass(frozen=True, slots=True)
class Published:
    """The file stands, complete and synced, under its final name. ``parts`` are the slices that an earlier
    division of its one second left."""

    slice_id: str
    number: int
    parts: tuple[Slice, ...] = ()


@dataclass(frozen=True, slots=True)
class PublishFailed:
    """The file could not take its place."""

    slice_id: str
    number: int
    fault: Fault


@dataclass(frozen=True, slots=True)
class StagedLost:
    """Neither the staged nor the published file exists any more."""

    slice_id: str
    number: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """The slice is no longer wanted: the asked window no longer meets it, or its job was redone."""

    slice_id: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The older generation keeps its place: what was to replace it is given up. ``reason`` is the word for
    it."""

    slice_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Marked:
    """An audit found that the stored window no longer agrees with the ledger; ``reason`` is a word of
    ``core.reasons``."""

    slice_id: str
    reason: str


Event = (
    Resumed
    | Admitted
    | Created
    | CreateRefused
    | CreateDoubted
    | Adopted
    | ProvedAbsent
    | LeftInDoubt
    | WatchRefused
    | Observed
    | Vanished
    | StoodStill
    | TransferAdmitted
    | Staged
    | TransferFailed
    | Recounted
    | Divided
    | Gathered
    | Relieved
    | Published
    | PublishFailed
    | StagedLost
    | Dropped
    | Withdrawn
    | Marked
)


# --- instructions ---


@dataclass(frozen=True, slots=True)
class Submit:
    """POST the create once."""

    slice: Slice
    task: RemoteTask


@dataclass(frozen=True, slots=True)
class Resolve:
    """Find out by walking the list whether the remote task exists."""

    slice: Slice
    task: RemoteTask


@dataclass(frozen=True, slots=True)
class Watch:
    """Tell what becomes of the remote task."""

    slice: Slice
    task: RemoteTask


@dataclass(frozen=True, slots=True)
class Unwatch:
    """It is no longer of interest."""

    task: RemoteTask


@dataclass(frozen=True, slots=True)
class Fetch:
    """Run the transfer; the slot for it is held."""

    slice: Slice
    task: RemoteTask


@dataclass(frozen=True, slots=True)
class Recount:
    """Ask the service how many lines the slice's window holds now."""

    slice: Slice
    number: int


@dataclass(frozen=True, slots=True)
class Divide:
    """Find out by what the slice's one second can be divided."""

    slice: Slice
    number: int


@dataclass(frozen=True, slots=True)
class Gather:
    """See whether all parts of an overfull second are stored."""

    job: str
    whole: str


@dataclass(frozen=True, slots=True)
class Relieve:
    """Delete the files that still stand for a divided slice and those it came from, wherever all of the
    window is stored by others."""

    job: str
    slice_id: str


@dataclass(frozen=True, slots=True)
class Publish:
    """Move the staged artifact to its place."""

    slice: Slice
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class DeleteRemote:
    """Delete a remote task of ours that is no longer of use. Idempotent, best effort."""

    task: RemoteTask


@dataclass(frozen=True, slots=True)
class DiscardStaged:
    """Delete a staged artifact that will not be published. Idempotent, best effort."""

    job: str
    staged_path: str


@dataclass(frozen=True, slots=True)
class StopJob:
    """A refusal concerns the whole job: admit nothing more of it."""

    job: str
    fault: Fault


@dataclass(frozen=True, slots=True)
class StopRun:
    """A fault of this machine: drain."""

    fault: Fault


Instruction = (
    Submit
    | Resolve
    | Watch
    | Unwatch
    | Fetch
    | Recount
    | Divide
    | Gather
    | Relieve
    | Publish
    | DeleteRemote
    | DiscardStaged
    | StopJob
    | StopRun
)


# --- what one transition yields ---


@dataclass(frozen=True, slots=True)
class Step:
    """The outcome of one transition: the slice as it is now, what to commit with it, and what to order after
    the commit."""

    slice: Slice
    instructions: tuple[Instruction, ...] = ()
    children: tuple[Slice, ...] = ()
    """New slices that take over part of the window."""
    outdated: tuple[Slice, ...] = ()
    """Parts of an earlier division, that nothing rests on any more."""
    tasks: tuple[RemoteTask, ...] = ()
    """Remote-task rows to write besides ``slice.task``: one that was let go, twins found."""
    covered: Window | None = None
    """Proven stored by this step."""
    uncovered: Window | None = None
    """No longer proven stored."""
    also_uncovered: tuple[str, ...] = ()
    """Log streams ("" for all of them) besides the slice's own whose coverage rested on it too."""
    parked: bool = False
    """Nothing more can be done for this slice in this run, though it is not finished."""
