"""Errors become values here, so that events and the manifest can carry them."""

from __future__ import annotations

from orchestrator.core.model import Fault
from orchestrator.errors import OrchestratorError, ServiceError

__all__ = ["fault_of"]

MESSAGE_CHARS = 500
"""The service may echo anything: what is kept of its words is bounded."""


def fault_of(error: OrchestratorError) -> Fault:
    """The error as a value; its words are cut to a bounded length."""
    message = str(error)[:MESSAGE_CHARS]
    if isinstance(error, ServiceError):
        return Fault(
            code=error.code,
            message=message,
            disposition=error.disposition.value,
            status=error.status,
            service_code=error.service_code[:100],
            request_id=error.request_id[:100],
            retry_after_s=error.retry_after_s,
            hint=error.hint,
        )
    return Fault(
        code=error.code,
        message=message,
        disposition=error.disposition.value,
        request_id=error.request_id,
        hint=error.hint,
    )
