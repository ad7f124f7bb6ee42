"""Errors of the mesh, read out of the status that gRPC carries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "giving"
STATUS_KEY = "grpc-status-details-bin"
CORRELATION_KEY = "giving-correlation-id"
REPLAYED_KEY = "idempotent-replayed"
Trailers = Iterable[tuple[str, str | bytes]]

# What gRPC says by itself, when nobody of the mesh could answer.
_TRANSPORT_REASONS: Mapping[grpc.StatusCode, str] = {
    grpc.StatusCode.UNAVAILABLE: "DEPENDENCY_UNAVAILABLE",
    grpc.StatusCode.DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
    grpc.StatusCode.UNIMPLEMENTED: "NOT_IMPLEMENTED",
}


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field that breaks its rule: its dotted path in the request, and what it must hold."""

    field: str
    description: str


class MeshError(Exception):
    """The mesh said no, or did not answer.

    `reason` is an ErrorReason of the contract without its prefix, such as CAMPAIGN_NOT_FOUND; empty where the other side
    is no mesh. `metadata` holds the keys that the contract lists for the reason. `retry_after_s` says when to come back.
    After DEADLINE_EXCEEDED a change may still have happened: call again with the same key to learn it.
    """

    def __init__(
        self,
        detail: str,
        *,
        reason: str,
        code: grpc.StatusCode,
        metadata: Mapping[str, str] | None = None,
        fields: Sequence[FieldViolation] = (),
        retry_after_s: float | None = None,
        correlation_id: str = "",
    ) -> None:
        super().__init__(f"{reason or code.name}: {detail}")
        self.detail = detail
        self.reason = reason
        self.code = code
        self.metadata = dict(metadata or {})
        self.fields = tuple(fields)
        self.retry_after_s = retry_after_s
        self.correlation_id = correlation_id


def error_from(error: grpc.RpcError, *, correlation_id: str) -> MeshError:
    """The error behind a failed call that was sent with `correlation_id`."""
    # Both kinds of failed calls have these; the base class that they share does not say so.
    code: grpc.StatusCode = error.code()
    pairs: Any = error.trailing_metadata()
    trailers: dict[str, str | bytes] = dict(pairs or ())
    answered = trailers.get(CORRELATION_KEY)
    status = _status(trailers.get(STATUS_KEY))
    known = str(answered) if answered else correlation_id
    if status is None:
        reason = _TRANSPORT_REASONS.get(code, "")
        return MeshError(error.details() or code.name, reason=reason, code=code, correlation_id=known)
    return _from_status(status, code=code, correlation_id=known)


def is_replayed(trailers: Trailers | None) -> bool:
    """Whether the answer repeats an earlier one."""
    return any(key == REPLAYED_KEY for key, _ in trailers or ())


def _status(raw: str | bytes | None) -> status_pb2.Status | None:
    try:
        return status_pb2.Status.FromString(raw) if isinstance(raw, bytes) else None
    except DecodeError:
        return None


def _from_status(status: status_pb2.Status, *, code: grpc.StatusCode, correlation_id: str) -> MeshError:
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry_info = error_details_pb2.RetryInfo()
    for detail in status.details:
        detail.Unpack(info) or detail.Unpack(bad_request) or detail.Unpack(retry_info)
    return MeshError(
        status.message,
        reason=info.reason if info.domain == DOMAIN else "",
        code=code,
        metadata=info.metadata,
        fields=[FieldViolation(each.field, each.description) for each in bad_request.field_violations],
        retry_after_s=retry_info.retry_delay.ToTimedelta().total_seconds() if retry_info.HasField("retry_delay") else None,
        correlation_id=correlation_id,
    )
