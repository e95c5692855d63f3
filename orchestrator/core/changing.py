"""How is a value made anew with some of its fields changed?

As ``dataclasses.replace`` does it, and to a type checker it is that one; but a slice has near forty fields,
and passes through here some twenty times on its way.
"""

from __future__ import annotations

from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

__all__ = ["replace"]

if TYPE_CHECKING:
    from dataclasses import replace
else:
    from dataclasses import fields

    def replace(value: Any, /, **changes: Any) -> Any:
        """A new value of the same class, a dataclass of two fields or more that are all given by position.
        Raises KeyError for what is no field of it."""
        read, places = _shape(type(value))
        given = list(read(value))
        for name, change in changes.items():
            given[places[name]] = change
        return type(value)(*given)

    @cache
    def _shape(kind: type) -> tuple[attrgetter[tuple[Any, ...]], dict[str, int]]:
        names = [part.name for part in fields(kind)]
        return attrgetter(*names), {name: place for place, name in enumerate(names)}
