"""Which guards are left out, and what a run has to bring about so that each is missed.

Where random faults would need minutes to meet the moment that a guard is for, its run has a schedule of its own, or the one
point of `mesh.crashpoints` at which lives end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos.plan import Plan
from chaos.proxy import Mode
from chaos.schedule import Fault

_HERE = Path(__file__).parent
Points = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A mesh without one of its guards.

    `faults`, `points`: what its run does, and at which points lives end; `losses`: whether the stream is lost on the way.
    """

    name: str
    guard: str
    seconds: float = 12.0
    losses: bool = False
    faults: Sequence[Fault] = ()
    points: Points = field(default_factory=dict)

    @property
    def patch(self) -> Path:
        return _HERE / f"{self.name}.patch"

    def plan(self, seed: str, *, tree: Path) -> Plan:
        return Plan(seed=seed, seconds=self.seconds, losses=self.losses, tree=str(tree), points=self.points)


def _again(target: str, kind: str, *, at_s: Sequence[float], seconds: float = 0.0, amount: int = 0) -> list[Fault]:
    return [Fault(at_s=moment, target=target, kind=kind, seconds=seconds, amount=amount) for moment in at_s]


MUTANTS = (
    Mutant(
        name="gift_recorded_twice",
        guard="the unique key of a donation: a repeat finds the first one",
        seconds=8,
    ),
    Mutant(
        name="promise_key_forgotten",
        guard="the key of a promise is the request's: a repeat gets the first answer",
        seconds=8,
    ),
    Mutant(
        name="gift_answered_first",
        guard="a gift is answered when it is durable",
        faults=[*_again("donation", "kill", at_s=(4, 7, 10)), *_again("postgres", "kill", at_s=(5.5, 8.5))],
    ),
    Mutant(
        name="event_apart",
        guard="an event is written in the transaction of its change",
        seconds=15,
        points={"donation": {"donation.charged_recorded": 15}},
    ),
    Mutant(
        name="relay_by_id",
        guard="the relay's position is a snapshot, not the last number that it read",
        seconds=16,
        faults=_again("donation.DATABASE_URL", Mode.DELAY, at_s=(3, 6, 9, 12), seconds=2.5, amount=60),
    ),
    Mutant(
        name="marked_before_published",
        guard="the relay moves its position when the broker has acknowledged",
        faults=_again("nats", "kill", at_s=(5, 10)),
        points={"donation": {"relay.publishing": 20}, "payment": {"relay.publishing": 20}},
    ),
    Mutant(
        name="acknowledged_before_applied",
        guard="a consumer acknowledges last",
        points={"aggregator": {"consumer.applying": 12}, "donation": {"consumer.applying": 12}},
    ),
    Mutant(
        name="event_counted_twice",
        guard="the aggregator counts an event once, by its id",
        seconds=15,
        points={"aggregator": {"consumer.applied": 12}},
    ),
    Mutant(
        name="totals_added_up_in_redis",
        guard="what is written to Redis is the whole total, not what was added",
        faults=[
            *_again("valkey", "wipe", at_s=(5, 10)),
            *_again("aggregator.REDIS_URL", Mode.HALF_IN, at_s=(4, 8), seconds=1.0),
        ],
    ),
    Mutant(
        name="stream_not_healed",
        guard="what a stream has lost is published again",
        losses=True,
        faults=[
            *_again("aggregator", "pause", at_s=(6,), seconds=3.0),
            *_again("nats", "wipe", at_s=(7.5,)),
        ],
    ),
    Mutant(
        name="backlog_not_healed",
        guard="a stream is healed from what the slowest consumer had acknowledged",
        losses=True,
        faults=[
            *_again("aggregator", "pause", at_s=(6,), seconds=3.0),
            *_again("nats", "wipe", at_s=(8.5,)),
        ],
    ),
    Mutant(
        name="webhook_answered_first",
        guard="a webhook is answered when it is durable",
        points={"payment": {"webhook.applied": 8}},
    ),
    Mutant(
        name="parked_counts_as_applied",
        guard="a webhook that nothing is known to apply to is looked at again",
        faults=[
            *_again("webhooks", "before_answer", at_s=(3, 5, 7, 9, 11), amount=6, seconds=2.0),
            *_again("provider", "answer_lost", at_s=(4, 6, 8, 10), amount=4, seconds=2.0),
        ],
    ),
    Mutant(
        name="last_word_wins",
        guard="what was captured stays captured, whatever is heard later",
        faults=_again("webhooks", "reorder", at_s=range(2, 11), amount=5, seconds=1.0),
    ),
    Mutant(
        name="refunds_summed_up",
        guard="what went back is the sum over refunds, each once",
        seconds=10,
    ),
    Mutant(
        name="refunds_not_bounded",
        guard="no more is asked to go back than was taken",
        seconds=10,
    ),
    Mutant(
        name="payment_not_locked",
        guard="a payment is locked while a fact is applied to it",
        faults=[
            *_again("payment.DATABASE_URL", Mode.DELAY, at_s=(3, 8), seconds=4.0, amount=20),
            *_again("webhooks", "two_events", at_s=(3, 6, 9), amount=6, seconds=2.0),
        ],
    ),
    Mutant(
        name="stripe_key_left_out",
        guard="a call that is made again carries the same idempotency key",
        faults=_again("provider", "answer_lost", at_s=(3, 5, 7, 9, 11), amount=4, seconds=2.0),
    ),
    Mutant(
        name="posting_left_out",
        guard="the ledger is posted in the transaction of the payment's change",
        seconds=6,
    ),
)
