"""The provider's webhook: raw bytes and signature, unchanged. The contract has no HTTP form for raw bytes."""

from __future__ import annotations

from giving.payment.v1.payment_service_pb2 import HandleProviderWebhookRequest

from gateway.clients import Clients
from gateway.exchange import Answer, Exchange
from gateway.identity import call_of, own_identity
from gateway.pages import NO_STORE, Page
from gateway.problems import MethodNotAllowed
from mesh import crashpoints
from mesh.rpc.contract import Method

HANDLE_WEBHOOK = "/giving.payment.v1.PaymentService/HandleProviderWebhook"
# The contract's bound of `body`, enforced before anyone computes a signature: strangers must not make us hash at length.
_BODY_BYTES_MAX = 1024 * 1024


def webhook(clients: Clients, method: Method) -> Page:
    """Answers 200 only when the payment service has made the event durable; anything else makes the provider retry."""

    async def take(exchange: Exchange) -> Answer:
        if exchange.method != "POST":
            raise MethodNotAllowed(allow="POST")
        body = await exchange.body(bytes_max=_BODY_BYTES_MAX)
        signature = exchange.header(b"stripe-signature")
        request = HandleProviderWebhookRequest(body=body, signature=signature)
        # The signature proves the sender, and the payment service checks it; on the wire the caller is the gateway.
        crashpoints.reach("gateway.webhook_taken")
        await clients.caller(method).unary(method, request, call_of(exchange, method, own_identity()))
        crashpoints.reach("gateway.webhook_answered")
        return Answer(200, b"{}", b"application/json", NO_STORE)

    return take
