"""Values that must not be shown, and texts cleaned of them."""

from __future__ import annotations

import base64
import copy
import dataclasses
import html
import json
import pickle
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.redact import REDACTED, PresignedLink, Redactor, Secret, redact

URL = "https://bucket.bj.bcebos.com/dir/f.json?authorization=bce-auth-v1%2FAK%2F2026-01-15T08%3A30%3A00Z%2F1800%2F%2Fdeadbeef"
AUTHORIZATION = "bce-auth-v1/AK/2026-01-15T08:30:00Z/1800/host;x-bce-date/deadbeef"
TOKEN = "MTk4Yw==/sts+TOKEN~test_value-01|fake="


@pytest.mark.parametrize(
    "shown", [repr, str, format, "{}".format, "{:>40}".format, "%s".__mod__, lambda v: str([v])]
)
@pytest.mark.parametrize("hidden", [Secret("s3cr3t"), PresignedLink(URL)])
def test_no_way_of_printing_shows_the_value(hidden: Secret | PresignedLink, shown: object) -> None:
    """repr, str, every format and every container show neither the secret nor the link's path and query."""
    assert callable(shown)
    text = shown(hidden)
    assert "redacted" in text
    for part in ("s3cr3t", "dir", "authorization", "deadbeef"):
        assert part not in text


def test_a_link_shows_where_it_leads_and_no_more() -> None:
    """Scheme, host and port of a link may be read; user information may not."""
    assert str(PresignedLink(URL)) == "https://bucket.bj.bcebos.com?…redacted"
    assert repr(PresignedLink(URL)) == "PresignedLink(https://bucket.bj.bcebos.com?…redacted)"
    assert PresignedLink("http://user:pass@h:81/p").origin == "http://h:81"
    assert PresignedLink("//h/p").origin == ""
    assert PresignedLink("no address").origin == ""
    assert PresignedLink("http://[broken/p").origin == ""


def test_a_secret_is_a_value() -> None:
    """Equal secrets are equal and hash alike; another kind of hidden text is never equal."""
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("a") != PresignedLink("a")
    assert Secret("a")
    assert not Secret("")
    assert len({PresignedLink(URL), PresignedLink(URL)}) == 1


def test_a_secret_cannot_be_changed() -> None:
    """Neither setting nor deleting an attribute works, and there is no room for new ones."""
    secret = Secret("a")
    with pytest.raises(AttributeError, match="Secret cannot be changed"):
        secret._text = "b"
    with pytest.raises(AttributeError, match="Secret cannot be changed"):
        del secret._text
    with pytest.raises(AttributeError, match="cannot be changed"):
        secret.more = 1
    assert secret.reveal() == "a"


@pytest.mark.parametrize("hidden", [Secret("s3cr3t"), PresignedLink(URL)])
def test_a_ticket_can_carry_it_to_another_process(hidden: Secret | PresignedLink) -> None:
    """Pickling and copying keep the value."""
    for twin in (pickle.loads(pickle.dumps(hidden)), copy.copy(hidden), copy.deepcopy(hidden)):
        assert twin == hidden
        assert twin.reveal() == hidden.reveal()


