"""Durations and sizes are read exactly or refused."""

from __future__ import annotations

import pytest

from orchestrator.core.complaint import Wrong
from orchestrator.core.measures import duration_text, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [
        ("90s", 90),
        ("5m", 300),
        ("1h30m", 5_400),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("0", 0),
        ("0s", 0),
        (" 1h ", 3_600),
    ],
)
def test_durations(text: str, expected_s: int) -> None:
    """A duration is the sum of its parts, in seconds."""
    assert parse_duration(text) == expected_s


@pytest.mark.parametrize(
    "text", ["", "5", "5 m", "m", "-5m", "1.5h", "5M", "5ms", "٥m", "1h-30m", "12345678901s"]
)
def test_no_durations(text: str) -> None:
    """What has no unit, another unit, a sign, a fraction or foreign digits is refused with what is
    allowed."""
    with pytest.raises(Wrong, match="not a duration") as refused:
        parse_duration(text)
    assert "1h30m" in refused.value.objection.allowed


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [(0, "0s"), (300, "5m"), (5_400, "1h30m"), (694_861, "1w1d1h1m1s"), (86_400, "1d")],
)
def test_durations_are_written_shortest(duration_s: int, text: str) -> None:
    """A duration is written with the largest units that fit."""
    assert duration_text(duration_s) == text


@pytest.mark.parametrize(
    ("text", "expected_bytes"),
    [
        ("200MB", 200_000_000),
        ("1GB", 10**9),
        ("64MiB", 64 * 2**20),
        ("1.5GB", 1_500_000_000),
        ("2 TiB", 2 * 2**40),
        ("10kB", 10_000),
        ("10KiB", 10_240),
        ("512", 512),
        ("512B", 512),
        ("1G", 10**9),
        ("0.5KiB", 512),
    ],
)
def test_sizes(text: str, expected_bytes: int) -> None:
    """MB means 10^6 and MiB 2^20, and a fraction is exact."""
    assert parse_size(text) == expected_bytes


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not a size"),
        ("MB", "not a size"),
        ("-1MB", "not a size"),
        ("1PB", "not a size"),
        ("0.5B", "whole number of bytes"),
    ],
)
def test_no_sizes(text: str, problem: str) -> None:
    """What is no size, or no whole number of bytes, is refused."""
    with pytest.raises(Wrong, match=problem):
        parse_size(text)
