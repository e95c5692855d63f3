"""Which names a list of patterns means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.patterns import chosen, fits, idle, is_pattern, named, pattern_text

NAMES = ("web-a", "web-b", "web-test", "api", "Web-c")


@pytest.mark.parametrize(
    ("patterns", "wanted"),
    [
        (("web-*",), ("web-a", "web-b", "web-test")),
        (("web-*", "!web-test"), ("web-a", "web-b")),
        (("!web-test", "web-*"), ("web-a", "web-b")),
        (("web-?",), ("web-a", "web-b")),
        (("web-[ab]", "api"), ("api", "web-a", "web-b")),
        (("*", "!*-*"), ("api",)),
        (("api", "api"), ("api",)),
        (("*", "!*"), ()),
        (("nothing-*",), ()),
    ],
)
def test_a_list_means_what_fits_and_is_not_excluded(
    patterns: tuple[str, ...], wanted: tuple[str, ...]
) -> None:
    """Exclusions hold wherever they stand in the list, letters' case counts, and names come sorted and
    once."""
    assert chosen(NAMES, patterns) == wanted
    assert tuple(sorted(name for name in NAMES if fits(name, patterns))) == wanted


def test_names_in_full_are_known_without_a_listing() -> None:
    """A name without wildcards is meant whether it is listed or not, unless an exclusion fits it."""
    assert named(("web-*", "api", "old", "!old")) == ("api",)


def test_a_pattern_that_fits_nothing_is_told() -> None:
    """Each pattern that no name fits is told, exclusions never."""
    assert idle(("web-*", "db-*", "cache", "!x-*"), NAMES) == ("db-*", "cache")


WORDS = st.text('ab*?[]!-", ', min_size=1, max_size=4)


@given(left=st.lists(WORDS, min_size=1, max_size=3), right=st.lists(WORDS, min_size=1, max_size=3))
def test_two_lists_never_have_one_text(left: list[str], right: list[str]) -> None:
    """The text a list goes by in the manifest tells it from every other list and from every name."""
    known = [item for item in (left, right) if len(item) > 1 or is_pattern(item[0])]
    texts = [pattern_text(item) for item in known]
    assert all(is_pattern(text) for text in texts)
    if len(known) == 2 and left != right:
        assert texts[0] != texts[1] or pattern_text(left) in (left[0], right[0])
