"""The deliberate breakages are written for the code as it stands."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.tree import ROOT
from tests.breakage.breakages import BREAKAGES, Breakage


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.name)
def test_every_breakage_finds_its_place_and_leaves_code_that_compiles(breakage: Breakage) -> None:
    """Its text stands exactly once where it says, and what replaces it is Python too: red means noticed."""
    text = (ROOT / breakage.path).read_text(encoding="utf-8")
    assert text.count(breakage.old) == 1
    ast.parse(text.replace(breakage.old, breakage.new))
    assert breakage.rings


def test_the_five_promises_each_have_a_breakage() -> None:
    """Intent, listing, verification, truncation, edges."""
    assert [breakage.name for breakage in BREAKAGES] == [
        "skip the intent",
        "skip the listing",
        "publish before verify",
        "ignore truncation",
        "forget the edge rows",
    ]
