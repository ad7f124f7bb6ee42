"""Facts of one payment of 2,500 US cents, as the provider would show them."""

from __future__ import annotations

import datetime
from functools import reduce
from typing import Any
from uuid import UUID

from mesh.ids import new_id, new_tenant_id
from mesh.money import Money
from payment_svc.domain.advance import advance
from payment_svc.domain.facts import ChargeSeen, DisputeSeen, Fact, IntentSeen, RefundSeen
from payment_svc.domain.payments import (
    Attempt,
    AttemptKind,
    DisputeState,
    IntentStatus,
    Outcome,
    Payment,
    Progress,
    ReturnsSaid,
)

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
AMOUNT = Money(2500, "USD")
DONATION = UUID("01890000-0000-7000-8000-000000000001")


def payment(**more: Any) -> Payment:
    """Recorded a moment ago; its first call has not been made."""
    charity = new_tenant_id()
    call = Attempt(new_id(tenant_id=charity), AttemptKind.CREATE_INTENT, Outcome.PENDING, create_time=NOW)
    return Payment(
        **{
            "id": new_id(tenant_id=charity),
            "charity_id": charity,
            "campaign_id": new_id(tenant_id=charity),
            "donation_id": DONATION,
            "amount": AMOUNT,
            "manual_capture": False,
            "version": 1,
            "create_time": NOW,
            "update_time": NOW,
            "attempts": (call,),
        }
        | more
    )


def intent(status: IntentStatus, second: int = 1, *, captured: int = 0, code: str = "", **more: Any) -> IntentSeen:
    fields = {"provider_id": "pi_1", "amount": AMOUNT, "donation_id": str(DONATION), "client_secret": "pi_1_secret_x"}
    return IntentSeen(progress=Progress(second, status, code), captured=captured, **fields | more)


def charge(charge_id: str, outcome: Outcome, second: int = 1, **more: Any) -> ChargeSeen:
    captured = AMOUNT.minor_units if outcome is Outcome.SUCCEEDED else 0
    code = "insufficient_funds" if outcome is Outcome.REFUSED else ""
    return ChargeSeen(
        **{
            "charge_id": charge_id,
            "amount": AMOUNT,
            "outcome": outcome,
            "captured": captured,
            "code": code,
            "second": second,
        }
        | more
    )


def said(second: int, refunded: int, *, disputed: bool = False) -> ChargeSeen:
    """The charge as it shows itself after something went back."""
    return charge("ch_9", Outcome.SUCCEEDED, 9, said=ReturnsSaid(second, refunded, disputed))


def refund(refund_id: str, minor_units: int, outcome: Outcome = Outcome.SUCCEEDED, **more: Any) -> RefundSeen:
    fields = {"amount": Money(minor_units, "USD"), "outcome": outcome, "second": 20}
    return RefundSeen(refund_id, **fields | more)


def dispute(
    dispute_id: str, minor_units: int, state: DisputeState, withdrawals: int = 0, reinstatements: int = 0
) -> DisputeSeen:
    return DisputeSeen(dispute_id, Money(minor_units, "USD"), state, withdrawals, reinstatements, "fraudulent")


def after(*facts: Fact, start: Payment | None = None) -> Payment:
    return reduce(advance, facts, start or payment())


READY = intent(IntentStatus.REQUIRES_PAYMENT_METHOD)
PAID = (intent(IntentStatus.SUCCEEDED, 9, captured=2500), charge("ch_9", Outcome.SUCCEEDED, 9))
DECLINED = (
    intent(IntentStatus.DECLINED, 5, code="insufficient_funds"),
    charge("ch_5", Outcome.REFUSED, 5),
)
