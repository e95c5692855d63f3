"""One exit code speaks for several jobs, by a fixed order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ExitCode

ORDER = (2, 1, 6, 8, 130, 4, 5, 3, 7, 0)
codes = st.lists(st.sampled_from(list(ExitCode)), max_size=8)


def test_every_code_has_its_place() -> None:
    """No exit code is forgotten in the order."""
    assert sorted(ORDER) == sorted(int(code) for code in ExitCode)


@given(codes, codes)
def test_the_worst_speaks_for_all(some: list[int], more: list[int]) -> None:
    """It is the first of the order that occurs, however the jobs are sorted and grouped."""
    worst = ExitCode.worst(some + more)
    assert worst == next((code for code in ORDER if code in some + more), 0)
    assert worst == ExitCode.worst(more + some)
    assert worst == ExitCode.worst([ExitCode.worst(some), ExitCode.worst(more)])
