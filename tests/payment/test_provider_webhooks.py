"""Webhooks at the gateway's door: what proves its sender is durable before the 2xx, everything else leaves no trace."""

from __future__ import annotations

import asyncio
import datetime
import json
import time
from typing import Any

import asyncpg
import pytest
from giving.payment.v1 import ledger_service_pb2, payment_pb2
from prometheus_client import REGISTRY

from tests.support.till import Till, confirm, order
from tests.support.waiting import until
from tests.support.webhooks import event_about, intent_shown, post, signed

P = payment_pb2.Payment


@pytest.fixture
async def payment(till: Till) -> payment_pb2.Payment:
    return (await till.create(order())).payment


@pytest.fixture
async def rows(till: Till) -> Any:
    """The rows of stored webhooks by id."""
    connection = await asyncpg.connect(till.schemas.admin_dsn, server_settings={"search_path": "payment"})

    async def find(event_id: str) -> asyncpg.Record | None:
        return await connection.fetchrow("SELECT state, reason, body FROM provider_event WHERE event_id = $1", event_id)

    yield find
    await connection.close()


def unproven(body: str, secret: str) -> dict[str, tuple[str, str | None]]:
    """Ways to send a body whose signature proves nothing."""
    good = signed(body, secret)
    stamp, _, mac = good.partition(",")
    return {
        "no header": (body, None),
        "an empty header": (body, ""),
        "garbage": (body, "garbage"),
        "no time": (body, mac),
        "no signature": (body, stamp),
        "only v0": (body, good.replace("v1=", "v0=")),
        "another secret": (body, signed(body, "whsec_of_a_stranger")),
        "one byte changed": (body.replace("2500", "2501", 1), good),
        "written anew": (json.dumps(json.loads(body), indent=1), good),
        "301 s old": (body, signed(body, secret, at=time.time() - 301)),
        "310 s ahead": (body, signed(body, secret, at=time.time() + 310)),
        "10 minutes ahead": (body, signed(body, secret, at=time.time() + 600)),
        "10 years ahead": (body, signed(body, secret, at=time.time() + 10 * 31_536_000)),
        "another time": (body, f"t={int(time.time()) - 1},{mac}"),
        "a hundred signatures": (body, f"{good},{','.join(['v1=' + 'a' * 64] * 100)}"),
        "two times": (body, f"t=1,{good}"),
    }


@pytest.mark.requirement("HKI-1")
@pytest.mark.parametrize("way", unproven("{}", "whsec_x"))
async def test_what_does_not_prove_its_sender_is_refused_and_leaves_nothing(till: Till, payment, rows, way: str) -> None:
    event_id = f"evt_{payment.payment_id.replace('-', '')}"
    secret = till.sandbox.webhook_secrets[0]
    body, signature = unproven(event_about(intent_shown(payment), event_id), secret)[way]
    assert await post(till, body, signature) == 400
    assert await rows(event_id) is None
    assert (await till.payment(payment.payment_id)).captured.minor_units == 0


@pytest.mark.requirement("HKI-1")
async def test_either_secret_is_good_while_they_are_rotated(till: Till, payment, rows) -> None:
    for number, secret in enumerate(till.sandbox.webhook_secrets):
        event_id = f"evt_rotation_{number}_{payment.provider_id}"
        body = event_about(intent_shown(payment), event_id, kind="invoice.paid")
        both = f"{signed(body, 'whsec_retired')},{signed(body, secret).partition(',')[2]}"
        assert await post(till, body, both) == 200
        assert (await rows(event_id))["state"] == 1


@pytest.mark.requirement("HKI-1")
@pytest.mark.parametrize("seconds", [-290, 290])
async def test_clocks_may_differ_by_five_minutes(till: Till, payment, rows, seconds: int) -> None:
    event_id = f"evt_clock_{payment.provider_id}"
    body = event_about(intent_shown(payment), event_id)
    assert await post(till, body, signed(body, till.sandbox.webhook_secrets[0], at=time.time() + seconds)) == 200
    assert (await rows(event_id))["state"] == 1


@pytest.mark.requirement("HKI-1", "SEC-6")
async def test_a_body_above_one_mebibyte_is_refused_before_anyone_computes(till: Till) -> None:
    assert await post(till, b"x" * (1024 * 1024 + 1), "t=1,v1=00") == 413
    assert await post(till, b"x" * (1024 * 1024), "t=1,v1=00") == 400


