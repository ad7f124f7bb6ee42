"""Calls to the payment service, as the donation service itself."""

from __future__ import annotations

import time

from giving.common.v1.identity_pb2 import Identity
from giving.common.v1.policy_pb2 import ROLE_INTERNAL
from giving.payment.v1 import payment_service_pb2
from giving.payment.v1.payment_service_pb2 import AbandonPaymentRequest, CreatePaymentRequest, RefundPaymentRequest

from donation_svc import convert
from donation_svc.domain.donations import Donation
from donation_svc.domain.payments import PaymentWord
from donation_svc.service.payments import PaymentAnswer, RefundAnswer
from mesh.rpc.call import Call, current_call
from mesh.rpc.channel import Caller, own_call
from mesh.rpc.contract import Method, methods_of, services_of

_SERVICE = "/giving.payment.v1.PaymentService"
_SELF = Identity(roles=[ROLE_INTERNAL], subject="donation")


class PaymentClient:
    """PaymentService."""

    def __init__(self, caller: Caller) -> None:
        methods = methods_of(services_of([payment_service_pb2]))
        self._caller = caller
        self._create = methods[f"{_SERVICE}/CreatePayment"]
        self._abandon = methods[f"{_SERVICE}/AbandonPayment"]
        self._refund = methods[f"{_SERVICE}/RefundPayment"]

    async def create_payment(self, donation: Donation) -> PaymentAnswer:
        """The donation's payment, new or known, and what the donor confirms it with.

        Raises:
            Refusal: the payment service said no, or did not answer.
        """
        request = convert.payment_request(donation, CreatePaymentRequest)
        request.manual_capture = donation.manual_capture
        answer = await self._caller.unary(self._create, request, _call(self._create))
        return PaymentAnswer(convert.word_from_payment(answer.payment), answer.client_secret)

    async def abandon_payment(self, donation: Donation) -> PaymentWord:
        """The donation's payment, called off for ever.

        Raises:
            Refusal: it succeeded, or is not called off yet.
        """
        request = convert.payment_request(donation, AbandonPaymentRequest)
        answer = await self._caller.unary(self._abandon, request, _call(self._abandon))
        return convert.word_from_payment(answer.payment)

    async def refund_payment(self, request: RefundPaymentRequest) -> RefundAnswer:
        """The payment after a refund, new or known by the request's key.

        Raises:
            Refusal: the payment service or the provider said no, or did not answer.
        """
        call = _call(self._refund)
        answer = await self._caller.unary(self._refund, request, call)
        return RefundAnswer(convert.word_from_payment(answer.payment), call.is_replayed)


def _call(method: Method) -> Call:
    """A call in our own name that ends with the current one and belongs to its trace."""
    current = current_call()
    if current is None:
        return own_call(subject=method.path, identity=_SELF, deadline=time.monotonic() + method.deadline_s)
    return Call(method.path, _SELF, current.correlation_id, current.traceparent, current.deadline)
