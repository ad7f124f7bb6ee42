"""Every invariant that can be read from outside today, by the numbers of docs/invariants.md."""

from __future__ import annotations

from cli.invariants.agreement import same_when_quiet
from cli.invariants.events import events_are_complete
from cli.invariants.fences import donations_once, keys_for_ever
from cli.invariants.invariant import Invariant
from cli.invariants.ledger import ledger_says_payments, zero_sum
from cli.invariants.money import bounds, charged_once, nothing_from_nothing, returned_once, states_are_facts
from cli.invariants.ownership import one_owner
from cli.invariants.settings import durable_settings
from cli.invariants.totals import never_above, totals_are_sums
from cli.invariants.trail import trail_is_whole
from cli.invariants.webhooks import taken_is_kept

INVARIANTS = (
    Invariant(number="P1", name="what is answered is durable", unit="settings", check=durable_settings),
    Invariant(number="P2", name="each donation exists once, as it was made", unit="donations", check=donations_once),
    Invariant(number="P3", name="nothing comes from nothing", unit="payments", check=nothing_from_nothing),
    Invariant(number="P4", name="a key is one thing for ever", unit="keys", check=keys_for_ever),
    Invariant(number="P5", name="a donation is charged once", unit="payments", check=charged_once),
    Invariant(
        number="P6", name="states are what the facts amount to", unit="donations and payments", check=states_are_facts
    ),
    Invariant(number="P7", name="no webhook that was taken is lost", unit="webhooks", check=taken_is_kept),
    Invariant(number="P8", name="the ledger sums to zero and only grows", unit="postings", check=zero_sum),
    Invariant(number="P9", name="ledger, payments and donations agree", unit="payments", check=ledger_says_payments),
    Invariant(number="P10", name="no more goes back than was taken", unit="donations and payments", check=bounds),
    Invariant(number="P11", name="each refund, dispute and reversal counts once", unit="of them", check=returned_once),
    Invariant(number="P12", name="totals are the sum of their events", unit="totals", check=totals_are_sums),
    Invariant(
        number="P13", name="every book says the same when quiet", unit="campaigns and currencies", check=same_when_quiet
    ),
    Invariant(number="P14", name="nothing shows more than is committed", unit="shown totals", check=never_above),
    Invariant(number="P17", name="every change is told, and taken once", unit="events", check=events_are_complete),
    Invariant(number="P22", name="everything belongs to one charity", unit="donations and payments", check=one_owner),
    Invariant(number="P25", name="the audit trail is whole", unit="entries", check=trail_is_whole),
)
