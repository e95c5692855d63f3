"""Which faults does a seed meet? Each is a named change of the emulated service's behaviour that a client
must survive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.emulator.behaviour import Behaviour
from orchestrator.testing.loop import SeededRng

__all__ = ["WHIMS", "Whims", "draw_whims"]

WHIMS: Mapping[str, Mapping[str, Any]] = {
    "end inclusive": {"window_end": "inclusive"},
    "end whole second": {"window_end": "whole-second"},
    "start exclusive": {"window_start": "exclusive"},
    "reply lost, made": {"lost_reply_made": 0.2},
    "reply lost, not made": {"lost_reply_unmade": 0.2},
    "reply lost as 503": {"lost_reply_made": 0.15, "lost_reply_unmade": 0.1, "lost_reply_form": "503"},
    "made late": {"lost_reply_made": 0.2, "lost_reply_delay_s": 8.0},
    "made very late": {"lost_reply_made": 0.2, "lost_reply_delay_s": 90.0},
    "list lags": {"list_lag_s": 6.0, "lost_reply_made": 0.1},
    "list lags long, names unique": {
        "list_lag_s": 25.0,
        "lost_reply_made": 0.1,
        "lost_reply_form": "503",
        "create_repeated": "error",
    },
    "describe lags": {"describe_lag_s": 4.0},
    "page size lowered": {"page_size_max": 10, "lost_reply_made": 0.1},
    "page size refused": {"page_size_max": 10, "page_size_above_max": "rejected", "lost_reply_made": 0.1},
    "pages repeat": {"page_border": "repeats", "page_size_max": 10, "lost_reply_made": 0.1},
    "odd spelling": {"task_total_key": "totalCount", "request_id_key": "request_id", "ok_code": "success"},
    "keys omitted": {"omitted_keys": ("logStreamName", "message", "success")},
    "times with offset": {"time_form": "offset", "not_yet": "null"},
    "times with millis": {"time_form": "millis", "not_yet": "absent"},
    "short links": {"link_lifetime_s": 1, "file_reset_probability": 0.3, "latency_s": 0.8},
    "redirects": {"link_redirects": 2},
    "files vanish": {"file_lifetime_s": 40.0, "after_lifetime": "vanished"},
    "files expire": {"file_lifetime_s": 40.0},
    "expires at link": {"expires_at_link_probability": 0.1},
    "json array": {"file_layout": "array"},
    "gzip files": {"file_compression": "gzip"},
    "zstd files": {"file_compression": "zstd"},
    "zip files": {"file_compression": "zip"},
    "gzip on the wire": {"content_encoding": "gzip"},
    "bom and crlf": {"byte_order_mark": True, "crlf": True},
    "no final newline": {"final_newline": False},
    "pull names": {"field_names": "pull"},
    "seconds": {"record_time": "s"},
    "iso times": {"record_time": "iso"},
    "ties stirred": {"row_order": "ties-stirred"},
    "rows stirred": {"row_order": "stirred"},
    "ranges ignored": {"ranges": "ignored", "file_reset_probability": 0.2},
    "etag changes": {"etag": "changing", "file_reset_probability": 0.2},
    "no etag": {"etag": "none", "file_reset_probability": 0.2},
    "no file when empty": {"empty_result": "no-file"},
    "failed when empty": {"empty_result": "failed"},
    "written rows missing": {"written_rows": "missing"},
    "written rows zero": {"written_rows": "zero"},
    "written rows limit": {"written_rows": "limit"},
    "written rows one less": {"written_rows": "one-less"},
    "written rows one more": {"written_rows": "one-more"},
    "counts low": {"count_error": -0.2},
    "no histogram": {"histogram_fails": "always"},
    "counts refused": {"count_refused": True},
    "no counts at all": {"count_refused": True, "histogram_fails": "always"},
    "counts as text": {"count_form": "string"},
    "counts truncated": {"count_truncated": True},
    "few queries at once": {"queries_at_once": 2, "latency_s": 0.4},
    "overload": {"overload_rows": 400},
    "throttled": {"throttle_probability": 0.1},
    "throttled politely": {"throttle_probability": 0.1, "retry_after_s": 3.0},
    "slow creates": {"create_per_s": 2.0},
    "hidden cap 429": {"outstanding_cap": 2},
    "hidden cap 403": {"outstanding_cap": 3, "outstanding_cap_form": "403"},
    "hidden cap waits": {"outstanding_cap": 2, "outstanding_cap_form": "waits"},
    "straight to success": {"running_shown": False},
    "setbacks": {"setback_probability": 0.3},
    "unknown state": {"unknown_state": "PAUSED", "unknown_state_probability": 0.3},
    "failures": {"fail_probability": 0.1},
    "failures without code": {"fail_probability": 0.1, "fail_codes": "empty"},
    "stuck tasks": {"stuck_probability": 0.05},
    "delete refused while running": {"delete_running": "refused", "stuck_probability": 0.03},
    "delete twice is success": {
        "delete_again": "success",
        "fail_probability": 0.15,
        "reset_probability": 0.15,
    },
    "latency": {"latency_s": 0.8},
    "resets": {"reset_probability": 0.05},
    "bad gateway": {"bad_gateway_probability": 0.05},
    "internal errors": {"server_error_probability": 0.05},
    "malformed answers": {"malformed_probability": 0.05},
    "bodies break off": {"file_reset_probability": 0.3},
    "bodies end early": {"file_short_probability": 0.2},
    "file errors": {"file_error_probability": 0.2},
    "slow files": {"file_bytes_per_s": 2000.0, "file_reset_probability": 0.1},
    "server clock ahead": {"clock_offset_s": 300.0},
    "server clock behind": {"clock_offset_s": -300.0},
    "an empty stream name means none": {"empty_stream": "none", "empty_equals_absent": False},
    "an empty stream name is unknown": {"empty_stream": "not-found", "empty_equals_absent": False},
    "strict fields": {"unknown_fields": "rejected"},
}
"""Fault name to the switches it sets. Every one leaves a complete export possible."""


@dataclass(frozen=True, slots=True)
class Whims:
    """What one seed is up against. ``deaths`` are the fault points, counted in each life, at which it
    ends."""

    names: tuple[str, ...]
    behaviour: Behaviour
    deaths: tuple[int, ...]
    slices: int
    lines_per_slice: int
    indexed: bool
    raw: bool = field(default=False)


def draw_whims(seed: int, *, kinds: int = 6, deaths: int = 2, slices: int = 30) -> Whims:
    """The whims of a seed: the same on every machine. Later ones overrule earlier ones where they set the
    same switch."""
    rng = SeededRng(f"whims {seed}")
    pool = sorted(WHIMS)
    names: list[str] = []
    taken: set[str] = set()
    while len(names) < kinds:
        name = pool.pop(int(rng.random() * len(pool)))
        if taken.isdisjoint(WHIMS[name]):
            names.append(name)
            taken |= set(WHIMS[name])
    behaviour = Behaviour(run_base_s=1.0 + 8.0 * rng.random())
    for name in names:
        behaviour = replace(behaviour, **WHIMS[name])
    return Whims(
        names=tuple(names),
        behaviour=behaviour,
        deaths=tuple(1 + int(rng.random() * 40 * slices // 3) for _ in range(deaths)),
        slices=slices,
        lines_per_slice=10 + int(rng.random() * 40),
        indexed=rng.random() > 0.1,
    )
