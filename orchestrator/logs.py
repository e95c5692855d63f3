"""Where do events go? To stderr for people or machines, to a rotated file; nothing secret in either.

One pipeline: structlog events, and the records of libraries that use ``logging``, are stamped, cleaned by
``core.redact`` and handed to each sink. Tracebacks reach the file only. Importing this sets nothing up.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from orchestrator.core.redact import REDACTED, Redactor
from orchestrator.core.window import iso_utc

if TYPE_CHECKING:
    from structlog.typing import Processor

    from orchestrator.core.events import Event
    from orchestrator.core.model import Fault, Slice

__all__ = ["LogObserver", "Logs", "Redaction", "clean", "configure", "note_exception"]

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
ROTATE_BYTES = 10_000_000
ROTATED_FILES = 5
LogFormat = Literal["console", "json"]


class Redaction:
    """Cleans text of all secrets known so far. ``add`` is called whenever credentials are read."""

    def __init__(self, known: tuple[str, ...] = ()) -> None:
        self._known = set(known)
        self._redactor = Redactor(self._known)

    def add(self, *values: str) -> None:
        new = {value for value in values if value} - self._known
        if new:
            self._known |= new
            self._redactor = Redactor(self._known)

    def __call__(self, text: str) -> str:
        return self._redactor(text)

    def own_words(self, text: str) -> str:
        """``text`` that this program wrote itself, without the secrets known: its wording may resemble a
        secret, as in "set BCE_SECRET_ACCESS_KEY, or …", and must stay readable."""
        return self._redactor.known(text)


def clean(value: Any, redact: Callable[[str], str]) -> Any:
    """``value`` with every text in it redacted, keys too; what is no plain value becomes its ``str``."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return redact(value)
        case Mapping():
            return {redact(str(key)): _clean_named(str(key), item, redact) for key, item in value.items()}
        case (str() as name, str() as item):  # a header, as HTTP libraries keep them
            return [redact(name), _clean_named(name, item, redact)]
        case list() | tuple() | set() | frozenset():
            return [clean(item, redact) for item in value]
        case _:
            return redact(str(value))


def _clean_named(key: str, value: Any, redact: Callable[[str], str]) -> Any:
    """A secret is also known by its name: ``secret_key="x"`` is cleaned, though ``x`` looks harmless."""
    if isinstance(value, str) and value:
        head = f"{key}="
        together = redact(head + value)
        return together.removeprefix(head) if together.startswith(head) else REDACTED
    return clean(value, redact)


@dataclass(frozen=True, slots=True)
class _Sink:
    level: int
    render: Callable[[MutableMapping[str, Any]], str]
    write: Callable[[str], None]


@dataclass(slots=True)
class Logs:
    """What ``configure`` set up; ``close`` takes it down again. ``path`` is "" without a log file."""

    path: str
    _closers: list[Callable[[], None]]

    def close(self) -> None:
        while self._closers:
            self._closers.pop()()


