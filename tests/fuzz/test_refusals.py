"""What any answer, header, link or source of keys leads to, and that no secret goes with it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shlex
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import orjson
import pytest
from hypothesis import strategies as st

from orchestrator.core.redact import PresignedLink, Redactor, redact
from orchestrator.core.signing import Credentials
from orchestrator.errors import (
    CredentialsError,
    Disposition,
    LinkRefused,
    MalformedAnswer,
    Refused,
    RemoteTaskNotFound,
    ServiceError,
    ServiceFault,
    Throttled,
)
from orchestrator.remote import credentials as credentials_module
from orchestrator.remote.credentials import find_credentials
from orchestrator.remote.files import _address, _encoding, _followed, _range_of, _strong
from orchestrator.remote.refusals import (
    _BY_CODE,
    checked,
    concerns_credentials,
    from_the_service,
    proves_nothing_was_made,
    refusal,
    retry_after_s,
)
from orchestrator.remote.wire import Answer
from tests.fuzz.aim import aimed, finding, outcome
from tests.fuzz.junk import JSON, ODD_TEXTS, mutated, texts

# --- refusals ---

CODES = st.sampled_from([*_BY_CODE, "OK", "success", "", "Strange", "invalidparameter", "x" * 500]) | JSON
BODIES = st.fixed_dictionaries(
    {},
    optional={name: texts() | JSON for name in ("message", "requestId", "request_id", "success", "result")},
)


@aimed(
    "refusals",
    suite=300,
    status=st.sampled_from([200, 204, 301, 400, 401, 403, 404, 407, 408, 413, 429, 500, 503])
    | st.integers(100, 599),
    code=CODES,
    body=BODIES,
    raw=st.none() | st.binary(max_size=30) | mutated((b'{"code":"RequestLimited","message":"slow down"}',)),
    headers=st.dictionaries(
        st.sampled_from(["date", "retry-after", "x-bce-request-id"]), texts(), max_size=3
    ),
)
def test_any_refusal_is_an_error_with_a_cure(
    status: int, code: Any, body: dict[str, Any], raw: bytes | None, headers: dict[str, str]
) -> None:
    """Any status with any code and body means one error of the service, whose words are bounded and whose
    class says what to do."""
    content = raw if raw is not None else _dumped({"code": code, **body})
    answer = Answer(status, headers, content)
    told = outcome(lambda: checked(answer, "Call"), ServiceError)
    error = refusal(answer, "Call")
    for one in (error, told) if isinstance(told, ServiceError) else (error,):
        assert isinstance(one, Refused | Throttled | ServiceFault | RemoteTaskNotFound | MalformedAnswer)
        assert one.disposition in (Disposition.RETRY, Disposition.THROTTLE, Disposition.REFUSE)
        assert len(str(one)) < 1_000
        assert len(one.service_code) <= 80
        assert one.hint
        assert one.retry_after_s is None or 0 <= one.retry_after_s <= 3600
    if not answer.ok:
        assert isinstance(told, ServiceError)
    if status == 429 and error.service_code not in _BY_CODE:
        assert isinstance(error, Throttled)
    if proves_nothing_was_made(answer):
        assert status in (400, 401, 403, 404, 413, 429)
    if status >= 500 or answer.ok:
        assert not proves_nothing_was_made(answer)
    if status in (502, 504):
        assert not from_the_service(answer)
    assert isinstance(concerns_credentials(answer), bool)


def _dumped(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # lone surrogates, numbers beyond 64 bits: a careless server sends them all the same
        return json.dumps(value).encode()


@aimed("retry-after", suite=300, text=texts(30) | st.floats().map(str), date=texts(30))
def test_any_retry_after_is_a_bounded_wait(text: str, date: str) -> None:
    """Any Retry-After is a wait of at most an hour, or none."""
    wait_s = retry_after_s(text, date)
    assert wait_s is None or 0 <= wait_s <= 3600


# --- links and the headers of files ---


class Response:
    """As much of an HTTP answer as its readers look at."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers


ADDRESSES = mutated(
    (
        b"https://b.bj.bcebos.com/x/y?authorization=bce-auth-v1%2FAK%2Fs3cr3t",
        b"http://u:p@[::1]:8080/%7E?q#f",
        b"//host/path",
        b"/path only?s3cr3t",
    )
).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@aimed("links", link=ADDRESSES | texts(40), location=ADDRESSES | texts(40))
def test_any_link_or_redirect_is_an_address_or_refused(link: str, location: str) -> None:
    """Any text for a link, and any Location after it, leads to http(s) or is refused without showing the
    link."""
    hidden = PresignedLink(link)
    assert "s3cr3t" not in str(hidden) + repr(hidden) or "s3cr3t" in hidden.origin
    address = outcome(lambda: _address(hidden, link), LinkRefused)
    if isinstance(address, LinkRefused):
        assert "authorization=" not in str(address)
        return
    assert address.scheme in ("http", "https")
    assert address.raw_host
    further = _followed(str(address), location)
    told = outcome(lambda: _address(hidden, further), LinkRefused)
    assert isinstance(told, LinkRefused) or told.scheme in ("http", "https")


