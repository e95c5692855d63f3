"""A valid job file becomes values with every default filled in."""

from __future__ import annotations

import tomllib
from datetime import datetime
from typing import Any

import pytest

from orchestrator import settings
from orchestrator.core.job import (
    Align,
    Compression,
    Deliver,
    DestinationSpec,
    JobFile,
    JobIdentity,
    Limits,
    Order,
    Output,
    ServedFormat,
    ServiceSpec,
)
from orchestrator.core.jobfile import examine, read
from orchestrator.core.jobfile_query import read_query
from orchestrator.core.window import Window, iso_utc
from orchestrator.errors import JobFileError
from tests.unit.jobfile_cases import GOOD, NOW_S

NOW = int(NOW_S)  # 2026-01-15T03:04:05Z


def read_text(text: str, **circumstances: Any) -> JobFile:
    """As `settings.load` reads it, but for a folder /srv/logs and without any file."""
    given = {"env": {"HOME": "/home/u"}, "now_s": NOW_S, "path": "/srv/logs/jobs.toml"} | circumstances
    data = tomllib.loads(text)
    return read(data, zones=settings.zone, base_folder="/srv/logs", file="jobs.toml", **given)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def test_defaults_are_filled_in() -> None:
    """A job file of seven lines is a whole one: everything else has its documented default."""
    job_file = read_text(GOOD)
    assert job_file.path == "/srv/logs/jobs.toml"
    assert job_file.manifest == "/srv/logs/orchestrator.db"
    assert job_file.mirror == ""
    assert job_file.limits == Limits(20.0, 10, 20, 4, None, 1_000_000_000)
    assert (job_file.engine, job_file.workers, job_file.scheduler) == ("inline", None, "")
    assert job_file.redactions == ()
    (job,) = job_file.jobs
    assert job.name == "web"
    assert job.identity == JobIdentity("bj", "default", "web-access", "", "match *")
    assert job.service == ServiceSpec("", "https://bls-log.bj.baidubce.com", "bj", "auto", "")
    assert job.window == Window(at("2026-01-01T00:00:00Z"), NOW - 300)
    assert job.due_until_s == NOW - 300
    assert (job.from_s, job.to_s) == (at("2026-01-01T00:00:00Z"), None)
    assert job.destination == DestinationSpec("/srv/logs/archive")
    assert (job.timezone, job.lag_s, job.max_lines, job.align) == ("UTC", 300, 1_000_000, Align.NONE)
    assert (job.format, job.order, job.deliver) == (ServedFormat.JSON, Order.ASC, Deliver.FILES)
    assert (job.output, job.compression, job.time_field) == (Output.RAW, Compression.NONE, "auto")
    assert job.layout.startswith("{job}/{start:%Y/%m/%d}/")
    assert (job.attempts, job.give_up_after_s, job.priority, job.enabled) == (5, 86_400, 0, True)
    assert (job.schedule, job.columns, job.recheck_s, job.file_dir) == ("", (), None, "")
    assert (job.on_complete, job.on_incomplete) == ((), ())


FULL = """
manifest = "state/ledger.db"
[service]
region = "bj"
credentials = "file:secrets.json"
ca_file = "~/ca.pem"
[services.gz]
endpoint = "https://bls-log.gz.baidubce.com/"
credentials = "profile:nightly"
[services.lab]
endpoint = "http://127.0.0.1:8700"
[limits]
requests_per_second = 5
queries = 2
tasks = 3
downloads = 1
bandwidth = "200MB"
disk_reserve = "64MiB"
[data_plane]
workers = 2
scheduler = "tcp://10.0.0.5:8786"
[destinations.cold]
url = "/mnt/cold/./x/../"
[defaults]
timezone = "Asia/Shanghai"
destination = "cold"
order = "desc"
lag = "1h"
[[jobs]]
name = "a-{logstore}"
service = "gz"
project = "shop"
logstore = "web"
logstream = "app/prod-1"
query = "level:ERROR"
from = 2026-01-01
to = "2026-01-14 00:00:00+08:00"
lag = "10m"
max_lines = 1000
align = "day"
format = "csv"
layout = "dt={start:%Y-%m-%d}/{job}-{start_utc:%Y%m%dT%H%M%S}_{end_utc:%H%M%S}"
output = "jsonl"
compression = "zstd"
time_field = "#3"
columns = { status = "int64", "a b" = "string" }
attempts = 2
give_up_after = "1h30m"
schedule = "*/5  0-6,22 1 jan-mar MON-fri/2"
priority = -1
enabled = false
[[jobs]]
name = "b"
service = "lab"
logstore = "app"
from = "today-7d"
destination = "~/b"
"""


