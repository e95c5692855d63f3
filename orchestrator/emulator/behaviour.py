"""Every undocumented behaviour of the service as a switch (bls-api.md 10), each with a plausible default.

A client must be right under every setting. Probabilities lie in ``[0, 1]`` and are drawn from the world's
seed. Words in brackets after a group's name are the items of bls-api.md section 10 it covers.
What the program does about each: ``orchestrator/testing/switches.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

__all__ = ["Behaviour", "BehaviourError"]


class BehaviourError(ValueError):
    """A description of behaviour that cannot be used; ``complaints`` holds every finding."""

    def __init__(self, complaints: tuple[str, ...]) -> None:
        super().__init__("; ".join(complaints))
        self.complaints = complaints


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """One way the service may behave. A comment behind a switch says what its values mean where the name does
    not."""

    # --- windows of download tasks [1, 24] ---
    window_start: Literal["inclusive", "exclusive"] = "inclusive"
    window_end: Literal["exclusive", "inclusive", "whole-second"] = (
        "exclusive"  # inclusive: records dated exactly there
    )
    subsecond_windows: Literal["rejected", "accepted", "rounded"] = "rejected"
    empty_windows: Literal["rejected", "accepted"] = "rejected"  # start == end

    # --- creating [2, 3] ---
    create_repeated: Literal["two-tasks", "same-task", "replaced", "error"] = (
        "two-tasks"  # a second create of one name; replaced: a new uuid, and the earlier task is gone
    )
    lost_reply_made: float = 0.0  # probability: the task is made, the caller does not learn it
    lost_reply_unmade: float = 0.0  # probability: no task is made, and the caller cannot know
    lost_reply_form: Literal["drop", "500", "502", "503", "504"] = "drop"
    lost_reply_delay_s: float = 0.0  # a task whose reply was lost is made only this much later

    # --- listing [4, 5] ---
    list_lag_s: float = 0.0  # from create until a list shows the task
    describe_lag_s: float = 0.0
    page_size_max: int = 1000
    page_size_above_max: Literal["lowered", "honoured", "rejected"] = "lowered"
    page_border: Literal["exact", "repeats", "misses"] = (
        "exact"  # at page borders an item comes twice, or not at all
    )

    # --- spelling of answers [6, 7, 22] ---
    task_total_key: Literal["total", "totalCount"] = "total"
    store_total_key: Literal["totalCount", "total"] = "totalCount"
    search_statistic_key: Literal["searchStatistic", "searchStatics"] = "searchStatistic"
    request_id_key: Literal["requestId", "request_id"] = "requestId"
    omitted_keys: tuple[str, ...] = ()  # e.g. logStreamName, message, success
    ok_code: Literal["OK", "success"] = "OK"
    create_status: int = 201  # 204: the task is made, and no body says so
    read_status: int = 200  # not 204: an answer without a body answers nothing
    delete_status: int = 200
    delete_body: bool = True
    time_form: Literal["z", "millis", "offset"] = "z"
    not_yet: Literal["empty", "null", "absent"] = "empty"  # a time that has not come

    # --- links [8, 9] ---
    link_before_success: Literal["given", "refused"] = "given"
    link_lifetime_s: int = 1800
    link_again: Literal["fresh", "same"] = "fresh"
    link_kind: Literal["presigned", "gateway"] = (
        "presigned"  # gateway: an opaque ticket instead of a signature
    )
    link_host: Literal["same", "other"] = "same"  # other: a name of its own for the same machine
    link_scheme: Literal["http", "https"] = "http"  # https: where something before the emulator speaks TLS
    link_redirects: int = 0
    link_refusal: Literal["403", "400"] = "403"  # status of a link that no longer opens

    # --- files and their end [10, 11, 12, 13, 14] ---
    file_lifetime_s: float = 86_400.0
    after_lifetime: Literal["expired", "vanished"] = "expired"
    file_layout: Literal["lines", "array"] = "lines"  # of format json
    file_compression: Literal["none", "gzip", "zstd", "zip"] = "none"
    content_encoding: Literal["none", "gzip"] = "none"
    csv_header: bool = True
    final_newline: bool = True
    byte_order_mark: bool = False
    crlf: bool = False
    field_names: Literal["query", "pull"] = "query"  # @timestamp, @raw … or timestamp, message …
    record_time: Literal["ms", "s", "us", "iso"] = "ms"
    row_order: Literal["by-time", "ties-stirred", "stirred"] = (
        "by-time"  # stirred: neighbours, whatever their times
    )
    etag: Literal["opaque", "md5", "weak", "changing", "none"] = "opaque"
    ranges: Literal["honoured", "ignored"] = "honoured"
    empty_result: Literal["empty-file", "no-file", "failed"] = "empty-file"
    written_rows: Literal[
        "exact", "at-end", "zero-until-end", "missing", "zero", "limit", "one-less", "one-more"
    ] = "exact"  # exact: growing while it runs; at-end: missing until then

    # --- what records are there [15] ---
    visible_after_s: float = 0.0  # from arrival until a record can be seen
    late_per_mille: int = 0  # so many of a thousand records arrive late_by_s after their time
    late_by_s: float = 0.0
    retention_s: float = 0.0  # older records are gone, whatever the logstore says of itself; 0: what it says
    download_lag_s: float = 0.0  # a download sees only what a count saw so long ago
    count_error: float = 0.0  # counts are this share too high (or too low, when negative)

    # --- counting [16, 17] ---
    histogram_width_s: int = 0  # 0: the server picks a width for about 60 buckets
    histogram_alignment: Literal["epoch", "start"] = "epoch"
    histogram_empty_buckets: Literal["listed", "left-out"] = "listed"
    histogram_hits: Literal["exact", "too-high", "too-low", "missing"] = "exact"
    histogram_fails: Literal["never", "always", "timeout"] = "never"
    histogram_timeout_s: float = 0.0  # how long a timeout takes; the service itself says 60
    sql_histogram_time: Literal["iso", "ms", "text"] = "iso"
    sql_histogram: Literal["offered", "refused"] = "offered"
    sql_rows_max: int = 100_000
    count_form: Literal["int", "float", "string"] = "int"
    count_truncated: bool = False
    count_refused: bool = False
    index_needed: bool = True  # counts and histograms of a logstore without index are refused

    # --- pace [18] ---
    create_per_s: float = 0.0  # requests a second taken per family before 429; 0 is no limit
    read_per_s: float = 0.0  # describe and metadata
    list_per_s: float = 0.0
    link_per_s: float = 0.0
    delete_per_s: float = 0.0
    query_per_s: float = 0.0  # counts, histograms, queries
    burst_s: float = 1.0  # how many seconds' worth may come at once
    throttle_probability: float = 0.0  # a 429 out of the blue
    retry_after_s: float = -1.0  # Retry-After of a 429; negative: none is sent
    retry_after_form: Literal["seconds", "date"] = "seconds"
    queries_at_once: int = 0  # more is 429; 0 is no limit
    outstanding_cap: int = 0  # hidden cap on waiting and running tasks; 0 is none
    outstanding_cap_form: Literal["429", "400", "403", "waits"] = "429"
    overload_rows: int = 0  # 413 for a query or task over more matching rows; 0 is no limit

    # --- who may [19] ---
    auth_style: Literal["platform", "bls-401", "bls-403"] = "platform"
    clock_offset_s: float = 0.0  # the server's clock minus the caller's

    # --- executing [20, 25] ---
    executors: int = 20
    run_base_s: float = 2.0
    run_per_line_s: float = 0.000_01
    run_jitter: float = 0.2  # run times vary by this share, half up, half down
    running_shown: bool = True  # False: WAITING straight to SUCCESS
    setback_probability: float = 0.0  # RUNNING falls back to WAITING for a third of the run
    unknown_state: str = ""  # shown instead of RUNNING with the probability below
    unknown_state_probability: float = 0.0
    fail_probability: float = 0.0
    fail_codes: Literal["named", "empty"] = "named"
    stuck_probability: float = 0.0  # runs for ever
    expires_at_link_probability: float = 0.0  # EXPIRED between describe and link
    store_removed: Literal["failed", "empty", "not-found"] = "failed"  # while a task waits
    store_recreated: Literal["found", "lost"] = "found"  # lost: a waiting task still means the removed one

    # --- deleting [21] ---
    delete_running: Literal["cancels", "refused", "finishes"] = "cancels"
    delete_removes_file: bool = True
    delete_again: Literal["not-found", "success"] = "not-found"

    # --- reading requests [23, 26] ---
    empty_equals_absent: bool = True
    unknown_fields: Literal["ignored", "rejected"] = "ignored"
    empty_stream: Literal["all", "none", "not-found"] = "all"
    missing_stream: Literal["none", "all", "not-found"] = "none"

    # --- the way there and back ---
    latency_s: float = 0.0
    latency_jitter: float = 0.5  # share of the latency that varies
    reset_probability: float = 0.0  # the connection breaks, before or after the effect, evenly
    bad_gateway_probability: float = 0.0  # a 502 page in HTML, effect as above
    server_error_probability: float = 0.0  # a 500 InternalError in JSON, effect as above
    malformed_probability: float = 0.0  # 200 with a body that is no JSON
    file_reset_probability: float = 0.0  # a body breaks off somewhere
    file_short_probability: float = 0.0  # a body without length ends early and looks finished
    file_error_probability: float = 0.0  # 503 instead of the file
    file_bytes_per_s: float = 0.0  # slow trickle; 0 is as fast as it goes

    def __post_init__(self) -> None:
        """Raises BehaviourError when a value lies outside its switch."""
        if complaints := tuple(_value_complaints(self)):
            raise BehaviourError(complaints)

    @staticmethod
    def from_dict(spec: Mapping[str, object], base: Behaviour | None = None) -> Behaviour:
        """``base`` (or the default) with the named switches set. Raises BehaviourError naming every unknown
        key with the nearest known one, and every value outside its switch."""
        known = _switches()
        complaints = []
        chosen: dict[str, Any] = {
            field.name: getattr(base or Behaviour(), field.name) for field in fields(Behaviour)
        }
        for key, value in spec.items():
            if key not in known:
                near = get_close_matches(key, known, n=1)
                complaints.append(
                    f"unknown switch {key!r}" + (f"; did you mean {near[0]!r}?" if near else "")
                )
            elif wrong := _complaint(key, value, known[key]):
                complaints.append(wrong)
            else:
                chosen[key] = tuple(value) if isinstance(value, list) else value
        if complaints:
            raise BehaviourError(tuple(complaints))
        return Behaviour(**chosen)


@cache
def _switches() -> dict[str, Any]:
    """Every switch and its type."""
    hints = get_type_hints(Behaviour)
    return {field.name: hints[field.name] for field in fields(Behaviour)}


def _value_complaints(behaviour: Behaviour) -> list[str]:
    found = [_complaint(name, getattr(behaviour, name), hint) for name, hint in _switches().items()]
    return [complaint for complaint in found if complaint]


def _complaint(name: str, value: object, hint: type | UnionType | Any) -> str:
    """What is wrong with a value, "" when nothing is."""
    if get_origin(hint) is Literal:
        allowed = get_args(hint)
        return "" if value in allowed else f"{name} must be one of {', '.join(allowed)}, not {value!r}"
    if hint is bool:
        return "" if isinstance(value, bool) else f"{name} must be true or false, not {value!r}"
    if hint is str:
        return "" if isinstance(value, str) else f"{name} must be a text, not {value!r}"
    if hint in (int, float):
        return _number_complaint(name, value, hint)
    texts = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    return "" if texts else f"{name} must be a list of texts, not {value!r}"


def _number_complaint(name: str, value: object, hint: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int if hint is int else int | float):
        return f"{name} must be a {'whole ' if hint is int else ''}number, not {value!r}"
    if name.endswith("_probability") or name in ("lost_reply_made", "lost_reply_unmade"):
        return "" if 0 <= value <= 1 else f"{name} is a probability between 0 and 1, not {value!r}"
    if value < 0 and name not in ("retry_after_s", "clock_offset_s", "count_error"):
        return f"{name} must not be negative, not {value!r}"
    if name.endswith("_status") and not 200 <= value <= 299:
        return f"{name} must be a 2xx status, not {value!r}"
    if name == "read_status" and value == 204:
        return "read_status must not be 204: an answer without a body answers nothing"
    if name == "late_per_mille" and value > 1000:
        return f"late_per_mille must not exceed 1000, not {value!r}"
    return ""
