"""The job file from disk, the environment, the time zones: everything a job file needs that is not in it.

The only home of the process environment. What the file means is decided in ``core.jobfile``; nothing here
contacts anybody."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from orchestrator.core import jobfile
from orchestrator.core.complaint import Complaint, KeyPath, Wrong
from orchestrator.core.job import JobFile
from orchestrator.core.jobfile_lines import line_of, lines_of
from orchestrator.core.jobfile_places import Base
from orchestrator.errors import JobFileError, UsageError

__all__ = ["MANIFEST_VARIABLE", "environment", "home_folder", "load", "state_folder", "zone"]

MANIFEST_VARIABLE = "ORCHESTRATOR_MANIFEST"
_MOST_BYTES = 16_000_000
_MANY_DIGITS = re.compile(r"[0-9][0-9_]{4000}")
_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def environment() -> Mapping[str, str]:
    """The process environment as it is now; a copy, so that one run sees one environment."""
    return dict(os.environ)


def home_folder() -> str:
    """The user's home folder, absolute. Raises UsageError when the system knows none."""
    try:
        return str(Path.home())
    except RuntimeError:
        raise UsageError("this user has no home folder", hint="set HOME") from None


def state_folder() -> str:
    """Where this program keeps what outlives one command and is no result, absolute: a folder of its own
    below ``XDG_STATE_HOME``, else below ``~/.local/state``, on every system. A relative ``XDG_STATE_HOME`` is
    not obeyed, as its specification demands. Raises UsageError without a home folder."""
    named = environment().get("XDG_STATE_HOME", "")
    base = Path(named) if os.path.isabs(named) else Path(home_folder()) / ".local" / "state"
    return str(base / "orchestrator")


@lru_cache(maxsize=256)
def zone(name: str) -> ZoneInfo | None:
    """A time zone by its name in the time zone database, None when there is none of that name."""
    try:
        return ZoneInfo(name)
    except (
        KeyError,
        ValueError,
        OSError,
    ):  # unknown; a path out of the database; a folder of it, such as "America"
        return None


def load(
    path: str | os.PathLike[str],
    *,
    now_s: float,
    manifest: str | None = None,
    env: Mapping[str, str] | None = None,
) -> JobFile:
    """Read and judge a job file. ``now_s`` is epoch seconds, read once per run. ``manifest`` (from the
    command line), else ``ORCHESTRATOR_MANIFEST``, overrides the key of that name, relative to the working
    folder.

    Raises JobFileError with every complaint, also when the file is missing, unreadable, not UTF-8 or not
    TOML."""
    shown_path = os.fspath(path)
    variables = environment() if env is None else env
    text = _text_of(shown_path)
    try:
        return _judged(shown_path, text, now_s, manifest or variables.get(MANIFEST_VARIABLE), variables)
    except RecursionError:
        raise _file_complaint(shown_path, "nested too deeply", "tables and lists a few levels deep") from None


def _judged(
    path: str, text: str, now_s: float, manifest: str | None, variables: Mapping[str, str]
) -> JobFile:
    data = _toml(path, text)
    absolute = Path(path).absolute()
    lines: dict[KeyPath, int] = {}

    def line(key_path: KeyPath) -> int:
        if not lines:  # only a file with complaints pays for positions
            lines.update(lines_of(text))
        return line_of(key_path, lines)

    return jobfile.read(
        data,
        now_s=now_s,
        zones=zone,
        env=variables,
        base_folder=str(absolute.parent),
        file=path,
        line_of=line,
        path=str(absolute),
        manifest=_from_working_folder(manifest, variables) if manifest else None,
        zone_names=_ZoneNames(),
    )


def _toml(path: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _toml_complaint(path, text, error) from None
    except ValueError:  # Python's own, of a number of more than some thousand digits; it does not say where
        line = next((n for n, row in enumerate(text.split("\n"), 1) if _MANY_DIGITS.search(row)), 0)
        raise _file_complaint(path, "a number with too many digits", "a sensible number", line=line) from None


def _from_working_folder(manifest: str, variables: Mapping[str, str]) -> str:
    try:
        return Base(str(Path.cwd()), variables).absolute(manifest)
    except Wrong as wrong:
        raise UsageError(
            f"--manifest: {wrong.objection.problem}", hint=f"give {wrong.objection.allowed}"
        ) from None


class _ZoneNames:
    """Every zone's name, looked up on disk only when a complaint asks for the nearest one."""

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(available_timezones()))


def _text_of(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise _file_complaint(path, "no such file", "`orchestrator init` writes one") from None
    except IsADirectoryError:
        raise _file_complaint(path, "a folder, not a file", "a TOML file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _file_complaint(path, f"cannot be read: {reason}", "a TOML file") from None
    if len(content) > _MOST_BYTES:
        raise _file_complaint(path, "too large for a job file", f"at most {_MOST_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _file_complaint(path, "not UTF-8", "a TOML file in UTF-8", line=line) from None


def _toml_complaint(path: str, text: str, error: tomllib.TOMLDecodeError) -> JobFileError:
    message = str(error)
    place = _TOML_PLACE.search(message)
    line = int(place[1]) if place and place[1] else text.count("\n") + 1
    reason = _TOML_PLACE.sub("", message)
    return _file_complaint(path, f"not TOML: {reason[:1].lower()}{reason[1:]}", "", line=line)


def _file_complaint(path: str, problem: str, allowed: str, *, line: int = 0) -> JobFileError:
    return jobfile.complaint_error([Complaint(path, line, "", problem, allowed=allowed)])