def test_everything_that_can_be_said() -> None:
    """Every key arrives where the program looks for it, and a job beats [defaults]."""
    job_file = read_text(FULL)
    assert job_file.manifest == "/srv/logs/state/ledger.db"
    assert job_file.limits == Limits(5.0, 2, 3, 1, 200_000_000, 64 * 2**20)
    assert (job_file.workers, job_file.scheduler) == (2, "tcp://10.0.0.5:8786")
    a, b = job_file.jobs
    assert a.name == "a-web"
    assert a.identity == JobIdentity("gz", "shop", "web", "app/prod-1", "match level:ERROR")
    assert a.service == ServiceSpec("gz", "https://bls-log.gz.baidubce.com", "gz", "profile:nightly", "")
    assert a.window == Window(at("2025-12-31T16:00:00Z"), at("2026-01-13T16:00:00Z"))
    assert (a.timezone, a.lag_s, a.max_lines, a.align) == ("Asia/Shanghai", 600, 1000, Align.DAY)
    assert (a.format, a.order, a.output, a.compression) == ("csv", "desc", "jsonl", "zstd")
    assert (a.time_field, a.columns) == ("#3", (("status", "int64"), ("a b", "string")))
    assert (a.attempts, a.give_up_after_s, a.priority, a.enabled) == (2, 5_400, -1, False)
    assert a.schedule == "*/5 0-6,22 1 jan-mar MON-fri/2"
    assert a.destination == DestinationSpec("/mnt/cold")
    assert b.identity == JobIdentity("127.0.0.1", "default", "app", "", "match *")
    assert b.lag_s == 3_600
    assert b.destination == DestinationSpec("/home/u/b")
    assert b.from_s == at("2026-01-07T16:00:00Z")


def test_paths_of_a_service_are_relative_to_the_job_file() -> None:
    """A credentials file and a CA file stand beside the job file or in the home folder."""
    text = GOOD.replace(
        'region = "bj"', 'region = "bj"\ncredentials = "file:secrets.json"\nca_file = "~/ca.pem"'
    )
    (job,) = read_text(text).jobs
    assert job.service.credentials == "file:/srv/logs/secrets.json"
    assert job.service.ca_file == "/home/u/ca.pem"


@pytest.mark.parametrize(
    ("service", "identity", "region", "endpoint"),
    [
        ('region = "gz"', "gz", "gz", "https://bls-log.gz.baidubce.com"),
        ('endpoint = "http://BLS-LOG.gz.baidubce.com"', "gz", "gz", "http://BLS-LOG.gz.baidubce.com"),
        ('endpoint = "http://Lab:8700/"', "lab", "", "http://Lab:8700"),
        ('endpoint = "http://[::1]:8700"', "::1", "", "http://[::1]:8700"),
        ('region = "lab"\nendpoint = "http://lab"', "lab", "lab", "http://lab"),
        (
            'region = "bj"\nendpoint = "https://bls-log.bj.baidubce.com"',
            "bj",
            "bj",
            "https://bls-log.bj.baidubce.com",
        ),
    ],
)
def test_a_service_is_named_by_region_or_host(
    service: str, identity: str, region: str, endpoint: str
) -> None:
    """The same service has one identity however it is written: its region, or its host without the port."""
    (job,) = read_text(GOOD.replace('region = "bj"', service)).jobs
    assert job.identity.service == identity
    assert (job.service.region, job.service.endpoint) == (region, endpoint)


