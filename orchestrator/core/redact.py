"""What must never be shown, and how a text is cleaned of it (design.md 1, P6).

``Secret`` and ``PresignedLink`` hold a value that no ``repr``, ``str``, f-string, ``asdict`` or JSON encoder
shows; ``reveal()`` is the only way out, so every use can be found by searching for that word. ``redact``
cleans text that was made elsewhere (answers of the service, library errors) of values we know and of shapes
we recognise.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from typing import Final, NoReturn
from urllib.parse import urlsplit

__all__ = ["REDACTED", "PresignedLink", "Redactor", "Secret", "redact"]

REDACTED: Final = "[redacted]"
"""What stands where something was masked."""


class _Hidden:
    """An immutable text that shows itself to nobody who does not ask by name.

    Not a dataclass on purpose: ``dataclasses.asdict`` would unfold one. Pickling and copying keep the value,
    because tickets that hold links travel to worker processes; a pickle is therefore as secret as what went
    in.
    """

    __slots__ = ("_text",)
    _text: str

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "_text", text)

    def reveal(self) -> str:
        """The value itself, for signing or sending, never for showing."""
        return self._text

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, type(self)) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), self._text))

    def __bool__(self) -> bool:
        return bool(self._text)

    def __reduce__(self) -> tuple[type[_Hidden], tuple[str]]:
        return type(self), (self._text,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self})"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


class Secret(_Hidden):
    """A key, a token, a password."""

    __slots__ = ()

    def __init__(self, value: str) -> None:
        super().__init__(value)

    def __str__(self) -> str:
        return REDACTED


class PresignedLink(_Hidden):
    """A link that opens a file for whoever holds it; shown as scheme and host only."""

    __slots__ = ()

    def __init__(self, url: str) -> None:
        super().__init__(url)

    def __str__(self) -> str:
        return f"{self.origin}?…redacted"

    @property
    def origin(self) -> str:
        """``scheme://host[:port]`` without user information, or "" when the text is no such address."""
        try:
            parts = urlsplit(self._text)
            host = parts.netloc.rpartition("@")[2]
        except ValueError:
            return ""
        return f"{parts.scheme}://{host}" if parts.scheme and host else ""


# A percent sign's number, as often as it was encoded again.
_AGAIN = r"(?:25){0,8}"
# A slash as plain text, as JSON may escape it, or percent-encoded any number of times.
_SLASH = rf"(?:\\?/|%{_AGAIN}2F)"
# Between a name and its value: in a header, a query, a JSON object or the repr of a pair.
_GIVES = rf"(?:\\?[\"'])?\s*(?:[:=,]|%{_AGAIN}3D)\s*(?:b?\\?[\"'])?"
# A value ends where its quotes do, else at whatever ends a word in a header, a query or a sentence.
_VALUE = r"(?:(?<=[\"'])(?:\\/|[^\"'\\])+|(?:\\/|[^\s\"'&<>\\,])+)"
_SHAPES: Final = tuple(
    (mark, re.compile(pattern, re.IGNORECASE))
    for mark, pattern in (
        # The string itself, wherever it stands; signedHeaders is a list joined by ";" (bls-api.md 7).
        ("bce-auth-v1", rf"bce-auth-v1{_SLASH}(?P<hide>{_VALUE})"),
        # A header or parameter of that name: "Authorization: x", authorization=x, ('Authorization', 'x').
        ("authorization", rf"authorization{_GIVES}(?P<hide>(?:(?:basic|bearer)\s+)?{_VALUE})"),
        # Tokens and keys by the names the service and its tools give them (bls-api.md 7, 9).
        ("token", rf"(?:(?:x-bce-)?security[_-]?token|session[_-]?token){_GIVES}(?P<hide>{_VALUE})"),
        ("secret", rf"secret[_-]?(?:access[_-]?)?key{_GIVES}(?P<hide>{_VALUE})"),
        # User and password of a proxy.
        ("http", r"https?:(?:\\?/){2}(?P<hide>[^\s\"'<>/?#@\\]+)@"),
        # What opens a link that is quoted without its scheme.
        ("sig", rf"(?:signature|\bsig)(?:=|%{_AGAIN}3D)(?P<hide>{_VALUE})"),
        ("ticket", rf"\bticket(?:=|%{_AGAIN}3D)(?P<hide>{_VALUE})"),
    )
)
"""Each with a part of every text it can find: looking for that first is much quicker. None of them looks at a
character more than a few times, wherever it begins: a text may be anything."""

_ADDRESSES: Final = (
    (
        re.compile(r"https?:(?:\\?/){2}(?:\\[/u]|[^\s\"'<>\\])+", re.IGNORECASE),
        re.compile(r"[?#]"),
    ),
    (
        re.compile(rf"https?%{_AGAIN}3A[^\s\"'<>&\\]+", re.IGNORECASE),
        re.compile(rf"%{_AGAIN}(?:3F|23)", re.IGNORECASE),
    ),
)
"""An absolute address, plain or inside a parameter, and where its query begins. How the service signs its
links is not documented (bls-api.md 2.4), so no parameter name can be trusted to tell a presigned one from a
harmless one: the whole query goes."""

