"""How each undocumented behaviour is put on: the stage on which a setting shows, how the export is played on
it, and what must be true of its end."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import zstandard

from orchestrator.core.job import Output, ServedFormat
from orchestrator.core.report import Report
from orchestrator.emulator.account import Logstore, matching
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.density import GiantSecond, Uniform
from orchestrator.emulator.record import Arrangement, RowStyle
from orchestrator.emulator.records import RecordStore
from orchestrator.engine.context import JobContext, Room
from orchestrator.errors import ExitCode, Refused
from orchestrator.testing.episode import Setting
from orchestrator.testing.loop import START_AT, VirtualTime
from orchestrator.testing.pairs import Oddity
from orchestrator.testing.switch_row import Switch
from orchestrator.testing.switches import SWITCHES, on_the_table
from tests.simulation.rig import Disturbance, Rig, failing, only_first
from tests.simulation.wired import WiredRig

__all__ = [
    "CSV_FORMS",
    "SCENES",
    "SHOWN",
    "Played",
    "Scene",
    "csv_scene",
    "ordinary",
    "play",
    "said",
    "statuses",
    "transcript",
]

MOST_RUNS = 3
TIDYING_RUNS = 2
"""After a complete one, for what the service hid from it."""
END_S = int(START_AT) - 86_400
"""Where the window of every episode ends."""
SLICES = 6
ROWS_PER_SLICE = 30
WINDOW_S = 90
"""Two rows a second: one at each full second, so that every border of a slice meets a row, and one inside."""

SHOWN = [switch for switch in SWITCHES if not switch.never_sent]
"""Switches that the program's own requests meet."""

Judge = Callable[["Played"], list[str]]


