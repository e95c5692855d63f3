"""bce-auth-v1 against the rules and the vectors, which the service's own SDKs computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.redact import Secret
from orchestrator.core.signing import (
    Authorization,
    Credentials,
    Verdict,
    canonical_headers,
    canonical_query,
    canonical_uri,
    encode,
    parse_authorization,
    parse_query,
    presign,
    query_on_wire,
    sign,
    verify,
)

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "bce-auth-v1.json").read_text(encoding="utf-8")
)
NOW_S = 1_768_465_800  # 2026-01-15T08:30:00Z, the clock of the vectors


def _named(cases: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in cases]


DOCUMENTED = [case for case in VECTORS["documentation_examples"] if "authorization" in case]
SIGNED = DOCUMENTED + [case for case in VECTORS["cases"] if "authorization" in case]
DIVERGING = [case for case in VECTORS["cases"] if case["group"] == "divergence"]
WIRE = [case for case in VECTORS["wire"] if "authorization" in case]
PRESIGNED = VECTORS["presigned"]


def _credentials(case: dict[str, Any]) -> Credentials:
    named = case["credentials"]
    entry = VECTORS["credentials"][named] if isinstance(named, str) else named
    token = entry.get("session_token")
    return Credentials(
        entry["access_key_id"],
        Secret(entry["secret_access_key"]),
        Secret(token) if token is not None else None,
    )


def _pairs(case: dict[str, Any], field: str) -> list[tuple[str, str]]:
    return [(name, value) for name, value in case[field]]


def _signed_by_us(case: dict[str, Any], headers_to_sign: list[str] | None) -> str:
    return sign(
        _credentials(case),
        method=case["method"],
        path=case["path"],
        query=_pairs(case, "query"),
        headers=_pairs(case, "headers"),
        headers_to_sign=headers_to_sign,
        timestamp_s=case["timestamp_unix"],
        expires_in_s=case["expiration_seconds"],
    )


class Request:
    """A received request that can be judged whole or with one part changed."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.credentials = _credentials(case)
        self.now_s = case.get("timestamp_unix", NOW_S)
        self.method: str = case["method"]
        self.authorization: str | None = case.get("authorization")
        if "url" in case:
            parts = urlsplit(case["url"])
            self.raw_path, self.raw_query = parts.path, parts.query
            self.headers = [("Host", parts.netloc)]
            self.authorization = None
        elif "target" in case:
            self.raw_path, _, self.raw_query = case["target"].partition("?")
            self.headers = _pairs(case, "headers")
        else:
            self.raw_path = case.get("path_encoded", encode(case["path"], keep_slash=True))
            self.raw_query = query_on_wire(_pairs(case, "query"))
            self.headers = _pairs(case, "headers")

    def judged(self, **changed: Any) -> Verdict:
        """The verdict on this request with some arguments of ``verify`` replaced."""
        found = self.credentials
        arguments: dict[str, Any] = {
            "method": self.method,
            "raw_path": self.raw_path,
            "raw_query": self.raw_query,
            "headers": self.headers,
            "find_secret": lambda key: found.secret_access_key if key == found.access_key_id else None,
            "now_s": self.now_s,
        } | changed
        return verify(arguments.pop("authorization", self.authorization), **arguments)

    def signed_header(self) -> str:
        """The name of one header that the signature covers."""
        given = parse_authorization(self.authorization or dict(parse_query(self.raw_query))["authorization"])
        assert given is not None
        return given.headers_to_sign[0] if given.headers_to_sign else "host"


EVERY_REQUEST = SIGNED + WIRE + PRESIGNED


@pytest.mark.parametrize("case", _named(SIGNED))
def test_signs_as_the_official_sdks_do(case: dict[str, Any]) -> None:
    """A request of the vectors gets the very Authorization value the service's own SDKs computed."""
    unlisted = case["authorization"].split("/")[4] == ""
    assert _signed_by_us(case, [] if unlisted else case["headers_to_sign"]) == case["authorization"]
    for other in case.get("also_produced", []):
        spelling = other["authorization"]
        listed: list[str] | None = [] if spelling.split("/")[4] == "" else None
        assert _signed_by_us(case, listed) == spelling


