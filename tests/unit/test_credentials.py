"""Where keys come from, when they are read again, and that nothing of them is ever shown."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.redact import Secret
from orchestrator.core.signing import Credentials
from orchestrator.errors import CredentialsError
from orchestrator.remote import credentials as credentials_module
from orchestrator.remote.credentials import CredentialSource, Keeper, find_credentials
from tests.unit.loopback import StillClock

SECRET = "s3cr3t-value"
ENVIRONMENT = {"BCE_ACCESS_KEY_ID": " ENVKEY\n", "BCE_SECRET_ACCESS_KEY": SECRET}
PROFILES = {
    "current": "work",
    "profiles": [
        {
            "name": "work",
            "mode": "AK",
            "access_key_id": "WORK",
            "secret_access_key": SECRET,
            "security_token": "stale",
        },
        {
            "name": "sts",
            "mode": "StsToken",
            "access_key_id": "STS",
            "secret_access_key": SECRET,
            "security_token": "tok",
        },
        {"name": "half", "mode": "AK", "access_key_id": "HALF", "secret_access_key": ""},
        {"name": "lost", "mode": "StsToken", "access_key_id": "LOST", "secret_access_key": SECRET},
        "no profile",
    ],
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder with a profile file."""
    (tmp_path / ".bce").mkdir()
    (tmp_path / ".bce" / "config.json").write_text(json.dumps(PROFILES), encoding="utf-8")
    return tmp_path


def _find(
    spec: str, home: Path, environment: dict[str, str] | None = None, clock: StillClock | None = None
) -> CredentialSource:
    return find_credentials(
        spec, environment=environment or {}, home=home, folder=home, clock=clock or StillClock()
    )


def _current(spec: str, home: Path, environment: dict[str, str] | None = None) -> Credentials:
    return asyncio.run(_find(spec, home, environment).current())


def _refused(spec: str, home: Path, environment: dict[str, str] | None = None) -> CredentialsError:
    with pytest.raises(CredentialsError) as caught:
        _current(spec, home, environment)
    shown = "".join(traceback.format_exception(caught.value)) + caught.value.hint
    assert SECRET not in shown
    assert caught.value.hint
    return caught.value


def _write(path: Path, **fields: Any) -> Path:
    path.write_text(json.dumps(fields), encoding="utf-8")
    return path


def test_the_environment_is_one_source(home: Path) -> None:
    """``env`` takes both keys and the token from the environment, blanks around them removed."""
    assert _current("env", home, ENVIRONMENT) == Credentials("ENVKEY", Secret(SECRET))
    with_token = {**ENVIRONMENT, "BCE_SECURITY_TOKEN": "tok"}
    assert _current("env", home, with_token).security_token == Secret("tok")


@pytest.mark.parametrize("missing", ["BCE_ACCESS_KEY_ID", "BCE_SECRET_ACCESS_KEY"])
@pytest.mark.parametrize("spec", ["env", "auto"])
def test_a_half_set_environment_is_no_mixture(home: Path, spec: str, missing: str) -> None:
    """One key alone is an error that names the other; no file fills it in."""
    half = {name: value for name, value in ENVIRONMENT.items() if name != missing}
    error = _refused(spec, home, half)
    assert missing in str(error)
    assert missing in error.hint


def test_auto_prefers_the_environment_and_then_the_profile(
    home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """``auto`` is the environment when it names keys, else the current profile, else an exact hint."""
    assert _current("auto", home, ENVIRONMENT).access_key_id == "ENVKEY"
    assert _current("auto", home).access_key_id == "WORK"
    error = _refused("auto", tmp_path_factory.mktemp("empty"))
    assert "BCE_ACCESS_KEY_ID" in error.hint
    assert "~/.bce/config.json" in str(error)


def test_a_named_source_beats_the_environment(home: Path) -> None:
    """A profile asked for by name is used whatever the environment says."""
    assert _current("profile:sts", home, ENVIRONMENT) == Credentials("STS", Secret(SECRET), Secret("tok"))
    assert _current("profile:work", home, ENVIRONMENT).security_token is None


def test_profiles_are_checked(home: Path) -> None:
    """A missing, half-filled or tokenless profile is named, with the ones there are."""
    assert "work" in _refused("profile:nobody", home).hint
    assert "secret_access_key" in str(_refused("profile:half", home))
    assert "security_token" in str(_refused("profile:lost", home))


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"profiles": [{"name": "only", "access_key_id": "ONE", "secret_access_key": "s"}]}, "ONE"),
        (
            {
                "profiles": [
                    {"name": "a", "access_key_id": "A", "secret_access_key": "s"},
                    {
                        "name": "default",
                        "access_key_id": "D",
                        "secret_access_key": "s",
                        "security_token": "t",
                    },
                ]
            },
            "D",
        ),
    ],
)
def test_without_a_current_profile_the_obvious_one_is_meant(
    home: Path, config: dict[str, Any], key: str
) -> None:
    """The only profile, or the one called default."""
    _write(home / ".bce" / "config.json", **config)
    assert _current("auto", home).access_key_id == key


