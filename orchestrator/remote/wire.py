"""How bytes from the service become typed values, tolerantly (bls-api.md 1, 10.6, 10.22).

Every number may come as int, float or text, every time with or without fraction, offset or value at all,
every field may be missing. What is missing is None or ""; what has the wrong shape is a MalformedAnswer that
names call and path.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

import orjson

from orchestrator.errors import MalformedAnswer

__all__ = [
    "Answer",
    "Fields",
    "document",
    "http_date",
    "moment_of",
    "payload",
    "request_id_of",
    "whole_number",
]

_BOM: Final = b"\xef\xbb\xbf"
_LARGEST: Final = 2**63 - 1
_SANE_DATES: Final = (
    946_684_800,
    4_102_444_800,
)  # 2000 to 2100: outside of it a Date header is a defect, not a date
_LONGEST_DATE: Final = 64
"""Characters; whatever is longer is no date, and is not remembered."""
_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{0,40})?(?:[eE][+-]?[0-9]{1,3})?")
_PRINTABLE = re.compile(r"[!-~]{1,128}")


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, read whole. Header names are lower-case. ``sent_at`` and ``received_at`` are our own
    clock.

    ``mended`` tells that the request was refused for a reason that no longer holds: the clock was corrected
    or fresher credentials were found since it was signed, so the same request may succeed now.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    mended: bool = False

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


def document(body: bytes) -> object:
    """The JSON value of ``body``; None when it is empty. Raises TypeError or ValueError when it is no JSON or
    nested absurdly deep."""
    text = body.removeprefix(_BOM).strip()
    return orjson.loads(text) if text else None


def payload(found: object, call: str, request_id: str = "") -> Fields:
    """The fields of a success in either response style: what ``result`` holds when that is an object, else
    all."""
    outer = Fields(found, call, request_id=request_id)
    return outer.section("result") if isinstance(outer.values.get("result"), dict) else outer


def request_id_of(answer: Answer, found: object = None) -> str:
    """The service's own id of the request, from the body under either spelling or from the header; "" when
    absent."""
    given = (found.get("requestId"), found.get("request_id")) if isinstance(found, dict) else ()
    for text in (*given, answer.headers.get("x-bce-request-id")):
        if isinstance(text, str) and _PRINTABLE.fullmatch(text):
            return text
    return ""


def http_date(text: str) -> float | None:
    """A Date or Retry-After date as epoch seconds; None when it is none, or no date a clock could show."""
    return _http_date(text) if len(text) <= _LONGEST_DATE else None


@lru_cache(64)
def _http_date(text: str) -> float | None:
    try:
        at = parsedate_to_datetime(text)
        seconds = at.replace(tzinfo=at.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return seconds if _SANE_DATES[0] <= seconds <= _SANE_DATES[1] else None


def whole_number(value: object) -> int | None:
    """``value`` (int, float or text) as a whole number; None when empty. Raises TypeError or ValueError when
    it is none."""
    if type(value) is int and -_LARGEST <= value <= _LARGEST:
        return value
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(_shape(value))
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value.strip()):
            raise ValueError("a text")
        value = int(value) if value.strip().lstrip("+-").isdecimal() else float(value)
    if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
        raise ValueError("a number that is not whole")
    if abs(value) > _LARGEST:
        raise ValueError("a number beyond all counting")
    return int(value)


def moment_of(value: object) -> float | None:
    """A time as epoch seconds; None when absent, empty, in no known format or beyond all clocks. Raises
    TypeError for a wrong type.

    ISO 8601 with or without fraction and offset (UTC when it has none), or epoch seconds or milliseconds.
    """
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) > _LARGEST:  # a whole number can be too large for a float
            return None
        seconds = value / 1000 if abs(value) >= 10**11 else float(value)
    elif isinstance(value, str):
        return _iso_moment(value) if 0 < len(value) <= _LONGEST_DATE else None
    else:
        raise TypeError(_shape(value))
    return seconds if _is_moment(seconds) else None


@lru_cache(4096)
def _iso_moment(text: str) -> float | None:
    try:
        at = datetime.fromisoformat(text.strip())
        seconds = at.replace(tzinfo=at.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if _is_moment(seconds) else None


def _is_moment(seconds: float) -> bool:
    """The zero times of other languages mean "not yet"."""
    return 0 <= seconds <= _SANE_DATES[1]


class Fields:
    """An object of an answer, read field by field. Several names are spellings of one field: the first
    present wins."""

    __slots__ = ("_call", "_path", "_place", "_request_id", "values")

    def __init__(
        self, found: object, call: str, path: str = "", *, place: int | None = None, request_id: str = ""
    ) -> None:
        self._call, self._path, self._place, self._request_id = call, path, place, request_id
        if not isinstance(found, dict):
            raise self.wrong("", "an object", _shape(found))
        self.values: dict[str, object] = found

    def text(self, *names: str) -> str:
        """A text; numbers and truth values are spelled out, missing and null are ""."""
        name, value = self._first(names)
        if type(value) is str:
            return value
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str | int | float):
            return str(value)
        raise self.wrong(name, "a text", _shape(value))

    def number(self, *names: str) -> int | None:
        """A whole number of at least 0; missing, null, empty and negative are None."""
        name, value = self._first(names)
        try:
            found = whole_number(value)
        except (TypeError, ValueError) as odd:
            raise self.wrong(name, "a whole number", str(odd)) from None
        return None if found is None or found < 0 else found

    def truth(self, *names: str) -> bool | None:
        """True or False, also spelled as text or 0 and 1; missing, null and empty are None."""
        name, value = self._first(names)
        word = str(value).strip().lower() if isinstance(value, bool | int | str) else value
        if word in (None, ""):
            return None
        if word in ("true", "1", "false", "0"):
            return word in ("true", "1")
        raise self.wrong(name, "true or false", _shape(value))

    def moment(self, *names: str) -> float | None:
        """A time as epoch seconds; missing, empty and unreadable are None."""
        name, value = self._first(names)
        try:
            return moment_of(value)
        except (TypeError, ValueError) as odd:
            raise self.wrong(name, "a time", str(odd)) from None

    def section(self, *names: str) -> Fields:
        """An object inside this one. Raises MalformedAnswer when it is missing."""
        name, value = self._first(names)
        return Fields(value, self._call, self.path(name), request_id=self._request_id)

    def section_or_none(self, *names: str) -> Fields | None:
        """An object inside this one, None when missing or null."""
        return self.section(*names) if self._first(names)[1] is not None else None

    def items(self, *names: str) -> list[object]:
        """A list; missing and null are empty."""
        name, value = self._first(names)
        if value is None:
            return []
        if isinstance(value, list):
            return value
        raise self.wrong(name, "a list", _shape(value))

    def sections(self, *names: str) -> list[Fields]:
        """A list of objects; missing and null are empty."""
        path = self.path(self._first(names)[0])
        return [
            Fields(item, self._call, path, place=at, request_id=self._request_id)
            for at, item in enumerate(self.items(*names))
        ]

    def path(self, name: str) -> str:
        """Where a field of this object stands in the answer, for messages."""
        at = self._path if self._place is None else f"{self._path}[{self._place}]"
        return f"{at}.{name}" if at and name else at or name

    def wrong(self, name: str, expected: str, found: str) -> MalformedAnswer:
        """The complaint about one field."""
        where = self.path(name) or "the answer"
        return MalformedAnswer(
            f"{self._call}: {where} should be {expected}, found {found}", request_id=self._request_id
        )

    def _first(self, names: tuple[str, ...]) -> tuple[str, object]:
        for name in names:
            value = self.values.get(name)
            if value is not None:
                return name, value
        return names[0], None


def _shape(value: object) -> str:
    words = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return words.get(type(value), "a number")
