"""Which error an answer means: decided on its ``code``, then on its status (bls-api.md 5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from orchestrator.core.redact import Redactor
from orchestrator.errors import (
    MalformedAnswer,
    Refused,
    RemoteTaskNotFound,
    ServiceError,
    ServiceFault,
    Throttled,
)
from orchestrator.remote.wire import Answer, document, http_date, request_id_of

__all__ = [
    "REQUEST_EXPIRED",
    "brief",
    "checked",
    "concerns_credentials",
    "from_the_service",
    "on_one_line",
    "proves_nothing_was_made",
    "refusal",
    "retry_after_s",
]

REQUEST_EXPIRED: Final = "RequestExpired"

_CREDENTIALS: Final = frozenset(
    {"Unauthorized", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidHTTPAuthHeader"}
)
_BY_CODE: Final[dict[str, type[ServiceError]]] = {
    **dict.fromkeys(
        (
            *_CREDENTIALS,
            "InvalidParameter",
            "MalformedJSON",
            "LogStoreNotFound",
            "ProjectNotFound",
            "LogStoreStopped",
            "InvalidHTTPRequest",
            "InvalidURI",
            "InappropriateJSON",
            "InvalidVersion",
            "OptInRequired",
            "PreconditionFailed",
            REQUEST_EXPIRED,
        ),
        Refused,
    ),
    "DownloadTaskNotFound": RemoteTaskNotFound,
    "RequestLimited": Throttled,
    "RequestOverload": Throttled,
    "InternalError": ServiceFault,
    "ServiceUnavailable": ServiceFault,
}
"""Every code of bls-api.md section 5; matched without regard to case."""
_FOLDED: Final = {code.lower(): (code, kind) for code, kind in _BY_CODE.items()}

_HINTS: Final = {
    REQUEST_EXPIRED: "set this machine's clock",
    "LogStoreNotFound": "check the names of project and logstore, and the region: it lives in one only",
    "ProjectNotFound": "check the name of the project, and the region",
    "LogStoreStopped": "the account is in arrears: settle it in the console, then run again",
    "OptInRequired": "enable the log service for this account in the console",
    "AccessDenied": "grant these credentials the log service's operate policy",
    **dict.fromkeys(
        ("Unauthorized", "InvalidAccessKeyId", "SignatureDoesNotMatch"),
        "check the access key and its secret, in the environment or where [service] credentials points",
    ),
}
_NO_JSON: Final = object()
_SHAPES_ONLY: Final = Redactor(())
_LONGEST_CODE: Final = 80
_LONGEST_MESSAGE: Final = 300
_LONGEST_READ: Final = 64 * 1024
_LONGEST_WAIT_S: Final = 300.0
"""Whatever a Retry-After asks for: whoever waits for longer is taken for hung."""
_NO: Final = frozenset({"false", "0", "0.0"})
_GATEWAY_STATUS: Final = frozenset({502, 504})


def checked(answer: Answer, call: str, *, clean: Callable[[str], str] = _SHAPES_ONLY) -> object:
    """The JSON document of a success, None for an empty body. Raises what any other answer means.

    Success is 2xx and neither ``success: false`` nor an error's ``code`` (bls-api.md 1). ``clean`` takes
    known secrets out of texts of the service before they enter an error.
    """
    try:
        found = document(answer.body)
    except ValueError:
        found = _NO_JSON
    if not answer.ok or _says_failure(found):
        raise refusal(answer, call, clean=clean)
    if found is _NO_JSON:
        raise MalformedAnswer(
            f"{call}: {answer.status} whose body is no JSON ({len(answer.body)} bytes)",
            status=answer.status,
            request_id=clean(request_id_of(answer)),
        )
    return found


def refusal(answer: Answer, call: str, *, clean: Callable[[str], str] = _SHAPES_ONLY) -> ServiceError:
    """The error that ``answer`` means, with the service's code, message and request id."""
    found = _error_body(answer)
    code = brief(_code(found), clean, _LONGEST_CODE)
    kind = _kind(answer.status, code)
    said = found.get("message")
    message = brief(said, clean, _LONGEST_MESSAGE) if isinstance(said, str) else ""
    what = " ".join(part for part in (str(answer.status), code) if part)
    if 300 <= answer.status < 400:
        message = "a redirect, which a signed call never follows"
    return kind(
        f"{call}: {what}" + (f": {message}" if message else ""),
        status=answer.status,
        service_code=code,
        hint=_HINTS.get(code, "the proxy asks for credentials" if answer.status == 407 else ""),
        request_id=clean(request_id_of(answer, found)),
        retry_after_s=retry_after_s(answer.headers.get("retry-after", ""), answer.headers.get("date", "")),
    )


