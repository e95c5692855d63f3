"""The signature bce-auth-v1: how a request is signed, and how a signed request is checked (bls-api.md 7).

    Authorization: bce-auth-v1/{accessKeyId}/{timestamp}/{expirySeconds}/{signedHeaders}/{signature}

    prefix     = the first four parts, joined by "/"
    signingKey = hex(HMAC-SHA256(secret, prefix))                used as text, not decoded
    request    = METHOD \\n canonical URI \\n canonical query \\n canonical headers
    signature  = hex(HMAC-SHA256(signingKey, request))

Signing takes decoded text; verifying takes path and query as they came over the wire. Both meet in the
canonical form. Texts that are not UTF-8 travel as surrogate escapes (PEP 383), so every byte that can arrive
can be checked.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote

from orchestrator.core.redact import PresignedLink, Secret
from orchestrator.core.window import iso_utc

__all__ = [
    "Authorization",
    "Credentials",
    "Pairs",
    "Verdict",
    "canonical_headers",
    "canonical_query",
    "canonical_uri",
    "encode",
    "parse_authorization",
    "parse_query",
    "presign",
    "query_on_wire",
    "sign",
    "verify",
]

Pairs = Iterable[tuple[str, str]]
"""Names and values in order; names may repeat."""

NEVER_EXPIRES: Final = -1
"""Expiry of a presigned link without end (bls-api.md 8)."""

_DEFAULT_HEADERS: Final = frozenset({"host", "content-length", "content-type", "content-md5"})
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]*")
_SHORT = 64
"""Hosts, dates and types of content are no longer, and there are few at a time; tokens are, which should not
be kept."""
_UNRESERVED_PATH = re.compile(r"[A-Za-z0-9._~/-]*")
_AUTHORIZATION = re.compile(
    r"(?P<prefix>bce-auth-v1/(?P<key>[^/\s]+)/(?P<stamp>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)"
    r"/(?P<expiry>-1|[0-9]{1,10}))/(?P<headers>[^/\s]*)/(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who signs. ``expires_at`` is epoch seconds, None when the keys do not expire; ``security_token`` comes
    with temporary keys only."""

    access_key_id: str
    secret_access_key: Secret
    security_token: Secret | None = None
    expires_at: float | None = None


class Verdict(StrEnum):
    """What became of a request's signature; exactly one holds."""

    OK = "ok"
    NO_AUTHORIZATION = "no authorization"
    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown key"
    STALE = "stale"  # before its timestamp less the skew, or after its expiry
    HOST_UNSIGNED = "host unsigned"
    MISMATCH = "mismatch"


@dataclass(frozen=True, slots=True)
class Authorization:
    """An Authorization value taken apart. ``headers_to_sign`` is lower-case and empty for the default set."""

    prefix: str
    access_key_id: str
    timestamp_s: int
    expires_in_s: int
    headers_to_sign: tuple[str, ...]
    signature: str


def encode(text: str, *, keep_slash: bool = False) -> str:
    """Percent-encode the UTF-8 bytes of ``text`` in upper-case hex, except ``A-Z a-z 0-9 - . _ ~`` and, if
    asked, ``/``."""
    if (_UNRESERVED_PATH if keep_slash else _UNRESERVED).fullmatch(text):
        return text  # most names, values and paths: an order of magnitude cheaper than quoting
    quoted = _quoted_before if len(text) <= _SHORT else _quoted
    return quoted(text, "/" if keep_slash else "")


def _quoted(text: str, safe: str) -> str:
    return quote(text, safe=safe, errors="surrogateescape")


_quoted_before = lru_cache(64)(_quoted)


def canonical_uri(path: str) -> str:
    """``path`` (decoded) encoded but for ``/``, with a leading ``/``; slashes and dot segments stay as they
    are."""
    return encode(path if path.startswith("/") else f"/{path}", keep_slash=True)


def canonical_query(pairs: Pairs) -> str:
    """Decoded ``pairs`` without any ``authorization``, each encoded, sorted as whole strings: ``text10=``
    comes before ``text1=``."""
    return "&".join(sorted(f"{encode(k)}={encode(v)}" for k, v in pairs if k.lower() != "authorization"))


def query_on_wire(pairs: Pairs) -> str:
    """Decoded ``pairs`` in their order as they must be sent; an empty value is sent as ``key=``."""
    return "&".join(f"{encode(k)}={encode(v)}" for k, v in pairs)


def parse_query(raw_query: str) -> list[tuple[str, str]]:
    """A query as received, decoded: only ``%XX`` means something, ``+`` is a plus, a bare ``k`` is ``k=``."""
    pairs = (part.partition("=") for part in raw_query.split("&") if part)
    return [(_decoded(key), _decoded(value)) for key, _, value in pairs]


def canonical_headers(headers: Pairs, headers_to_sign: Collection[str] | None = None) -> str:
    """The signed header lines: names lower-case, values trimmed, empty ones dropped, encoded, sorted.

    ``headers_to_sign`` None or empty means the default set: host, content-length, content-type, content-md5
    and every ``x-bce-*``, as far as present.
    """
    return _lines(_chosen(headers, headers_to_sign))


