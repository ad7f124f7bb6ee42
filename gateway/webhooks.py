"""The provider's webhook: raw bytes and signature, unchanged. The contract has no HTTP form for raw bytes."""

from __future__ import annotations

import time

from giving.payment.v1.payment_service_pb2 import HandleProviderWebhookRequest

from gateway.clients import Clients
from gateway.exchange import Answer, Exchange
from gateway.identity import own_identity
from gateway.pages import NO_STORE, Page
from gateway.problems import MethodNotAllowed
from mesh.rpc.call import TRACE_KEY, Call, traceparent_from
from mesh.rpc.contract import Method

HANDLE_WEBHOOK = "/giving.payment.v1.PaymentService/HandleProviderWebhook"
# Attack 12: the contract's bound of `body`, enforced before anyone computes a signature.
_BODY_BYTES_MAX = 1024 * 1024


def webhook(clients: Clients, method: Method) -> Page:
    """Answers 200 only when the payment service has made the event durable; anything else makes the provider retry."""

    async def take(exchange: Exchange) -> Answer:
        if exchange.method != "POST":
            raise MethodNotAllowed(allow="POST")
        body = await exchange.body(bytes_max=_BODY_BYTES_MAX)
        signature = exchange.header(b"stripe-signature")
        request = HandleProviderWebhookRequest(body=body, signature=signature)
        await clients.caller(method).unary(method, request, _call(exchange, method))
        return Answer(200, b"{}", b"application/json", NO_STORE)

    return take


def _call(exchange: Exchange, method: Method) -> Call:
    # The signature proves the sender, and the payment service checks it; on the wire the caller is the gateway.
    traceparent = traceparent_from({TRACE_KEY: exchange.header(b"traceparent")})
    return Call(method.path, own_identity(), exchange.correlation_id, traceparent, time.monotonic() + method.deadline_s)
