"""Every wrong job file is answered with all its complaints, each with line, key path, what was found and
allowed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator import settings
from orchestrator.core.complaint import Complaint, nearest, path_text, shown
from orchestrator.core.jobfile import examine
from orchestrator.core.jobfile_lines import line_of, lines_of
from orchestrator.errors import ExitCode, JobFileError
from tests.unit.jobfile_cases import BAD_FILES, NOW_S, BadFile, complaints_of


@pytest.mark.parametrize("case", BAD_FILES, ids=lambda case: case.why)
def test_bad_files(case: BadFile) -> None:
    """A wrong file has exactly the complaints that are true of it, each at its place."""
    found = complaints_of(case.text, env=case.env)
    assert [(c.line, c.key_path) for c in found] == [(e.line, e.key_path) for e in case.expected], found
    for complaint, expected in zip(found, case.expected, strict=True):
        assert expected.problem in complaint.problem
        assert complaint.found == expected.found
        assert complaint.nearest == expected.nearest
        assert expected.allowed in complaint.allowed
        assert complaint.allowed or "not available" in complaint.problem


def test_there_are_many_kinds_of_bad_files() -> None:
    """The table of wrong files stays broad."""
    assert len(BAD_FILES) >= 60
    assert len({expected.problem for case in BAD_FILES for expected in case.expected}) >= 25


def test_a_complaint_is_one_line_that_says_everything() -> None:
    """File, line, key path, problem, found, allowed and nearest stand in one line."""
    complaint = Complaint(
        "jobs.toml", 14, "jobs[0].compresion", "unknown key", '"zstd"', "name, from", "compression"
    )
    assert str(complaint) == (
        'jobs.toml:14: jobs[0].compresion: unknown key, found "zstd"; allowed: name, from; '
        "did you mean `compression`?"
    )
    assert str(Complaint("jobs.toml", 0, "", "no such file")) == "jobs.toml: no such file"


def test_the_error_carries_all_complaints(tmp_path: Path) -> None:
    """JobFileError ends with exit 2 and says every complaint in its message."""
    path = tmp_path / "jobs.toml"
    path.write_text('manifestt = "x"\n[limits]\ntasks = 0\n')
    with pytest.raises(JobFileError) as refused:
        settings.load(path, now_s=NOW_S, env={})
    assert refused.value.exit_code == ExitCode.USAGE
    assert len(refused.value.complaints) == 3
    assert refused.value.message.splitlines()[1:] == list(refused.value.complaints)
    assert refused.value.complaints[1].startswith(
        f'{path}:1: manifestt: unknown key, found "x"; allowed: manifest, '
    )
    assert refused.value.complaints[1].endswith("did you mean `manifest`?")
    assert refused.value.complaints[2].startswith(
        f"{path}:3: limits.tasks: out of range, found 0; allowed: a whole number"
    )


def test_values_of_the_environment_are_never_shown() -> None:
    """A complaint shows the reference as written, never what it stood for, nor does any other text."""
    secret = "s3cr3t-value"
    text = """