@pytest.mark.parametrize("case", _named(SIGNED))
def test_canonical_forms_are_the_published_ones(case: dict[str, Any]) -> None:
    """URI, query and header lines of a request are the ones of its published canonical form."""
    _, uri, query, headers = case["canonical_request"].split("\n", 3)
    assert canonical_uri(case["path"]) == uri
    assert canonical_query(_pairs(case, "query")) == query
    assert canonical_headers(_pairs(case, "headers"), case["headers_to_sign"]) == headers


def test_the_documentation_fragments_hold() -> None:
    """The service's own examples of a canonical query and a canonical URI come out as printed."""
    fragments = {case["name"]: case for case in VECTORS["documentation_examples"]}
    query = fragments["baidu_doc_canonical_query"]
    assert canonical_query(_pairs(query, "query")) == query["canonical_query"]
    uri = fragments["baidu_doc_canonical_uri"]
    assert canonical_uri(uri["path"]) == uri["canonical_uri"]


@pytest.mark.parametrize("case", _named(WIRE))
def test_signs_whole_sdk_requests_alike(case: dict[str, Any]) -> None:
    """A request captured from an SDK gets the same Authorization value from us."""
    path, _, query = case["target"].partition("?")
    listed = [name for name in case["authorization"].split("/")[4].split(";") if name]
    ours = sign(
        _credentials(case),
        method=case["method"],
        path=unquote(path),
        query=parse_query(query),
        headers=_pairs(case, "headers"),
        headers_to_sign=listed,
        timestamp_s=NOW_S,
    )
    assert ours == case["authorization"]


@pytest.mark.parametrize("case", _named(PRESIGNED))
def test_presigns_as_the_official_sdk_does(case: dict[str, Any]) -> None:
    """A presigned link for the same object is, byte for byte, the one the SDK made."""
    parts = urlsplit(case["url"])
    link = presign(
        _credentials(case),
        scheme=parts.scheme,
        host=parts.netloc,
        path=unquote(parts.path),
        timestamp_s=NOW_S,
        expires_in_s=case["expiration_seconds"],
    )
    assert link.reveal() == case["url"]


@pytest.mark.parametrize("case", _named(EVERY_REQUEST))
def test_every_vector_verifies(case: dict[str, Any]) -> None:
    """A request signed by any SDK, in its header or its link, is accepted."""
    assert Request(case).judged() is Verdict.OK


@pytest.mark.parametrize("case", _named(EVERY_REQUEST))
def test_one_changed_byte_fails(case: dict[str, Any]) -> None:
    """Signature, path, query, method or a signed header changed by one byte: the request is refused."""
    request = Request(case)
    text = request.authorization or dict(parse_query(request.raw_query))["authorization"]
    for at in (-64, -33, -1):
        digits = list(text)
        digits[at] = "0" if digits[at] != "0" else "1"
        assert request.judged(authorization="".join(digits)) is Verdict.MISMATCH
    assert request.judged(raw_path=request.raw_path + "x") is Verdict.MISMATCH
    assert request.judged(raw_path=request.raw_path[:-1]) is Verdict.MISMATCH
    assert request.judged(raw_query=f"{request.raw_query}&x") is Verdict.MISMATCH
    assert request.judged(method=request.method[:-1]) is Verdict.MISMATCH
    broken = [
        (name, value[:-1] + ("X" if value[-1] != "X" else "Y"))
        if name.lower() == request.signed_header()
        else (name, value)
        for name, value in request.headers
    ]
    assert request.judged(headers=broken) is Verdict.MISMATCH


@pytest.mark.parametrize("case", _named([case for case in EVERY_REQUEST if case.get("query")]))
def test_every_query_value_is_covered(case: dict[str, Any]) -> None:
    """Changing any one query value breaks the signature."""
    request = Request(case)
    pairs = _pairs(case, "query")
    for at, (key, value) in enumerate(pairs):
        changed = [*pairs[:at], (key, value + "~"), *pairs[at + 1 :]]
        assert request.judged(raw_query=query_on_wire(changed)) is Verdict.MISMATCH