def test_unfolding_a_dataclass_keeps_it_hidden() -> None:
    """``asdict`` and JSON encoders meet the wrapper, not the text."""

    @dataclasses.dataclass(frozen=True)
    class Holder:
        key: Secret

    unfolded = dataclasses.asdict(Holder(Secret("s3cr3t")))
    assert "s3cr3t" not in str(unfolded)
    with pytest.raises(TypeError):
        json.dumps(unfolded)
    assert "s3cr3t" not in json.dumps(unfolded, default=str)


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: {AUTHORIZATION}",
        f"authorization={AUTHORIZATION}",
        f"authorization%3D{quote(AUTHORIZATION, safe='')}",
        f"authorization=%22{quote(quote(AUTHORIZATION, safe=''), safe='')}",
        f"signed as {AUTHORIZATION}, refused",
        json.dumps({"Authorization": AUTHORIZATION}),
        json.dumps(json.dumps({"Authorization": AUTHORIZATION})),
        json.dumps({"Authorization": AUTHORIZATION}).replace("/", "\\/"),
        str([("Authorization", AUTHORIZATION)]),
        str([(b"Authorization", AUTHORIZATION.encode())]),
        "Authorization: Bearer deadbeef",
        "Authorization: Basic deadbeef",
        "authorization=deadbeef&x=1",
        "x-bce-security-token: deadbeef",
        "?a=1&x-bce-security-token=deadbeef",
        "x-bce-security-token%3Ddeadbeef",
        '{"security_token": "deadbeef"}',
        '{"secret_access_key":"deadbeef"}',
        str([(b"x-bce-security-token", b"deadbeef")]),
        f"GET {URL} failed",
        f"<a href='{URL}'>",
        "https://h/f?sig=deadbeef&se=1",
        "HTTP://h/f?sig=deadbeef",
        '"https:\\/\\/h\\/f?sig=a\\/deadbeef\\u0026x"',
        "http://h/#deadbeef",
        "proxy http://me:deadbeef@proxy:3128/ refused",
        "proxy http://deadbeef@proxy:3128 refused",
        "next=https%3A%2F%2Fh%2Ff%3Fsig%3Ddeadbeef",
        "next=https%253A%252F%252Fh%252Ff%253Fsig%253Ddeadbeef",
        "/f.json?X-Amz-Signature=deadbeef",
        "GET /f.json?ticket=deadbeef HTTP/1.1",
        "BCE_SECRET_ACCESS_KEY=deadbeef",
        '"x-bce-security-token": "a&b, deadbeef"',
        '{"secretAccessKey": "deadbeef"}',
    ],
)
def test_recognisable_secrets_are_masked_without_being_told(text: str) -> None:
    """Signatures, tokens, keys, link queries and proxy passwords are masked wherever they turn up."""
    cleaned = redact(text, ())
    assert "deadbeef" not in cleaned
    assert REDACTED in cleaned


def test_what_surrounds_a_secret_stays_readable() -> None:
    """Only the secret part of a text is masked."""
    assert (
        redact(f"GET {URL} gave 403", ())
        == f"GET https://bucket.bj.bcebos.com/dir/f.json?{REDACTED} gave 403"
    )
    assert redact(f"Authorization: {AUTHORIZATION}\nHost: h", ()) == f"Authorization: {REDACTED}\nHost: h"
    assert redact("https://docs.example/page and a?b=c", ()) == "https://docs.example/page and a?b=c"
    assert redact("http://me:pw@proxy:3128/x", ()) == f"http://{REDACTED}@proxy:3128/x"


def test_a_clean_text_is_returned_as_it_is() -> None:
    """Nothing secret, nothing changed, nothing copied."""
    text = "slice 12 done, 734511 lines"
    assert redact(text, ["s3cr3t", ""]) is text


def test_given_values_are_masked_in_every_spelling() -> None:
    """Plain, percent-encoded in either case, form-encoded, doubly encoded, JSON-escaped: all are masked."""
    value = 'p w/"+ä'
    spellings = [
        value,
        quote(value),
        quote(value, safe=""),
        quote(value, safe="").lower(),
        quote_plus(value),
        quote(quote(value, safe=""), safe=""),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
    ]
    for spelling in spellings:
        assert redact(f"<{spelling}>", [value]) == f"<{REDACTED}>", spelling


