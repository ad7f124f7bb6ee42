import pytest
from giving.common.v1 import error_pb2

from mesh.errors import DependencyUnavailable, Refusal

HOOK = "/webhooks/stripe"


class WebhookUnverified(Refusal):
    reason = error_pb2.ERROR_REASON_WEBHOOK_UNVERIFIED


async def test_a_webhook_reaches_the_payment_service_byte_for_byte(rest, upstreams):
    body = b'{"id": "evt_1",\n\t"odd":  "\xc3\xa9" }'
    async with rest.post(HOOK, data=body, headers={"Stripe-Signature": "t=1,v1=a,v1=b"}) as answer:
        assert answer.status == 200
    request = upstreams.payments.requests["HandleProviderWebhook"]
    assert request.body == body
    assert request.signature == "t=1,v1=a,v1=b"
    assert b"gateway" in upstreams.payments.metadata["HandleProviderWebhook"]["giving-identity-bin"]


async def test_a_webhook_that_is_not_durable_is_not_acknowledged(rest, upstreams):
    unavailable = DependencyUnavailable("no database", retry_after_s=1, dependency="postgresql")
    upstreams.payments.refusals["HandleProviderWebhook"] = unavailable
    async with rest.post(HOOK, data=b"{}") as answer:
        assert answer.status == 503


async def test_an_unverified_webhook_is_refused_without_saying_why(rest, upstreams):
    upstreams.payments.refusals["HandleProviderWebhook"] = WebhookUnverified("unverified")
    async with rest.post(HOOK, data=b"{}") as answer:
        assert answer.status == 400
        assert (await answer.json(content_type=None))["reason"] == "WEBHOOK_UNVERIFIED"


@pytest.mark.requirement("SEC-6")
@pytest.mark.parametrize(("size", "status"), [(1024 * 1024, 200), (1024 * 1024 + 1, 413)])
async def test_a_webhook_may_have_a_mebibyte_and_no_more(rest, size, status):
    async def parts():
        yield b" " * size

    async with rest.post(HOOK, data=parts()) as answer:
        assert answer.status == status


async def test_only_post_reaches_the_webhook(rest):
    async with rest.get(HOOK) as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "POST"