@pytest.mark.parametrize(
    ("times", "start", "end", "due_until"),
    [
        ("from = 2026-01-01", "2026-01-01T00:00:00Z", "2026-01-15T02:59:05Z", "2026-01-15T02:59:05Z"),
        (
            "from = 2026-01-01\nto = 2026-01-02",
            "2026-01-01T00:00:00Z",
            "2026-01-02T00:00:00Z",
            "2026-01-02T00:00:00Z",
        ),
        (
            "from = 2026-01-01\nto = 2027-01-01",
            "2026-01-01T00:00:00Z",
            "2026-01-15T02:59:05Z",
            "2026-01-15T02:59:05Z",
        ),
        (
            'from = "today"\nto = "now"\nlag = "0"',
            "2026-01-15T00:00:00Z",
            "2026-01-15T03:04:05Z",
            "2026-01-15T03:04:05Z",
        ),
        ('from = "now-10m"\nlag = "10m"', "2026-01-15T02:54:05Z", None, "2026-01-15T02:54:05Z"),
        ('from = "now-1m"', "2026-01-15T03:03:05Z", None, "2026-01-15T02:59:05Z"),
        ("from = 2027-01-01", "2027-01-01T00:00:00Z", None, "2026-01-15T02:59:05Z"),
        ("from = 2027-01-01\nto = 2028-01-01", "2027-01-01T00:00:00Z", None, "2026-01-15T02:59:05Z"),
        ('from = 2027-01-01\nto = "today"', "2027-01-01T00:00:00Z", None, "2026-01-15T00:00:00Z"),
        ('from = "today"\nto = "now-6h"', "2026-01-15T00:00:00Z", None, "2026-01-14T21:04:05Z"),
    ],
)
def test_windows(times: str, start: str, end: str | None, due_until: str) -> None:
    """A job's window ends where it is asked to or where lag begins, and is not there yet when that is not
    after its start."""
    (job,) = read_text(GOOD.replace("from = 2026-01-01", times)).jobs
    assert iso_utc(job.from_s) == start
    assert (iso_utc(job.window.end_s) if job.window else None) == end
    assert iso_utc(job.due_until_s) == due_until


def test_the_asked_end_is_kept() -> None:
    """What lies between lag and the asked end is known to be not due."""
    (job,) = read_text(f"{GOOD}to = 2027-01-01\n").jobs
    assert job.to_s == at("2027-01-01T00:00:00Z")


def test_the_environment_fills_strings() -> None:
    """${NAME} and ${NAME:-default} work in every string, and what came from the environment is known for
    redaction."""
    text = GOOD.replace('"archive"', '"${ROOT}/${SUB:-x}"').replace('"web-access"', '"${LOGSTORE:-web}"')
    text += 'project = "${EMPTY:-shop}"\ntime_field = "a${EMPTY}b"\n'
    job_file = read_text(text, env={"ROOT": "/data", "LOGSTORE": "app", "EMPTY": ""})
    (job,) = job_file.jobs
    assert job.destination == DestinationSpec("/data/x")
    assert (job.identity.logstore, job.identity.project, job.time_field) == ("app", "shop", "ab")
    assert job_file.redactions == ("/data", "app")
    assert "redactions" not in repr(job_file)


def test_the_manifest_can_be_overridden() -> None:
    """A manifest from outside the file wins, and is judged like the one inside."""
    assert read_text(GOOD, manifest="/var/m.db").manifest == "/var/m.db"
    with pytest.raises(JobFileError, match="the manifest lies inside the destination"):
        read_text(GOOD, manifest="/srv/logs/archive/m.db")


def test_a_neighbour_of_a_destination_is_not_inside_it() -> None:
    """archive.db beside archive is no file in it."""
    assert read_text(f'manifest = "archive.db"\n{GOOD}').manifest == "/srv/logs/archive.db"


FUTURE = """
mirror = "s3://logs/_ledger/"
[service]
region = "bj"
[data_plane]
engine = "dask"
scheduler = "tcp://10.0.0.5:8786"
[destinations.cold]
url = "s3://bucket/prefix/"
endpoint = "https://s3.bj.bcebos.com/"
region = "bj"
credentials = "env"
addressing = "path"
[[jobs]]
name = "a"
logstore = "a"
from = 2026-01-01
destination = "cold"
output = "parquet"
recheck = "2d"
on_complete = ["./notify.sh", "now"]
on_incomplete = ["./notify.sh"]
[[jobs]]
name = "b"
logstore = "b"
from = 2026-01-01
deliver = "bos"
file_dir = "bucket/dir"
[[jobs]]
name = "{logstore}"
logstore = ["web-*", "!web-test"]
from = 2026-01-01
destination = "s3://bucket/web"
[[jobs]]
name = "c"
logstore = "c"
logstream = "app-*"
from = 2026-01-01
destination = "c"
"""


