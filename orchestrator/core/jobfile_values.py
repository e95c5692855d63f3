"""What does the value of one key mean, and is it allowed there?"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from orchestrator.core.columns import RESERVED, TIME
from orchestrator.core.complaint import Wrong, nearest
from orchestrator.core.jobfile_query import read_query
from orchestrator.core.jobkeys import COLUMN_TYPES, Key, Kind
from orchestrator.core.measures import (
    DURATION_ALLOWED,
    SIZE_ALLOWED,
    UNIT_S,
    duration_text,
    parse_duration,
    parse_size,
)
from orchestrator.core.moments import MOMENT_ALLOWED

__all__ = ["allowed_text", "read_value"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CONTROL_IN_QUERY = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # a search may have several lines
_NO_UNICODE = re.compile(r"[\ud800-\udfff]")
"""Bytes of the environment that are no UTF-8 arrive as these; they could be sent and stored nowhere."""
_UNFIT = re.compile(f"{_CONTROL.pattern}|{_NO_UNICODE.pattern}")
_LONGEST_S = 36_500 * UNIT_S["d"]
_LARGEST_BYTES = 10**18
_GLOB = re.compile(r"[*?\[\]]")
_SCHEDULE_ALLOWED = 'five cron fields, "MINUTE HOUR DAY MONTH WEEKDAY", such as "0 2 * * *"'
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_CRON_FIELDS: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (0, 59, ()),
    (0, 23, ()),
    (1, 31, ()),
    (1, 12, _MONTHS),
    (0, 7, _WEEKDAYS),
)


def read_value(key: Key, value: Any) -> Any:
    """A TOML value as the program uses it: durations in seconds, sizes in bytes, patterns as a tuple.

    Moments stay as written, for they need the job's time zone. Raises Wrong.
    """
    return _READERS[key.kind](key, value)


def allowed_text(key: Key) -> str:
    """In words, what may stand as the value of a key."""
    match key.kind:
        case Kind.CHOICE:
            return ", ".join(f'"{choice}"' for choice in key.choices)
        case Kind.WHOLE | Kind.NUMBER:
            return f"a {key.kind} from {key.least} to {key.most}"
        case Kind.TEXT | Kind.NAMES:
            words = key.form.words if key.form else "text"
            return f"{words}, or a list of patterns" if key.kind is Kind.NAMES else words
    return _ALLOWED[key.kind]


_ALLOWED = {
    Kind.PATH: "a path, relative to the job file unless absolute",
    Kind.SWITCH: "true or false",
    Kind.DURATION: DURATION_ALLOWED,
    Kind.SIZE: SIZE_ALLOWED,
    Kind.MOMENT: MOMENT_ALLOWED,
    Kind.QUERY: "empty, `match SEARCH` or a bare search",
    Kind.SCHEDULE: _SCHEDULE_ALLOWED,
    Kind.COMMAND: 'a list of words, such as ["./notify.sh", "--now"]',
    Kind.COLUMNS: f"a table of {', '.join(COLUMN_TYPES)}",
}


def _text(key: Key, value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong("not text in quotes", allowed_text(key))
    if (_CONTROL_IN_QUERY if key.kind is Kind.QUERY else _CONTROL).search(value):
        raise Wrong("text with a control character", allowed_text(key))
    if _NO_UNICODE.search(value):
        raise Wrong("text that is not Unicode", allowed_text(key))
    return value


def _formed(key: Key, value: Any) -> str:
    text = _text(key, value)
    if key.form and not re.fullmatch(key.form.pattern, text, re.DOTALL):
        raise Wrong("not allowed", allowed_text(key))
    return text


def _path(key: Key, value: Any) -> str:
    text = _text(key, value)
    if not text.strip():
        raise Wrong("an empty path", allowed_text(key))
    return text


def _choice(key: Key, value: Any) -> str:
    text = _text(key, value)
    if text not in key.choices:
        raise Wrong("not one of the choices", allowed_text(key), nearest(text, key.choices))
    return text


def _whole(key: Key, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Wrong("not a whole number", allowed_text(key))
    return int(_bounded(key, value))


def _number(key: Key, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Wrong("not a number", allowed_text(key))
    return float(_bounded(key, value))


def _bounded(key: Key, value: float) -> int | float:
    least, most = key.least or 0, key.most or 0  # numbers have both
    if not least <= value <= most:  # written so that not-a-number falls here
        raise Wrong("out of range", allowed_text(key))
    return value


def _switch(key: Key, value: Any) -> bool:
    if not isinstance(value, bool):
        raise Wrong("neither true nor false", allowed_text(key))
    return value


def _duration(key: Key, value: Any) -> int:
    duration_s = parse_duration(_text(key, value))
    if duration_s < (key.least or 0):
        raise Wrong("too short", f"at least {duration_text(int(key.least or 0))}")
    if duration_s > _LONGEST_S:
        raise Wrong("too long", f"at most {_LONGEST_S // UNIT_S['d']}d")
    return duration_s


def _size(key: Key, value: Any) -> int:
    size_bytes = parse_size(_text(key, value))
    if size_bytes < (key.least or 0):
        raise Wrong("too small", f"at least {key.least} byte")
    if size_bytes > _LARGEST_BYTES:
        raise Wrong("too large", f"at most {_LARGEST_BYTES // 10**12}TB")
    return size_bytes


def _moment(key: Key, value: Any) -> Any:
    if not isinstance(value, str | date):  # a datetime is a date
        raise Wrong("not a moment", allowed_text(key))
    return value


def _names(key: Key, value: Any) -> str | tuple[str, ...]:
    if not isinstance(value, list):
        text = _text(key, value)
        return (text,) if _GLOB.search(text) else _formed(key, text)
    if not value:
        raise Wrong("an empty list", allowed_text(key))
    for index, item in enumerate(value):
        if not isinstance(item, str) or not item.removeprefix("!").strip() or _UNFIT.search(item):
            raise Wrong(
                "not a pattern", 'a name or a pattern such as "web-*" or "!web-test"', within=(index,)
            )
    if all(item.startswith("!") for item in value):
        raise Wrong("only exclusions", "at least one name or pattern without !")
    return tuple(value)


def _query(key: Key, value: Any) -> str:
    return read_query(_text(key, value))


def _command(key: Key, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(word, str) and word for word in value):
        raise Wrong("not a list of words", allowed_text(key))
    for index, word in enumerate(value):
        if "\x00" in word or _NO_UNICODE.search(word):
            raise Wrong("a word that no command can be given", allowed_text(key), within=(index,))
    return tuple(value)


def _columns(key: Key, value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise Wrong("not a table", allowed_text(key))
    for column, kind in value.items():
        if kind not in COLUMN_TYPES:
            near = nearest(kind, COLUMN_TYPES) if isinstance(kind, str) else ""
            raise Wrong("not a type", ", ".join(COLUMN_TYPES), near, within=(column,))
        if column in RESERVED and (column, kind) != (TIME, "timestamp"):
            raise Wrong("a column that every table has as it is", "other names", within=(column,))
    return tuple(value.items())


def _schedule(key: Key, value: Any) -> str:
    text = _text(key, value)
    fields = text.split()
    if len(fields) != len(_CRON_FIELDS):
        raise Wrong("not a cron schedule", _SCHEDULE_ALLOWED)
    for field, (least, most, names) in zip(fields, _CRON_FIELDS, strict=True):
        if not all(_is_cron_part(part, least, most, names) for part in field.split(",")):
            raise Wrong(f"a cron schedule with a field that is not from {least} to {most}", _SCHEDULE_ALLOWED)
    return " ".join(fields)


def _is_cron_part(part: str, least: int, most: int, names: tuple[str, ...]) -> bool:
    span, slash, step = part.partition("/")
    if slash and not (re.fullmatch(r"[0-9]{1,3}", step) and int(step) > 0):
        return False
    if span == "*":
        return True
    first, dash, last = span.partition("-")
    ends = [_cron_number(end, names) for end in ([first, last] if dash else [first])]
    return all(least <= end <= most for end in ends) and ends[0] <= ends[-1]


def _cron_number(text: str, names: tuple[str, ...]) -> int:
    """-1 for what is no number of the field. Months count from 1, weekdays from 0."""
    if text.lower() in names:
        return names.index(text.lower()) + (1 if names is _MONTHS else 0)
    return int(text) if re.fullmatch(r"[0-9]{1,2}", text) else -1


_READERS: Mapping[Kind, Callable[[Key, Any], Any]] = {
    Kind.TEXT: _formed,
    Kind.PATH: _path,
    Kind.CHOICE: _choice,
    Kind.WHOLE: _whole,
    Kind.NUMBER: _number,
    Kind.SWITCH: _switch,
    Kind.DURATION: _duration,
    Kind.SIZE: _size,
    Kind.MOMENT: _moment,
    Kind.NAMES: _names,
    Kind.QUERY: _query,
    Kind.SCHEDULE: _schedule,
    Kind.COMMAND: _command,
    Kind.COLUMNS: _columns,
}
