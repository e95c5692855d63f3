"""The error tree: what can go wrong, whose fault it is, and what the program does about it.

    OrchestratorError                     exit 1   a bug of ours, if nothing more precise was raised
    ├── UsageError                        exit 2   options or job file
    │   └── JobFileError                  exit 2   all complaints about one job file at once
    ├── ServiceError                      exit 3   the service, or the way to it
    │   ├── Unreachable                   exit 3   no answer: connection refused, reset, timed out
    │   ├── ServiceFault                  exit 3   5xx: the service failed, not the request
    │   ├── MalformedAnswer               exit 3   an answer that cannot be read as what was asked for
    │   ├── Throttled                     exit 3   429, or a hidden quota
    │   ├── RemoteTaskNotFound            exit 3   404 DownloadTaskNotFound
    │   ├── CreateUncertain               exit 3   a create whose outcome is unknown: look, never repeat
    │   ├── LinkRefused                   exit 3   a presigned link that no longer opens
    │   ├── FileMissing                   exit 3   the link opens on nothing
    │   └── Refused                       exit 5   the request itself: credentials, permission, no such thing
    ├── CredentialsError                  exit 5   no usable credentials were found
    ├── IntegrityError                    exit 4   bytes, rows or digests do not agree
    │   ├── BrokenBody                    exit 4   a file that ends early or does not decompress
    │   └── RowsOutsideWindow             exit 4   rows the slice never asked for
    ├── StorageError                      exit 6   this machine: disk, permissions
    │   ├── DiskFull                      exit 6   no room, or less than the reserve would be left
    │   ├── ManifestDamaged               exit 6   the ledger cannot be read as one
    │   └── ManifestTooNew                exit 6   written by a newer version
    ├── PathOccupied                      exit 7   a foreign file stands where ours should go
    ├── ManifestLocked                    exit 8   another run holds the manifest
    └── Interrupted                       exit 130 drained after a signal

Every class knows its ``exit_code``, its public ``code`` and its ``disposition``: what the engine does when it
meets it.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import ClassVar

__all__ = [
    "BrokenBody",
    "CreateUncertain",
    "CredentialsError",
    "DiskFull",
    "Disposition",
    "ExitCode",
    "FileMissing",
    "IntegrityError",
    "Interrupted",
    "JobFileError",
    "LinkRefused",
    "MalformedAnswer",
    "ManifestDamaged",
    "ManifestLocked",
    "ManifestTooNew",
    "OrchestratorError",
    "PathOccupied",
    "Refused",
    "RemoteTaskNotFound",
    "RowsOutsideWindow",
    "ServiceError",
    "ServiceFault",
    "StorageError",
    "Throttled",
    "Unreachable",
    "UsageError",
]


class ExitCode(IntEnum):
    """What the process says when it ends; public, changes only with a major version."""

    COMPLETE = 0
    BUG = 1
    USAGE = 2
    INCOMPLETE = 3
    INTEGRITY = 4
    REFUSED = 5
    STORAGE = 6
    UNMENDABLE = 7
    LOCKED = 8
    INTERRUPTED = 130

    @staticmethod
    def worst(codes: list[int]) -> int:
        """The one code that speaks for several jobs: the first of 2 1 6 8 130 4 5 3 7 0 that occurs."""
        for code in (2, 1, 6, 8, 130, 4, 5, 3, 7, 0):
            if code in codes:
                return code
        return 0


class Disposition(StrEnum):
    """What to do about a fault, decided by its class and nowhere else."""

    RETRY = "retry"  # the same again, later; counts as an attempt
    THROTTLE = "throttle"  # the same again, slower; does not count
    LOOK = "look"  # outcome unknown: reconcile before anything else
    RENEW = "renew"  # ask for a fresh link, then go on where the body stopped
    REFUSE = "refuse"  # concerns the whole job: stop that job, let the others go on
    GIVE_UP = "give up"  # concerns this slice for good: a gap with its reason
    STOP = "stop"  # concerns this machine or this run: drain and end
    BUG = "bug"  # ours


class OrchestratorError(Exception):
    """Root of everything this package raises on purpose.

    ``message`` says what happened and where; ``hint`` says how to mend it; ``request_id`` names the service's
    own record.
    """

    code: ClassVar[str] = "bug"
    exit_code: ClassVar[ExitCode] = ExitCode.BUG
    disposition: ClassVar[Disposition] = Disposition.BUG
    default_hint: ClassVar[str] = "this is a defect: please report it with the log file"

    def __init__(self, message: str, *, hint: str = "", request_id: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint
        self.request_id = request_id

    def __str__(self) -> str:
        return self.message


class UsageError(OrchestratorError):
    code = "usage"
    exit_code = ExitCode.USAGE
    disposition = Disposition.STOP
    default_hint = "see `orchestrator --help`"


class JobFileError(UsageError):
    """A job file that cannot be used; ``complaints`` holds every finding, already worded for a person."""

    code = "job_file"
    default_hint = (
        "mend the lines named above; `orchestrator check` reads the file without contacting anything"
    )

    def __init__(self, message: str, complaints: tuple[str, ...] = (), *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.complaints = complaints


class ServiceError(OrchestratorError):
    """Something between us and a usable answer. ``status`` is the HTTP status, 0 when there was none;
    ``service_code`` the code of the error body ("" when there was none)."""

    code = "service"
    exit_code = ExitCode.INCOMPLETE
    disposition = Disposition.RETRY
    default_hint = "run again: what is done is kept"

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        service_code: str = "",
        hint: str = "",
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint, request_id=request_id)
        self.status = status
        self.service_code = service_code
        self.retry_after_s = retry_after_s


class Unreachable(ServiceError):
    code = "unreachable"
    default_hint = "check the endpoint, proxy and network, then run again"


class ServiceFault(ServiceError):
    code = "service_fault"


class MalformedAnswer(ServiceError):
    code = "malformed_answer"
    default_hint = "something answered that does not speak the service's language: check endpoint and proxy"


class Throttled(ServiceError):
    code = "throttled"
    disposition = Disposition.THROTTLE
    default_hint = "lower [limits] requests_per_second or tasks, or run again later"


class RemoteTaskNotFound(ServiceError):
    code = "remote_task_not_found"


class CreateUncertain(ServiceError):
    """``answered`` tells whether any reply came; without one the request may still be executed until its
    signature expires."""

    code = "create_uncertain"
    disposition = Disposition.LOOK

    def __init__(
        self, message: str, *, answered: bool, status: int = 0, service_code: str = "", request_id: str = ""
    ) -> None:
        super().__init__(message, status=status, service_code=service_code, request_id=request_id)
        self.answered = answered


class LinkRefused(ServiceError):
    code = "link_refused"
    disposition = Disposition.RENEW


class FileMissing(ServiceError):
    code = "file_missing"


class Refused(ServiceError):
    code = "refused"
    exit_code = ExitCode.REFUSED
    disposition = Disposition.REFUSE
    default_hint = "check credentials, permissions and the names of project and logstore"


class CredentialsError(OrchestratorError):
    code = "credentials"
    exit_code = ExitCode.REFUSED
    disposition = Disposition.REFUSE
    default_hint = (
        "set BCE_ACCESS_KEY_ID and BCE_SECRET_ACCESS_KEY, or name a source in [service] credentials"
    )


class IntegrityError(OrchestratorError):
    code = "integrity"
    exit_code = ExitCode.INTEGRITY
    disposition = Disposition.RETRY
    default_hint = "`orchestrator verify` finds what disagrees and `run` exports it anew"


class BrokenBody(IntegrityError):
    code = "broken_body"


class RowsOutsideWindow(IntegrityError):
    code = "rows_outside_window"
    disposition = Disposition.GIVE_UP
    default_hint = "check `time_field`: the rows' times do not lie where the slice asked for them"


class StorageError(OrchestratorError):
    code = "storage"
    exit_code = ExitCode.STORAGE
    disposition = Disposition.STOP
    default_hint = "check permissions and health of the folder named"


class DiskFull(StorageError):
    code = "disk_full"
    default_hint = "free space or lower [limits] disk_reserve, then run again: nothing is lost"


class ManifestDamaged(StorageError):
    code = "manifest_damaged"
    default_hint = "restore the manifest from a backup; the stored files are untouched"


class ManifestTooNew(StorageError):
    code = "manifest_too_new"
    default_hint = "use the version of orchestrator that wrote it, or a newer one"


class PathOccupied(OrchestratorError):
    code = "path_occupied"
    exit_code = ExitCode.UNMENDABLE
    disposition = Disposition.GIVE_UP
    default_hint = "move the file away, then run again"


class ManifestLocked(OrchestratorError):
    code = "manifest_locked"
    exit_code = ExitCode.LOCKED
    disposition = Disposition.STOP
    default_hint = "wait for the other run, or pass --wait"


class Interrupted(OrchestratorError):
    code = "interrupted"
    exit_code = ExitCode.INTERRUPTED
    disposition = Disposition.STOP
    default_hint = "run again: it goes on where it stopped"
