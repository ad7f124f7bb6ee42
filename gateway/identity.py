"""Who calls: established here, from credentials only; nothing that a caller says about himself is passed on."""

from __future__ import annotations

import hmac
import time

from giving.common.v1.identity_pb2 import Identity
from giving.common.v1.policy_pb2 import ROLE_INTERNAL, ROLE_OPERATOR, ROLE_PUBLIC

from gateway.config import GatewaySettings
from gateway.exchange import Exchange
from mesh.errors import Unauthenticated
from mesh.rpc.call import TRACE_KEY, Call, traceparent_from
from mesh.rpc.contract import Method

_PUBLIC = Identity(roles=[ROLE_PUBLIC])
_DEVELOPMENT = Identity(roles=[ROLE_PUBLIC, ROLE_INTERNAL, ROLE_OPERATOR], subject="development")


class Doorkeeper:
    """Turns requests into calls that carry an established identity."""

    def __init__(self, settings: GatewaySettings) -> None:
        token = settings.development_token
        self._token = token.get_secret_value().encode() if token else b""

    def call(self, exchange: Exchange, method: Method) -> Call:
        """The call that this request makes.

        Raises:
            Unauthenticated: it brings credentials that prove nothing.
        """
        identity = self._identity(exchange.header(b"authorization"))
        traceparent = traceparent_from({TRACE_KEY: exchange.header(b"traceparent")})
        deadline = time.monotonic() + method.deadline_s
        return Call(method.path, identity, exchange.correlation_id, traceparent, deadline)

    def _identity(self, authorization: str) -> Identity:
        if not authorization:
            return _PUBLIC
        scheme, _, given = authorization.partition(" ")
        proven = hmac.compare_digest(given.strip().encode(), self._token)
        if self._token and scheme.lower() == "bearer" and proven:
            return _DEVELOPMENT
        raise Unauthenticated("these credentials prove nothing")


def own_identity() -> Identity:
    """The gateway itself, where it calls on nobody's behalf."""
    return Identity(roles=[ROLE_INTERNAL], subject="gateway")