def test_what_later_versions_allow_is_read() -> None:
    """Without the list of what this version refuses, the same reader understands the whole contract."""
    job_file = read_text(FUTURE, not_yet={})
    assert job_file.mirror == "s3://logs/_ledger"
    assert (job_file.engine, job_file.scheduler) == ("dask", "tcp://10.0.0.5:8786")
    a, b, c = job_file.jobs  # patterns of logstores become jobs only when the service has been asked
    (fleet,) = job_file.fleets
    assert (fleet.template.name, fleet.logstores) == ("{logstore}", ("web-*", "!web-test"))
    assert (c.stream_patterns, c.identity.logstream) == (("app-*",), "app-*")
    assert a.destination == DestinationSpec(
        "s3://bucket/prefix", "https://s3.bj.bcebos.com", "bj", "env", "path"
    )
    assert (a.output, a.recheck_s) == (Output.PARQUET, 172_800)
    assert (a.on_complete, a.on_incomplete) == (("./notify.sh", "now"), ("./notify.sh",))
    assert (b.deliver, b.file_dir, b.destination) == (Deliver.BOS, "bucket/dir", None)


def test_a_mirror_inside_a_bucket_destination_is_refused() -> None:
    """Object destinations overlap like folders do."""
    with pytest.raises(JobFileError, match="the mirror lies inside the destination of jobs"):
        read_text(FUTURE.replace("s3://logs/_ledger/", "s3://bucket/prefix/_ledger"), not_yet={})


def test_this_version_refuses_what_it_cannot_keep() -> None:
    """Each promise that this version cannot keep is refused by name."""
    _, complaints = examine(
        tomllib.loads(FUTURE), now_s=NOW_S, zones=settings.zone, env={}, base_folder="/srv", file="f"
    )
    refused = {c.key_path for c in complaints if c.problem == "not available in this version"}
    assert refused == {
        "mirror",
        "data_plane.engine",
        "destinations.cold.url",
        "jobs[0].on_complete",
        "jobs[0].on_incomplete",
        "jobs[1].deliver",
        "jobs[2].destination",
    }
    assert len(complaints) == len(refused)


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("", "match *"),
        ("  ", "match *"),
        ("*", "match *"),
        ("match *", "match *"),
        ("MATCH  level:ERROR ", "match level:ERROR"),
        ("level:ERROR and status=500", "match level:ERROR and status=500"),
        ("matching", "match matching"),
        ("match:yes", "match match:yes"),
        ("select=1", "match select=1"),
        ("selected", "match selected"),
        ("'a | b'", "match 'a | b'"),
        ('"a | b" \\| c', 'match "a | b" \\| c'),
        (r"'it\'s | b'", r"match 'it\'s | b'"),
        ("a\nand b", "match a\nand b"),
    ],
)
def test_queries(written: str, sent: str) -> None:
    """A bare search gets `match ` in front, and a | inside quotes is text."""
    assert read_query(written) == sent


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("select count(*)", "an SQL query"),
        ("SELECT\n1", "an SQL query"),
        ("match * | select 1", "outside quotes"),
        ("don't | select 1", "outside quotes"),
        ('"open | select 1', "outside quotes"),
        ("match", "without a search"),
        ("match  ", "without a search"),
    ],
)
def test_no_queries(query: str, problem: str) -> None:
    """SQL is refused, also behind a quote that is never closed."""
    with pytest.raises(ValueError, match=problem):
        read_query(query)


def test_schedules_know_their_numbers() -> None:
    """A cron field takes numbers in range, names, lists, ranges and steps, and nothing else."""
    for good in ("0 2 * * *", "59 23 31 12 7", "0 0 1 dec sun", "*/15 * * * 1-5", "0 9-17/2 * * *"):
        assert read_text(f'{GOOD}schedule = "{good}"\n').jobs[0].schedule == good
    bad_ones = [
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "* * * * x",
        "a-b * * * *",
    ]
    bad_ones += ["5-1 * * * *", "1/x * * * *", "* * * mon *", "1- * * * *", ", * * * *"]
    for bad in bad_ones:
        with pytest.raises(JobFileError, match="schedule"):
            read_text(f'{GOOD}schedule = "{bad}"\n')
