"""Who calls: established here, from credentials only; nothing that a caller says about himself is passed on."""

from __future__ import annotations

import hmac
import re
import time

from giving.common.v1.identity_pb2 import Identity
from giving.common.v1.policy_pb2 import ROLE_INTERNAL, ROLE_OPERATOR, ROLE_PUBLIC

from gateway.config import GatewaySettings
from gateway.exchange import Exchange
from gateway.guests import client_id_of, is_foreign
from mesh.errors import Unauthenticated
from mesh.rpc.call import TRACE_KEY, Call, traceparent_from
from mesh.rpc.contract import Method

_DEVELOPMENT = Identity(roles=[ROLE_PUBLIC, ROLE_INTERNAL, ROLE_OPERATOR], subject="development")
# The form only: whoever owns the donation checks what it proves.
_ACCESS_TOKEN = re.compile(r"gdt_[A-Za-z0-9._~-]{1,251}", re.ASCII)


class Doorkeeper:
    """Establishes who makes a request."""

    def __init__(self, settings: GatewaySettings) -> None:
        token = settings.development_token
        self._token = token.get_secret_value().encode() if token else b""
        self._origins = frozenset(settings.cors_origins)

    def identify(self, exchange: Exchange) -> Identity:
        """Who makes this request.

        Raises:
            Unauthenticated: it brings credentials that prove nothing.
        """
        authorization = exchange.header(b"authorization")
        return self._proven(exchange, authorization) if authorization else self._guest(exchange)

    def _proven(self, exchange: Exchange, authorization: str) -> Identity:
        scheme, _, given = authorization.partition(" ")
        given = given.strip()
        if scheme.lower() == "bearer" and _ACCESS_TOKEN.fullmatch(given):
            return self._guest(exchange, access_token=given)
        proven = hmac.compare_digest(given.encode(), self._token)
        if self._token and scheme.lower() == "bearer" and proven:
            return _DEVELOPMENT
        raise Unauthenticated("these credentials prove nothing; send `Authorization: Bearer <token>`")

    def _guest(self, exchange: Exchange, *, access_token: str = "") -> Identity:
        # A browser sends the cookie along with whatever another site's page makes it send. Without this that page could
        # act in the guest's scope: begin donations as him, or take the idempotency keys that he is about to use.
        foreign = is_foreign(exchange, self._origins)
        client_id = "" if foreign else client_id_of(exchange)
        return Identity(roles=[ROLE_PUBLIC], client_id=client_id, access_token=access_token)


def call_of(exchange: Exchange, method: Method, identity: Identity) -> Call:
    """The call that a request makes as `identity`; its deadline begins now."""
    traceparent = traceparent_from({TRACE_KEY: exchange.header(b"traceparent")})
    return Call(method.path, identity, exchange.correlation_id, traceparent, time.monotonic() + method.deadline_s)


def own_identity() -> Identity:
    """The gateway itself, where it calls on nobody's behalf."""
    return Identity(roles=[ROLE_INTERNAL], subject="gateway")