[service]
region = "${WHERE}"
[[jobs]]
name = "a"
logstore = "${WHERE}/x"
from = "${WHERE}"
timezone = "${WHERE}"
destination = "archive"
output = "${WHERE}"
layout = "{${WHERE}}"
service = "${WHERE}"
[jobs.columns]
status = "${WHERE}"
"""
    found = complaints_of(text, env={"WHERE": secret})
    assert len(found) >= 6
    assert all(secret not in str(complaint) for complaint in found)
    assert any('"${WHERE}"' in complaint.found for complaint in found)


def test_a_problem_that_quotes_the_environment_is_redacted() -> None:
    """Where the wording itself would repeat a value, the value is starred."""
    text = '[service]\nregion = "bj"\n[defaults]\nlogstore = "l"\ndestination = "d"\n[[jobs]]\nname = "a"\n'
    text += 'timezone = "${TZ_NAME}"\nfrom = 2026-03-29T02:30:00\n'
    (complaint,) = complaints_of(text, env={"TZ_NAME": "Europe/Berlin"})
    assert complaint.problem == "a time that does not exist in ***: the clocks skip it"


def test_a_key_named_like_a_secret_is_not_shown() -> None:
    """A secret that somebody wrote into the file, where none belongs, is not repeated."""
    text = '[service]\nregion = "bj"\nsecret_access_key = "abc123"\n[[jobs]]\n'
    found = complaints_of(text)
    assert found[0].key_path == "service.secret_access_key"
    assert found[0].found == "***"
    assert all("abc123" not in str(complaint) for complaint in found)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (5, "5"),
        (1.5, "1.5"),
        ("a\nb", '"a\\nb"'),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00+00:00"),
        ("\x9b31m\u2028", '"\\u009b31m\\u2028"'),
        (["a", 1], '["a", 1]'),
        ({"a b": 1}, '{"a b" = 1}'),
        ({"a": {"b": False}}, "{a = {b = false}}"),
        ("x" * 200, '"' + "x" * 78 + "…"),
    ],
)
def test_values_are_shown_as_written(value: object, text: str) -> None:
    """What was found is shown on one line, as TOML writes it, and cut when long."""
    assert shown(value) == text


def test_key_paths_are_written_as_in_the_file() -> None:
    """Indexes stand in brackets and odd keys in quotes."""
    assert path_text(("jobs", 2, "columns", "a b")) == 'jobs[2].columns."a b"'


def test_nearest_ignores_case_and_knows_when_to_be_silent() -> None:
    """A suggestion is made only when something is alike."""
    assert nearest("Compresion", ["compression", "columns"]) == "compression"
    assert nearest("zzz", ["compression"]) == ""


LINES = '''\
# comment
manifest = "a" # b
"quoted key" = 1
a.b.c = [ # one
  "x]", 'y#',
  { p = 1, q = [
    2 ] },
]
text = """
[no.header]
""""
raw = \'\'\'
x = 1\'\'\'
time = 2026-01-14 00:00:00+08:00
[service]
region = "bj" # x
[[jobs]]
name = "a"
[jobs.columns]
status = "int64"
[[jobs]]
name = "b\\"]"
columns = { status = "int64" }
[[jobs.deep]]
x = 1
[[jobs.deep]]
x = 2
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("manifest",), 2),
        (("quoted key",), 3),
        (("a", "b", "c"), 4),
        (("a", "b", "c", 1), 5),
        (("a", "b", "c", 2), 6),
        (("a", "b", "c", 2, "q", 0), 7),
        (("text",), 9),
        (("raw",), 12),
        (("time",), 14),
        (("service",), 15),
        (("service", "region"), 16),
        (("service", "missing"), 15),
        (("jobs",), 17),
        (("jobs", 0), 17),
        (("jobs", 0, "columns", "status"), 20),
        (("jobs", 1), 21),
        (("jobs", 1, "columns"), 23),
        (("jobs", 1, "columns", "status"), 23),
        (("jobs", 1, "deep", 1, "x"), 27),
        (("missing",), 0),
    ],
)
def test_lines(path: tuple[str | int, ...], line: int) -> None:
    """Every key's line is known, and what is missing is placed where it would stand."""
    assert line_of(path, lines_of(LINES)) == line


@pytest.mark.parametrize(
    "text", ["a = ", "a = [1", "a = {b = 1", "[", "=", "]", "a = [,,]", "]\n]", 'a = """']
)
def test_lines_of_what_is_no_toml_end(text: str) -> None:
    """The walk over a text ends, whatever the text is."""
    assert isinstance(lines_of(text), dict)


def test_complaints_stand_in_the_order_of_the_file() -> None:
    """A person mends a file from top to bottom."""
    text = '[limits]\ntasks = 0\n[[jobs]]\nname = "a"\nx = 1\n[service]\nregion = 5\n'
    lines = [complaint.line for complaint in complaints_of(text)]
    assert lines == sorted(lines)
    assert len(lines) >= 4


def test_data_without_lines_is_judged_alike() -> None:
    """A job file that never was text is refused with key paths alone."""
    job_file, found = examine(
        {"jobs": [{"name": "a", 5: 6}]},
        now_s=NOW_S,
        zones=settings.zone,
        env={},
        base_folder="/x",
        file="<dict>",
    )
    assert job_file is None
    assert {complaint.line for complaint in found} == {0}
    assert "jobs[0].logstore" in {complaint.key_path for complaint in found}
