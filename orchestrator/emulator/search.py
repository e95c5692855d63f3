"""Which records a search statement means: the part of the query language that a client of download tasks
meets.

bls-api.md 3.2: ``match *`` is everything; words, ``field:word``, ``field=number``, comparisons, ``field in [a
b)``, ``and`` / ``or`` / ``not``, parentheses, adjacent words mean ``and``; single quotes make a phrase,
double quotes several words; ``*`` and ``?`` are allowed except at the start of a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

__all__ = ["EVERYTHING", "Search", "SearchError", "Searchable", "parse_search", "words_of"]


class SearchError(ValueError):
    """A statement outside the language."""


class Searchable(Protocol):
    """What a record shows to a search."""

    @property
    def words(self) -> frozenset[str]:
        """Lower-case words of the raw text."""
        ...

    @property
    def text(self) -> str:
        """The raw text."""
        ...

    @property
    def fields(self) -> Mapping[str, str]:
        """Indexed fields as text."""
        ...


class Search(Protocol):
    """A condition on one record; a value, so that what follows from it can be kept."""

    def __hash__(self) -> int: ...

    def matches(self, record: Searchable) -> bool:
        """Whether this record is meant."""
        ...


_WORD = re.compile(r"[^\s\"'\[\](){},;:=<>|]+")


def words_of(text: str) -> frozenset[str]:
    """The lower-case words of a raw text, as its full-text index would hold them; words cut at / . - are held
    too."""
    found = {word.lower() for word in _WORD.findall(text)}
    return frozenset(found | {part for word in found for part in re.split(r"[/.\-_]", word) if part})


@dataclass(frozen=True, slots=True)
class _Everything:
    def matches(self, record: Searchable) -> bool:
        return True


EVERYTHING: Search = _Everything()


def _pattern(word: str) -> re.Pattern[str]:
    return re.compile("".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in word.lower()))


@dataclass(frozen=True, slots=True)
class _Word:
    word: str

    def matches(self, record: Searchable) -> bool:
        if "*" in self.word or "?" in self.word:
            pattern = _pattern(self.word)
            return any(pattern.fullmatch(word) for word in record.words)
        return self.word in record.words


@dataclass(frozen=True, slots=True)
class _Phrase:
    phrase: str

    def matches(self, record: Searchable) -> bool:
        return self.phrase in record.text.lower()


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    word: str

    def matches(self, record: Searchable) -> bool:
        value = record.fields.get(self.name)
        return value is not None and bool(_pattern(self.word).fullmatch(value.lower()))


@dataclass(frozen=True, slots=True)
class _Range:
    """``low`` and ``high`` bound a number; None is open."""

    name: str
    low: float | None
    low_in: bool
    high: float | None
    high_in: bool

    def matches(self, record: Searchable) -> bool:
        try:
            value = float(record.fields[self.name])
        except (KeyError, ValueError):
            return False
        above = self.low is None or value > self.low or (self.low_in and value == self.low)
        below = self.high is None or value < self.high or (self.high_in and value == self.high)
        return above and below


@dataclass(frozen=True, slots=True)
class _All:
    parts: tuple[Search, ...]

    def matches(self, record: Searchable) -> bool:
        return all(part.matches(record) for part in self.parts)


@dataclass(frozen=True, slots=True)
class _Any:
    parts: tuple[Search, ...]

    def matches(self, record: Searchable) -> bool:
        return any(part.matches(record) for part in self.parts)


@dataclass(frozen=True, slots=True)
class _Not:
    part: Search

    def matches(self, record: Searchable) -> bool:
        return not self.part.matches(record)


_TOKEN = re.compile(
    r"""\s*(?:
      (?P<paren>[()])
    | (?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<field>[A-Za-z_@][\w.@\-]*)\s*(?:
          \s+in\s+(?P<open>[\[(])\s*(?P<low>-?[\d.]+)\s+(?P<high>-?[\d.]+)\s*(?P<close>[\])])
        | (?P<op>>=|<=|[:=<>])\s*(?P<value>'[^']*'|"[^"]*"|[^\s()'"|]+))
    | (?P<word>[^\s()'"|]+)
    )""",
    re.VERBOSE | re.IGNORECASE,
)


class _Parser:
    """Recursive descent: ``or`` binds weakest, then ``and`` (or nothing between words), then ``not``."""

    def __init__(self, text: str) -> None:
        self._tokens: list[re.Match[str]] = []
        at = 0
        text = text.rstrip()
        while at < len(text):
            token = _TOKEN.match(text, at)
            if token is None:
                raise SearchError(f"cannot read the search from {text[at : at + 20]!r} on")
            self._tokens.append(token)
            at = token.end()
        self._at = 0

    def _next(self) -> str:
        """The next word or parenthesis in lower case; "" at the end; "." for anything else."""
        if self._at == len(self._tokens):
            return ""
        token = self._tokens[self._at]
        return (token["paren"] or (token["word"] or ".")).lower()

    def whole(self) -> Search:
        found = self._any()
        if self._next():
            raise SearchError(f"unexpected {self._next()!r} in the search")
        return found

    def _any(self) -> Search:
        parts = [self._all()]
        while self._next() == "or":
            self._at += 1
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else _Any(tuple(parts))

    def _all(self) -> Search:
        parts = [self._one()]
        while self._next() not in ("", ")", "or"):
            if self._next() == "and":
                self._at += 1
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else _All(tuple(parts))

    def _one(self) -> Search:
        word = self._next()
        if word in ("", ")", "and", "or"):
            raise SearchError(
                "the search ends where a condition is expected" if not word else f"misplaced {word!r}"
            )
        token = self._tokens[self._at]
        self._at += 1
        if word == "not":
            return _Not(self._one())
        if word == "(":
            inside = self._any()
            if self._next() != ")":
                raise SearchError("a parenthesis is not closed")
            self._at += 1
            return inside
        return _condition(token)


def _condition(token: re.Match[str]) -> Search:
    if quoted := token["quoted"]:
        inner = quoted[1:-1].lower()
        if quoted[0] == "'":
            return _Phrase(inner)
        return _All(tuple(_Word(word) for word in inner.split()))
    if name := token["field"]:
        if token["open"]:
            return _Range(
                name, float(token["low"]), token["open"] == "[", float(token["high"]), token["close"] == "]"
            )
        value = token["value"].strip("'\"")
        if token["op"] in (":", "="):
            if value.startswith(("*", "?")) and value != "*":
                raise SearchError("a word must not start with a wildcard")
            return _Field(name, value)
        try:
            bound = float(value)
        except ValueError as error:
            raise SearchError(f"{name} {token['op']} needs a number, not {value!r}") from error
        inclusive = token["op"].endswith("=")
        if token["op"].startswith(">"):
            return _Range(name, bound, inclusive, None, False)
        return _Range(name, None, False, bound, inclusive)
    word = token["word"].lower()
    if word == "*":
        return EVERYTHING
    if word.startswith(("*", "?")):
        raise SearchError("a word must not start with a wildcard")
    return _Word(word)


def parse_search(statement: str) -> Search:
    """The condition of ``match <search>``; an empty statement means everything. Raises SearchError."""
    statement = statement.strip()
    if not statement:
        return EVERYTHING
    head, _, rest = statement.partition(" ")
    if head.lower() != "match" or not rest.strip():
        raise SearchError("only `match <search>` is understood here")
    return _Parser(rest).whole()
