"""The door to the job file: whatever stands at the path, the answer is a job file or a complaint with its
line."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator import settings
from orchestrator.core.jobfile_lines import lines_of
from orchestrator.errors import JobFileError, UsageError
from tests.unit.jobfile_cases import GOOD, NOW_S


@pytest.fixture
def job_path(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.toml"
    path.write_text(GOOD)
    return path


def complaints(path: Path | str, **circumstances: object) -> tuple[str, ...]:
    with pytest.raises(JobFileError) as refused:
        settings.load(path, now_s=NOW_S, env={}, **circumstances)
    return refused.value.complaints


def test_a_good_file(job_path: Path) -> None:
    """Relative paths in a job file start at its folder, wherever the program was started."""
    job_file = settings.load(job_path, now_s=NOW_S, env={})
    assert job_file.path == str(job_path)
    assert job_file.manifest == str(job_path.parent / "orchestrator.db")
    assert job_file.jobs[0].destination is not None
    assert job_file.jobs[0].destination.url == str(job_path.parent / "archive")


def test_a_relative_path(job_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job file named relative to the working folder is known by its absolute path, and complained of as
    named."""
    monkeypatch.chdir(job_path.parent)
    assert settings.load("jobs.toml", now_s=NOW_S, env={}).path == str(job_path)
    Path("bad.toml").write_text("x = 1")
    assert complaints("bad.toml")[0].startswith("bad.toml: jobs: required")


def test_the_manifest_is_overridden_from_outside(job_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--manifest beats ORCHESTRATOR_MANIFEST, which beats the file; both are relative to the working
    folder."""
    monkeypatch.chdir(job_path.parent)
    env = {"ORCHESTRATOR_MANIFEST": "env.db", "HOME": "/home/u"}
    assert settings.load(job_path, now_s=NOW_S, env=env).manifest == str(job_path.parent / "env.db")
    assert settings.load(job_path, now_s=NOW_S, env=env, manifest="m/../x.db").manifest == str(
        job_path.parent / "x.db"
    )
    assert settings.load(job_path, now_s=NOW_S, env=env, manifest="~/x.db").manifest == "/home/u/x.db"
    with pytest.raises(UsageError, match="HOME is not set"):
        settings.load(job_path, now_s=NOW_S, env={}, manifest="~/x.db")


def test_the_environment_is_that_of_the_process(job_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one given, ${NAME} means the process environment, read once."""
    monkeypatch.setenv("ORCHESTRATOR_TEST_PROJECT", "shop")
    job_path.write_text(GOOD + 'project = "${ORCHESTRATOR_TEST_PROJECT}"\n')
    assert settings.load(job_path, now_s=NOW_S).jobs[0].identity.project == "shop"
    snapshot = settings.environment()
    monkeypatch.setenv("ORCHESTRATOR_TEST_PROJECT", "other")
    assert snapshot["ORCHESTRATOR_TEST_PROJECT"] == "shop"


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        ("a = \n", 1, "not TOML: invalid value"),
        ("a = 1\na = 2", 2, "not TOML: cannot overwrite a value"),
        ("a = 1\n\n[b\n", 3, "not TOML: expected ']'"),
        ('a = """\n\n', 3, "not TOML: "),
        ("a = 1\r\nb = [1\r\n2]", 3, "not TOML: "),
    ],
)
def test_no_toml(tmp_path: Path, content: str, line: int, problem: str) -> None:
    """A syntax error is a complaint with the line it stands on."""
    path = tmp_path / "jobs.toml"
    path.write_bytes(content.encode())
    (complaint,) = complaints(path)
    assert complaint.startswith(f"{path}:{line}: {problem}")


def test_no_utf_8(tmp_path: Path) -> None:
    """A file in another encoding is refused at the line of its first foreign byte."""
    path = tmp_path / "jobs.toml"
    path.write_bytes("a = 1\nb = '日志'".encode("gb18030"))
    assert complaints(path) == (f"{path}:2: not UTF-8; allowed: a TOML file in UTF-8",)