@pytest.mark.requirement("HKI-2", "HKI-3")
async def test_a_hundred_deliveries_of_one_event_have_one_effect(till: Till, payment, rows) -> None:
    event_id = f"evt_hundred_{payment.provider_id}"
    body = event_about(intent_shown(payment), event_id)
    signature = signed(body, till.sandbox.webhook_secrets[0])
    assert set(await asyncio.gather(*(post(till, body, signature) for _ in range(100)))) == {200}
    paid = await till.payment(payment.payment_id)
    assert (paid.state, paid.version) == (P.STATE_SUCCEEDED, payment.version + 1)
    request = ledger_service_pb2.ListEntriesRequest(reference_id=payment.payment_id)
    assert len((await till.ledger.ListEntries(request)).entries) == 2
    assert (await rows(event_id))["state"] == 1


def counted(kind: str, result: str) -> float:
    return REGISTRY.get_sample_value("webhook_events_total", {"type": kind, "result": result}) or 0


@pytest.mark.requirement("HKI-4")
async def test_webhooks_are_counted_by_type_and_by_what_became_of_them(till: Till, payment) -> None:
    """A type that we do not know makes no series of its own."""
    secret, invented = till.sandbox.webhook_secrets[0], f"radar.invented_{time.time_ns()}"
    sent = [
        ("payment_intent.succeeded", "applied", event_about(intent_shown(payment), f"evt_1_{payment.provider_id}")),
        ("payment_intent.succeeded", "repeated", event_about(intent_shown(payment), f"evt_1_{payment.provider_id}")),
        (
            "payment_intent.canceled",
            "quarantined",
            event_about(intent_shown(payment, amount=1), f"evt_2_{payment.provider_id}", kind="payment_intent.canceled"),
        ),
        (
            "payment_intent.processing",
            "parked",
            event_about(intent_shown(payment, id="pi_no"), f"evt_3_{payment.provider_id}", kind="payment_intent.processing"),
        ),
        ("other", "applied", event_about({"object": "radar"}, f"evt_4_{payment.provider_id}", kind=invented)),
    ]
    for kind, result, body in sent:
        before = counted(kind, result)
        assert await post(till, body, signed(body, secret)) == 200
        assert counted(kind, result) > before
    before = counted("other", "refused")
    assert await post(till, "{}", "t=1,v1=00") == 400
    assert counted("other", "refused") > before
    assert counted(invented, "applied") == 0


@pytest.mark.requirement("HKI-4")
async def test_unknown_types_are_stored_and_acknowledged(till: Till, payment, rows) -> None:
    event_id = f"evt_unknown_{payment.provider_id}"
    body = event_about({"object": "radar.something", "id": "rs_1"}, event_id, kind="radar.something.new")
    assert await post(till, body, signed(body, till.sandbox.webhook_secrets[0])) == 200
    assert (await rows(event_id))["state"] == 1


@pytest.mark.requirement("HKI-4")
async def test_an_event_about_something_unknown_is_parked_and_acknowledged(till: Till, rows) -> None:
    stranger = {"object": "payment_intent", "id": "pi_of_nobody", "status": "succeeded", "amount": 1, "currency": "usd"}
    event_id = f"evt_parked_{time.time_ns()}"
    body = event_about(stranger, event_id)
    assert await post(till, body, signed(body, till.sandbox.webhook_secrets[0])) == 200
    parked = await rows(event_id)
    assert (parked["state"], parked["reason"]) == (2, "what it is about is not known yet")
    till.clock.advance(datetime.timedelta(days=3))
    await until(lambda: rows(event_id), holds=lambda row: row["state"] == 3)


@pytest.mark.requirement("HKI-4")
async def test_a_webhook_that_comes_before_our_own_answer_is_applied_as_soon_as_that_is_there(till: Till, rows) -> None:
    """The clock stands still: what is parked becomes due only because its intent becomes known."""
    await till.sandbox.webhook_fault("before_answer", times=20)
    created = await till.create(order())
    (event,) = till.sandbox.hooks.taken(about=created.payment.provider_id, kind="payment_intent.created")
    await until(lambda: rows(event["id"]), holds=lambda row: row["state"] == 1)


@pytest.mark.requirement("HKI-4", "PAY-4")
async def test_a_charge_never_finds_a_payment_by_metadata(till: Till, rows) -> None:
    await till.sandbox.webhook_fault("withhold", times=20)
    await till.sandbox.fault("error_500", call="payment_intents.create")
    unproven = (await till.create(order())).payment
    charge = {
        "object": "charge",
        "id": "ch_of_a_stranger",
        "payment_intent": "pi_of_a_stranger",
        "status": "succeeded",
        "amount": 2500,
        "amount_captured": 2500,
        "currency": "usd",
        "created": int(time.time()),
        "metadata": {"donation_id": unproven.donation_id},
    }
    event_id = f"evt_stranger_{time.time_ns()}"
    body = event_about(charge, event_id, kind="charge.succeeded")
    assert await post(till, body, signed(body, till.sandbox.webhook_secrets[0])) == 200
    assert (await rows(event_id))["state"] == 2
    assert (await till.payment(unproven.payment_id)).captured.minor_units == 0


