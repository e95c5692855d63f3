"""What did the command line ask for? The options every command shares, as one value."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Asked"]


@dataclass(frozen=True, slots=True)
class Asked:
    """Options as typed; nothing is looked up or checked against a job file yet. "" and () mean: not given."""

    command: str
    jobs_path: str = ""
    jobs: tuple[str, ...] = ()
    from_: str = ""
    to: str = ""
    manifest: str = ""
    json: bool = False
    report: str = ""
    """Where the JSON document is to be written besides."""
    log_format: str = "console"
    log_file: str = ""
    verbose: bool = False
    quiet: bool = False
    progress: bool = True
    wait_s: int = 0