@pytest.mark.parametrize("text", ["", "[]", "{", '{"profiles": 5}', '{"profiles": [5]}', '{"current": 5}'])
def test_a_broken_profile_file_is_an_error(home: Path, text: str) -> None:
    """Whatever stands in the file, the answer is an error with a hint and not a crash."""
    (home / ".bce" / "config.json").write_text(text, encoding="utf-8")
    _refused("auto", home)


def test_a_file_gives_keys_and_their_end(home: Path) -> None:
    """``file:`` reads all four fields; relative, absolute and ~ paths work."""
    path = _write(
        home / "keys.json",
        access_key_id="F",
        secret_access_key=SECRET,
        security_token="tok",
        expires_at="2026-01-15T09:30:00Z",
    )
    expected = Credentials("F", Secret(SECRET), Secret("tok"), 1_768_469_400.0)
    for spec in ("file:keys.json", f"file:{path}", "file:~/keys.json"):
        assert _current(spec, home) == expected


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"access_key_id": "A"}, "secret_access_key"),
        ({"secret_access_key": SECRET}, "access_key_id"),
        ({"access_key_id": "A b", "secret_access_key": SECRET}, "access_key_id"),
        ({"access_key_id": "A/b", "secret_access_key": SECRET}, "access_key_id"),
        ({"access_key_id": "A\r\nX: y", "secret_access_key": SECRET}, "access_key_id"),
        ({"access_key_id": "A", "secret_access_key": [SECRET]}, "secret_access_key"),
        ({"access_key_id": "A", "secret_access_key": f"ä{SECRET}"}, "secret_access_key"),
        ({"access_key_id": "A", "secret_access_key": SECRET, "security_token": "a b"}, "security_token"),
        ({"access_key_id": "A", "secret_access_key": SECRET, "expires_at": "soon"}, "expires_at"),
        ({"access_key_id": "A", "secret_access_key": SECRET, "expires_at": []}, "expires_at"),
        ({"access_key_id": "A", "secret_access_key": SECRET, "expires_at": 1_768_465_800}, "expired"),
    ],
)
def test_a_file_with_a_flaw_is_an_error_that_names_it(home: Path, fields: dict[str, Any], said: str) -> None:
    """Missing, unusable and expired keys are told apart; none could smuggle a header."""
    _write(home / "keys.json", **fields)
    assert said in str(_refused("file:keys.json", home))


def test_a_file_that_cannot_be_read_is_an_error(home: Path) -> None:
    """An absent file, a folder and a file of something else are said plainly."""
    (home / "text").write_text(SECRET, encoding="utf-8")
    for spec in ("file:absent.json", "file:.bce", "file:text", "file:a\0b"):
        _refused(spec, home)


@pytest.mark.parametrize(
    "spec", ["", "vault", "profile:", "file:", "exec:", "exec:  ", "exec:'", "ENV", "auto:"]
)
def test_an_unknown_source_is_an_error(home: Path, spec: str) -> None:
    """A source nobody knows is refused with the list of those there are, or what is wrong with it."""
    _refused(spec, home)


def _python(code: str) -> str:
    return f"exec:'{sys.executable}' -c '{code}'"


GOOD = 'import json; print(json.dumps({"access_key_id": "X", "secret_access_key": "' + SECRET + '"}))'


def test_a_command_gives_keys(home: Path) -> None:
    """``exec:`` runs the command without a shell and reads what it prints."""
    assert _current(_python(GOOD), home) == Credentials("X", Secret(SECRET))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (f'import sys; print("{SECRET}", file=sys.stderr); print("{SECRET}"); sys.exit(3)', "status 3"),
        (f'print("{SECRET}")', "no JSON object"),
        ("while True: print(0)", "printed more"),
        ('print("{}")', "lacks"),
    ],
)
def test_a_command_that_fails_shows_nothing_of_what_it_said(home: Path, code: str, said: str) -> None:
    """Neither stdout nor stderr of the command, nor its arguments, stand in the error."""
    error = _refused(_python(code), home)
    assert said in str(error)
    assert "print(" not in str(error)


def test_a_command_that_is_none_is_an_error(home: Path) -> None:
    """A command that cannot be started is named, without its arguments."""
    error = _refused(f"exec:no-such-command-here --token {SECRET}", home)
    assert "no-such-command-here" in str(error)