@dataclass(frozen=True, slots=True)
class Played:
    """An export from its first run to its last. ``spans`` are the moments at which each run began and
    ended."""

    rig: Rig
    reports: tuple[Report, ...]
    spans: tuple[tuple[float, float], ...]

    @property
    def last(self) -> Report:
        return self.reports[-1]


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a switch is shown. ``setting`` are fields of the episode's Setting, ``job`` fields of its Job,
    ``disturb`` what happens meanwhile; ``judge`` replaces the rule that the export ends exact."""

    setting: Mapping[str, Any] = field(default_factory=dict)
    job: Callable[[Any], Mapping[str, Any]] = lambda value: {}
    disturb: Callable[[Rig], Disturbance] | None = None
    judge: Judge | None = None
    judged: Mapping[Any, Judge] = field(default_factory=dict)
    runs: int = MOST_RUNS

    def rule(self, value: Any) -> Judge:
        """What is asked of the end under this value."""
        return self.judged.get(value) or self.judge or exact


@dataclass(frozen=True, slots=True)
class Idle:
    """Rows from one second to another; with ``step_s`` only every so many seconds, and then as many at
    once."""

    from_s: int
    rows_per_s: int = 2
    step_s: int = 1

    def before(self, second: int) -> int:
        return -(-max(0, second - self.from_s) // self.step_s) * self.step_s * self.rows_per_s


def ordinary(switch: Switch, value: Any) -> bool:
    """Whether the stage of this setting is the bare one, on which all defaults are the same export."""
    return value == switch.settings[0] and not switch.staged and switch.name not in SCENES


def play(switch: Switch, value: Any, scene: Scene, folder: Path, *, wired: bool, **others: Any) -> Played:
    """Export under one setting until complete, at most as often as the scene allows. ``others`` are further
    switches."""
    behaviour = Behaviour(**{**switch.staged, **others, switch.name: value})
    fields: dict[str, Any] = {
        "seed": 11,
        "slices": SLICES,
        "lines_per_slice": ROWS_PER_SLICE,
        "window_s": WINDOW_S,
        **scene.setting,
    }
    rig = (WiredRig if wired else Rig)(Setting(behaviour=behaviour, **fields), folder)
    base = rig.job
    rig.changed = {
        name: change(base) if callable(change) else change for name, change in scene.job(value).items()
    }
    rig.disturb = scene.disturb(rig) if scene.disturb else None
    reports, spans, tidied = [], [], 0
    for _ in range(scene.runs + TIDYING_RUNS):
        if len(reports) - tidied == scene.runs:
            break
        begun = rig.now_s
        reports.append(rig.run())
        spans.append((begun, rig.now_s))
        if reports[-1].complete and (tidied == TIDYING_RUNS or rig.left_at_service() <= rig.surplus()):
            break
        tidied += reports[-1].complete
        rig.now_s += 60.0  # what was hidden has come to light
    return Played(rig, tuple(reports), tuple(spans))


def play_together(oddities: Sequence[Oddity], folder: Path, *, runs: int = 6) -> Played:
    """Export with several odd settings at once, each with what it is staged with unless another one says
    otherwise."""
    table = on_the_table()
    staged: dict[str, Any] = {}
    for name, _ in oddities:
        staged |= table[name].staged
    (first, value), *rest = oddities
    scene = Scene(job=lambda _: {"give_up_after_s": 600}, runs=runs)
    return play(replace(table[first], staged=staged), value, scene, folder, wired=True, **dict(rest))


# --- what must be true


def exact(played: Played) -> list[str]:
    """Complete, with exactly the true rows; a run before the last one named what it left, and why another run
    would mend it."""
    rig, last = played.rig, played.last
    found = [] if last.complete and last.exit == 0 else [f"exit {last.exit}: {_why(last)}"]
    for report in played.reports[:-1]:
        if report.complete:
            continue
        gaps = report.jobs[0].gaps
        if report.exit != ExitCode.INCOMPLETE or not gaps or not all(gap.mendable for gap in gaps):
            found.append(f"a run before: exit {report.exit}: {_why(report)}")
    truth, archived = rig.truth(), rig.archived()
    lost, extra = (truth - archived).total(), (archived - truth).total()
    return found + ([f"{lost} rows lost, {extra} too many"] if lost or extra else []) + unkept(played)


def unkept(played: Played, *, tidy: bool = True) -> list[str]:
    """Promises besides rows: one live remote task per slice, ceilings held, and (``tidy``) nothing of ours
    left behind."""
    rig, witness, limits = played.rig, played.rig.world.witness, played.rig.setting.limits
    twins = witness.live_duplicate_names()
    found = [f"twins alive: {twins}"] if tidy and twins else []
    # A remote task that the service hides for longer than any it showed before is not known to be there.
    unseen = limits.tasks if rig.setting.behaviour.list_lag_s > 15 else 0
    for what, most, ceiling in (
        ("outstanding", witness.max_outstanding, limits.tasks + unseen),
        ("requests a second", witness.max_requests_in_1s, limits.requests_per_s),
        ("queries at once", witness.max_queries_at_once, limits.queries),
        ("files at once", witness.max_files_at_once, limits.downloads),
    ):
        found += [f"{most} {what}, {ceiling:g} allowed"] if most > ceiling else []
    if tidy and (left := rig.left_at_service()) > rig.surplus():
        found.append(f"{left} remote tasks left that the ledger does not call surplus")
    return found


def gap(code: ExitCode, *reasons: str) -> Judge:
    """The export cannot become complete: it ends with this code, gives no other reasons, holds no wrong row,
    and every row it lacks lies in a gap."""

    def judge(played: Played) -> list[str]:
        rig, last = played.rig, played.last
        gaps = last.jobs[0].gaps
        found = [] if last.exit == code and not last.complete else [f"exit {last.exit}: {_why(last)}"]
        if strange := {each.reason for each in gaps if not str(each.reason).startswith(reasons)}:
            found.append(f"other reasons: {strange}")
        if extra := (rig.archived() - rig.truth()).total():
            found.append(f"{extra} rows too many")
        return found + _silent(played, rig.truth()) + unkept(played)

    return judge


def _silent(played: Played, truth: Counter[bytes]) -> list[str]:
    """Rows of the truth that are neither stored nor in a gap."""
    second_of, gaps = _dating(played.rig.setting.behaviour), played.last.jobs[0].gaps
    silent = [
        row
        for row in truth - played.rig.archived()
        if not any(each.window.start_s <= second_of(row) < each.window.end_s for each in gaps)
    ]
    return [f"{len(silent)} rows lost without a word"] if silent else []


def seen(played: Played) -> list[str]:
    """Complete, with every row that could be seen all the time, and no wrong one."""
    rig = played.rig
    first, last = (_visible(rig, at_s) for at_s in (played.spans[0][0], played.spans[-1][1]))
    archived = rig.archived()
    found = [] if played.last.complete else [f"exit {played.last.exit}: {_why(played.last)}"]
    if lost := ((first & last) - archived).total():
        found.append(f"{lost} rows lost that could be seen all the time")
    if extra := (archived - rig.truth()).total():
        found.append(f"{extra} rows too many")
    return found + unkept(played)


def seen_or_said(played: Played) -> list[str]:
    """Complete by ``seen``, or honest: no wrong row, every lacking row in a gap that another run may mend.
    What the service still hides may be left for that run."""
    rig, last = played.rig, played.last
    if last.complete:
        return seen(played)
    found = [] if last.exit == ExitCode.INCOMPLETE else [f"exit {last.exit}: {_why(last)}"]
    found += [f"not mendable: {each.reason}" for each in last.jobs[0].gaps if not each.mendable]
    at_first, at_last = (_visible(rig, at_s) for at_s in (played.spans[0][0], played.spans[-1][1]))
    if extra := (rig.archived() - rig.truth()).total():
        found.append(f"{extra} rows too many")
    return found + _silent(played, at_first & at_last) + unkept(played, tidy=False)


def shown(played: Played) -> list[str]:
    """Complete by what the service shows in the end, and not a wrong row."""
    extra = (played.rig.archived() - played.rig.truth()).total()
    found = [] if played.last.complete else [f"exit {played.last.exit}: {_why(played.last)}"]
    return found + ([f"{extra} rows too many"] if extra else []) + unkept(played)


def nothing(played: Played) -> list[str]:
    """Complete, and not a row stored."""
    found = [] if played.last.complete else [f"exit {played.last.exit}: {_why(played.last)}"]
    return found + ([f"{rows} rows"] if (rows := played.rig.archived().total()) else []) + unkept(played)


def csv_exact(played: Played) -> list[str]:
    """As ``exact``, for archives of CSV as served."""
    names = ("@timestamp", "@seq", "@stream", "@raw")
    if played.rig.setting.behaviour.field_names == "pull":
        names = ("timestamp", "sequence", "stream", "message")
    columns = (*names, "level", "status")
    rows = (orjson.loads(row) for row in played.rig.truth().elements())
    truth = Counter(tuple(str(row[name]) for name in columns) for row in rows)
    archived: Counter[tuple[str, ...]] = Counter()
    for path in played.rig.files():
        text = _unpacked(path.read_bytes()).decode("utf-8-sig")
        archived.update(map(tuple, csv.reader(io.StringIO(text, newline=""))))
    del archived[columns]
    lost, extra = (truth - archived).total(), (archived - truth).total()
    found = [] if played.last.complete else [f"exit {played.last.exit}: {_why(played.last)}"]
    return found + ([f"{lost} rows lost, {extra} too many"] if lost or extra else []) + unkept(played)


def _unpacked(content: bytes) -> bytes:
    """A file as served, without its compression."""
    if content.startswith(b"\x1f\x8b"):
        return gzip.decompress(content)
    if content.startswith(b"\x28\xb5\x2f\xfd"):
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content), read_across_frames=True).read()
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            (name,) = archive.namelist()
            return archive.read(name)
    return content


def _why(report: Report) -> str:
    reasons = sorted({str(each.reason) for each in report.jobs[0].gaps})
    return f"{reasons} {report.jobs[0].slices} {report.error or ''}"


def _dating(behaviour: Behaviour) -> Callable[[bytes], int]:
    """How the second of a row is told from its spelling."""
    name = "@timestamp" if behaviour.field_names == "query" else "timestamp"
    unit = {"s": 1, "ms": 1000, "us": 1_000_000, "iso": 0}[behaviour.record_time]

    def second_of(row: bytes) -> int:
        at = orjson.loads(row)[name]
        return int(at) // unit if unit else int(datetime.fromisoformat(at).timestamp())

    return second_of


def _visible(rig: Rig, at_s: float) -> Counter[bytes]:
    """Every row of the window that the service could show at one moment."""
    window, behaviour = rig.setting.window, rig.setting.behaviour
    store, server_s = rig.world.account.store("shop", "web"), at_s + behaviour.clock_offset_s
    found = matching(store, None, "match *", server_s, behaviour)
    rows = found.rows(window.start_s * 1000, window.end_s * 1000, 10**6, Arrangement())
    style = RowStyle(names=behaviour.field_names, time=behaviour.record_time)
    lines = b"".join(rows.read(style, 0, rows.size_bytes(style))).splitlines()
    return Counter(orjson.dumps(orjson.loads(line), option=orjson.OPT_SORT_KEYS) for line in lines)


# --- what the service did


def transcript(rig: Rig) -> str:
    """A digest of everything that crossed the wire but the server's own dates: equal for equal behaviour,
    since all else follows from the seed."""
    assert isinstance(rig, WiredRig)
    digest = hashlib.sha256()
    for each in rig.exchanges:
        headers = sorted((name, value) for name, value in each.headers.items() if name != "date")
        line = (each.method, each.path, each.host, each.scheme, each.asked, each.status, headers, each.body)
        digest.update(repr(line).encode())
    return digest.hexdigest()


def statuses(rig: Rig, endpoint: str) -> set[int]:
    """Which statuses the service gave at an endpoint; 0 for a broken connection."""
    told = (key.rpartition(" ") for key in rig.world.witness.statuses)
    return {int(status) for name, _, status in told if name == endpoint}


def said(rig: Rig, text: bytes) -> int:
    """In how many answers a text stands."""
    assert isinstance(rig, WiredRig)
    return sum(text in each.raw for each in rig.exchanges)


# --- the scenes


def _store_goes(rig: Rig) -> Disturbance:
    """Ten seconds into the run the logstore is removed."""
    return _at(10.0, lambda: rig.world.account.remove_store("shop", "web"), rig)


def _store_is_made_anew(rig: Rig) -> Disturbance:
    """Ten seconds into the run the logstore is removed and an empty one takes its name."""

    def anew() -> None:
        rig.world.account.remove_store("shop", "web")
        rig.world.account.add_store(Logstore("web", RecordStore(), project="shop"))

    return _at(10.0, anew, rig)


def _streams_are_secret(rig: Rig) -> Disturbance:
    """Whoever exports may not list log streams: a name that does not exist cannot be told from one that
    does."""
    refusal = Refused("may not list log streams", status=403, service_code="AccessDenied")
    return only_first("meta", list_logstreams=failing(refusal))


def _at(after_s: float, what: Callable[[], None], rig: Rig) -> Disturbance:
    def disturb(contexts: list[JobContext], room: Room, time: VirtualTime) -> tuple[list[JobContext], Room]:
        def happens() -> None:
            rig.world.tasks.advance(time.clock.now())
            what()

        time.loop.call_later(after_s, happens)
        return contexts, room

    return disturb


def _stream(name: str) -> Callable[[Any], Mapping[str, Any]]:
    return lambda value: {"identity": lambda job: replace(job.identity, logstream=name)}


IDLE_HOURS: Mapping[str, Any] = {
    "density": Idle(END_S - 1800, 1, 60),
    "window_s": 14_400,
    "lines_per_slice": 1000,
}
"""Nothing but in the last half hour of four."""
BURSTS = Idle(END_S - WINDOW_S, step_s=15)
PAGES: Mapping[str, Any] = {"slices": 13, "lines_per_slice": 10}
"""More remote tasks than a page of ten holds."""
CSV: Mapping[str, Any] = {"format": ServedFormat.CSV, "output": Output.RAW}
SHORT = gap(ExitCode.INCOMPLETE, "short by")

SCENES: Mapping[str, Scene] = {
    "lost_reply_unmade": Scene(judged={1.0: gap(ExitCode.INCOMPLETE, "attempts exhausted")}, runs=1),
    "page_border": Scene(PAGES),
    "page_size_max": Scene(PAGES),
    "page_size_above_max": Scene(PAGES),
    "csv_header": Scene(
        job=lambda value: {**CSV, "time_field": "auto" if value else "#1"},
        judge=csv_exact,
    ),
    "empty_result": Scene(
        IDLE_HOURS, judged={"failed": gap(ExitCode.INCOMPLETE, "attempts exhausted")}, runs=1
    ),
    "row_order": Scene({"density": GiantSecond(Uniform(86_400), END_S - 40, 2400), "lines_per_slice": 5000}),
    "visible_after_s": Scene(judge=seen),
    "late_per_mille": Scene(judge=seen),
    "late_by_s": Scene(judge=seen),
    "retention_s": Scene(judge=seen),
    "count_error": Scene({"slices": 4, "window_s": 60}, judged={0.2: SHORT}, runs=1),
    "histogram_empty_buckets": Scene({"density": BURSTS}),
    "histogram_hits": Scene({"slices": 2, "window_s": 30}, judged={"too-high": SHORT}, runs=1),
    "index_needed": Scene({"indexed": False}),
    "overload_rows": Scene({"slices": 2, "window_s": 30}),
    "stuck_probability": Scene(job=lambda value: {"give_up_after_s": 600}),
    "delete_running": Scene(job=lambda value: {"give_up_after_s": 1000}, runs=5),
    "store_removed": Scene(
        disturb=_store_goes, judge=gap(ExitCode.REFUSED, "refused", "not exported yet"), runs=1
    ),
    "store_recreated": Scene(disturb=_store_is_made_anew, judge=shown, runs=1),
    "missing_stream": Scene(
        disturb=_streams_are_secret,
        job=_stream("no-such-stream"),
        judged={"none": nothing, "not-found": gap(ExitCode.REFUSED, "refused")},
        runs=1,
    ),
}
"""Switches that need more of a stage than other switches."""

CSV_FORMS = (
    "file_compression",
    "content_encoding",
    "csv_header",
    "final_newline",
    "byte_order_mark",
    "crlf",
    "field_names",
    "record_time",
    "row_order",
)
"""Switches that CSV files know too."""


def csv_scene(value: Any) -> Scene:
    """An export of CSV as served, whatever the switch."""
    return Scene(job=lambda _: {**CSV, "time_field": "#1" if value is False else "auto"}, judge=csv_exact)
