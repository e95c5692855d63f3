"""Which faults can an episode be up against, and how does one tell that a fault was really met?

Three kinds: whims of the service (``testing.whims``), troubles of our own machine and neighbourhood, and
forms of the job that bring the engine where it seldom is. Every one leaves a complete export possible. One
counts as met only by what happened (``met_by``, words of ``testing.watched`` and ``testing.trial``), never
by having been switched on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.core.job import Align, Compression, Order, Output, ServedFormat
from orchestrator.testing.script import EndingKind
from orchestrator.testing.whims import WHIMS

__all__ = ["FAULTS", "Fault"]


@dataclass(frozen=True, slots=True)
class Fault:
    """``switches`` are of the service's Behaviour, ``export`` of ``scenario.Export``. No two faults that set
    the same thing, or share a tag, come in one episode."""

    met_by: tuple[str, ...]
    switches: Mapping[str, Any] = field(default_factory=dict)
    export: Mapping[str, Any] = field(default_factory=dict)
    ending: EndingKind | None = None
    tags: frozenset[str] = frozenset()


def _whim(name: str, *met_by: str, tags: str = "", export: Mapping[str, Any] | None = None) -> Fault:
    return Fault(met_by, WHIMS[name], export or {}, tags=frozenset(tags.split()))


def _form(*met_by: str, tags: str = "", **export: Any) -> Fault:
    return Fault(met_by, export=export, tags=frozenset(tags.split()))


def _trouble(*met_by: str, ending: EndingKind | None = None, tags: str = "", **export: Any) -> Fault:
    return Fault(met_by, export=export, ending=ending, tags=frozenset(tags.split()))


_SILENCE: Mapping[str, Any] = {"shape": "silent hours", "indexed": False, "window_s": 6 * 3600}
"""Nobody counts, and whole hours hold nothing: only then are remote tasks made for nothing."""

_UNCOUNTED: Mapping[str, Any] = {"count_refused": True, "histogram_fails": "always"}

_WHIMS_OF_THE_SERVICE: Mapping[str, Fault] = {
    "end inclusive": _whim("end inclusive", "rows past the end"),
    "end whole second": _whim("end whole second", "rows past the end"),
    "start exclusive": _whim("start exclusive", "first row withheld"),
    "reply lost, made": _whim("reply lost, made", "create in doubt, made"),
    "reply lost, not made": _whim("reply lost, not made", "create in doubt, not made"),
    "reply lost as 503": _whim("reply lost as 503", "create in doubt, made", "create in doubt, not made"),
    "made late": _whim("made late", "create in doubt, not made"),
    "made very late": _whim("made very late", "create in doubt, not made", tags="twins"),
    "list lags": _whim("list lags", "not listed yet"),
    "list lags long, names unique": _whim("list lags long, names unique", "not listed yet", tags="twins"),
    "describe lags": _whim("describe lags", "describe refused"),
    "page size lowered": _whim("page size lowered", "page size lowered"),
    "page size refused": _whim("page size refused", "list refused"),
    "pages repeat": _whim("pages repeat", "item on two pages"),
    "keys omitted": _whim("keys omitted", "log stream not said"),
    "short links": _whim("short links", "link expired"),
    "files vanish": _whim("files vanish", "Vanished", "link refused", export={"pause_s": 600.0}),
    "files expire": _whim("files expire", "EXPIRED", "file missing", export={"pause_s": 600.0}),
    "expires at link": _whim("expires at link", "EXPIRED", "file missing"),
    "json array": _whim("json array", "file_layout=array", tags="csv"),
    "gzip files": _whim("gzip files", "file_compression=gzip"),
    "zstd files": _whim("zstd files", "file_compression=zstd"),
    "zip files": _whim("zip files", "file_compression=zip"),
    "gzip on the wire": _whim("gzip on the wire", "content_encoding=gzip"),
    "bom and crlf": _whim("bom and crlf", "crlf=True"),
    "no final newline": _whim("no final newline", "final_newline=False"),
    "pull names": _whim("pull names", "field_names=pull"),
    "seconds": _whim("seconds", "record_time=s", tags="order"),
    "iso times": _whim("iso times", "record_time=iso"),
    "ties stirred": _whim("ties stirred", "file with ties", export={"ties": True}),
    "rows stirred": _whim("rows stirred", "row_order=stirred", tags="order"),
    "ranges ignored": _whim("ranges ignored", "range not honoured"),
    "etag changes": _whim("etag changes", "range not honoured"),
    "no etag": _whim("no etag", "taken up without ETag"),
    "no file when empty": _whim(
        "no file when empty", "no file for nothing", tags="counts written", export=_SILENCE
    ),
    "failed when empty": _whim(
        "failed when empty",
        "FAILED for nothing",
        tags="counts",
        export={"shape": "silent hours", "window_s": 6 * 3600, "spell": _UNCOUNTED},
    ),
    "written rows missing": _whim("written rows missing", "writtenRows wrong", tags="written"),
    "written rows zero": _whim("written rows zero", "writtenRows wrong", tags="written"),
    "written rows limit": _whim("written rows limit", "writtenRows wrong", tags="written"),
    "written rows one less": _whim("written rows one less", "writtenRows wrong", tags="written"),
    "written rows one more": _whim("written rows one more", "writtenRows wrong", tags="written"),
    "counts low": _whim("counts low", "count wrong", tags="counts"),
    "no histogram": _whim(
        "no histogram",
        "histogram refused",
        tags="counts",
        export={"shape": "silent hours", "window_s": 6 * 3600, "query": "match GET", "align": Align.HOUR},
    ),
    "counts refused": _whim("counts refused", "count refused", tags="counts"),
    "no counts at all": _whim("no counts at all", "count refused", tags="counts"),
    "counts truncated": _whim("counts truncated", "count refused", tags="counts"),
    "few queries at once": _whim("few queries at once", "throttled", tags="counts"),
    "overload": _whim("overload", "413", "count refused", tags="counts"),
    "throttled": _whim("throttled", "429"),
    "throttled politely": _whim("throttled politely", "429 with Retry-After"),
    "slow creates": _whim("slow creates", "429"),
    "hidden cap 429": _whim("hidden cap 429", "429", tags="quota"),
    "hidden cap 403": _whim("hidden cap 403", "create refused in unknown words", tags="quota"),
    "hidden cap waits": _whim("hidden cap waits", "waited for a place", tags="quota"),
    "straight to success": _whim("straight to success", "RUNNING shown as WAITING"),
    "setbacks": _whim("setbacks", "RUNNING shown as WAITING"),
    "unknown state": _whim("unknown state", "RUNNING shown as PAUSED"),
    "failures": _whim("failures", "FAILED"),
    "failures without code": _whim("failures without code", "FAILED"),
    "stuck tasks": _whim("stuck tasks", "StoodStill", export={"give_up_after_s": 300}, tags="stuck quota"),
    "delete refused while running": _whim(
        "delete refused while running",
        "delete refused",
        tags="twins stuck quota",
        export={"give_up_after_s": 300},
    ),
    "delete twice is success": _whim("delete twice is success", "deleted again"),
    "latency": _whim("latency", "latency"),
    "resets": _whim("resets", "connection broken"),
    "bad gateway": _whim("bad gateway", "answer 502"),
    "internal errors": _whim("internal errors", "answer 500"),
    "malformed answers": _whim("malformed answers", "malformed answer"),
    "bodies break off": _whim("bodies break off", "body broke off"),
    "bodies end early": _whim("bodies end early", "body ended early", tags="counts"),
    "file errors": _whim("file errors", "file answered 5xx"),
    "slow files": _whim("slow files", "slow file"),
    "server clock ahead": _whim("server clock ahead", "other clock at the service"),
    "server clock behind": _whim("server clock behind", "other clock at the service"),
}

_TROUBLES: Mapping[str, Fault] = {
    "stop signal": _trouble("ended by stop", ending=EndingKind.STOP),
    "disk full": _trouble("ended by disk full", ending=EndingKind.DISK_FULL),
    "no room left": _trouble("ended by no room", ending=EndingKind.NO_ROOM),
    "manifest commit fails": _trouble("ended by commit fails", ending=EndingKind.COMMIT_FAILS),
    "clock set ahead": _trouble("clock set ahead", jump_s=9_000.0, tags="clock"),
    "clock set back": _trouble("clock set back", jump_s=-9_000.0, tags="clock"),
    "clock wrong between lives": _trouble("clock wrong at a start", clock_wrong_s=14_400.0, tags="clock"),
    "no counts at first": _trouble("count refused", spell=_UNCOUNTED, tags="counts"),
    "counts too high at first": _trouble(
        "short files", spell={"count_error": 0.3}, attempts=2, tags="counts"
    ),
    "out of service at first": _trouble("a spell", spell={"bad_gateway_probability": 1.0}),
    "out of service later": _trouble("a spell", spell={"reset_probability": 1.0}, spell_life=1),
    "long pauses": _trouble("long pause", pause_s=14_400.0),
    "another manifest": _trouble("another manifest at work", neighbour=True, tags="quota"),
    "strangers": _trouble("strangers came and went", strangers=250, tags="quota"),
    "items left out": _trouble("item left out of a page", omits=0.2),
    "late records": _trouble("record not visible yet", late=True, tags="clock counts"),
    "creates land after death": Fault(
        ("create outlived its process",), {"latency_s": 3.0}, {"lands": True, "tasks": 8}
    ),
    "real client": _trouble("request over HTTP", wired=True),
}

_FORMS_OF_THE_JOB: Mapping[str, Fault] = {
    "newest first": _form("file newest first", order=Order.DESC),
    "csv served": _form("file in csv", format=ServedFormat.CSV, tags="csv"),
    "csv without header": Fault(
        ("csv_header=False",),
        {"csv_header": False},
        {"format": ServedFormat.CSV, "time_field": "#1"},
        tags=frozenset({"csv"}),
    ),
    "raw stored": _form("file with rows", output=Output.RAW),
    "gzip stored": _form("file with rows", compression=Compression.GZIP, output=Output.JSONL),
    "zstd stored": _form("file with rows", compression=Compression.ZSTD, output=Output.JSONL),
    "aligned to hours": _form("file with rows", align=Align.HOUR),
    "overfull seconds": _form("Divided", shape="overfull seconds", tags="counts order"),
    "silent hours": _form(
        "empty file", "became empty", shape="silent hours", window_s=6 * 3600, align=Align.HOUR
    ),
    "not indexed": _form("count refused", indexed=False, shape="even", window_s=30 * 3600, tags="counts"),
    "one log stream": _form("file with rows", logstream="app/pod-0"),
    "a search": _form("file with rows", query="match GET"),
    "many log streams": _form("file with rows", streams=40),
    "bursts": _form("file with rows", shape="bursts"),
    "dense seconds": _form("file with rows", shape="dense seconds"),
    "bursts, uncounted": _form("file cut off at its limit", shape="bursts", indexed=False, tags="counts"),
    "dense seconds, uncounted": _form(
        "file cut off at its limit", shape="dense seconds", indexed=False, tags="counts"
    ),
    "many at once": _form("ten outstanding", tasks=14),
    "one at a time": _form("file with rows", tasks=1, tags="quota"),
}

FAULTS: Mapping[str, Fault] = {**_WHIMS_OF_THE_SERVICE, **_TROUBLES, **_FORMS_OF_THE_JOB}
"""Name to fault. Whims that change nothing in process, or that only another client could step into, are not
here: ``testing.whims`` has them all, and each is met alone."""