@aimed(
    "file-headers",
    headers=st.dictionaries(
        st.sampled_from(["Content-Range", "ETag", "Content-Encoding", "Content-Length"]),
        texts(30)
        | mutated((b"bytes 5-10/20", b"bytes */20", b'"etag"', b'W/"etag"', b"gzip")).map(
            lambda raw: raw.decode("utf-8", "surrogateescape")
        ),
    ),
)
def test_any_header_of_a_file_is_read_or_left(headers: dict[str, str]) -> None:
    """Any range, tag and encoding header is a value in its bounds, or as if it were not there."""
    response: Any = Response(headers)
    assert all(bound is None or 0 <= bound < 10**18 for bound in _range_of(response))
    assert len(_strong(response)) <= 256
    assert len(_encoding(response)) <= 64


# --- redaction ---

SECRETS = st.text('abcXYZ019+/=_-~.:%&"\\ é', min_size=8, max_size=24).filter(
    lambda text: len(text.strip()) >= 8 and sum(map(str.isalnum, text)) >= 6
)
AROUND = st.text(max_size=12) | st.sampled_from(
    ["", "authorization=", '{"a":"', "https://h/p?q=", "bce-auth-v1/", "%2F", "\\", '"', "&x=", "message: "]
)
SPELLINGS = (
    lambda text: text,
    lambda text: quote(text, safe=""),
    lambda text: quote(text, safe="/"),
    lambda text: quote(text, safe="=+"),
    quote_plus,
    lambda text: quote(quote(text, safe=""), safe=""),
    lambda text: quote(text, safe="").lower() if text.lower() == text else quote(text, safe=""),
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1].replace("/", "\\/"),
    lambda text: json.dumps(json.dumps(text)[1:-1])[1:-1],
    lambda text: repr(text)[1:-1],
    lambda text: "".join(c if c.isalnum() and c.isascii() else f"\\u{ord(c):04x}" for c in text),
    lambda text: text.encode().hex(),
    lambda text: base64.b64encode(text.encode()).decode(),
    lambda text: base64.b64encode(b"user:" + text.encode()).decode(),
    lambda text: base64.urlsafe_b64encode(text.encode() + b"!").decode(),
)


@aimed(
    "redaction",
    suite=300,
    secret=SECRETS,
    spelling=st.integers(0, len(SPELLINGS) - 1),
    before=AROUND,
    after=AROUND,
    other=SECRETS,
)
def test_a_known_secret_is_left_in_no_spelling(
    secret: str, spelling: int, before: str, after: str, other: str
) -> None:
    """Whatever stands around a secret, and however it is written, most of it never stays."""
    spelt = SPELLINGS[spelling](secret)
    text = f"{before}{spelt}{after}"
    cleaned = redact(text, [secret, other])
    if spelling < 12:
        assert spelt not in cleaned
        assert secret not in cleaned
    else:  # what encodes the secret together with its neighbours cannot be told from them at its ends
        core = spelt[4:-6]
        assert not core or core not in cleaned
    twice = redact(cleaned, [secret, other])
    assert secret not in twice
    assert len(cleaned) <= len(text) + 12 * (len(text) + 1)


PUMPS = st.sampled_from(
    [
        "http://",
        "https:\\/\\/",
        "https%3A%2F%2F",
        "authorization=",
        "authorization ",
        "security_token:",
        "bce-auth-v1/",
        "bce-auth-v1%25",
        "%25",
        "\\",
        "http://a@",
        "sig=",
        "secret",
        "?",
        " ",
    ]
) | st.text(min_size=1, max_size=4)


@aimed("redaction-time", suite=30, pump=PUMPS, other=PUMPS, secret=SECRETS, times=st.integers(1_000, 6_000))
def test_redaction_takes_time_in_proportion(pump: str, other: str, secret: str, times: int) -> None:
    """A text of any patterns over and over costs no more than its length."""
    Redactor([secret])(pump * times + other * times)


# --- credentials ---

KEYS = {
    "access_key_id": "AKTEST",
    "secret_access_key": "s3cr3t-key",
    "security_token": "",
    "expires_at": None,
}
CONFIG = {
    "current": "work",
    "profiles": [
        {"name": "work", "mode": "AK", **KEYS, "region": "bj"},
        {"name": "sts", "mode": "StsToken", **KEYS, "security_token": "t0ken"},
    ],
}
SOURCES = (
    orjson.dumps(KEYS),
    orjson.dumps(CONFIG),
    orjson.dumps({**KEYS, "expires_at": "2099-01-01T00:00:00Z"}),
)
FOLDER = tempfile.gettempdir()
HOME = Path(FOLDER) / f"orchestrator-fuzz-home-{os.getpid()}"
ODD_FILES = [
    orjson.dumps({**KEYS, name: value})
    for name in KEYS
    for value in (*(text for text in ODD_TEXTS), None, 5, [], {}, True, 1e300, "s3cr3t key", "s3cr3t\nkey")
    if not isinstance(value, str) or value.isprintable() or value.isascii()
]


