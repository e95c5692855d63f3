"""Where the keys come from: one named source, never a mixture (design.md 2.1, bls-api.md 9).

    auto            the environment when it names any key, else the current profile of ~/.bce/config.json
    env             BCE_ACCESS_KEY_ID, BCE_SECRET_ACCESS_KEY and, with temporary keys, BCE_SECURITY_TOKEN
    profile:NAME    that profile of ~/.bce/config.json
    file:PATH       a JSON object: access_key_id, secret_access_key, security_token, expires_at
    exec:COMMAND    a command that prints such an object; run without a shell, its output is never shown

Files and commands are read again five minutes before their keys expire, and when the service refuses the
keys.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import orjson

from orchestrator.core.redact import Secret
from orchestrator.core.signing import Credentials
from orchestrator.core.window import iso_utc
from orchestrator.errors import CredentialsError
from orchestrator.ports.time import Clock
from orchestrator.remote.wire import moment_of

__all__ = ["CredentialSource", "Keeper", "StaticCredentials", "find_credentials"]

REFRESH_BEFORE_S: Final = 300.0
"""Keys are read again this long before they expire (design.md 2.1)."""
READ_AGAIN_AFTER_S: Final = 15.0
"""A source is not read more often than this, however often its keys are refused."""
COMMAND_TIMEOUT_S: Final = 30.0
LARGEST_BYTES: Final = 64 * 1024

_KEY_ID = re.compile(r"[!-.0-~]{1,256}")  # printable, no space, no slash: it becomes a part of the signature
_PRINTABLE = re.compile(r"[!-~]{1,8192}")
_FORM: Final = '{"access_key_id": "…", "secret_access_key": "…", "security_token": "…", "expires_at": "…"}'


class CredentialSource(Protocol):
    """Whoever knows the keys. ``name`` says for people where they come from."""

    @property
    def name(self) -> str: ...

    async def current(self) -> Credentials:
        """Keys that are valid now. Raises CredentialsError."""
        ...

    def invalidate(self, used: Credentials) -> None:
        """``used`` was refused: let the next ``current`` look for fresher ones."""
        ...


class StaticCredentials:
    """Keys given once, by a test or an embedding program."""

    def __init__(self, credentials: Credentials, name: str = "given") -> None:
        self._credentials = credentials
        self.name = name

    async def current(self) -> Credentials:
        return self._credentials

    def invalidate(self, used: Credentials) -> None:
        """Nothing to look for."""


class Keeper:
    """Keeps the keys of one source fresh: one reader at a time, old keys served as long as they hold."""

    def __init__(self, name: str, read: Callable[[], Awaitable[Credentials]], clock: Clock) -> None:
        self.name = name
        self._read = read
        self._clock = clock
        self._lock = asyncio.Lock()
        self._kept: Credentials | None = None
        self._refused = False
        self._read_at = float("-inf")

    async def current(self) -> Credentials:
        if (kept := self._usable()) is not None:
            return kept
        async with self._lock:
            if (kept := self._usable()) is not None:  # somebody else read while we waited
                return kept
            return await self._read_again()

    def invalidate(self, used: Credentials) -> None:
        if used == self._kept:
            self._refused = True

    def _usable(self) -> Credentials | None:
        kept, now = self._kept, self._clock.now()
        if kept is None or (kept.expires_at is not None and kept.expires_at <= now):
            return None
        due = self._refused or (kept.expires_at is not None and kept.expires_at - now <= REFRESH_BEFORE_S)
        # A wall clock that jumped back must not put off the next reading for ever.
        return None if due and not 0 <= now - self._read_at < READ_AGAIN_AFTER_S else kept

    async def _read_again(self) -> Credentials:
        kept = self._kept
        self._read_at = self._clock.now()
        try:
            fresh = await self._read()
        except CredentialsError:
            if kept is not None and kept.expires_at is not None and kept.expires_at > self._clock.now():
                return kept  # still good; the next reading may succeed
            raise
        if fresh.expires_at is not None and fresh.expires_at <= self._clock.now():
            raise CredentialsError(
                f"the credentials of {self.name} expired at {iso_utc(fresh.expires_at)}",
                hint="renew them at their source; and compare this machine's clock",
            )
        self._kept, self._refused = fresh, False
        return fresh


def find_credentials(
    spec: str, *, environment: Mapping[str, str], home: Path, folder: Path, clock: Clock
) -> CredentialSource:
    """The source that ``spec`` names, without reading files or running commands yet.

    ``folder`` is what relative paths in ``file:`` are relative to. Raises CredentialsError for an unknown
    spelling, for a half-set environment, and for ``auto`` when there is nothing to be found.
    """
    kind, _, rest = spec.partition(":")
    config = home / ".bce" / "config.json"
    if spec == "env" or (spec == "auto" and _names_keys(environment)):
        return StaticCredentials(_from_environment(environment), "the environment")
    if spec == "auto":
        if not _stands(config):
            raise CredentialsError(
                "no credentials: the environment names none and there is no ~/.bce/config.json",
            )
        return Keeper("the current profile of ~/.bce/config.json", lambda: _from_profile(config, None), clock)
    if kind == "profile" and rest:
        return Keeper(f"profile {rest} of ~/.bce/config.json", lambda: _from_profile(config, rest), clock)
    if kind == "file" and rest:
        path = home / rest[2:] if rest.startswith("~/") else folder / rest
        return Keeper(f"the file {path}", lambda: _from_file(path), clock)
    if kind == "exec" and rest:
        words = _words(rest)
        return Keeper(f"the command {words[0]}", lambda: _from_command(words), clock)
    raise CredentialsError(
        f"credentials = {spec!r} names no source",
        hint='write "auto", "env", "profile:NAME", "file:PATH" or "exec:COMMAND"',
    )


def _stands(config: Path) -> bool:
    """Whether there is a file to read; also when nobody may look, since reading it will say why."""
    try:
        return config.is_file()
    except OSError:
        return True


def _names_keys(environment: Mapping[str, str]) -> bool:
    return any(environment.get(name, "").strip() for name in ("BCE_ACCESS_KEY_ID", "BCE_SECRET_ACCESS_KEY"))


def _from_environment(environment: Mapping[str, str]) -> Credentials:
    names = {"access_key_id": "BCE_ACCESS_KEY_ID", "secret_access_key": "BCE_SECRET_ACCESS_KEY"}
    given = {key: environment.get(name, "") for key, name in names.items()}
    missing = [names[key] for key, value in given.items() if not value.strip()]
    if missing:
        raise CredentialsError(
            f"the environment lacks {' and '.join(missing)}",
            hint=f"set {' and '.join(missing)}, or name another source in [service] credentials",
        )
    return _credentials(
        {**given, "security_token": environment.get("BCE_SECURITY_TOKEN", "")}, "the environment"
    )


async def _from_profile(config: Path, name: str | None) -> Credentials:
    """``name`` None means the one the file calls current, else "default", else the only one."""
    where = "~/.bce/config.json"
    found = _parsed(_read_bytes(config, where), where)
    profiles = found.get("profiles")
    by_name = {
        entry["name"]: entry
        for entry in (profiles if isinstance(profiles, list) else [])
        if isinstance(entry, dict) and isinstance(entry.get("name"), str)
    }
    current = found.get("current")
    wanted = name or (current if isinstance(current, str) and current else "")
    if not wanted:
        wanted = next(iter(by_name)) if len(by_name) == 1 else "default"
    if wanted not in by_name:
        raise CredentialsError(
            f"{where} has no profile {wanted!r}",
            hint=f"its profiles are: {', '.join(sorted(by_name)) or 'none'}; `bce configure` makes one",
        )
    profile = by_name[wanted]
    where = f"profile {wanted} of {where}"
    if profile.get("mode") == "AK":
        profile = {**profile, "security_token": ""}
    elif profile.get("mode") == "StsToken" and not profile.get("security_token"):
        raise CredentialsError(
            f"{where} has mode StsToken but no security_token", hint="renew it with `bce configure`"
        )
    return _credentials({**profile, "expires_at": None}, where)


async def _from_file(path: Path) -> Credentials:
    where = f"the file {path}"
    return _credentials(_parsed(_read_bytes(path, where), where), where)


async def _from_command(words: list[str]) -> Credentials:
    """Only the command's own name is ever shown: arguments and output may be secret."""
    where = f"the command {words[0]}"
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=LARGEST_BYTES,
            start_new_session=True,  # so that its children end with it
        )
    except (OSError, ValueError) as failure:
        raise CredentialsError(
            f"{where} cannot be started: {_reason(failure)}",
            hint="check [service] credentials: exec: runs without a shell",
        ) from None
    try:
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            output = await _at_most(process, LARGEST_BYTES)
            status = await process.wait()
    except TimeoutError:
        raise CredentialsError(
            f"{where} did not end within {COMMAND_TIMEOUT_S:.0f} s",
            hint="it must print the keys and end by itself",
        ) from None
    finally:
        await _end(process)
    if output is None:
        raise CredentialsError(
            f"{where} printed more than {LARGEST_BYTES} bytes", hint=f"it must print {_FORM}"
        )
    if status != 0:
        raise CredentialsError(
            f"{where} failed with status {status}", hint="run it by hand to see what it says"
        )
    return _credentials(_parsed(output, where), where)


