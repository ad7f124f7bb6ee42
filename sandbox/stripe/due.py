"""What happens by itself as time passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.stripe import charging, disputes, intents, refunds
from sandbox.stripe.own import own
from sandbox.stripe.work import Object, Work

# Tasks of one transaction; what is left waits for the next.
BATCH_MAX = 200


@dataclass(frozen=True, slots=True)
class Task:
    """`run` gets the object of the kind."""

    kind: str
    run: Callable[[Work, Object], Any]


def _settle_charge(work: Work, charge: Object) -> None:
    charging.settle(work, charge)
    work.save(charge)
    work.announce("charge.updated", charge, previous={"balance_transaction": None})


def _open_dispute(work: Work, charge: Object) -> None:
    reason, inquiry = disputes.BY_CARD[own(charge)["after"]]
    if not charge["disputed"]:
        disputes.open_dispute(work, charge, reason=reason, inquiry=inquiry)


TASKS: Mapping[str, Task] = {
    "settle_charge": Task("charge", _settle_charge),
    "open_dispute": Task("charge", _open_dispute),
    "expire_authorisation": Task("payment_intent", intents.expire),
    "finish_debit": Task("payment_intent", intents.finish_debit),
    "finish_refund": Task("refund", refunds.finish),
    "fail_refund": Task("refund", refunds.fail),
    "dispute_won": Task("dispute", disputes.win),
    "dispute_lost": Task("dispute", disputes.lose),
}


def happen(work: Work) -> bool:
    """Lets what is due happen; whether anything did, which may have made more of it due."""
    now = work.now
    taken = work.ask("take_due", now, BATCH_MAX).fetchall()
    for _, name, subject, at in sorted(taken, key=lambda row: (row[3], row[0])):
        task = TASKS[name]
        # Each happens at its own moment, also when the clock jumped over it.
        work.now = at
        task.run(work, work.get(task.kind, subject))
    work.now = now
    return bool(taken)
