"""What fuzzing found once, each finding by its smallest input."""

from __future__ import annotations

import pytest

from orchestrator.errors import Refused
from orchestrator.remote.refusals import checked
from orchestrator.remote.wire import Answer, moment_of


@pytest.mark.parametrize("depth", [400, 900, 1000])
def test_a_nested_success_is_no_recursion(depth: int) -> None:
    """An answer whose ``success`` is a list in a list in a list is read without the stack's end."""
    body = b'{"success":' + b"[" * depth + b"]" * depth + b"}"
    assert checked(Answer(200, {}, body), "Call")
    with pytest.raises(Refused):
        checked(Answer(400, {}, body), "Call")


def test_a_time_beyond_all_floats_is_no_time() -> None:
    """A number of 400 digits where a time should be means that there is none."""
    assert moment_of(10**400) is None
    assert moment_of(-(10**400)) is None
