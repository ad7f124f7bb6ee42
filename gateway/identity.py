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
    """Establishes who makes a request."""

    def __init__(self, settings: GatewaySettings) -> None:
        token = settings.development_token
        self._token = token.get_secret_value().encode() if token else b""

    def identify(self, exchange: Exchange) -> Identity:
        """Who makes this request.

        Raises:
            Unauthenticated: it brings credentials that prove nothing.
        """
        authorization = exchange.header(b"authorization")
        return self._proven(authorization) if authorization else _PUBLIC

    def _proven(self, authorization: str) -> Identity:
        scheme, _, given = authorization.partition(" ")
        proven = hmac.compare_digest(given.strip().encode(), self._token)
        if self._token and scheme.lower() == "bearer" and proven:
            return _DEVELOPMENT
        raise Unauthenticated("these credentials prove nothing; send `Authorization: Bearer <token>`")


def call_of(exchange: Exchange, method: Method, identity: Identity) -> Call:
    """The call that a request makes as `identity`; its deadline begins now."""
    traceparent = traceparent_from({TRACE_KEY: exchange.header(b"traceparent")})
    return Call(method.path, identity, exchange.correlation_id, traceparent, time.monotonic() + method.deadline_s)


def own_identity() -> Identity:
    """The gateway itself, where it calls on nobody's behalf."""
    return Identity(roles=[ROLE_INTERNAL], subject="gateway")
