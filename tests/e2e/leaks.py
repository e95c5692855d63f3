"""Where does a secret show? The search through all that a run leaves, in every spelling, in part or whole."""

from __future__ import annotations

import base64
import codecs
import html
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

__all__ = ["Leak", "Search", "artefacts"]

PART = 8
"""A leak of twice this many characters holds a whole part of the secret, wherever it begins."""
_HEX_RUN = re.compile(r"[0-9a-f]{16,}")
_SIGNED = re.compile(r"bce-auth-v1/(?!\[redacted\])")
_ESCAPE = re.compile(r"\\+u([0-9a-fA-F]{4})")


@dataclass(frozen=True)
class Leak:
    """``what`` was found in ``where``, near ``near``."""

    where: str
    what: str
    near: str


class Search:
    """Looks for texts that must not be shown, by name, and for signatures (hex digits) by the hundred."""

    def __init__(self, hidden: Mapping[str, str], signatures: Sequence[str] = ()) -> None:
        self._parts = [
            (name, part) for name, value in hidden.items() for form in _packed(value) for part in _parts(form)
        ]
        self._parts += [(name, part) for name, value in hidden.items() for part in _parts(value)]
        self._signed = {part for value in signatures for part in _parts(value)}

    def of(self, where: str, content: bytes | str) -> list[Leak]:
        """Every leak in one artefact."""
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
        found = []
        for view in set(_views(text)):
            for name, part in self._parts:
                at = view.find(part)
                if at >= 0:
                    found.append(Leak(where, name, view[max(0, at - 60) : at + 60]))
            for run in _HEX_RUN.finditer(view):
                grams = {run[0][at : at + PART] for at in range(len(run[0]) - PART + 1)}
                if grams & self._signed:
                    found.append(Leak(where, "a signature", view[max(0, run.start() - 60) : run.end()]))
            signed = _SIGNED.search(view)
            if signed:
                found.append(Leak(where, "an Authorization", view[max(0, signed.start() - 60) :][:160]))
        return found


def _views(text: str) -> Iterator[str]:
    """The text as it is, and with each layer of encoding taken off."""
    for _ in range(3):
        yield text
        yield unquote(text)
        yield html.unescape(text)
        plain = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
        text = unquote(plain.replace("\\/", "/").replace('\\"', '"').replace("\\\\", "\\"))
    yield text


def _parts(value: str) -> list[str]:
    size = max(PART, len(value) // 8) if len(value) > 8 * PART else PART
    return [value[at : at + size] for at in range(0, len(value) - size + 1, size)] or [value]


def _packed(value: str) -> list[str]:
    octets = value.encode()
    forms = [octets.hex(), codecs.encode(value, "rot13")]
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + octets).decode().rstrip("=")[4:-4]
        forms += [text, text.replace("+", "-").replace("/", "_")]
    return forms


def artefacts(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below ``folder`` as it is, and every SQLite file as text besides: pages cut texts up."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            yield str(path.relative_to(folder)), content
            if content.startswith(b"SQLite format 3\0"):
                connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
                yield f"{path.name} as text", "\n".join(connection.iterdump()).encode("utf-8", "replace")
                connection.close()