@pytest.mark.parametrize("value", [TOKEN, "0123456789abcdef0123456789abcdef", "a+b/c=d&e<f>g'h\"i\\j"])
@pytest.mark.parametrize(
    "spell",
    [
        lambda value: json.dumps(value)[1:-1].replace("/", "\\/"),
        lambda value: json.dumps(json.dumps(value)),
        lambda value: "".join(c if c.isalnum() else f"\\u{ord(c):04x}" for c in value),
        lambda value: "".join(c if c.isalnum() else f"\\\\u{ord(c):04X}" for c in value),
        lambda value: quote(quote(quote(value, safe=""), safe=""), safe=""),
        html.escape,
        repr,
        lambda value: value.encode().hex(),
        lambda value: base64.b64encode(value.encode()).decode(),
        lambda value: base64.b64encode(b"k:" + value.encode()).decode(),
        lambda value: base64.b64encode(b"key:" + value.encode() + b"\n").decode(),
        lambda value: base64.urlsafe_b64encode(b"k" + value.encode() + b"~").decode(),
        lambda value: quote(base64.b64encode(value.encode()).decode(), safe=""),
    ],
)
def test_given_values_are_masked_however_they_were_wrapped(value: str, spell: Callable[[str], str]) -> None:
    """JSON with escaped slashes or signs by number, once or again, HTML, Python, base64 at any place, hex."""
    cleaned = redact(f"said <{spell(value)}>", [value])
    assert REDACTED in cleaned
    left = cleaned.removeprefix("said <").removesuffix(">").replace(REDACTED, "")
    assert len(left) <= 12, left  # the neighbours in base64, and what is mixed with them


def test_words_that_only_look_secret_stay_when_asked_for() -> None:
    """Hints of our own name variables; only the values given are taken out of them."""
    redactor = Redactor([TOKEN])
    hint = f"set BCE_SECRET_ACCESS_KEY=…, not {quote(TOKEN, safe='')}"
    assert redactor.known(hint) == f"set BCE_SECRET_ACCESS_KEY=…, not {REDACTED}"
    assert REDACTED in redactor(hint).partition("not")[0]


@pytest.mark.parametrize(
    "piece",
    [
        "http://",
        "https%3A%2F%2F",
        "%25",
        "\\",
        "authorization ",
        "security_token\t",
        "bce-auth-v1/",
        "a?",
        "=",
    ],
)
def test_no_text_makes_cleaning_slow(piece: str) -> None:
    """A service may answer anything: what is cleaned is read a bounded number of times."""
    redactor = Redactor([TOKEN, "%/\\"])
    text = piece * (400_000 // len(piece)) + TOKEN
    begun = time.process_time()
    assert TOKEN not in redactor(text)
    assert time.process_time() - begun < 5.0  # quadratic work would take minutes


def test_overlapping_values_leave_no_tail() -> None:
    """A secret that begins inside another is masked to its end."""
    assert redact("xabcdx", ["abc", "bcd"]) == f"x{REDACTED}x"
    assert redact("aaa", ["aa"]) == REDACTED
    assert redact("abcabc", ["abc"]) == REDACTED
    assert redact("abc-abc", ["abc"]) == f"{REDACTED}-{REDACTED}"


def test_a_redactor_can_be_kept_and_shown() -> None:
    """A prepared redactor cleans like ``redact`` and does not show what it knows."""
    redactor = Redactor([TOKEN])
    assert redactor(f"t={TOKEN};") == redact(f"t={TOKEN};", [TOKEN]) == f"t={REDACTED};"
    assert "TOKEN" not in repr(redactor)


@given(st.lists(st.text(min_size=3, max_size=20), max_size=3), st.text(max_size=40), st.text(max_size=40))
def test_no_given_value_survives(secrets: list[str], before: str, after: str) -> None:
    """Whatever stands around them, given values do not survive, nor do they in a percent-encoded spelling."""
    for value in secrets:
        spelled = (value, quote(value, safe="", errors="surrogateescape")) if value.isascii() else (value,)
        for spelling in spelled:
            cleaned = redact(before + spelling + after, secrets)
            assert spelling.lower() not in cleaned.lower().replace(REDACTED, "\0")
