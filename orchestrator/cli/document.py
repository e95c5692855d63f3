"""What does ``--json`` say? Exactly one document on stdout, also on failure; long lists element by element.

The keys are public (design 2.2): ``version``, ``exit``, ``complete``, ``settled_to`` and ``error`` always,
the command's own besides. Times are ISO 8601 UTC, what is missing is null.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any

from orchestrator.cli.outfile import Sink
from orchestrator.core.window import iso_utc
from orchestrator.errors import ExitCode, JobFileError, OrchestratorError

__all__ = ["FAMILIES", "Document", "error_value", "fault_value", "iso_or_null"]

FAMILIES = ("create", "describe", "list", "link", "query", "histogram", "delete", "file")
_NOT_FOUND_OUT: dict[str, dict[str, Any]] = {
    "check": {"jobs": [], "fleets": []},
    "logstores": {"logstores": []},
    "plan": {"jobs": [], "fleets": []},
    "run": {
        "duration_s": 0.0,
        "requests": dict.fromkeys(FAMILIES, 0),
        "jobs": [],
        "fleets": [],
        "timing": None,
    },
    "pull": {
        "from": None,
        "to": None,
        "unsettled_from": None,
        "rows": 0,
        "bytes": 0,
        "file": None,
        "resumed": False,
        "duration_s": 0.0,
        "requests": dict.fromkeys(FAMILIES, 0),
        "gaps": [],
    },
    "status": {"run": None, "jobs": [], "fleets": []},
    "gaps": {"gaps": []},
    "manifest": {"rows": []},
    "story": {"slice": None, "family": [], "remote_tasks": [], "story": []},
    "accept": {"accepted": [], "not_gaps": []},
    "forget": {"job": None, "from": None, "to": None, "slices": 0, "paths": [], "uncovered": [], "let_go": 0},
    "clean": {"dry_run": False, "remote_tasks": [], "staging": []},
    "redo": {
        "duration_s": 0.0,
        "requests": dict.fromkeys(FAMILIES, 0),
        "jobs": [],
        "fleets": [],
        "redone": [],
    },
    "merge": {
        **dict.fromkeys(("job", "from", "to", "output", "path", "rows", "files", "bytes", "sha256")),
        "gaps": [],
    },
    "verify": {
        "files_checked": 0,
        "files_read": 0,
        "files_looked_at": 0,
        "bytes_checked": 0,
        "slices_recounted": None,
        "slices_uncounted": None,
        "counted_nothing": None,
        "findings": [],
    },
}
"""What a document holds of a command that failed before it knew better."""


def iso_or_null(at_s: float | None) -> str | None:
    """UTC to the second with a ``Z``, None for None."""
    return None if at_s is None else iso_utc(at_s)


def error_value(error: OrchestratorError) -> dict[str, Any]:
    """The value of ``error``; a job file's complaints stand in it one by one."""
    value: dict[str, Any] = {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "request_id": error.request_id or None,
    }
    if isinstance(error, JobFileError):
        value["complaints"] = list(error.complaints)
    return value


def fault_value(code: str, message: str, hint: str, request_id: str) -> dict[str, Any]:
    """The value of ``error`` when only its parts came through."""
    return {"code": code, "message": message, "hint": hint, "request_id": request_id or None}


class Document:
    """One JSON object written as it becomes known, to one sink or several alike. ``end`` makes it whole."""

    def __init__(self, command: str, *sinks: Sink) -> None:
        self._sinks = sinks
        self._missing = dict(_NOT_FOUND_OUT.get(command, {}))
        self._begun = False
        self._open_list = ""
        self.ended = False

    def put(self, key: str, value: Any) -> None:
        """One key. Long lists go through ``stream``."""
        self._key(key)
        self._write(_text(value))

    def stream(self, key: str, items: Iterable[Any]) -> None:
        """A list, written element by element; stops early when nobody reads on."""
        self._begin_list(key)
        for number, item in enumerate(items):
            self._write(("," if number else "") + "\n" + _text(item))
            if self._broken:
                return
        self._end_list()

    async def stream_async(self, key: str, items: AsyncIterable[Any]) -> None:
        self._begin_list(key)
        number = 0
        async for item in items:
            self._write(("," if number else "") + "\n" + _text(item))
            number += 1
            if self._broken:
                return
        self._end_list()

    def end(
        self,
        exit_code: int,
        *,
        complete: bool = False,
        settled_to: int | None = None,
        error: Mapping[str, Any] | None = None,
    ) -> None:
        """Close whatever is open, add what the command did not get to, and finish the line."""
        if self._open_list:
            self._end_list()
        for key, value in dict(self._missing).items():
            self.put(key, value)
        self.put("exit", int(exit_code))
        self.put("complete", complete and exit_code == ExitCode.COMPLETE)
        self.put("settled_to", iso_or_null(settled_to))
        self.put("error", error)
        self._write("}\n")
        for sink in self._sinks:
            sink.flush()
        self.ended = True

    @property
    def _broken(self) -> bool:
        return all(sink.broken for sink in self._sinks)

    def _write(self, text: str) -> None:
        for sink in self._sinks:
            sink.write(text)

    def _key(self, key: str) -> None:
        self._missing.pop(key, None)
        if not self._begun:
            self._write('{"version":1')
            self._begun = True
        self._write(f",{json.dumps(key)}:")

    def _begin_list(self, key: str) -> None:
        self._key(key)
        self._write("[")
        self._open_list = key

    def _end_list(self) -> None:
        self._write("]")
        self._open_list = ""


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
