"""Undocumented behaviours together: any two odd settings meet in some export, and none makes the other
dangerous.

``EVERY_PAIR=1`` (``make switches``) plays the whole covering array; without it a part that any change of the
array draws anew.
"""

from __future__ import annotations

import os
from itertools import combinations
from pathlib import Path

import pytest

from orchestrator.testing.pairs import Oddity, covering
from orchestrator.testing.switch_row import Switch
from tests.simulation.switches import SHOWN, play_together, seen, seen_or_said

PLAYED_ALONE = {
    "count_error",
    "csv_header",
    "delete_running",
    "empty_result",
    "histogram_hits",
    "index_needed",
    "missing_stream",
    "store_recreated",
    "store_removed",
}
"""Switches whose stage is a job, a logstore or a judgement of their own."""
ALONE: set[Oddity] = {
    *((switch.name, value) for switch in SHOWN if switch.name in PLAYED_ALONE for value in switch.settings),
    ("lost_reply_unmade", 1.0),  # nothing is ever made
    ("run_base_s", 900.0),  # longer than these exports wait
    ("download_lag_s", 86_450.0),  # beside another lag it is longer than these exports wait
    # Links and files of a second or three leave no time for anything else that takes time.
    ("link_lifetime_s", 1),
    ("link_again", "same"),
    ("link_refusal", "400"),
    ("file_lifetime_s", 1.0),
    ("after_lifetime", "vanished"),
}
HINDERING: set[Oddity] = {
    ("stuck_probability", 0.3),
    ("expires_at_link_probability", 0.5),  # five attempts may all be lost
    ("fail_probability", 0.4),
    ("create_repeated", "replaced"),  # a name sent again begins its time in the dark anew
    ("lost_reply_made", 1.0),  # where the list hides for long what was made, nothing is ever known
}
"""With one of these and bad luck beside it, an export may end incomplete; it must say what it lacks."""
AT_ONCE = 8
ARRAY = covering(SHOWN, at_once=AT_ONCE, alone=ALONE)
PART = ARRAY if os.environ.get("EVERY_PAIR") else ARRAY[:: len(ARRAY) // 16]


@pytest.mark.parametrize(
    "oddities", PART, ids=lambda oddities: " ".join(f"{name}={value}" for name, value in oddities)
)
def test_odd_settings_together_cost_no_row(oddities: tuple[Oddity, ...], tmp_path: Path) -> None:
    """Eight odd settings at once: the export ends with exactly the rows that could be seen, or says which it
    lacks where a setting allows no more; ceilings hold and no twin lives."""
    hindered = not HINDERING.isdisjoint(oddities)
    played = play_together(oddities, tmp_path, runs=3 if hindered else 6)
    assert (seen_or_said if hindered else seen)(played) == []


def test_a_late_row_does_not_hide_that_the_first_one_was_left_out(tmp_path: Path) -> None:
    """A task that leaves its first row out and meets one that came after the plan holds as many rows as
    planned."""
    made_up: tuple[Oddity, ...] = (
        ("window_start", "exclusive"),
        ("create_status", 204),
        ("link_host", "other"),
        ("etag", "changing"),
        ("late_per_mille", 200),
        ("burst_s", 0.0),
        ("outstanding_cap", 2),
        ("bad_gateway_probability", 0.15),
    )
    assert seen(play_together(made_up, tmp_path)) == []


def test_every_two_odd_settings_meet() -> None:
    """The array holds every pair of settings of two switches, and no combination holds a switch twice."""
    odd = [
        (switch.name, value)
        for switch in SHOWN
        for value in switch.settings[1:]
        if (switch.name, value) not in ALONE
    ]
    wanted = {frozenset(pair) for pair in combinations(odd, 2) if pair[0][0] != pair[1][0]}
    met = {frozenset(pair) for oddities in ARRAY for pair in combinations(oddities, 2)}
    assert met == wanted
    assert all(len({name for name, _ in oddities}) == len(oddities) <= AT_ONCE for oddities in ARRAY)


def test_a_small_array_is_small() -> None:
    """Four switches of two odd settings each: twenty-four pairs in at most twelve combinations of four."""
    switches = [Switch(name, 0, ("usual", "odd", "odder"), "") for name in "abcd"]
    array = covering(switches, at_once=4)
    assert len(array) <= 12
    assert array == covering(switches, at_once=4)
