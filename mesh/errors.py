"""Refusals: one error type that crosses every hop.

A service raises a `Refusal`; the server's interceptor sends it as `google.rpc.Status` with `ErrorInfo` (and `BadRequest`,
`RetryInfo` where they say more); a caller turns the status back into the same `Refusal`; the gateway writes it as a problem
document. Codes and HTTP statuses stand in the contract (`giving/common/v1/error.proto`), nowhere else.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import grpc
from giving.common.v1 import error_pb2
from giving.common.v1.error_pb2 import ErrorReason
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "giving"
STATUS_TRAILER = "grpc-status-details-bin"
_PREFIX = "ERROR_REASON_"
# Statuses travel in trailers, of which a caller takes 8 KiB; longer ones would arrive as a broken call.
FIELDS_MAX = 8
_TEXT_MAX = 120
_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field that breaks its rule: its dotted path in the request, and what it must hold."""

    field: str
    description: str

    def cut(self) -> FieldViolation:
        """The same, no longer than an answer can carry."""
        return FieldViolation(self.field[:_TEXT_MAX], self.description[:_TEXT_MAX])


@dataclass(frozen=True, slots=True)
class Form:
    """How a reason looks on the wire."""

    code: grpc.StatusCode
    http_status: int
    metadata: tuple[str, ...]


def _forms() -> dict[int, Form]:
    forms = {}
    for value in error_pb2.ErrorReason.DESCRIPTOR.values:
        if value.number:
            option = value.GetOptions().Extensions[error_pb2.refusal]
            forms[value.number] = Form(_GRPC_CODES[option.code], option.http_status, tuple(option.metadata))
    return forms


