"""On which line of a TOML text does each key stand?

tomllib forgets positions. This walks a text that tomllib has accepted, so it need not judge, only keep up:
comments, headers, dotted and quoted keys, all four kinds of strings, arrays and inline tables over several
lines."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping

from orchestrator.core.complaint import KeyPath

__all__ = ["line_of", "lines_of"]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY_PART = re.compile(r"""[ \t]*([A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')[ \t]*""")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})|\'\'\'.*?\'\'\'(?:\'{0,2})|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'', re.DOTALL
)
_SCALAR = re.compile(r"[^,\]}\n#]+")


def lines_of(text: str) -> dict[KeyPath, int]:
    """The line, from 1, of every key, table and array element; of an array of tables, the line of each
    header."""
    walk = _Walk(text)
    walk.document()
    return walk.lines


def line_of(path: KeyPath, lines: Mapping[KeyPath, int]) -> int:
    """The line of a key path, else of the nearest thing around it; 0 when nothing of it has a line."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return 0


class _Walk:
    """A position in the text and what was met so far."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self._arrays: dict[KeyPath, int] = {}
        self._breaks = [match.start() for match in re.finditer("\n", text)]

    def document(self) -> None:
        table: KeyPath = ()
        self._skip()
        while self.at < len(self.text):
            table = self._header() if self._next("[") else self._pair(table)
            self._skip()

    def _header(self) -> KeyPath:
        line = self._line()
        brackets = 2 if self.text.startswith("[[", self.at) else 1
        self.at += brackets
        names = self._key()
        self.at += brackets
        path = self._resolve(names[:-1]) + names[-1:]
        if brackets == 2:
            index = self._arrays.get(path, -1) + 1
            self._arrays[path] = index
            self.lines.setdefault(path, line)
            path = (*path, index)
        else:
            path = self._resolve(names)
        self.lines[path] = line
        return path

    def _resolve(self, names: tuple[str, ...]) -> KeyPath:
        """Keys as a path: below an array of tables they mean its latest table."""
        path: KeyPath = ()
        for name in names:
            path = (*path, name)
            if path in self._arrays:
                path = (*path, self._arrays[path])
        return path

    def _pair(self, table: KeyPath) -> KeyPath:
        line = self._line()
        path = table
        for name in self._key():
            path = (*path, name)
            self.lines.setdefault(path, line)
        self.at += 1  # the equals sign
        self._value(path)
        return table

    def _key(self) -> tuple[str, ...]:
        names = []
        while part := _KEY_PART.match(self.text, self.at):
            name = part[1]
            names.append(name[1:-1] if name[0] in "\"'" else name)
            self.at = part.end()
            if not self._next("."):
                break
            self.at += 1
        return tuple(names)

    def _value(self, path: KeyPath) -> None:
        self._skip()
        if self._next("["):
            self._array(path)
        elif self._next("{"):
            self._inline_table(path)
        else:
            found = _STRING.match(self.text, self.at) or _SCALAR.match(self.text, self.at)
            self.at = found.end() if found else len(self.text)

    def _array(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        self._skip()
        while self.at < len(self.text) and not self._next("]"):
            self.lines[(*path, index)] = self._line()
            self._value((*path, index))
            self._comma()
            index += 1
        self.at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self.at += 1
        self._skip()
        while self.at < len(self.text) and not self._next("}"):
            self._pair(path)
            self._comma()
        self.at += 1

    def _comma(self) -> None:
        self._skip()
        if self._next(","):
            self.at += 1
            self._skip()

    def _skip(self) -> None:
        blank = _BLANK.match(self.text, self.at)
        self.at = blank.end() if blank else self.at

    def _next(self, char: str) -> bool:
        return self.text.startswith(char, self.at)

    def _line(self) -> int:
        return bisect_left(self._breaks, self.at) + 1