class Noon:
    """A clock that stands."""

    def now(self) -> float:
        return 1_768_446_245.0


@pytest.fixture(autouse=True, scope="module")
def _leave_nothing() -> Iterator[None]:
    """The files all inputs are written to go with the module."""
    yield
    for name in (".bce/config.json", "keys.json"):
        (HOME / name).unlink(missing_ok=True)
    for folder in (HOME / ".bce", HOME):
        if folder.is_dir():
            folder.rmdir()


def at_once(waiting: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never has to wait."""
    try:
        waiting.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waited")


@aimed(
    "credentials-files",
    suite=150,
    content=mutated(SOURCES) | st.binary(max_size=40) | st.sampled_from(ODD_FILES) | JSON.map(_dumped),
    spec=st.sampled_from(
        ["auto", "profile:work", "profile:sts", "profile:None", "file:keys.json", "file:~/keys.json"]
    ),
)
def test_any_credentials_file_holds_keys_or_is_refused(content: bytes, spec: str) -> None:
    """Any bytes in ~/.bce/config.json or a credentials file are keys that can be signed with, or a
    CredentialsError that shows none of them."""
    (HOME / ".bce").mkdir(parents=True, exist_ok=True)
    for name in (".bce/config.json", "keys.json"):
        (HOME / name).write_bytes(content)
    told = outcome(
        lambda: at_once(
            find_credentials(spec, environment={}, home=HOME, folder=HOME, clock=Noon()).current()
        ),
        CredentialsError,
    )
    _sound(told)


def _sound(told: Credentials | CredentialsError) -> None:
    if isinstance(told, CredentialsError):
        assert "s3cr3t" not in told.message + told.hint
        return
    assert told.access_key_id.isascii()
    assert "/" not in told.access_key_id
    for part in (
        told.secret_access_key.reveal(),
        told.security_token.reveal() if told.security_token else "x",
    ):
        assert part.isascii()
        assert part.isprintable()
        assert " " not in part
    assert "s3cr3t" not in repr(told)


@aimed(
    "credentials-output",
    suite=150,
    output=mutated(SOURCES) | st.binary(max_size=40) | st.sampled_from(ODD_FILES) | JSON.map(_dumped),
)
def test_any_output_of_a_command_holds_keys_or_is_refused(output: bytes) -> None:
    """Whatever bytes an exec: command prints, they are keys or a CredentialsError that shows none of them."""
    told = outcome(
        lambda: credentials_module._credentials(
            credentials_module._parsed(output, "the command c"), "the command c"
        ),
        CredentialsError,
    )
    _sound(told)


@aimed(
    "credentials-environment",
    environment=st.dictionaries(
        st.sampled_from(["BCE_ACCESS_KEY_ID", "BCE_SECRET_ACCESS_KEY", "BCE_SECURITY_TOKEN"]), texts()
    ),
    spec=st.sampled_from(["auto", "env", "exec:", "exec:'", "exec: ''", "file:", "profile:", "x"]) | texts(),
    home=st.sampled_from(["/nonexistent", "/" + "x" * 5000, "\x00"]),
)
def test_any_spelling_of_a_source_is_a_source_or_refused(
    environment: dict[str, str], spec: str, home: str
) -> None:
    """Any `credentials`, environment and home folder name a source or are refused by name."""
    told = outcome(
        lambda: find_credentials(
            spec, environment=environment, home=Path(home), folder=Path(home), clock=Noon()
        ),
        CredentialsError,
    )
    if spec.startswith("file:") and not isinstance(told, CredentialsError):
        _sound(outcome(lambda: at_once(told.current()), CredentialsError))


@pytest.mark.parametrize(
    "output", [b"", b"\xff\xfe", b"[" * 5000, orjson.dumps(KEYS), orjson.dumps({**KEYS, "expires_at": 1e300})]
)
def test_a_real_command_may_print_anything(tmp_path: Path, output: bytes) -> None:
    """A command that prints any bytes gives keys or a CredentialsError, as its output does alone."""
    (tmp_path / "out").write_bytes(output)
    spec = f"exec:cat {shlex.quote(str(tmp_path / 'out'))}"
    source = find_credentials(spec, environment={}, home=tmp_path, folder=tmp_path, clock=Noon())

    async def keys() -> Credentials:
        async with asyncio.timeout(20):
            return await source.current()

    _sound(outcome(lambda: asyncio.run(keys()), CredentialsError))


def test_a_redactor_that_knows_one_spelling_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The property fails when only the plain secret is masked: it can fail."""

    def plain(text: str, secrets: list[str]) -> str:
        for secret in secrets:
            text = text.replace(secret, "***")
        return text

    monkeypatch.setitem(globals(), "redact", plain)
    assert finding("redaction") is not None
