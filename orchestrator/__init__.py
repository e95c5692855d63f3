"""Exports any window of logs from Baidu Log Service, and can prove that the export is complete.

    import orchestrator

    job_file = orchestrator.load("jobs.toml")
    report = orchestrator.run_sync(job_file)         # or: await orchestrator.run(job_file)
    assert report.complete, report.jobs[0].gaps

Names are looked up when they are first used (PEP 562): importing this package costs nothing. Nothing here
keeps state between calls. What is raised on purpose is an ``OrchestratorError``; cancelling a run drains it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.app.library import JobFile, load, plan, run, run_sync
    from orchestrator.core.job import Job, JobIdentity, Limits
    from orchestrator.core.report import Gap, JobPlan, JobReport, PlannedSlice, Report
    from orchestrator.core.window import Window
    from orchestrator.engine.context import StopSignal
    from orchestrator.errors import (
        CredentialsError,
        ExitCode,
        IntegrityError,
        JobFileError,
        ManifestLocked,
        OrchestratorError,
        ServiceError,
        StorageError,
        UsageError,
    )
    from orchestrator.ports.control import Observer

    __version__: str

__all__ = [
    "CredentialsError",
    "ExitCode",
    "Gap",
    "IntegrityError",
    "Job",
    "JobFile",
    "JobFileError",
    "JobIdentity",
    "JobPlan",
    "JobReport",
    "Limits",
    "ManifestLocked",
    "Observer",
    "OrchestratorError",
    "PlannedSlice",
    "Report",
    "ServiceError",
    "StopSignal",
    "StorageError",
    "UsageError",
    "Window",
    "__version__",
    "load",
    "plan",
    "run",
    "run_sync",
]

_HOMES = {
    "orchestrator.app.library": ("JobFile", "load", "plan", "run", "run_sync"),
    "orchestrator.core.job": ("Job", "JobIdentity", "Limits"),
    "orchestrator.core.report": ("Gap", "JobPlan", "JobReport", "PlannedSlice", "Report"),
    "orchestrator.core.window": ("Window",),
    "orchestrator.engine.context": ("StopSignal",),
    "orchestrator.errors": (
        "CredentialsError",
        "ExitCode",
        "IntegrityError",
        "JobFileError",
        "ManifestLocked",
        "OrchestratorError",
        "ServiceError",
        "StorageError",
        "UsageError",
    ),
    "orchestrator.ports.control": ("Observer",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


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
