"""Job files that are wrong, each in its own way, and what must be said of them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from orchestrator import settings
from orchestrator.core.complaint import Complaint
from orchestrator.core.jobfile import examine
from orchestrator.core.jobfile_lines import line_of, lines_of

NOW_S = datetime(2026, 1, 15, 3, 4, 5, 600_000, tzinfo=UTC).timestamp()

GOOD = """\
[service]
region = "bj"
[[jobs]]
name = "web"
logstore = "web-access"
from = 2026-01-01
destination = "archive"
"""
"""Seven lines; what a case adds stands on line 8."""


@dataclass(frozen=True)
class Expected:
    """Where and what one complaint is; ``problem`` and ``allowed`` are parts of theirs."""

    line: int
    key_path: str
    problem: str
    found: str = ""
    nearest: str = ""
    allowed: str = ""


@dataclass(frozen=True)
class BadFile:
    why: str
    text: str
    expected: tuple[Expected, ...]
    env: Mapping[str, str] = field(default_factory=dict)


def complaints_of(
    text: str, env: Mapping[str, str] | None = None, manifest: str | None = None
) -> tuple[Complaint, ...]:
    lines = lines_of(text)
    job_file, complaints = examine(
        tomllib.loads(text),
        now_s=NOW_S,
        zones=settings.zone,
        env={"HOME": "/home/u"} | dict(env or {}),
        base_folder="/srv/logs",
        file="jobs.toml",
        line_of=lambda path: line_of(path, lines),
        manifest=manifest,
        zone_names=("Asia/Shanghai", "Europe/Berlin", "UTC"),
    )
    assert (job_file is None) == bool(complaints)
    return complaints


def _job(
    line: str, problem: str, found: str, nearest: str = "", allowed: str = "", *, key: str = ""
) -> BadFile:
    """One more line, the eighth, in a good job, which is wrong at its key."""
    name = key or line.partition("=")[0].strip()
    return BadFile(
        line, f"{GOOD}{line}\n", (Expected(8, f"jobs[0].{name}", problem, found, nearest, allowed),)
    )


def _instead(old: str, new: str, *expected: Expected) -> BadFile:
    """A good file with one part replaced."""
    assert old in GOOD
    return BadFile(f"{old} -> {new}".replace("\n", "; "), GOOD.replace(old, new), expected)


def _also(text: str, *expected: Expected, env: Mapping[str, str] | None = None) -> BadFile:
    """A good file and more below it, from line 8."""
    return BadFile(text.strip().replace("\n", "; "), f"{GOOD}{text}\n", expected, env or {})


BAD_FILES: tuple[BadFile, ...] = (
    # keys
    _job('compresion = "zstd"', "unknown key", '"zstd"', "compression", "compression, time_field"),
    _job("tasks = 3", "unknown key", "3", "[limits] tasks"),
    _job("zzz = 3", "unknown key", "3"),
    _instead("[service]", "mirrorr = 1\n[service]", Expected(1, "mirrorr", "unknown key", "1", "mirror")),
    _instead("[service]", "[limitz]\n[service]", Expected(1, "limitz", "unknown key", "{}", "limits")),
    _also(
        "[limits]\ntask = 5", Expected(9, "limits.task", "unknown key", "5", "tasks", "requests_per_second")
    ),
    _also('[defaults]\nname = "x"', Expected(9, "defaults.name", "unknown key", '"x"', "[[jobs]] name")),
    _also("[defaults]\ncolumms = {}", Expected(9, "defaults.columms", "unknown key", "{}", "columns")),
    _instead(
        'region = "bj"',
        'region = "bj"\nregoin = "gz"',
        Expected(3, "service.regoin", "unknown key", '"gz"', "region"),
    ),
    # types and choices
    _job('output = "parqet"', "not one of the choices", '"parqet"', "parquet", '"raw", "jsonl"'),
    _job('deliver = "file"', "not one of the choices", '"file"', "files", '"files", "bos"'),
    _job("output = 3", "not text in quotes", "3", "", '"raw"'),
    _job('align = "week"', "not one of the choices", '"week"', "", '"none", "hour", "day", "month"'),
    _job('order = "ascending"', "not one of the choices", '"ascending"', "", '"asc", "desc"'),
    _job('max_lines = "1000"', "not a whole number", '"1000"', "", "from 1 to 1000000"),
    _job("max_lines = true", "not a whole number", "true"),
    _job("max_lines = 1000001", "out of range", "1000001", "", "from 1 to 1000000"),
    _job("max_lines = 0", "out of range", "0"),
    _job("attempts = 2.5", "not a whole number", "2.5"),
    _job('enabled = "yes"', "neither true nor false", '"yes"', "", "true or false"),
    _job("lag = 300", "not text in quotes", "300", "", '"5m"'),
    _job('lag = "5 minutes"', "not a duration", '"5 minutes"', "", '"5m"'),
    _job('lag = "-5m"', "not a duration", '"-5m"'),
    _job('give_up_after = "0s"', "too short", '"0s"', "", "at least 1s"),
    _job('time_field = "#0"', "not allowed", '"#0"', "", "third column"),
    _job('project = " "', "not allowed", '" "', "", "not empty"),
    _job('project = "a\\u0000b"', "a control character", '"a\\u0000b"'),
    _job('query = "a\\u0000b"', "a control character", '"a\\u0000b"'),
    _job("logstream = []", "an empty list", "[]"),
    _job('columns = "int64"', "not a table", '"int64"'),
    _job('columns = { status = "int" }', "not a type", '"int"', "int64", "float64", key="columns.status"),
    _job("columns = { status = 5 }", "not a type", "5", key="columns.status"),
    _job(
        'columns = { _raw = "string" }',
        "a column that every table has as it is",
        '"string"',
        key="columns._raw",
    ),
    _job(
        'columns = { "@timestamp" = "int64" }',
        "a column that every table has as it is",
        '"int64"',
        key='columns."@timestamp"',
    ),
    _job('schedule = "daily"', "not a cron schedule", '"daily"', "", "MINUTE HOUR"),
    _job('schedule = "61 2 * * *"', "not from 0 to 59", '"61 2 * * *"'),
    _job('schedule = "0 2 * 0 *"', "not from 1 to 12", '"0 2 * 0 *"'),
    _job('schedule = "*/0 * * * *"', "not from 0 to 59", '"*/0 * * * *"'),
    _job('schedule = "0 2 * * fri-mon"', "not from 0 to 7", '"0 2 * * fri-mon"'),
    _also(
        '[limits]\nrequests_per_second = 0\nqueries = 0\nbandwidth = "fast"\ndisk_reserve = 5',
        Expected(9, "limits.requests_per_second", "out of range", "0", "", "from 0.01 to 10000"),
        Expected(10, "limits.queries", "out of range", "0"),
        Expected(11, "limits.bandwidth", "not a size", '"fast"', "", "200MB"),
        Expected(12, "limits.disk_reserve", "not text in quotes", "5"),
    ),
    _also(
        "[limits]\nrequests_per_second = nan",
        Expected(9, "limits.requests_per_second", "out of range", "nan"),
    ),
    _also(
        "[limits]\nrequests_per_second = true",
        Expected(9, "limits.requests_per_second", "not a number", "true"),
    ),
    _also(
        '[limits]\nbandwidth = "0B"',
        Expected(9, "limits.bandwidth", "too small", '"0B"', "", "at least 1 byte"),
    ),
    # structure
    BadFile("empty file", "", (Expected(0, "jobs", "required, and missing", allowed="[[jobs]]"),)),
    BadFile(
        "single brackets",
        GOOD.replace("[[jobs]]", "[jobs]"),
        (
            Expected(
                3,
                "jobs",
                "not a list of tables",
                '{name = "web", logstore = "web-access", from = 2026-01-01, destination = "archi…',
                allowed="in double brackets",
            ),
        ),
    ),
    BadFile(
        "jobs of no tables",
        'jobs = [5]\n[service]\nregion = "bj"',
        (Expected(1, "jobs[0]", "not a table", "5"),),
    ),
    BadFile(
        "service is no table",
        f"service = 5\n{GOOD.partition(chr(10))[2].partition(chr(10))[2]}",
        (Expected(1, "service", "not a table", "5"),),
    ),
    _instead(
        "[service]",
        "services = 5\n[service]",
        Expected(1, "services", "not a table", "5", allowed="[services.NAME]"),
    ),
    _instead("[service]", "services.x = 5\n[service]", Expected(1, "services.x", "not a table", "5")),
    _instead("[service]", "destinations.x = 5\n[service]", Expected(1, "destinations.x", "not a table", "5")),
    # what is missing
    BadFile(
        "a bare job",
        '[service]\nregion = "bj"\n[[jobs]]\n',
        (
            Expected(3, "jobs[0].name", "required, and missing", allowed="1 to 64 of"),
            Expected(3, "jobs[0].logstore", "required, and missing"),
            Expected(3, "jobs[0].from", "required, and missing"),
            Expected(3, "jobs[0].destination", "required, and missing", allowed="a folder"),
        ),
    ),
    _instead(
        '[service]\nregion = "bj"\n',
        "",
        Expected(0, "service", "required, and missing", allowed="`region` or an `endpoint`"),
    ),
    _instead('region = "bj"', "", Expected(1, "service.region", "required, and missing", allowed="bj, gz")),
    # services
    _instead(
        '"bj"',
        '"bjj"',
        Expected(2, "service.region", "not a known region", '"bjj"', "bj", "any other service by `endpoint`"),
    ),
    _instead('"bj"', '"b j"', Expected(2, "service.region", "not allowed", '"b j"')),
    _instead(
        'region = "bj"',
        'endpoint = "bls-log.bj.baidubce.com"',
        Expected(2, "service.endpoint", "not allowed", '"bls-log.bj.baidubce.com"', allowed="http(s)://HOST"),
    ),
    _instead(
        'region = "bj"',
        'region = "bj"\nendpoint = "https://bls-log.gz.baidubce.com"',
        Expected(3, "service.endpoint", "another region", '"https://bls-log.gz.baidubce.com"'),
    ),
    _instead(
        'region = "bj"',
        'region = "bj"\ncredentials = "AKID:SECRET"',
        Expected(3, "service.credentials", "not allowed", '"AKID:SECRET"', allowed='"profile:NAME"'),
    ),
    _instead(
        'region = "bj"', 'region = "bj"\nca_file = ""', Expected(3, "service.ca_file", "an empty path", '""')
    ),
    _job('service = "gz"', "no such service", '"gz"', allowed="no [services.NAME] is in this file"),
    _job("service = 5", "not text in quotes", "5", allowed="[services.NAME]"),
    _also(
        'service = "g"\n[services.gz]\nregion = "gz"',
        Expected(8, "jobs[0].service", "no such service", '"g"', "gz", "gz"),
    ),
    _also(
        'service = "gz"\n[services.gz]\nregion = "gx"',
        Expected(10, "services.gz.region", "not a known region", '"gx"'),
    ),
    # moments and windows
    _instead(
        "2026-01-01",
        '"2026-1-1"',
        Expected(6, "jobs[0].from", "not a moment", '"2026-1-1"', allowed="now-6h"),
    ),
    _instead("2026-01-01", "5", Expected(6, "jobs[0].from", "not a moment", "5")),
    _instead("2026-01-01", "08:00:00", Expected(6, "jobs[0].from", "not a moment", "08:00:00")),
    _instead(
        "2026-01-01",
        "2026-01-01T00:00:00.5Z",
        Expected(6, "jobs[0].from", "a fraction of a second", "2026-01-01T00:00:00.500000+00:00"),
    ),
    _instead(
        "2026-01-01", "1969-12-31", Expected(6, "jobs[0].from", "out of range", "1969-12-31", allowed="2100")
    ),
    _instead(
        "2026-01-01",
        '2026-03-29T02:30:00\ntimezone = "Europe/Berlin"',
        Expected(6, "jobs[0].from", "does not exist in Europe/Berlin", "2026-03-29T02:30:00"),
    ),
    _instead(
        "2026-01-01",
        '2025-10-26T02:30:00\ntimezone = "Europe/Berlin"',
        Expected(6, "jobs[0].from", "occurs twice in Europe/Berlin", "2025-10-26T02:30:00"),
    ),
    _job("to = 2026-01-01", "not after `from`", "2026-01-01"),
    _job("to = 2025-12-31T23:59:59Z", "not after `from`", "2025-12-31T23:59:59+00:00"),
    _job('to = "yesterdy"', "not a moment", '"yesterdy"'),
    _job("to = 5", "not a moment", "5"),
    _instead(
        "2026-01-01", '"now-1h"\nto = "now-2h"', Expected(7, "jobs[0].to", "not after `from`", '"now-2h"')
    ),
    _job('timezone = "Asia/Shanghia"', "no such time zone", '"Asia/Shanghia"', "Asia/Shanghai"),
    _job('timezone = "../etc"', "not allowed", '"../etc"'),
    # queries
    _job('query = "select count(*)"', "an SQL query", '"select count(*)"', allowed="match SEARCH"),
    _job('query = "match * | select 1"', "| outside quotes", '"match * | select 1"'),
    _job('query = "match"', "`match` without a search", '"match"'),
    _job("query = 5", "not text in quotes", "5"),
    # names
    _instead(
        '"web"',
        '"web access"',
        Expected(4, "jobs[0].name", "not allowed", '"web access"', allowed="1 to 64 of"),
    ),
    _instead('"web"', f'"{"x" * 65}"', Expected(4, "jobs[0].name", "not allowed", f'"{"x" * 65}"')),
    _instead(
        '"web"',
        f'"{"x" * 60}-{{logstore}}"',
        Expected(4, "jobs[0].name", "too long", f'"{"x" * 60}-{{logstore}}"'),
    ),
    _instead('"web-access"', '"web access"', Expected(5, "jobs[0].logstore", "not allowed", '"web access"')),
    _instead('"web-access"', '["web", "!"]', Expected(5, "jobs[0].logstore[1]", "not a pattern", '"!"')),
    _instead('"web-access"', '["!web"]', Expected(5, "jobs[0].logstore", "only exclusions", '["!web"]')),
    _instead(
        '"web-access"',
        '["web-*"]',
        Expected(4, "jobs[0].name", "one name for a pattern", '"web"', allowed="{logstore}"),
    ),
    _also(
        '[[jobs]]\nname = "web"\nlogstore = "b"\nfrom = "today-1d"\ndestination = "other"',
        Expected(9, "jobs[1].name", "the name of jobs[0] too", '"web"'),
    ),
    # places
    _instead(
        '"archive"',
        '"."',
        Expected(0, "manifest", "inside the destination of jobs[0]", allowed="outside every destination"),
    ),
    _instead(
        "[service]",
        'manifest = "archive/x.db"\n[service]',
        Expected(1, "manifest", "inside the destination of jobs[0]", '"archive/x.db"'),
    ),
    _instead(
        "[service]",
        'manifest = "archive/../archive"\n[service]',
        Expected(1, "manifest", "inside the destination", '"archive/../archive"'),
    ),
    _instead(
        "[service]",
        'mirror = "archive/ledger"\n[service]',
        Expected(1, "mirror", "not available in this version", '"archive/ledger"'),
        Expected(1, "mirror", "the mirror lies inside the destination of jobs[0]", '"archive/ledger"'),
    ),
    _instead(
        '"archive"',
        '"http://x/y"',
        Expected(7, "jobs[0].destination", "not allowed", '"http://x/y"', allowed="s3://BUCKET"),
    ),
    _instead(
        '"archive"',
        '"s3://b/p"',
        Expected(7, "jobs[0].destination", "not available in this version", '"s3://b/p"'),
    ),
    _also(
        '[destinations.cold]\nurl = "bos://b/p"\n',
        Expected(9, "destinations.cold.url", "not available in this version", '"bos://b/p"'),
    ),
    _also(
        '[destinations.cold]\naddressing = "virtul"\n',
        Expected(8, "destinations.cold.url", "required, and missing"),
        Expected(9, "destinations.cold.addressing", "not one of the choices", '"virtul"', "virtual"),
    ),
    _also("[destinations.cold]\nurl = 5\n", Expected(9, "destinations.cold.url", "not text in quotes", "5")),
    _also(
        '[[jobs]]\nname = "WEB"\nlogstore = "b"\nfrom = "today-1d"\ndestination = "./archive/"',
        Expected(8, "jobs[1].layout", "the same paths as jobs[0]", allowed="{job} in the layout"),
    ),
    _also(
        '[[jobs]]\nname = "b"\nlogstore = "b"\nfrom = "today-1d"\ndestination = "archive"\n'
        '[defaults]\nlayout = "{start_utc:%Y%m%dT%H%M%S}_{end_utc:%H%M%S}"',
        Expected(12, "jobs[1].destination", "the same paths as jobs[0]", '"archive"'),
    ),
    _job('layout = "{job}/{strat:%Y}"', "unknown field {strat}", '"{job}/{strat:%Y}"', "start", "{start:%…}"),
    _job(
        'layout = "../{start_utc:%Y%m%dT%H%M%S}_{end_utc:%H%M%S}"',
        "leaves the destination",
        '"../{start_utc:%Y%m%dT%H%M%S}_{end_utc:%H%M%S}"',
    ),
    _job(
        'layout = "dt={start:%d}/{start_utc:%Y%m%dT%H%M%S}_{end_utc:%H%M%S}"',
        "finer than align",
        '"dt={start:%d}/{start_utc:%Y%m%dT%H%M%S}_{end_utc:%H%M%S}"',
        allowed='align = "day"',
    ),
    _job("layout = 5", "not text in quotes", "5"),
    # what goes together
    _job('compression = "gzip"', 'without effect on output = "raw"', '"gzip"', allowed='"jsonl" or "csv"'),
    _also(
        '[data_plane]\nengine = "dask"',
        Expected(8, "data_plane.scheduler", "required with engine", allowed="tcp://"),
        Expected(9, "data_plane.engine", "not available in this version", '"dask"'),
    ),
    # not in this version
    _job('deliver = "bos"\nfile_dir = "bucket/d"', "not available in this version", '"bos"'),
    _also(
        'deliver = "bos"',
        Expected(3, "jobs[0].file_dir", "required, and missing", allowed="BUCKET/FOLDER"),
        Expected(8, "jobs[0].deliver", "not available in this version", '"bos"'),
    ),
    _job('on_complete = ["./x"]', "not available in this version", '["./x"]'),
    _job('on_incomplete = "./x"', "not a list of words", '"./x"', allowed='["./notify.sh"'),
    # the environment
    _job(
        'project = "${NOPE}"',
        "the environment variable NOPE is not set",
        '"${NOPE}"',
        allowed="${NOPE:-default}",
    ),
    _job('project = "${NOPE"', "not a reference", '"${NOPE"', allowed="${NAME}"),
    _also(
        'on_complete = ["${NOPE}"]',
        Expected(8, "jobs[0].on_complete[0]", "NOPE is not set", '"${NOPE}"'),
        Expected(8, "jobs[0].on_complete", "not available in this version", '["${NOPE}"]'),
    ),
    _also(
        '[defaults]\norder = "up"\n'
        '[[jobs]]\nname = "b"\nlogstore = "b"\nfrom = 2026-01-02\ndestination = "b"',
        Expected(9, "defaults.order", "not one of the choices", '"up"'),
    ),
    _also(
        '[defaults]\ntimezone = "Asia/Shanghia"\n'
        '[[jobs]]\nname = "b"\nlogstore = "b"\nfrom = 2026-01-02\ndestination = "b"',
        Expected(9, "defaults.timezone", "no such time zone", '"Asia/Shanghia"', "Asia/Shanghai"),
    ),
    _also(
        'timezone = "Europe/Berlin"\nlag = "${E}"\nto = 2026-03-29T02:30:00',
        Expected(9, "jobs[0].lag", "not a duration", '"${E}"'),
        Expected(10, "jobs[0].to", "does not exist in Europe/Berlin", "2026-03-29T02:30:00"),
        env={"E": "e"},
    ),
    _also(
        "lag = 5\n"
        '[[jobs]]\nname = "web"\nlogstore = "b"\nfrom = 2026-01-02\ndestination = "archive"\nlag = 6\n'
        '[[jobs]]\nname = "web"\nlogstore = "c"\nfrom = 2026-01-02\ndestination = "archive"',
        Expected(8, "jobs[0].lag", "not text in quotes", "5"),
        Expected(9, "jobs[1].layout", "the same paths as jobs[0]"),
        Expected(10, "jobs[1].name", "the name of jobs[0] too", '"web"'),
        Expected(14, "jobs[1].lag", "not text in quotes", "6"),
        Expected(15, "jobs[2].layout", "the same paths as jobs[0]"),
        Expected(16, "jobs[2].name", "the name of jobs[0] too", '"web"'),
    ),
    _instead(
        'destination = "archive"',
        'destination = "."\nlag = 5\nlayout = "{x}"',
        Expected(0, "manifest", "the manifest lies inside the destination of jobs[0]"),
        Expected(8, "jobs[0].lag", "not text in quotes", "5"),
    ),
    BadFile(
        "~ without a home",
        GOOD.replace('"archive"', '"~/archive"'),
        (Expected(7, "jobs[0].destination", "HOME is not set", '"~/archive"'),),
        {"HOME": ""},
    ),
    BadFile(
        "~ without a home, everywhere",
        'manifest = "~/m"\n'
        + GOOD.replace('region = "bj"', 'region = "bj"\nca_file = "~/ca"\ncredentials = "file:~/c"')
        + '[destinations.d]\nurl = "~/d"',
        (
            Expected(1, "manifest", "HOME is not set", '"~/m"'),
            Expected(4, "service.ca_file", "HOME is not set", '"~/ca"'),
            Expected(5, "service.credentials", "HOME is not set", '"file:~/c"'),
            Expected(12, "destinations.d.url", "HOME is not set", '"~/d"'),
        ),
        {"HOME": ""},
    ),
)
