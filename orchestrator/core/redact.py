"""What must never be shown, and how a text is cleaned of it (design.md 1, P6).

``Secret`` and ``PresignedLink`` hold a value that no ``repr``, ``str``, f-string, ``asdict`` or JSON encoder
shows; ``reveal()`` is the only way out, so every use can be found by searching for that word. ``redact``
cleans text that was made elsewhere (answers of the service, library errors) of values we know and of shapes
we recognise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final, NoReturn
from urllib.parse import quote, quote_plus, urlsplit

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


# A slash as plain text, as JSON may escape it, or percent-encoded any number of times.
_SLASH = r"(?:\\?/|%(?:25)*2F)"
# Between a name and its value: in a header, a query, a JSON object or the repr of a pair.
_GIVES = r"(?:\\?[\"'])?\s*(?:[:=,]|%(?:25)*3D)\s*(?:b?\\?[\"'])?"
_VALUE = r"(?:\\/|[^\s\"'&<>\\,])+"
_SHAPES: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # The string itself, wherever it stands; signedHeaders is a list joined by ";" (bls-api.md 7).
        rf"bce-auth-v1{_SLASH}(?P<hide>{_VALUE})",
        # A header or parameter of that name: "Authorization: x", authorization=x, ('Authorization', 'x').
        rf"authorization{_GIVES}(?P<hide>(?:(?:basic|bearer)\s+)?{_VALUE})",
        # Tokens and keys by the names the service and its tools give them (bls-api.md 7, 9).
        rf"(?:(?:x-bce-)?security[_-]?token|session_?token|secret_?access_?key){_GIVES}(?P<hide>{_VALUE})",
        # The query of any absolute address. How the service signs its links is not documented (bls-api.md
        # 2.4), so no parameter name can be trusted to tell a presigned one from a harmless one.
        r"https?:(?:\\?/){2}(?:\\/|[^\s\"'<>?#\\])*[?#](?P<hide>(?:\\[/u]|[^\s\"'<>\\])+)",
        # User and password of a proxy.
        r"https?:(?:\\?/){2}(?P<hide>[^\s\"'<>/?#@\\]+)@",
    )
)


def _forms(value: str) -> Iterable[str]:
    """Every spelling of ``value`` that may reach a text: plain, percent-encoded once or twice,
    JSON-escaped."""
    plain = (value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    encoded = tuple(
        form
        for safe in ("", "/")
        for form in (
            quote(value, safe=safe, errors="surrogateescape"),
            quote_plus(value, safe=safe, errors="surrogateescape"),
        )
    )
    twice = tuple(quote(form, safe="") for form in encoded)
    return {*plain, *encoded, *twice}


class Redactor:
    """``redact`` with its list of secrets prepared once, for callers that clean many texts."""

    __slots__ = ("_known",)

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for value in secrets if value for form in _forms(value)}
        # Percent-encodings differ in the case of their hex digits, so case does not count.
        self._known = tuple(re.compile(f"(?=({re.escape(form)}))", re.IGNORECASE) for form in sorted(forms))

    def __repr__(self) -> str:
        return f"Redactor({len(self._known)} patterns)"

    def __call__(self, text: str) -> str:
        """``text`` with everything secret replaced by ``REDACTED``; the same object when nothing was."""
        spans = [match.span(1) for known in self._known for match in known.finditer(text)]
        spans += [match.span("hide") for shape in _SHAPES for match in shape.finditer(text)]
        return _masked(text, sorted(spans)) if spans else text


def redact(text: str, secrets: Iterable[str]) -> str:
    """``text`` without ``secrets`` (plain, percent-encoded, JSON-escaped), without what follows
    ``bce-auth-v1/`` or ``authorization``, without security tokens and without the query of any absolute
    address.

    Every non-empty value given is masked, however short: what counts as a secret is the caller's decision.
    """
    return Redactor(secrets)(text)


def _masked(text: str, spans: list[tuple[int, int]]) -> str:
    """Overlapping and touching spans become one mask, so that no tail of a longer secret survives."""
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