def test_a_byte_order_mark_is_no_fault(job_path: Path) -> None:
    """Editors that write a byte order mark are forgiven."""
    job_path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert settings.load(job_path, now_s=NOW_S, env={}).jobs[0].name == "web"


def test_no_file(tmp_path: Path) -> None:
    """A missing file, a folder and a name that can be no file are complaints like any other."""
    missing = tmp_path / "jobs.toml"
    assert complaints(missing) == (f"{missing}: no such file; allowed: `orchestrator init` writes one",)
    assert complaints(tmp_path) == (f"{tmp_path}: a folder, not a file; allowed: a TOML file",)
    assert "cannot be read" in complaints("a\x00b")[0]
    assert "cannot be read: Not a directory" in complaints(__file__ + "/x")[0]


def test_a_file_that_may_not_be_read(job_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without permission is a complaint that says so."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert complaints(job_path) == (f"{job_path}: cannot be read: Permission denied; allowed: a TOML file",)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    """Something that is no job file, such as an exported log, is refused before it fills the memory."""
    path = tmp_path / "jobs.toml"
    with path.open("wb") as file:
        file.truncate(17_000_000)
    assert "too large for a job file" in complaints(path)[0]


@pytest.mark.parametrize("deep", ["a = " + "[" * 400 + "]" * 400, "a = " + "[" * 4000 + "]" * 4000])
def test_a_deep_file(tmp_path: Path, deep: str) -> None:
    """Nesting without end is a complaint, never a crash."""
    path = tmp_path / "jobs.toml"
    path.write_text(deep)
    assert complaints(path)


def test_zones() -> None:
    """A zone is known by its name in the database; what is no name is no zone, and never a path."""
    shanghai = settings.zone("Asia/Shanghai")
    assert shanghai is not None
    assert shanghai.utcoffset(None) is None
    for name in ("Asia/Nowhere", "", "../../etc/passwd", "/etc/localtime", "Asia", "a\x00b", "日"):
        assert settings.zone(name) is None


def test_the_nearest_zone_is_named(job_path: Path) -> None:
    """A mistyped zone is answered with the one that was meant."""
    job_path.write_text(f'{GOOD}timezone = "Asia/Shanghia"\n')
    (complaint,) = complaints(job_path)
    assert complaint.startswith(
        f'{job_path}:8: jobs[0].timezone: no such time zone, found "Asia/Shanghia"; allowed: '
    )
    assert complaint.endswith("did you mean `Asia/Shanghai`?")


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The home folder is an absolute path, or an error that says what to set."""
    assert os.path.isabs(settings.home_folder())

    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(UsageError) as refused:
        settings.home_folder()
    assert refused.value.hint == "set HOME"


def test_a_good_file_never_looks_for_lines(job_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions are worked out only when there is something to complain about, and then once."""
    walks = []
    monkeypatch.setattr(settings, "lines_of", lambda text: walks.append(text) or lines_of(text))
    settings.load(job_path, now_s=NOW_S, env={})
    assert walks == []
    job_path.write_text(GOOD + "a = 1\nb = 2\n")
    assert len(complaints(job_path)) == 2
    assert len(walks) == 1


def test_offsets_of_zones_are_real() -> None:
    """The database is there: Shanghai is eight hours ahead."""
    from datetime import datetime

    assert datetime(2026, 1, 1, tzinfo=settings.zone("Asia/Shanghai")).utcoffset() == timedelta(hours=8)


def test_the_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Below XDG_STATE_HOME when that is absolute, else below the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "/var/state")
    assert settings.state_folder() == "/var/state/orchestrator"
    for other in ("", "state"):
        monkeypatch.setenv("XDG_STATE_HOME", other)
        assert settings.state_folder() == str(tmp_path / ".local" / "state" / "orchestrator")
