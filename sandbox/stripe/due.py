"""What happens by itself as time passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sandbox.stripe import charging, disputes, intents, ledger, payouts, refunds
from sandbox.stripe.own import own
from sandbox.stripe.work import Object, Work

# Tasks of one transaction; what is left waits for the next.
BATCH_MAX = 200
# What is done about the object of an id.
Task = Callable[[Work, str], Any]


def _to(kind: str, act: Callable[[Work, Object], Any]) -> Task:
    """The act on an object of the kind."""
    return lambda work, subject: act(work, work.get(kind, subject))


def _announce_balance(work: Work, _: str) -> None:
    ledger.announce_balance(work)


def _settle_charge(work: Work, charge: Object) -> None:
    charging.settle(work, charge)
    work.save(charge)
    work.announce("charge.updated", charge, previous={"balance_transaction": None})


def _open_dispute(work: Work, charge: Object) -> None:
    reason, inquiry = disputes.BY_CARD[own(charge)["after"]]
    if not charge["disputed"]:
        disputes.open_dispute(work, charge, reason=reason, inquiry=inquiry)


TASKS: Mapping[str, Task] = {
    "settle_charge": _to("charge", _settle_charge),
    "open_dispute": _to("charge", _open_dispute),
    "expire_authorisation": _to("payment_intent", intents.expire),
    "finish_debit": _to("payment_intent", intents.finish_debit),
    "finish_refund": _to("refund", refunds.finish),
    "fail_refund": _to("refund", refunds.fail),
    "dispute_won": _to("dispute", disputes.win),
    "dispute_lost": _to("dispute", disputes.lose),
    "finish_payout": _to("payout", payouts.finish),
    "announce_balance": _announce_balance,
}


def happen(work: Work) -> bool:
    """Lets what is due happen; whether anything did, which may have made more of it due."""
    now = work.now
    taken = work.ask("take_due", now, BATCH_MAX).fetchall()
    for _, name, subject, at in sorted(taken, key=lambda row: (row[3], row[0])):
        # Each happens at its own moment, also when the clock jumped over it.
        work.now = at
        TASKS[name](work, subject)
    work.now = now
    return bool(taken)