async def _at_most(process: asyncio.subprocess.Process, limit_bytes: int) -> bytes | None:
    """Everything the process prints, None when that is more than ``limit_bytes``."""
    output = bytearray()
    while process.stdout is not None and (block := await process.stdout.read(8192)):
        output += block
        if len(output) > limit_bytes:
            process.kill()
            return None
    return bytes(output)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill what still runs of the process and its group, and reap it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if not words:
        raise CredentialsError(
            'credentials = "exec:…" holds no command that can be read', hint="check its quotes"
        )
    return words


def _read_bytes(path: Path, where: str) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise CredentialsError(f"{where} is no file", hint="name a regular file in [service] credentials")
        with path.open("rb") as stream:
            return stream.read(LARGEST_BYTES * 16)
    except (OSError, ValueError) as failure:
        raise CredentialsError(
            f"{where} cannot be read: {_reason(failure)}",
            hint="check [service] credentials and the file's permissions",
        ) from None


def _parsed(text: bytes, where: str) -> dict[str, object]:
    try:
        found = orjson.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        # What was found is not shown: it may well be a key.
        raise CredentialsError(f"{where} holds no JSON object", hint=f"it must hold {_FORM}")
    return found


def _credentials(found: Mapping[str, object], where: str) -> Credentials:
    """Values stripped of surrounding white space, refused when they could not stand in a header."""
    values = {}
    for key, pattern in (
        ("access_key_id", _KEY_ID),
        ("secret_access_key", _PRINTABLE),
        ("security_token", _PRINTABLE),
    ):
        value = found.get(key)
        text = value.strip() if isinstance(value, str) else ""
        if value not in (None, "") and not pattern.fullmatch(text):
            raise CredentialsError(
                f"{key} of {where} is no key: it must be printable ASCII without spaces",
                hint=f"it must hold {_FORM}",
            )
        values[key] = text
    if missing := [key for key in ("access_key_id", "secret_access_key") if not values[key]]:
        raise CredentialsError(f"{where} lacks {' and '.join(missing)}", hint=f"it must hold {_FORM}")
    return Credentials(
        values["access_key_id"],
        Secret(values["secret_access_key"]),
        Secret(values["security_token"]) if values["security_token"] else None,
        _expiry(found.get("expires_at"), where),
    )


def _expiry(value: object, where: str) -> float | None:
    if value in (None, ""):
        return None
    try:
        at = moment_of(value)
    except TypeError:
        at = None
    if at is None:
        raise CredentialsError(
            f"expires_at of {where} is no time",
            hint='write "2026-01-15T08:30:00Z", or epoch seconds, or leave it out',
        )
    return at


def _reason(failure: Exception) -> str:
    return (failure.strerror if isinstance(failure, OSError) else None) or "not a usable name"