@pytest.mark.parametrize("case", _named(DIVERGING))
def test_where_sdks_differ_the_written_rules_decide(case: dict[str, Any]) -> None:
    """Of several SDKs' answers exactly those are accepted that follow the documented rules."""
    against_the_rules = {
        "diverge_x_bce_header_not_listed": {"bce-python-sdk 0.9.79"},
        "diverge_authorization_query_key": {"bce-python-sdk 0.9.79", "baiducloud-python-sdk-core 0.0.6"},
        "diverge_authorization_query_key_mixed_case": {
            "bce-python-sdk 0.9.79",
            "baiducloud-python-sdk-core 0.0.6",
        },
        "diverge_empty_header_value": {"baiducloud-python-sdk-core 0.0.6"},
        "diverge_path_without_leading_slash": {"bce-python-sdk 0.9.79", "baiducloud-python-sdk-core 0.0.6"},
    }.get(case["name"], set())
    request = Request(case)
    for sdk, text in case["per_sdk"].items():
        expected = Verdict.MISMATCH if sdk in against_the_rules else Verdict.OK
        assert request.judged(authorization=text) is expected, sdk


REQUEST = Request(next(case for case in SIGNED if case["name"] == "create_download_task"))
assert REQUEST.authorization is not None
TEXT = REQUEST.authorization


@pytest.mark.parametrize("nothing", [None, ""])
def test_an_unsigned_request_is_told_so(nothing: str | None) -> None:
    """Without a header and without a query parameter there is no authorization."""
    assert REQUEST.judged(authorization=nothing) is Verdict.NO_AUTHORIZATION


@pytest.mark.parametrize(
    "text",
    [
        "Bearer abc",
        TEXT.replace("bce-auth-v1", "bce-auth-v2"),
        TEXT.replace("/1800/", "/soon/"),
        TEXT.replace("/1800/", "/-2/"),
        TEXT.replace("2026-01-15T08:30:00Z", "2026-13-15T08:30:00Z"),
        TEXT.replace("2026-01-15T08:30:00Z", "2026-01-15 08:30:00"),
        TEXT.replace("2026-01-15T08:30:00Z", "0000-01-15T08:30:00Z"),
        TEXT + "0",
        TEXT[:-1],
        TEXT + "/more",
        TEXT.rpartition("/")[0],
        "bce-auth-v1/" + "/" * 10,
    ],
)
def test_a_malformed_authorization_is_told_so(text: str) -> None:
    """Whatever does not have the six documented parts is malformed, not a mismatch."""
    assert REQUEST.judged(authorization=text) is Verdict.MALFORMED
    assert parse_authorization(text) is None


def test_an_unknown_key_is_told_so() -> None:
    """A key nobody issued is told apart from a wrong signature."""
    assert REQUEST.judged(find_secret=lambda _: None) is Verdict.UNKNOWN_KEY


@pytest.mark.parametrize(
    ("now_s", "verdict"),
    [
        (NOW_S - 901, Verdict.STALE),
        (NOW_S - 900, Verdict.OK),
        (NOW_S + 1800, Verdict.OK),
        (NOW_S + 1801, Verdict.STALE),
    ],
)
def test_validity_has_two_ends(now_s: int, verdict: Verdict) -> None:
    """A signature counts from its timestamp less the skew to its expiry, both ends included."""
    assert REQUEST.judged(now_s=now_s) is verdict


def test_a_link_without_expiry_never_gets_stale() -> None:
    """Expiry -1 opens a link for good, though not before its timestamp."""
    request = Request(next(case for case in PRESIGNED if case["expiration_seconds"] == -1))
    assert request.judged(now_s=NOW_S + 10**9) is Verdict.OK
    assert request.judged(now_s=NOW_S - 10**4) is Verdict.STALE


def test_the_host_must_be_signed() -> None:
    """A list without host, a request without Host and an empty Host are refused alike."""
    text = _signed_without_host()
    assert REQUEST.judged(authorization=text) is Verdict.HOST_UNSIGNED
    assert REQUEST.judged(headers=[]) is Verdict.HOST_UNSIGNED
    assert REQUEST.judged(headers=[("Host", "  ")]) is Verdict.HOST_UNSIGNED