def test_a_command_has_a_time_limit_and_is_gone_afterwards(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that hangs is killed with its children, and said to have been too slow."""
    monkeypatch.setattr(credentials_module, "COMMAND_TIMEOUT_S", 1.0)
    marker = home / "pids"
    code = (
        "import os, subprocess, sys, time; "
        'child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]); '
        f'open("{marker}", "w").write(str(child.pid)); time.sleep(60)'
    )
    assert "did not end" in str(_refused(_python(code), home))
    child = int(marker.read_text(encoding="ascii"))
    ends_at = time.monotonic() + 5
    while _lives(child) and time.monotonic() < ends_at:  # a kill takes the kernel a moment
        time.sleep(0.01)
    assert not _lives(child)


def _lives(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text(encoding="ascii").split()[2] != "Z"


def test_a_command_does_not_stop_the_world(home: Path) -> None:
    """While the command runs the loop goes on, and many askers share one run."""
    ran = home / "ran"

    async def main() -> tuple[int, set[Credentials]]:
        code = f'open("{ran}", "a").write("x"); import time; time.sleep(0.2); {GOOD}'
        source = _find(_python(code), home)
        asked = asyncio.gather(*(source.current() for _ in range(5)))
        beats = 0
        while not asked.done():
            await asyncio.sleep(0.01)
            beats += 1
        return beats, set(await asked)

    beats, found = asyncio.run(main())
    assert beats > 5
    assert len(found) == 1
    assert ran.read_text(encoding="ascii") == "x"


class Script:
    """A source that gives, or raises, one thing after the other."""

    def __init__(self, *steps: Credentials | CredentialsError) -> None:
        self.steps = list(steps)
        self.reads = 0

    async def __call__(self) -> Credentials:
        self.reads += 1
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, CredentialsError):
            raise step
        return step


def _keys(name: str, expires_at: float | None = None) -> Credentials:
    return Credentials(name, Secret(SECRET), None, expires_at)


def test_keys_are_read_again_before_they_expire() -> None:
    """Five minutes before their end keys are replaced; until then they are not read again."""
    clock = StillClock(1000.0)
    script = Script(_keys("A", 2000.0), _keys("B", 3000.0))
    keeper = Keeper("test", script, clock)

    async def main() -> list[str]:
        found = []
        for at in (1000.0, 1699.0, 1700.0, 1701.0):
            clock.at = at
            found.append((await keeper.current()).access_key_id)
        return found

    assert asyncio.run(main()) == ["A", "A", "B", "B"]
    assert script.reads == 2


def test_a_failed_renewal_does_not_spoil_keys_that_still_hold() -> None:
    """Old keys serve while they are valid, the source is not asked incessantly, and at their end the error is
    said."""
    clock = StillClock(1000.0)
    script = Script(_keys("A", 2000.0), CredentialsError("the source is down"))
    keeper = Keeper("test", script, clock)

    async def main() -> int:
        for at in (1000.0, 1800.0, 1801.0, 1802.0, 1999.0):
            clock.at = at
            assert (await keeper.current()).access_key_id == "A"
        reads = script.reads
        clock.at = 2000.0
        with pytest.raises(CredentialsError, match="down"):
            await keeper.current()
        return reads

    assert asyncio.run(main()) == 3


def test_refused_keys_are_read_again_but_not_incessantly() -> None:
    """A refusal makes the next asker read anew, at most every fifteen seconds, and only if it was these
    keys."""
    clock = StillClock(1000.0)
    script = Script(_keys("A"), _keys("B"), _keys("C"))
    keeper = Keeper("test", script, clock)

    async def main() -> list[str]:
        found = []
        for at, refused in ((1000.0, ""), (1001.0, "A"), (1016.0, ""), (1040.0, "A"), (1041.0, "B")):
            clock.at = at
            if refused:
                keeper.invalidate(_keys(refused))
            found.append((await keeper.current()).access_key_id)
        return found

    assert asyncio.run(main()) == ["A", "A", "B", "B", "C"]


def test_a_clock_that_jumped_back_does_not_freeze_the_keys() -> None:
    """After the wall clock was set back, a due renewal still happens."""
    clock = StillClock(10_000.0)
    script = Script(_keys("A"), _keys("B"))
    keeper = Keeper("test", script, clock)

    async def main() -> str:
        await keeper.current()
        clock.at = 5000.0
        keeper.invalidate(_keys("A"))
        return (await keeper.current()).access_key_id

    assert asyncio.run(main()) == "B"


def test_sources_say_where_keys_come_from(home: Path) -> None:
    """The name of a source is for people and holds no secret."""
    names = {
        spec: _find(spec, home, ENVIRONMENT).name
        for spec in ("env", "auto", "profile:work", "file:keys.json", f"exec:get-keys --token {SECRET}")
    }
    assert names["auto"] == names["env"] == "the environment"
    assert "work" in names["profile:work"]
    assert "keys.json" in names["file:keys.json"]
    assert all(SECRET not in name for name in names.values())