FORMS: Mapping[int, Form] = _forms()
_BY_NAME = {name.removeprefix(_PREFIX): number for name, number in error_pb2.ErrorReason.items() if number}


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not a defect
    """The mesh says no, with a reason of the contract.

    Subclasses are named for the fact (`DonationNotFound`) and set `reason`. `detail` is shown to callers as it is: it
    names fields and ids that the caller sent, never internals. `metadata` holds exactly the keys that the contract lists.
    """

    reason: ClassVar[ErrorReason.ValueType] = error_pb2.ERROR_REASON_INTERNAL

    def __init__(
        self,
        detail: str,
        *,
        fields: Sequence[FieldViolation] = (),
        retry_after_s: float | None = None,
        **metadata: object,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fields = tuple(violation.cut() for violation in fields[:FIELDS_MAX])
        self.retry_after_s = retry_after_s
        self.metadata = {key: str(value) for key, value in metadata.items()}

    @property
    def reason_number(self) -> int:
        """The reason as the contract numbers it."""
        return self.reason

    @property
    def reason_name(self) -> str:
        """The reason without its prefix, as `ErrorInfo.reason` carries it."""
        return error_pb2.ErrorReason.Name(self.reason).removeprefix(_PREFIX)

    @property
    def form(self) -> Form:
        """Its code and HTTP status."""
        return FORMS[self.reason]


class ReceivedRefusal(Refusal):
    """A refusal that came over the wire; keeps the reason that it came with."""

    def __init__(
        self,
        reason: ErrorReason.ValueType,
        detail: str,
        *,
        fields: Sequence[FieldViolation],
        retry_after_s: float | None,
        metadata: Mapping[str, str],
    ) -> None:
        super().__init__(detail, fields=fields, retry_after_s=retry_after_s)
        self.metadata = dict(metadata)
        self.reason = reason  # type: ignore[misc] # one class for every reason that a peer may send


class InvalidArgument(Refusal):
    reason = error_pb2.ERROR_REASON_INVALID_ARGUMENT

    @classmethod
    def of(cls, field: str, description: str) -> InvalidArgument:
        """One field that breaks its rule."""
        return cls.of_fields([FieldViolation(field, description)])

    @classmethod
    def of_fields(cls, fields: Sequence[FieldViolation]) -> InvalidArgument:
        """Several fields that break their rules; the first ones where there are too many to name."""
        named = [violation.cut() for violation in fields[:FIELDS_MAX]]
        more = [f"and {len(fields) - FIELDS_MAX} more"] if len(fields) > FIELDS_MAX else []
        words = (f"{one.field}: {one.description}" if one.field else one.description for one in named)
        return cls("; ".join([*words, *more]), fields=named)


class MalformedRequest(Refusal):
    reason = error_pb2.ERROR_REASON_MALFORMED_REQUEST


class RequestTooLarge(Refusal):
    reason = error_pb2.ERROR_REASON_REQUEST_TOO_LARGE


class Unauthenticated(Refusal):
    reason = error_pb2.ERROR_REASON_UNAUTHENTICATED


class PermissionDenied(Refusal):
    reason = error_pb2.ERROR_REASON_PERMISSION_DENIED


class IdempotencyKeyReused(Refusal):
    reason = error_pb2.ERROR_REASON_IDEMPOTENCY_KEY_REUSED


class IdempotencyKeyMissing(Refusal):
    reason = error_pb2.ERROR_REASON_IDEMPOTENCY_KEY_MISSING


class RequestInFlight(Refusal):
    reason = error_pb2.ERROR_REASON_REQUEST_IN_FLIGHT


class Overloaded(Refusal):
    reason = error_pb2.ERROR_REASON_OVERLOADED


class DependencyUnavailable(Refusal):
    reason = error_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE


class DeadlineExceeded(Refusal):
    reason = error_pb2.ERROR_REASON_DEADLINE_EXCEEDED


class Internal(Refusal):
    reason = error_pb2.ERROR_REASON_INTERNAL


class NotImplementedYet(Refusal):
    reason = error_pb2.ERROR_REASON_NOT_IMPLEMENTED


class PageTokenInvalid(Refusal):
    reason = error_pb2.ERROR_REASON_PAGE_TOKEN_INVALID


def to_status(refusal: Refusal) -> status_pb2.Status:
    """The refusal as it travels."""
    status = status_pb2.Status(code=refusal.form.code.value[0], message=refusal.detail)
    info = error_details_pb2.ErrorInfo(reason=refusal.reason_name, domain=DOMAIN, metadata=refusal.metadata)
    status.details.add().Pack(info)
    if refusal.fields:
        bad_request = error_details_pb2.BadRequest()
        for violation in refusal.fields:
            bad_request.field_violations.add(field=violation.field, description=violation.description)
        status.details.add().Pack(bad_request)
    if refusal.retry_after_s is not None:
        retry_info = error_details_pb2.RetryInfo()
        retry_info.retry_delay.FromTimedelta(datetime.timedelta(seconds=refusal.retry_after_s))
        status.details.add().Pack(retry_info)
    return status


def from_rpc_error(
    error: grpc.RpcError | grpc.aio.AioRpcError, *, dependency: str, max_request_bytes: int | None = None
) -> Refusal:
    """The refusal behind a failed call to `dependency`, whose method takes `max_request_bytes`.

    A status without our details comes from gRPC itself: the peer was not there, the deadline passed on the way, or the
    message was larger than anything that the peer looks at.
    """
    trailers: Any = error.trailing_metadata() or ()
    for key, value in trailers:
        if key == STATUS_TRAILER:
            return _from_status(value)
    code = error.code()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded("the deadline passed; repeat with the same key to learn the outcome")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return RequestTooLarge("the message is too large", max_request_bytes=max_request_bytes or "unknown")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return NotImplementedYet("this version does not serve the method", method=dependency)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return DependencyUnavailable(f"{dependency} does not answer", retry_after_s=1, dependency=dependency)
    return Internal("internal error")


def _from_status(raw: bytes) -> Refusal:
    try:
        status = status_pb2.Status.FromString(raw)
    except DecodeError:
        return Internal("internal error")
    info, bad_request, retry_info = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    retry_after_s = None
    for detail in status.details:
        detail.Unpack(info) or detail.Unpack(bad_request)
        if detail.Unpack(retry_info):
            retry_after_s = retry_info.retry_delay.ToTimedelta().total_seconds()
    if info.domain != DOMAIN or info.reason not in _BY_NAME:
        return Internal("internal error")
    fields = [FieldViolation(violation.field, violation.description) for violation in bad_request.field_violations]
    return ReceivedRefusal(
        ErrorReason.ValueType(_BY_NAME[info.reason]),
        status.message,
        fields=fields,
        retry_after_s=retry_after_s,
        metadata=info.metadata,
    )
