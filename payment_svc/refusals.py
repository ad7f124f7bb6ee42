"""What this service refuses, named for the fact."""

from __future__ import annotations

from giving.common.v1 import error_pb2

from mesh.errors import Refusal


class AccountNotFound(Refusal):
    reason = error_pb2.ERROR_REASON_ACCOUNT_NOT_FOUND
