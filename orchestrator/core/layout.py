"""Where does the file of a slice stand below its destination?

A layout is a template: ``{job} {project} {logstore}`` and the slice's ends, ``{start:%Y%m%d}`` in the job's
time zone or ``{start_utc:…}``, ``{end:…}``, ``{end_utc:…}``. It is judged before anything runs: a path must
be unique for its slice, also when letters' case is ignored, must stay below the destination, and a
``key=value`` folder must not say something of a file that is true of only part of it.

Every time directive has a fixed width, so two layouts can be compared place by place: see ``could_collide``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from hashlib import sha256

from orchestrator.core.complaint import Objection, Wrong, nearest
from orchestrator.core.job import Align
from orchestrator.core.window import Window

__all__ = [
    "check_layout",
    "could_collide",
    "path_shape",
    "placeholders_for",
    "render_layout",
    "safe_component",
    "stream_slug",
]

NAME_FIELDS = ("job", "project", "logstore")
TIME_FIELDS = ("start", "end", "start_utc", "end_utc")
FIELDS_ALLOWED = "{job} {project} {logstore} {start:%…} {end:%…} {start_utc:%…} {end_utc:%…}"

_WIDTH = {"Y": 4, "m": 2, "d": 2, "j": 3, "H": 2, "M": 2, "S": 2, "z": 5}
"""strftime directives that are the same in every locale and never change their width."""
_DIRECTIVES_ALLOWED = "%Y %m %d %j %H %M %S %z"
_SAFE_TEXT = re.compile(r"[A-Za-z0-9_.=@+,/-]*")
_SAFE_TEXT_ALLOWED = "letters A to Z, digits and _ . = @ + , - and / between folders"
_FIELD = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}")
_DIRECTIVE = re.compile(r"%(.?)", re.DOTALL)
_LONGEST_COMPONENT = 180
"""A file name may have 255 bytes; a stream slug and an extension are still to come."""
_LONGEST_NAME = 100

_RANK = {Align.NONE: 0, Align.HOUR: 1, Align.DAY: 2, Align.MONTH: 3}
_COARSEST_ENOUGH = {"H": Align.HOUR, "d": Align.DAY, "j": Align.DAY, "m": Align.MONTH, "Y": Align.MONTH}
_PROBE_STEP_S = 7 * 86_400


@dataclass(frozen=True, slots=True)
class _Piece:
    """Literal ``text``, a ``name`` field, or one strftime ``directive`` of a time ``field``; the others are
    ""."""

    text: str = ""
    name: str = ""
    field: str = ""
    directive: str = ""


_Pieces = tuple[_Piece, ...]


def render_layout(
    layout: str, job_name: str, project: str, logstore: str, window: Window, zone: tzinfo, stream: str = ""
) -> str:
    """The path of a slice's file below its destination, with ``/`` between folders and without an extension.

    ``zone`` is the job's time zone. ``stream`` is "" for a slice of all streams; otherwise ``~`` and the
    stream's slug follow. No component can leave the destination, whatever the names are. Raises Wrong when
    the layout is none."""
    names = {"job": job_name, "project": project, "logstore": logstore}
    text = ""
    for piece in _parse(layout):
        if piece.name:
            text += safe_component(names[piece.name])
        elif piece.directive:
            at_s = window.start_s if piece.field.startswith("start") else window.end_s
            shown_in = UTC if piece.field.endswith("_utc") else zone
            text += datetime.fromtimestamp(at_s, shown_in).strftime(f"%{piece.directive}")
        else:
            text += piece.text
    return f"{text}~{stream_slug(stream)}" if stream else text


def stream_slug(stream: str) -> str:
    """A log stream's name as part of a file name: ``[A-Za-z0-9_-]{0,40}~`` and 8 hex digits of its SHA-256
    (design.md 5, Fetching), so that two streams never share one."""
    readable = re.sub(r"[^A-Za-z0-9_-]", "_", stream)[:40]
    return f"{readable}~{_digest(stream)}"


def safe_component(name: str) -> str:
    """A name as one path component: itself when harmless, else its harmless part with a digest of the
    whole."""
    readable = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:_LONGEST_NAME]
    if readable.startswith("."):
        readable = f"_{readable[1:]}"
    return name if readable == name and name else f"{readable}-{_digest(name)}"


def check_layout(layout: str, *, align: Align, zone: tzinfo, from_s: int, to_s: int) -> list[Objection]:
    """Everything that is wrong with a layout for slices of ``[from_s, to_s)`` cut at ``align`` in
    ``zone``."""
    try:
        pieces = _parse(layout)
    except Wrong as wrong:
        return [wrong.objection]
    components = _components(pieces)
    found = [*_check_components(components), *_check_unique(pieces, zone, from_s, to_s)]
    for folder in components[:-1]:
        if any("=" in piece.text for piece in folder):
            found.extend(_check_partition(folder, align, _utc_align(align, zone, from_s, to_s)))
    return list(dict.fromkeys(found))


def path_shape(place: str, layout: str, job_name: str, project: str, logstore: str) -> tuple[str, ...]:
    """A path below ``place`` character by character, case folded: itself, "#" for a digit, "±" for a sign.

    Raises Wrong when the layout is none.
    """
    names = {"job": job_name, "project": project, "logstore": logstore}
    shape = list(f"{place.rstrip('/')}/".casefold())
    for piece in _parse(layout):
        if piece.directive:
            shape.extend("±####" if piece.directive == "z" else "#" * _WIDTH[piece.directive])
        else:
            shape.extend((safe_component(names[piece.name]) if piece.name else piece.text).casefold())
    return tuple(shape)


def could_collide(left: tuple[str, ...], right: tuple[str, ...]) -> bool:
    """Whether two path shapes have a path in common, ignoring what times mean."""
    return len(left) == len(right) and all(_meet(a, b) for a, b in zip(left, right, strict=True))


def placeholders_for(shape: tuple[str, ...]) -> str:
    """What all shapes that could collide with this one have in common: placeholders for whatever they may
    stand for."""
    return "".join("#" if char.isdigit() else "±" if char in "+-" else char for char in shape)


def _meet(a: str, b: str) -> bool:
    return (
        a == b
        or (a == "#" and b.isdigit())
        or (b == "#" and a.isdigit())
        or {a, b} in ({"±", "+"}, {"±", "-"})
    )


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


@lru_cache(maxsize=64)  # a run has a few layouts, and asks for a path per slice
def _parse(layout: str) -> _Pieces:
    pieces: list[_Piece] = []
    position = 0
    for field in _FIELD.finditer(layout):
        pieces.append(_literal(layout[position : field.start()]))
        pieces.extend(_parse_field(field[1], field[2]))
        position = field.end()
    pieces.append(_literal(layout[position:]))
    return tuple(piece for piece in pieces if piece != _Piece())


def _literal(text: str) -> _Piece:
    if "{" in text or "}" in text:
        raise Wrong("a layout with a brace that has no partner", FIELDS_ALLOWED)
    if not _SAFE_TEXT.fullmatch(text):
        raise Wrong("a layout with a character that is not safe in a path", _SAFE_TEXT_ALLOWED)
    return _Piece(text=text)


def _parse_field(field: str, directives: str | None) -> list[_Piece]:
    if field in NAME_FIELDS:
        if directives is not None:
            raise Wrong(f"a layout in which {{{field}}} has a time format", FIELDS_ALLOWED)
        return [_Piece(name=field)]
    if field not in TIME_FIELDS:
        raise Wrong(
            f"a layout with the unknown field {{{field}}}",
            FIELDS_ALLOWED,
            nearest(field, NAME_FIELDS + TIME_FIELDS),
        )
    if not directives:
        raise Wrong(f"a layout in which {{{field}}} has no time format", FIELDS_ALLOWED)
    pieces: list[_Piece] = []
    position = 0
    for directive in _DIRECTIVE.finditer(directives):
        pieces.append(_literal(directives[position : directive.start()]))
        if directive[1] not in _WIDTH:
            raise Wrong(f"a layout with the time format {directive[0]}", _DIRECTIVES_ALLOWED)
        pieces.append(_Piece(field=field, directive=directive[1]))
        position = directive.end()
    return [*pieces, _literal(directives[position:])]


def _components(pieces: _Pieces) -> list[list[_Piece]]:
    components: list[list[_Piece]] = [[]]
    for piece in pieces:
        head, *others = piece.text.split("/")
        components[-1].append(piece if not others else _Piece(text=head))
        components.extend([_Piece(text=other)] for other in others)
    return [[piece for piece in component if piece != _Piece()] for component in components]


def _check_components(components: list[list[_Piece]]) -> list[Objection]:
    found = []
    for component in components:
        text = "".join(piece.text for piece in component if not piece.name and not piece.directive)
        width = sum(len(p.text) or _WIDTH.get(p.directive, _LONGEST_NAME + 9) for p in component)
        if not component:
            found.append(
                Objection(
                    "a layout with an empty folder or file name",
                    "a relative path such as {job}/{start_utc:%Y%m%dT%H%M%SZ}",
                )
            )
        elif component[0].text.startswith("."):
            found.append(
                Objection(
                    "a layout that leaves the destination or hides files", 'names that do not begin with "."'
                )
            )
        elif text.endswith(".") and component[-1].text:
            found.append(Objection("a layout with a name that ends in a dot", 'names that do not end in "."'))
        elif width > _LONGEST_COMPONENT:
            found.append(
                Objection(
                    "a layout with a name that can grow too long",
                    f"{_LONGEST_COMPONENT} characters between two /",
                )
            )
    return found


def _check_unique(pieces: _Pieces, zone: tzinfo, from_s: int, to_s: int) -> list[Objection]:
    given: dict[str, set[str]] = {field: set() for field in TIME_FIELDS}
    for piece in pieces:
        if piece.directive:
            given[piece.field].add(piece.directive)
    dated = [field for field in ("start", "start_utc") if _is_whole(given[field])]
    ended = [field for field in ("end", "end_utc") if {"H", "M", "S"} <= given[field]]
    wanted = [] if dated else ["the start to the second, as in {start_utc:%Y%m%dT%H%M%SZ}"]
    wanted += [] if ended else ["the end to the second too, as in {end_utc:%H%M%S}"]
    if wanted:
        return [Objection("a layout that can give two slices one path", "; ".join(wanted))]
    tells_offset = any("z" in given[field] for field in ("start", "end"))
    if dated == ["start"] and not tells_offset and len(_offsets(zone, from_s, to_s)) > 1:
        return [
            Objection(
                f"a layout that gives two slices one path when the clocks of {zone} go back",
                "{start_utc:%…} to the second, or %z in {start:%…}",
            )
        ]
    return []


def _is_whole(directives: set[str]) -> bool:
    return (
        {"H", "M", "S"} <= directives
        and "Y" in directives
        and ("j" in directives or {"m", "d"} <= directives)
    )


def _check_partition(folder: list[_Piece], align: Align, utc_align: Align) -> list[Objection]:
    found = []
    for piece in folder:
        if not piece.directive or piece.directive == "z":
            continue
        needed = _COARSEST_ENOUGH.get(piece.directive)
        have = utc_align if piece.field.endswith("_utc") else align
        if piece.field.startswith("end"):
            found.append(
                Objection(
                    f"a key=value folder of {{{piece.field}}}, which lies after the rows",
                    "{start:%…} in key=value folders",
                )
            )
        elif needed is None:
            found.append(
                Objection(
                    f"a key=value folder of %{piece.directive}: slices cross it",
                    "%Y %m %d %H in key=value folders",
                )
            )
        elif _RANK[have] == 0 or _RANK[have] > _RANK[needed]:
            advice = (
                f'align = "{needed}"'
                if piece.field == "start"
                else f'align = "{needed}" and {{start:%{piece.directive}}}'
            )
            found.append(
                Objection(
                    f"a key=value folder of {{{piece.field}:%{piece.directive}}}, finer than align", advice
                )
            )
    return found


def _utc_align(align: Align, zone: tzinfo, from_s: int, to_s: int) -> Align:
    """Which UTC boundary no slice crosses: ``align`` holds in the job's zone, and only whole hours survive
    the way over."""
    offsets_s = _offsets(zone, from_s, to_s)
    if offsets_s == {0} or align is Align.NONE:
        return align
    return (
        Align.HOUR
        if align is Align.HOUR and all(offset_s % 3_600 == 0 for offset_s in offsets_s)
        else Align.NONE
    )


def _offsets(zone: tzinfo, from_s: int, to_s: int) -> set[int]:
    """The zone's offsets from UTC in seconds, probed every week: no zone changes its clocks and back within
    one."""
    probed = [*range(from_s, to_s, _PROBE_STEP_S), to_s]
    offsets = (datetime.fromtimestamp(at_s, zone).utcoffset() for at_s in probed)
    return {int(offset.total_seconds()) for offset in offsets if offset is not None}
