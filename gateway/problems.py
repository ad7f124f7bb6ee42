"""Refusals as RFC 9457 problem documents."""

from __future__ import annotations

import math

from giving.common.v1 import error_pb2

from gateway.convert import to_json
from gateway.exchange import Answer
from mesh.errors import Refusal

PROBLEM_TYPE = b"application/problem+json"


class RouteNotFound(Refusal):
    reason = error_pb2.ERROR_REASON_ROUTE_NOT_FOUND


class MethodNotAllowed(Refusal):
    """The path exists, the method does not; `allow` goes into the header of that name."""

    reason = error_pb2.ERROR_REASON_METHOD_NOT_ALLOWED

    def __init__(self, *, allow: str) -> None:
        super().__init__(f"this path takes {allow}")
        self.allow = allow


class UnsupportedMediaType(Refusal):
    reason = error_pb2.ERROR_REASON_UNSUPPORTED_MEDIA_TYPE


def problem(refusal: Refusal, *, request_id: str) -> Answer:
    """The answer that carries a refusal."""
    body = {
        "type": f"/docs#{refusal.reason_name}",
        "title": title_of(refusal.reason_name),
        "status": refusal.form.http_status,
        "detail": refusal.detail,
        "reason": refusal.reason_name,
        "request_id": request_id,
        "errors": [{"field": violation.field, "description": violation.description} for violation in refusal.fields],
        "metadata": refusal.metadata,
    }
    return Answer(refusal.form.http_status, to_json(body), PROBLEM_TYPE, _headers(refusal))


def title_of(reason_name: str) -> str:
    """A reason's name in words."""
    return reason_name.replace("_", " ").capitalize()


def _headers(refusal: Refusal) -> list[tuple[bytes, bytes]]:
    headers = [(b"cache-control", b"no-store")]
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", str(math.ceil(refusal.retry_after_s)).encode()))
    if isinstance(refusal, MethodNotAllowed):
        headers.append((b"allow", refusal.allow.encode()))
    if refusal.form.http_status == 401:  # noqa: PLR2004 - the one status that must name its scheme
        headers.append((b"www-authenticate", b'Bearer realm="giving"'))
    return headers