_OTHERWISE: Final = {
    " ": (r"\+",),
    "/": (r"\\{1,8}/",),
    '"': (r'\\{1,8}"', "&quot;"),
    "'": (r"\\{1,8}'", "&#(?:39|x27);"),
    "\\": (r"\\{2,8}",),
    "&": ("&amp;",),
    "<": ("&lt;",),
    ">": ("&gt;",),
    "\n": (r"\\{1,8}n",),
    "\r": (r"\\{1,8}r",),
    "\t": (r"\\{1,8}t",),
    "\b": (r"\\{1,8}b",),
    "\f": (r"\\{1,8}f",),
}
"""How forms, JSON and HTML write a character besides its number."""
_WORDS: Final = re.compile(r"[A-Za-z0-9]+")
_SHORTEST_PACKED_BYTES: Final = 8
"""Below this, what base64 leaves of a value is too little to be told from chance."""


def _queries(text: str) -> Iterator[tuple[int, int]]:
    """Where the queries of absolute addresses stand."""
    for address, mark in _ADDRESSES:
        for match in address.finditer(text):
            begins = mark.search(text, match.start(), match.end())
            if begins is not None and begins.end() < match.end():
                yield begins.end(), match.end()


def _spelled(character: str) -> str:
    """A pattern for one character however it is written: plain, percent-encoded any number of times, or as
    JSON escapes it, once or again."""
    if character.isascii() and character.isalnum():
        return character
    octets = character.encode("utf-8", "surrogatepass")
    units = character.encode("utf-16-be", "surrogatepass")
    ways = (
        re.escape(character),
        "".join(f"%{_AGAIN}{octet:02X}" for octet in octets),
        "".join(rf"\\{{1,8}}u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)),
        *_OTHERWISE.get(character, ()),
    )
    return f"(?:{'|'.join(ways)})"


def _packed(value: str) -> Iterable[str]:
    """What a text holds of ``value`` when it, or something longer around it, went through base64 (as in an
    Authorization of the type Basic), or is written in hex."""
    octets = value.encode("utf-8", "surrogatepass")
    if len(octets) < _SHORTEST_PACKED_BYTES:
        return
    yield octets.hex()
    for shift in range(3):
        # Only groups of six bits that hold nothing but the value are the same whatever stands around it.
        text = base64.b64encode(bytes(shift) + octets).decode().rstrip("=")
        part = text[(0, 2, 3)[shift] : len(text) - bool((shift + len(octets)) % 3)]
        yield part
        yield part.replace("+", "-").replace("/", "_")


class _Known:
    """One text to be found in every spelling. ``word`` stands in all of them."""

    __slots__ = ("pattern", "word")

    def __init__(self, value: str) -> None:
        # Percent-encodings differ in the case of their hex digits, so case does not count. A lookahead, so
        # that finds may overlap.
        self.pattern = re.compile(f"(?=({''.join(map(_spelled, value))}))", re.IGNORECASE)
        self.word = max(_WORDS.findall(value), key=len, default="").lower()


class Redactor:
    """``redact`` with its list of secrets prepared once, for callers that clean many texts."""

    __slots__ = ("_known",)

    def __init__(self, secrets: Iterable[str]) -> None:
        values = {value for value in secrets if value}
        self._known = tuple(_Known(form) for form in sorted(values.union(*map(_packed, values))))

    def __repr__(self) -> str:
        return f"Redactor({len(self._known)} patterns)"

    def __call__(self, text: str) -> str:
        """``text`` with everything secret replaced by ``REDACTED``; the same object when nothing was."""
        folded = text.lower()
        shapes = (shape for mark, shape in _SHAPES if mark in folded)
        spans = [match.span("hide") for shape in shapes for match in shape.finditer(text)]
        spans += _queries(text) if "http" in folded else ()
        return _masked(text, sorted(spans + self._finds(text, folded)))

    def known(self, text: str) -> str:
        """``text`` with only the given secrets replaced, for words of our own that may look like one, as in
        "set BCE_SECRET_ACCESS_KEY, or …"."""
        return _masked(text, sorted(self._finds(text, text.lower())))

    def _finds(self, text: str, folded: str) -> list[tuple[int, int]]:
        return [
            match.span(1)
            for known in self._known
            if known.word in folded
            for match in known.pattern.finditer(text)
        ]


def redact(text: str, secrets: Iterable[str]) -> str:
    """``text`` without ``secrets`` (plain, percent-encoded, JSON-escaped, in base64 or hex), without what
    follows ``bce-auth-v1/`` or ``authorization``, without security tokens and without the query of any
    absolute address.

    Every non-empty value given is masked, however short: what counts as a secret is the caller's decision.
    """
    return Redactor(secrets)(text)


def _masked(text: str, spans: list[tuple[int, int]]) -> str:
    """Overlapping and touching spans become one mask, so that no tail of a longer secret survives."""
    if not spans:
        return text
    pieces: list[str] = []
    copied_to = 0
    masked_to = -1
    for start, end in spans:
        if start > masked_to:
            pieces += [text[copied_to:start], REDACTED]
        masked_to = max(masked_to, end)
        copied_to = masked_to
    pieces.append(text[copied_to:])
    return "".join(pieces)