@pytest.mark.requirement("HKI-4")
async def test_a_parked_webhook_that_cannot_be_applied_stands_in_no_others_way(till: Till, payment, rows) -> None:
    stranger = intent_shown(payment, id=f"pi_poison_{time.time_ns()}")
    poison, sound = f"evt_poison_{time.time_ns()}", f"evt_sound_{time.time_ns()}"
    for event_id in (poison, sound):
        body = event_about(stranger, event_id)
        assert await post(till, body, signed(body, till.sandbox.webhook_secrets[0])) == 200
    spoilt = "UPDATE provider_event SET intent_id = intent_id, body = '' , next_attempt_time = $2 WHERE event_id = $1"
    connection = await asyncpg.connect(till.schemas.admin_dsn, server_settings={"search_path": "payment"})
    await connection.execute(spoilt, poison, till.clock.now() - datetime.timedelta(hours=1))
    await connection.close()
    till.clock.advance(datetime.timedelta(days=3))
    await until(lambda: rows(sound), holds=lambda row: row["state"] == 3)
    assert (await rows(poison))["state"] == 3


LIES = {
    "another amount": {"amount": 2501, "amount_received": 2501},
    "another currency": {"currency": "eur"},
    "more captured": {"amount_received": 2501},
    "another donation": {"metadata": {"donation_id": "01890000-0000-7000-8000-000000000001"}},
    "a status that nobody knows": {"status": "on_hold"},
    "an amount that is no number": {"amount": "much"},
}


@pytest.mark.requirement("HKI-4")
@pytest.mark.parametrize("lie", LIES)
async def test_what_contradicts_our_books_is_kept_apart_and_posts_nothing(till: Till, payment, rows, lie: str) -> None:
    event_id = f"evt_lie_{payment.provider_id}"
    body = event_about(intent_shown(payment, **LIES[lie]), event_id)
    assert await post(till, body, signed(body, till.sandbox.webhook_secrets[0])) == 200
    assert (await rows(event_id))["state"] == 3
    unchanged = await till.payment(payment.payment_id)
    assert (unchanged.state, unchanged.version) == (payment.state, payment.version)


async def test_metadata_alone_never_finds_a_payment_whose_intent_is_known(till: Till, payment, rows) -> None:
    event_id = f"evt_claim_{payment.provider_id}"
    body = event_about(intent_shown(payment, id="pi_of_a_stranger"), event_id)
    assert await post(till, body, signed(body, till.sandbox.webhook_secrets[0])) == 200
    assert (await rows(event_id))["state"] == 2
    assert (await till.payment(payment.payment_id)).captured.minor_units == 0


@pytest.mark.parametrize("more", [{"account": "acct_of_another"}])
async def test_events_of_other_accounts_are_stored_without_effect(till: Till, payment, rows, more: dict[str, Any]) -> None:
    event_id = f"evt_foreign_{payment.provider_id}"
    body = event_about(intent_shown(payment), event_id, **more)
    assert await post(till, body, signed(body, till.sandbox.webhook_secrets[0])) == 200
    assert (await rows(event_id))["reason"] == "of another account"
    assert (await till.payment(payment.payment_id)).captured.minor_units == 0


@pytest.mark.requirement("HKI-1")
@pytest.mark.parametrize(
    "body",
    [
        "not json",
        "[]",
        "null",
        "{}",
        '{"id": "evt_1", "type": "x", "created": 1, "livemode": false, "data": {}}',
        '{"id": "evt\\u0000", "type": "x", "created": 1, "livemode": false, "data": {"object": {}}}',
        '{"id": "evt_1", "type": "x", "created": 1e400, "livemode": false, "data": {"object": {}}}',
        '{"id": "evt_1", "type": "x", "created": 1, "livemode": true, "data": {"object": {}}}',
        '{"id": 7, "type": "x", "created": 1, "livemode": false, "data": {"object": {}}}',
        "[" * 50_000,
    ],
    ids=range(10),
)
async def test_what_is_signed_and_no_event_of_this_mode_is_refused(till: Till, body: str) -> None:
    assert await post(till, body, signed(body, till.sandbox.webhook_secrets[0])) == 400


@pytest.mark.requirement("HKI-1")
async def test_bytes_that_are_no_text_are_refused(till: Till) -> None:
    assert await post(till, b"\xff\xfe", "t=1,v1=00") == 400


async def test_the_body_is_kept_sealed(till: Till, payment, rows) -> None:
    await confirm(till.sandbox, (await till.create(order())).client_secret)
    event_id = f"evt_sealed_{payment.provider_id}"
    body = event_about(intent_shown(payment, description="ada@example.org"), event_id)
    assert await post(till, body, signed(body, till.sandbox.webhook_secrets[0])) == 200
    assert b"ada@example.org" not in (await until(lambda: rows(event_id)))["body"]