def configure(
    *,
    format: LogFormat,
    level: str,
    redact: Callable[[str], str],
    now: Callable[[], float],
    log_file: Path | None = None,
) -> Logs:
    """Send events of ``level`` and above to stderr, those of info and above (debug if asked) to the file.

    The file comes into being with its first line, rotates at 10 MB and keeps five predecessors; one that
    cannot be written costs one line on stderr and nothing else.
    """
    import structlog

    least = LEVELS[level]
    render = _as_json if format == "json" else _for_people
    sinks = [_Sink(least, render, _to_stderr)]
    closers: list[Callable[[], None]] = []
    if log_file:
        file = _LogFile(log_file)
        sinks.append(_Sink(min(least, LEVELS["info"]), _as_json, file.line))
        closers.append(file.close)
    lowest = min(sink.level for sink in sinks)
    structlog.configure(
        processors=[_dated(now), _traceback_as_text, _cleaned(redact), _delivered(tuple(sinks))],
        wrapper_class=structlog.make_filtering_bound_logger(lowest),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    closers += [structlog.reset_defaults, _listen_to_logging()]
    return Logs(str(log_file) if log_file else "", closers)


def note_exception(path: Path, error: BaseException, redact: Callable[[str], str], at_s: float) -> bool:
    """Append one traceback to the log file at ``path`` without any set-up; whether that worked."""
    import traceback

    text = redact("".join(traceback.format_exception(error)))
    file = _LogFile(path)
    try:
        file.line(_as_json({"at": iso_utc(at_s), "level": "critical", "event": "crashed", "exception": text}))
        return not file.broken
    finally:
        file.close()


def _dated(now: Callable[[], float]) -> Processor:
    def stamp(_: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        level = "error" if method == "exception" else method
        return {"at": iso_utc(now()), "level": level, "event": event.pop("event", ""), **event}

    return stamp


def _traceback_as_text(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    from structlog.processors import format_exc_info

    return format_exc_info(_, __, event)


def _cleaned(redact: Callable[[str], str]) -> Processor:
    def wash(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        cleaned: MutableMapping[str, Any] = clean(event, redact)
        return cleaned

    return wash


def _delivered(sinks: tuple[_Sink, ...]) -> Processor:
    def deliver(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
        weight = LEVELS.get(event["level"], LEVELS["info"])
        for sink in sinks:
            if weight >= sink.level:
                sink.write(sink.render(event))
        return ""

    return deliver


def _as_json(event: MutableMapping[str, Any]) -> str:
    import orjson

    return orjson.dumps(event, default=str).decode()


def _for_people(event: MutableMapping[str, Any]) -> str:
    """One line; of a traceback only what was raised."""
    shown = dict(event)
    raised = str(shown.pop("exception", "")).rstrip().rpartition("\n")[2]
    if raised:
        shown["raised"] = raised
    head = f"{shown.pop('at')} {shown.pop('level'):<7} {shown.pop('event')}"
    pairs = [f"{key}={_word(value)}" for key, value in shown.items() if value is not None]
    return "  ".join([head, " ".join(pairs)]) if pairs else head


def _word(value: Any) -> str:
    text = str(value)
    return text if text and not any(c in text for c in ' "\n') else repr(text)


def _to_stderr(line: str) -> None:
    """Looked up at every line, because a live view stands in for ``sys.stderr`` while it is on.

    A stderr that nobody reads, that is closed, or whose disk is full must not end what is told about.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


class _LogFile:
    """A rotated file, readable by its owner only, whose failure never becomes the program's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None
        self.broken = False

    def line(self, text: str) -> None:
        try:
            file = self._file or self._opened()
            if file.tell() + len(text) > ROTATE_BYTES:
                file = self._rotated()
            file.write(text + "\n")
            file.flush()
        except (OSError, ValueError) as problem:
            if not self.broken:
                self.broken = True
                _to_stderr(f"the log file {self._path} cannot be written: {problem}")

    def close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # what could not be flushed was reported by ``line``
                self._file.close()
            self._file = None

    def _opened(self) -> IO[str]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._file = os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")
        return self._file

    def _rotated(self) -> IO[str]:
        self.close()
        for number in range(ROTATED_FILES - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                self._numbered(number).replace(self._numbered(number + 1))
        with contextlib.suppress(FileNotFoundError):
            self._path.replace(self._numbered(1))
        return self._opened()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _listen_to_logging() -> Callable[[], None]:
    """Lead the records of libraries (asyncio, aiohttp) through the same pipeline."""
    import logging

    import structlog

    class FromLogging(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            try:
                structlog.get_logger().log(
                    record.levelno,
                    record.getMessage(),
                    logger=record.name,
                    exc_info=record.exc_info or None,
                )
            except Exception:  # noqa: BLE001  a record that cannot be shown must not stop what it reports on
                self.handleError(record)

    handler, root = FromLogging(level=logging.WARNING), logging.getLogger()
    root.addHandler(handler)

    def stop_listening() -> None:
        root.removeHandler(handler)
        handler.close()

    return stop_listening


class LogObserver:
    """What happens to slices, as log lines: faults and what leaves a gap as warnings, and every step at debug
    when ``detailed``."""

    def __init__(self, *, detailed: bool = True) -> None:
        import structlog

        self._log = structlog.get_logger()
        self._detailed = detailed

    def changed(self, before: Slice | None, after: Slice, event: Event | None) -> None:
        fault: Fault | None = getattr(event, "fault", None)
        if fault is not None:
            self._fault(after, fault)
        if before is not None and before.state == after.state:
            return
        if after.state == "failed":
            self._log.warning("slice.failed", **_about(after), reason=after.reason)
        elif self._detailed:
            step = type(event).__name__ if event else None
            self._log.debug(f"slice.{after.state.value}", **_about(after), step=step)

    def noted(self, name: str, **detail: str | float | None) -> None:
        serious = any(word in name for word in ("failed", "unknown", "fault", "lost", "stopped", "unsaved"))
        (self._log.warning if serious else self._log.info)(name, **detail)

    def _fault(self, slice_: Slice, fault: Fault) -> None:
        log = self._log.debug if fault.disposition == "throttle" else self._log.warning
        log(
            "slice.fault",
            **_about(slice_),
            code=fault.code,
            message=fault.message,
            request_id=fault.request_id or None,
        )


def _about(slice_: Slice) -> dict[str, Any]:
    return {
        "job": slice_.job,
        "slice": slice_.id,
        "window": repr(slice_.window),
        "attempt": slice_.attempt,
        "uuid": slice_.task.uuid or None if slice_.task else None,
    }
