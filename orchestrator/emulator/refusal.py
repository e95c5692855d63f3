"""How the service says no: a code, a status, a message (bls-api.md 5)."""

from __future__ import annotations

__all__ = ["Refusal", "invalid"]


class Refusal(Exception):
    """An answer that is not 2xx. ``retry_after_s`` None sends no Retry-After."""

    def __init__(self, status: int, code: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


def invalid(detail: str) -> Refusal:
    """InvalidParameter 400 in the service's wording (bls-api.md 2.1)."""
    return Refusal(400, "InvalidParameter", f"Request param invalid: [{detail}]")