def sign(
    credentials: Credentials,
    *,
    method: str,
    path: str,
    query: Pairs,
    headers: Pairs,
    headers_to_sign: Collection[str] | None = None,
    timestamp_s: int,
    expires_in_s: int = 1800,
) -> str:
    """The whole Authorization value for a request given as decoded text.

    ``headers_to_sign`` None signs the default set and writes out, sorted, what was signed; a list signs and
    writes exactly those of it that are present and not empty; an empty list signs the default set and writes
    nothing, as the service's pages allow. The security token is not added here: send it as
    ``x-bce-security-token`` and list it.
    """
    prefix = f"bce-auth-v1/{credentials.access_key_id}/{iso_utc(timestamp_s)}/{expires_in_s}"
    chosen = _chosen(headers, headers_to_sign)
    request = "\n".join((method.upper(), canonical_uri(path), canonical_query(query), _lines(chosen)))
    signature = _signature(credentials.secret_access_key, prefix, request)
    unlisted = headers_to_sign is not None and not headers_to_sign
    listed = "" if unlisted else ";".join(sorted({name for name, _ in chosen}))
    return f"{prefix}/{listed}/{signature}"


def presign(
    credentials: Credentials,
    *,
    method: str = "GET",
    scheme: str = "https",
    host: str,
    path: str,
    query: Pairs = (),
    timestamp_s: int,
    expires_in_s: int = 1800,
) -> PresignedLink:
    """A link that opens ``path`` on ``host`` (with its port, unless default) until it expires (-1: never).

    Only the host is signed, so whoever fetches it may add headers such as ``Range`` (bls-api.md 8).
    """
    token = credentials.security_token
    pairs = [*query, *([("x-bce-security-token", token.reveal())] if token else [])]
    text = sign(
        credentials,
        method=method,
        path=path,
        query=pairs,
        headers=[("host", host)],
        headers_to_sign=(),
        timestamp_s=timestamp_s,
        expires_in_s=expires_in_s,
    )
    on_wire = query_on_wire([("authorization", text), *pairs])
    return PresignedLink(f"{scheme}://{host}{canonical_uri(path)}?{on_wire}")


def parse_authorization(text: str) -> Authorization | None:
    """``text`` taken apart, or None when it does not have the six parts in their documented shape."""
    match = _AUTHORIZATION.fullmatch(text.strip())
    if match is None:
        return None
    try:
        stamp = datetime.strptime(match["stamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:  # the thirteenth month, the sixtieth minute
        return None
    listed = (name.strip().lower() for name in match["headers"].split(";"))
    return Authorization(
        prefix=match["prefix"],
        access_key_id=match["key"],
        timestamp_s=int(stamp.timestamp()),
        expires_in_s=int(match["expiry"]),
        headers_to_sign=tuple(name for name in listed if name),
        signature=match["signature"],
    )


def verify(
    authorization_text: str | None,
    *,
    method: str,
    raw_path: str,
    raw_query: str,
    headers: Pairs,
    find_secret: Callable[[str], Secret | None],
    now_s: float,
    skew_s: float = 900,
) -> Verdict:
    """Judge a request as received. Never raises, whatever arrived.

    ``authorization_text`` is the header's value; without one the query's ``authorization`` counts (presigned
    links). ``raw_path`` and ``raw_query`` are as on the wire. Valid is ``[timestamp - skew_s, timestamp +
    expiry]``.
    """
    query = parse_query(raw_query)
    text = authorization_text or next((value for key, value in query if key.lower() == "authorization"), "")
    if not text:
        return Verdict.NO_AUTHORIZATION
    given = parse_authorization(text)
    if given is None:
        return Verdict.MALFORMED
    secret = find_secret(given.access_key_id)
    if secret is None:
        return Verdict.UNKNOWN_KEY
    ends_s = float("inf") if given.expires_in_s == NEVER_EXPIRES else given.timestamp_s + given.expires_in_s
    if not given.timestamp_s - skew_s <= now_s <= ends_s:
        return Verdict.STALE
    lines = canonical_headers(headers, given.headers_to_sign)
    if not any(line.startswith("host:") for line in lines.split("\n")):
        return Verdict.HOST_UNSIGNED
    request = "\n".join((method.upper(), canonical_uri(_decoded(raw_path)), canonical_query(query), lines))
    agrees = hmac.compare_digest(_signature(secret, given.prefix, request), given.signature)
    return Verdict.OK if agrees else Verdict.MISMATCH


def _decoded(text: str) -> str:
    return unquote(text, errors="surrogateescape")


def _chosen(headers: Pairs, headers_to_sign: Collection[str] | None) -> list[tuple[str, str]]:
    """The headers that are signed, names lower-case, values trimmed."""
    wanted = {name.strip().lower() for name in headers_to_sign} if headers_to_sign else None
    trimmed = ((name.strip().lower(), value.strip()) for name, value in headers)
    return [(name, value) for name, value in trimmed if value and _is_signed(name, wanted)]


def _lines(chosen: Pairs) -> str:
    return "\n".join(sorted(f"{encode(name)}:{encode(value)}" for name, value in chosen))


def _is_signed(name: str, wanted: set[str] | None) -> bool:
    return name in wanted if wanted is not None else name in _DEFAULT_HEADERS or name.startswith("x-bce-")


def _signature(secret: Secret, prefix: str, canonical_request: str) -> str:
    """Two one-shot HMACs; the key is cheap enough (about 2 us) not to be cached."""
    key = hmac.digest(secret.reveal().encode(), prefix.encode("utf-8", "surrogateescape"), "sha256").hex()
    return hmac.digest(key.encode(), canonical_request.encode(), "sha256").hex()