def _signed_without_host() -> str:
    return sign(
        REQUEST.credentials,
        method=REQUEST.method,
        path=REQUEST.raw_path,
        query=[],
        headers=REQUEST.headers,
        headers_to_sign=["x-bce-date"],
        timestamp_s=NOW_S,
    )


def test_the_order_and_case_of_the_list_do_not_matter() -> None:
    """A list spelled in another order and case covers the same headers."""
    shuffled = TEXT.replace("content-type;host;x-bce-date", "X-BCE-Date;Host;Content-Type")
    assert REQUEST.judged(authorization=shuffled) is Verdict.OK


def test_a_bare_key_equals_an_empty_value() -> None:
    """``k``, ``k=`` and an extra ``&`` are one query; ``+`` is a plus and not a space."""
    assert parse_query("b&a=&&c=1+2&d=%2B%20") == [("b", ""), ("a", ""), ("c", "1+2"), ("d", "+ ")]
    assert canonical_query(parse_query("b&a=")) == "a=&b="


def test_an_authorization_comes_apart_into_its_parts() -> None:
    """The parsed value names key, time, expiry, headers and signature."""
    assert parse_authorization(TEXT) == Authorization(
        prefix="bce-auth-v1/AKTEST00aa11bb22cc33dd44ee55ff66/2026-01-15T08:30:00Z/1800",
        access_key_id="AKTEST00aa11bb22cc33dd44ee55ff66",
        timestamp_s=NOW_S,
        expires_in_s=1800,
        headers_to_sign=("content-type", "host", "x-bce-date"),
        signature="70827d9a168a16a888331b5db4a94b297b3c87874cecc939cd8fab72a900287f",
    )


def test_a_temporary_key_never_shows_in_a_representation() -> None:
    """Credentials printed by accident show the key id and nothing that could be used."""
    shown = repr(_credentials({"credentials": "sts"}))
    assert "AKTESTSTS" in shown
    assert "not-a-real-secret" not in shown
    assert "TOKEN" not in shown


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
ANY_BYTES = st.binary(max_size=30).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)


@given(
    path=st.one_of(ANY_TEXT, ANY_BYTES),
    query=st.lists(st.tuples(ANY_TEXT, st.one_of(ANY_TEXT, ANY_BYTES)), max_size=5),
    values=st.dictionaries(NAMES, ANY_BYTES, max_size=4),
    explicit=st.booleans(),
)
def test_what_we_sign_we_accept(
    path: str, query: list[tuple[str, str]], values: dict[str, str], explicit: bool
) -> None:
    """Whatever path, query and headers a request has, signing it and sending it encoded verifies."""
    query = [(key, value) for key, value in query if key.lower() != "authorization"]
    headers = [*values.items(), ("Host", "h:1")]
    text = sign(
        REQUEST.credentials,
        method="GET",
        path=path,
        query=query,
        headers=headers,
        headers_to_sign=[*values, "host"] if explicit else None,
        timestamp_s=NOW_S,
    )
    verdict = REQUEST.judged(
        authorization=text,
        method="GET",
        raw_path=canonical_uri(path),
        raw_query=query_on_wire(query),
        headers=headers,
    )
    assert verdict is Verdict.OK


@given(
    text=st.one_of(st.none(), ANY_BYTES, st.just(TEXT)),
    raw_path=ANY_BYTES,
    raw_query=ANY_BYTES,
    headers=st.lists(st.tuples(ANY_BYTES, ANY_BYTES), max_size=3),
)
def test_verifying_never_raises(
    text: str | None, raw_path: str, raw_query: str, headers: list[tuple[str, str]]
) -> None:
    """Any bytes a client may send get a verdict, and without a valid signature never ``ok``."""
    verdict = REQUEST.judged(authorization=text, raw_path=raw_path, raw_query=raw_query, headers=headers)
    assert verdict is not Verdict.OK
