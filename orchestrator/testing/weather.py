"""Which faults are on together? A *weather* is one choice from each group of the emulated service's oddities
that an export can outlast in real time.

Rates are low enough for a window to be completed and high enough for every life of a process to meet several.
What is left out cannot be outlasted by anybody: a task that never ends, a body cut short where no count could
tell, files shorter than a process lives. ``clock_offset_s`` holds for a whole run (a clock does not jump with
the weather), and the form of a file is settled when its task starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from orchestrator.testing.loop import SeededRng

__all__ = ["GROUPS", "Weather", "calm", "draw_weather"]

T = TypeVar("T")
Switches = Mapping[str, Any]

GROUPS: Mapping[str, Mapping[str, Switches]] = {
    "way": {
        "resets and 502": {"reset_probability": 0.04, "bad_gateway_probability": 0.04},
        "500 and malformed": {"server_error_probability": 0.04, "malformed_probability": 0.04},
        "all four": {
            "reset_probability": 0.02,
            "bad_gateway_probability": 0.02,
            "server_error_probability": 0.02,
            "malformed_probability": 0.02,
        },
    },
    "latency": {
        "latency short": {"latency_s": 0.02},
        "latency long": {"latency_s": 0.15, "latency_jitter": 1.0},
    },
    "pace": {
        "throttled": {"throttle_probability": 0.02},
        "throttled with Retry-After": {"throttle_probability": 0.02, "retry_after_s": 0.5},
        "throttled by rate": {
            "create_per_s": 6.0,
            "link_per_s": 10.0,
            "read_per_s": 10.0,
            "list_per_s": 5.0,
            "query_per_s": 15.0,
        },
    },
    "form of a lost reply": {
        "lost by drop": {"lost_reply_form": "drop"},
        "lost by 500": {"lost_reply_form": "500"},
        "lost by 502": {"lost_reply_form": "502"},
        "lost by 503": {"lost_reply_form": "503"},
        "lost by 504": {"lost_reply_form": "504"},
    },
    "making": {
        "made at once": {},
        "made 3 s late": {"lost_reply_delay_s": 3.0},
        "a second create gets the first task": {"create_repeated": "same-task"},
        "a second create is an error": {"create_repeated": "error"},
    },
    "list": {
        "list exact": {},
        "list lags": {"list_lag_s": 4.0},
        "list and describe lag": {"list_lag_s": 2.0, "describe_lag_s": 1.0},
    },
    "pages": {
        "page size honoured": {"page_size_above_max": "honoured"},
        "page size lowered": {"page_size_max": 20},
        "page size refused": {"page_size_max": 50, "page_size_above_max": "rejected"},
        "page borders repeat": {"page_border": "repeats"},
        "page borders omit": {"page_border": "misses"},
    },
    "links": {
        "links of 1 s": {"link_lifetime_s": 1},
        "links of 5 s, redirected": {"link_lifetime_s": 5, "link_redirects": 2},
        "gateway links, redirected": {"link_kind": "gateway", "link_redirects": 3, "link_refusal": "400"},
        "the same link again": {"link_again": "same", "link_lifetime_s": 60},
        "links refused before SUCCESS": {"link_before_success": "refused"},
    },
    "bodies": {
        "bodies cut": {"file_reset_probability": 0.15},
        "bodies cut, ranges ignored": {"file_reset_probability": 0.15, "ranges": "ignored"},
        "bodies cut, tags change": {"file_reset_probability": 0.15, "etag": "changing"},
        "bodies cut, no tags": {"file_reset_probability": 0.15, "etag": "none"},
        "bodies end early": {"file_short_probability": 0.1},
        "files answer 503": {"file_error_probability": 0.15, "etag": "md5"},
        "bodies trickle": {"file_bytes_per_s": 60_000.0, "etag": "weak"},
    },
    "packing": {
        "plain": {},
        "gzip files": {"file_compression": "gzip"},
        "zstd files": {"file_compression": "zstd"},
        "zip files": {"file_compression": "zip"},
        "gzip on the wire": {"content_encoding": "gzip"},
    },
    "rows": {
        "rows by time": {},
        "ties stirred": {"row_order": "ties-stirred", "final_newline": False},
        "rows stirred": {"row_order": "stirred", "crlf": True},
        "arrays": {"file_layout": "array"},
        "pull names, seconds": {"field_names": "pull", "record_time": "s"},
        "microseconds, BOM": {"record_time": "us", "byte_order_mark": True},
        "ISO times": {"record_time": "iso"},
    },
    "window ends": {
        "end exclusive": {},
        "end inclusive": {"window_end": "inclusive"},
        "end whole second": {"window_end": "whole-second"},
        "start exclusive": {"window_start": "exclusive"},
    },
    "counts": {
        "counts exact": {},
        "counts low": {"count_error": -0.1},
        "counts as text": {"count_form": "string", "count_truncated": True},
        "no histogram": {"histogram_fails": "always", "count_form": "float"},
        "no SQL count": {"count_refused": True},
        "queries refused above 3": {"queries_at_once": 3},
    },
    "rows written": {
        "written exact": {},
        "written at end": {"written_rows": "at-end"},
        "written missing": {"written_rows": "missing"},
        "written zero": {"written_rows": "zero"},
        "written limit": {"written_rows": "limit"},
        "written one less": {"written_rows": "one-less"},
        "written one more": {"written_rows": "one-more"},
    },
    "quota": {
        "no hidden cap": {},
        "hidden cap 429": {"outstanding_cap": 12},
        "hidden cap 400": {"outstanding_cap": 12, "outstanding_cap_form": "400"},
        "hidden cap 403": {"outstanding_cap": 12, "outstanding_cap_form": "403"},
        "hidden cap waits": {"outstanding_cap": 12, "outstanding_cap_form": "waits"},
    },
    "states": {
        "setbacks": {"setback_probability": 0.3},
        "unknown states": {"unknown_state": "PAUSED", "unknown_state_probability": 0.3},
        "straight to SUCCESS": {"running_shown": False},
    },
    "ends": {
        "failures": {"fail_probability": 0.05},
        "failures without a code": {"fail_probability": 0.05, "fail_codes": "empty"},
        "expiries at the link": {"expires_at_link_probability": 0.05},
        "files expire": {"file_lifetime_s": 45.0},
        "files vanish": {"file_lifetime_s": 45.0, "after_lifetime": "vanished"},
    },
    "deleting": {
        "deletes cancel": {},
        "deletes refused while running": {"delete_running": "refused"},
        "deleted tasks finish": {"delete_running": "finishes", "delete_removes_file": False},
        "second delete succeeds": {"delete_again": "success", "delete_status": 204, "delete_body": False},
    },
    "spelling": {
        "spelled as documented": {},
        "other totals": {"task_total_key": "totalCount", "store_total_key": "total"},
        "other statistics": {"search_statistic_key": "searchStatics", "request_id_key": "request_id"},
        "keys omitted": {"omitted_keys": ("logStreamName", "message", "success"), "not_yet": "absent"},
        "times with offset": {"time_form": "offset", "not_yet": "null"},
        "times with millis": {"time_form": "millis", "ok_code": "success", "create_status": 200},
    },
    "strictness": {
        "unknown fields ignored": {},
        "unknown fields rejected": {"unknown_fields": "rejected"},
        "empty is not absent": {"empty_equals_absent": False, "empty_stream": "none"},
    },
}
"""Group to the names of its choices to the switches each sets. Groups share no switch, except where one says
that another is spoken of: see ``_REFUSED``."""

_REFUSED = (("bodies end early", "counts low"),)
"""Together these leave no witness: a file that ends early may agree with a count that runs low."""

CLOCKS_S = (0.0, 300.0, -300.0)


@dataclass(frozen=True, slots=True)
class Weather:
    """What is on: the names of the choices and the switches they set."""

    names: tuple[str, ...]
    switches: Switches


def draw_weather(seed: int, number: int, *, lost_replies: float) -> Weather:
    """The ``number``-th weather of a seed, the same on every machine. ``lost_replies`` is the share of
    creates whose reply is lost, half of them carried out."""
    rng = SeededRng(f"weather {seed}.{number}")
    while True:
        names = tuple(_one_of(tuple(choices), rng) for choices in GROUPS.values())
        if not any(set(pair) <= set(names) for pair in _REFUSED):
            break
    switches = dict(calm(seed, lost_replies=lost_replies))
    for choices, name in zip(GROUPS.values(), names, strict=True):
        switches |= choices[name]
    return Weather(names, switches)


def calm(seed: int, *, lost_replies: float = 0.0, lost_form: str = "drop") -> Switches:
    """Only what holds for the whole run of a seed, quick remote tasks, and replies of creates lost in this
    form."""
    clock_s = _one_of(CLOCKS_S, SeededRng(f"clock {seed}"))
    made = lost_replies / 2
    unmade = made / (1 - made) if made < 1 else 0.0
    return {
        "run_base_s": 0.4,
        "run_per_line_s": 0.0,
        "executors": 40,
        "clock_offset_s": clock_s,
        "lost_reply_made": made,
        "lost_reply_unmade": unmade,
        "lost_reply_form": lost_form,
    }


def _one_of(choices: Sequence[T], rng: SeededRng) -> T:
    return choices[int(rng.random() * len(choices))]