def proves_nothing_was_made(answer: Answer) -> bool:
    """Whether a create that got ``answer`` certainly made no remote task.

    401, 404, 413 and 429 do; 400 and 403 only with a code of bls-api.md section 5, for a hidden quota or a
    gateway may answer them too. No error answer of another status proves anything.
    """
    if answer.status in (400, 403):
        return _code(_error_body(answer)).lower() in _FOLDED
    return answer.status in (401, 404, 413, 429)


def from_the_service(answer: Answer) -> bool:
    """Whether the log service itself answered, not a gateway in front of it, behind which a request may still
    run."""
    signed = "x-bce-request-id" in answer.headers or bool(_code(_error_body(answer)))
    return signed and answer.status not in _GATEWAY_STATUS


def concerns_credentials(answer: Answer) -> bool:
    """Whether fresher credentials could make a difference. No page lists the codes of expired temporary
    keys."""
    code = _code(_error_body(answer))
    return answer.status in (401, 403) or code in _CREDENTIALS or "token" in code.lower()


def retry_after_s(text: str, date: str = "") -> float | None:
    """A Retry-After value in seconds, at most five minutes; a date counts from the answer's own ``date``.
    None when absent."""
    try:
        seconds = float(text)
    except ValueError:
        until, now = http_date(text), http_date(date)
        if until is None or now is None:
            return None
        seconds = until - now
    return min(max(seconds, 0.0), _LONGEST_WAIT_S) if seconds == seconds else None  # noqa: PLR0124  NaN is not itself


def brief(said: str, clean: Callable[[str], str], longest: int) -> str:
    """What may be kept and shown of a text of the service: cleaned first, all at once, and cut then, because
    a part of a secret is not recognised as one."""
    if len(said) > _LONGEST_READ:
        said = said[:_LONGEST_READ].rpartition(" ")[0]
    return clean(said)[:longest]


def on_one_line(text: str) -> str:
    """``text`` without what moves a terminal: control characters and line ends become single spaces."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(text.split())


def _error_body(answer: Answer) -> dict[str, object]:
    try:
        found = document(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _code(found: dict[str, object]) -> str:
    """The code in its documented spelling, or as served when unknown; "" when there is none or it says
    success."""
    code = found.get("code")
    if not isinstance(code, str) or code.lower() in ("", "ok", "success"):
        return ""
    return _FOLDED.get(code.lower(), (code,))[0]


def _says_failure(found: object) -> bool:
    if not isinstance(found, dict):
        return False
    success = found.get("success")
    if success is None:
        return bool(_code(found)) and "message" in found
    # Only what can be spelled shortly: the text of a list in a list in a list has no end but the stack's.
    return isinstance(success, bool | int | float | str) and str(success).strip().lower() in _NO


def _kind(status: int, code: str) -> type[ServiceError]:
    if code.lower() in _FOLDED:
        return _FOLDED[code.lower()][1]
    if status in (413, 429):
        return Throttled
    if status >= 500 or status == 408:
        return ServiceFault
    if status == 404:
        return RemoteTaskNotFound
    return Refused if status >= 400 else MalformedAnswer if status >= 300 else ServiceFault
