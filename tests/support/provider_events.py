"""A payment's life as the events that Stripe would send of it, drawn at random, each signed."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import time
from dataclasses import dataclass
from typing import Any

SECRET = "whsec_of_histories"
AMOUNT = 10_000
# How often an event is delivered on a bad day: mostly once or twice, now and then ten times.
TIMES = (1, 1, 1, 1, 1, 2, 2, 3, 10)
Event = dict[str, Any]


def signed(event: Event) -> tuple[bytes, str]:
    """Body and header."""
    body = json.dumps(event).encode()
    second = int(time.time())
    mac = hmac.new(SECRET.encode(), f"{second}.".encode() + body, hashlib.sha256).hexdigest()
    return body, f"t={second},v1={mac}"


@dataclass
class Life:
    """What Stripe shows of one payment; `events` are what it sent, in the order in which things happened."""

    name: str
    donation_id: str
    draw: random.Random
    second: int = 1_700_000_000
    refunded: int = 0
    disputed: int = 0
    captured: int = 0

    def __post_init__(self) -> None:
        self.events: list[Event] = []

    @property
    def intent_id(self) -> str:
        return f"pi_{self.name}"

    def live(self) -> Life:
        """A whole life."""
        self._intent("payment_intent.created", "requires_payment_method")
        for number in range(self.draw.randint(0, 2)):
            self._decline(number)
        if self.draw.random() < 0.1:
            self._intent("payment_intent.canceled", "canceled")
            return self
        self._pay()
        for number in range(self.draw.randint(0, 3)):
            self._refund(number)
        if self.draw.random() < 0.4:
            self._dispute()
        return self

    def _decline(self, number: int) -> None:
        error = {"code": "card_declined", "decline_code": "insufficient_funds"}
        self._charge("charge.failed", f"failed{number}", status="failed", failure_code="insufficient_funds")
        self._intent("payment_intent.payment_failed", "requires_payment_method", last_payment_error=error)

    def _pay(self) -> None:
        self.captured = AMOUNT
        self._charge("charge.succeeded", "taken", status="succeeded", amount_captured=AMOUNT)
        self._intent("payment_intent.succeeded", "succeeded", amount_received=AMOUNT)

    def _refund(self, number: int) -> None:
        amount = min(self.draw.randint(1, AMOUNT // 2), AMOUNT - self.refunded)
        if amount < 1:
            return
        shown = {"id": f"re_{self.name}_{number}", "object": "refund", "amount": amount, "status": "pending"}
        self._send("refund.created", shown | self._of_charge())
        self.refunded += amount
        self._taken_again("charge.refunded")
        self._send("refund.updated", shown | {"status": "succeeded"} | self._of_charge())
        if self.draw.random() < 0.3:
            self.refunded -= amount
            failed = shown | {"status": "failed", "failure_reason": "expired_or_canceled_card"} | self._of_charge()
            self._send("charge.refund.updated", failed)
            self._send("refund.failed", failed)

    def _dispute(self) -> None:
        amount = AMOUNT - self.refunded
        if amount < 1:
            return
        shown = {"id": f"dp_{self.name}", "object": "dispute", "amount": amount, "reason": "fraudulent"} | self._of_charge()
        moved: list[dict[str, int]] = []
        if self.draw.random() < 0.5:
            self._send("charge.dispute.created", shown | {"status": "warning_needs_response", "balance_transactions": []})
        moved = [{"amount": -amount}]
        self.disputed = amount
        self._send("charge.dispute.funds_withdrawn", shown | {"status": "needs_response", "balance_transactions": moved})
        self._send("charge.dispute.updated", shown | {"status": "under_review", "balance_transactions": moved})
        verdict = self.draw.choice(["won", "lost", ""])
        if verdict == "won":
            moved = [*moved, {"amount": amount}]
            self.disputed = 0
            self._send("charge.dispute.funds_reinstated", shown | {"status": "won", "balance_transactions": moved})
        if verdict:
            self._send("charge.dispute.closed", shown | {"status": verdict, "balance_transactions": moved})

    def _of_charge(self) -> Event:
        return {"charge": f"ch_{self.name}_taken", "payment_intent": self.intent_id, "currency": "usd", "metadata": {}}

    def _taken_again(self, kind: str) -> None:
        self._charge(kind, "taken", status="succeeded", amount_captured=AMOUNT, amount_refunded=self.refunded)

    def _intent(self, kind: str, status: str, **more: Any) -> None:
        shown = {
            "id": self.intent_id,
            "object": "payment_intent",
            "status": status,
            "amount": AMOUNT,
            "currency": "usd",
            "metadata": {"donation_id": self.donation_id},
            "client_secret": f"{self.intent_id}_secret",
        }
        self._send(kind, shown | more)

    def _charge(self, kind: str, name: str, **more: Any) -> None:
        shown = {"id": f"ch_{self.name}_{name}", "object": "charge", "amount": AMOUNT, "disputed": False}
        self._send(kind, shown | self._of_charge() | more)

    def _send(self, kind: str, shown: Event) -> None:
        self.second += self.draw.randint(0, 2)
        known = [event["data"]["object"] for event in self.events if event["data"]["object"]["id"] == shown["id"]]
        created = known[0]["created"] if known else self.second
        self.events.append(
            {
                "id": f"evt_{self.name}_{len(self.events)}",
                "object": "event",
                "type": kind,
                "created": self.second,
                "livemode": False,
                "data": {"object": {"created": created} | shown},
            }
        )


def confused(events: list[Event], draw: random.Random) -> list[Event]:
    """The same events as a bad day brings them: shuffled, each once to ten times, some under two ids, one in ten last."""
    twice = [event | {"id": f"{event['id']}_again"} for event in events if draw.random() < 0.1]
    everything = [*events, *twice]
    late = [event for event in everything if draw.random() < 0.1]
    soon = [event for event in everything if event not in late for _ in range(draw.choice(TIMES))]
    draw.shuffle(soon)
    draw.shuffle(late)
    return soon + late
