"""Exports any window of logs from Baidu Log Service, and can prove that the export is complete.

    import orchestrator

    job_file = orchestrator.load("jobs.toml")
    report = orchestrator.run_sync(job_file)         # or: await orchestrator.run(job_file)
    assert report.complete, report.jobs[0].gaps

Names are looked up when they are first used (PEP 562): importing this package costs nothing. Nothing here
keeps state between calls, prints, or logs. What is raised on purpose is an ``OrchestratorError``; cancelling
a run drains it. The names in ``__all__`` are the library; docs/library.md tells how to use it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.app.library import JobFile, load, plan, run, run_sync, verify
    from orchestrator.core.estimating import Work
    from orchestrator.core.events import Event
    from orchestrator.core.fleets import Found, Unfit
    from orchestrator.core.job import (
        Align,
        Compression,
        Deliver,
        DestinationSpec,
        Fleet,
        Job,
        JobIdentity,
        Limits,
        Order,
        Output,
        ServedFormat,
        ServiceSpec,
    )
    from orchestrator.core.model import Evidence, Fault, Part, Receipt, RemoteTask, Slice, SliceState
    from orchestrator.core.reasons import Reason
    from orchestrator.core.report import Gap, JobPlan, JobReport, PlannedSlice, Redone, RedoOutcome, Report
    from orchestrator.core.series import Series
    from orchestrator.core.streams import Streams
    from orchestrator.core.timing import Cause, Timing
    from orchestrator.core.window import Window, WindowSet
    from orchestrator.engine.audit import Finding, VerifyReport
    from orchestrator.engine.context import StopSignal
    from orchestrator.errors import (
        CredentialsError,
        DiskFull,
        ExitCode,
        IntegrityError,
        JobFileError,
        MalformedAnswer,
        ManifestDamaged,
        ManifestLocked,
        ManifestTooNew,
        OrchestratorError,
        Refused,
        ServiceError,
        ServiceFault,
        StorageError,
        Throttled,
        Unreachable,
        UsageError,
    )
    from orchestrator.ports.control import Observer

    __version__: str

__all__ = [
    "Align",
    "Cause",
    "Compression",
    "CredentialsError",
    "Deliver",
    "DestinationSpec",
    "DiskFull",
    "Event",
    "Evidence",
    "ExitCode",
    "Fault",
    "Finding",
    "Fleet",
    "Found",
    "Gap",
    "IntegrityError",
    "Job",
    "JobFile",
    "JobFileError",
    "JobIdentity",
    "JobPlan",
    "JobReport",
    "Limits",
    "MalformedAnswer",
    "ManifestDamaged",
    "ManifestLocked",
    "ManifestTooNew",
    "Observer",
    "OrchestratorError",
    "Order",
    "Output",
    "Part",
    "PlannedSlice",
    "Reason",
    "Receipt",
    "RedoOutcome",
    "Redone",
    "Refused",
    "RemoteTask",
    "Report",
    "Series",
    "ServedFormat",
    "ServiceError",
    "ServiceFault",
    "ServiceSpec",
    "Slice",
    "SliceState",
    "StopSignal",
    "StorageError",
    "Streams",
    "Throttled",
    "Timing",
    "Unfit",
    "Unreachable",
    "UsageError",
    "VerifyReport",
    "Window",
    "WindowSet",
    "Work",
    "__version__",
    "load",
    "plan",
    "run",
    "run_sync",
    "verify",
]

_HOMES = {
    "orchestrator.app.library": (
        "JobFile",
        "load",
        "plan",
        "run",
        "run_sync",
        "verify",
    ),
    "orchestrator.core.estimating": ("Work",),
    "orchestrator.core.events": ("Event",),
    "orchestrator.core.fleets": (
        "Found",
        "Unfit",
    ),
    "orchestrator.core.job": (
        "Align",
        "Compression",
        "Deliver",
        "DestinationSpec",
        "Fleet",
        "Job",
        "JobIdentity",
        "Limits",
        "Order",
        "Output",
        "ServedFormat",
        "ServiceSpec",
    ),
    "orchestrator.core.model": (
        "Evidence",
        "Fault",
        "Part",
        "Receipt",
        "RemoteTask",
        "Slice",
        "SliceState",
    ),
    "orchestrator.core.reasons": ("Reason",),
    "orchestrator.core.report": (
        "Gap",
        "JobPlan",
        "JobReport",
        "PlannedSlice",
        "RedoOutcome",
        "Redone",
        "Report",
    ),
    "orchestrator.core.series": ("Series",),
    "orchestrator.core.streams": ("Streams",),
    "orchestrator.core.timing": (
        "Cause",
        "Timing",
    ),
    "orchestrator.core.window": (
        "Window",
        "WindowSet",
    ),
    "orchestrator.engine.audit": (
        "Finding",
        "VerifyReport",
    ),
    "orchestrator.engine.context": ("StopSignal",),
    "orchestrator.errors": (
        "CredentialsError",
        "DiskFull",
        "ExitCode",
        "IntegrityError",
        "JobFileError",
        "MalformedAnswer",
        "ManifestDamaged",
        "ManifestLocked",
        "ManifestTooNew",
        "OrchestratorError",
        "Refused",
        "ServiceError",
        "ServiceFault",
        "StorageError",
        "Throttled",
        "Unreachable",
        "UsageError",
    ),
    "orchestrator.ports.control": ("Observer",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

if not TYPE_CHECKING:  # a type checker knows the names from above, and is to complain of any other

    def __getattr__(name: str) -> object:
        """Look a public name up where it lives."""
        if name == "__version__":
            from importlib.metadata import version

            return version("orchestrator")
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
