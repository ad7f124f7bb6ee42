"""Rows as payments."""

from __future__ import annotations

from collections.abc import Iterable

import asyncpg

from mesh.money import Money
from payment_svc.domain.payments import (
    Attempt,
    AttemptKind,
    Dispute,
    DisputeState,
    IntentStatus,
    Outcome,
    Payment,
    Progress,
    ReturnsSaid,
    in_order,
)


def payment_from(row: asyncpg.Record, attempts: Iterable[asyncpg.Record], disputes: Iterable[asyncpg.Record]) -> Payment:
    """A payment of its row and of those rows that belong to it."""
    return Payment(
        id=row["id"],
        charity_id=row["charity_id"],
        campaign_id=row["campaign_id"],
        donation_id=row["donation_id"],
        amount=Money(row["amount"], row["currency"]),
        manual_capture=row["manual_capture"],
        version=row["version"],
        create_time=row["create_time"],
        update_time=row["update_time"],
        attempts=in_order(_attempt(attempt) for attempt in attempts if attempt["payment_id"] == row["id"]),
        disputes=tuple(_dispute(dispute) for dispute in disputes if dispute["payment_id"] == row["id"]),
        returns_said=_said(row),
        captured=row["captured"],
        refunded=row["refunded"],
        refunding=row["refunding"],
        disputed=row["disputed"],
        lost=row["lost"],
        provider_id=row["provider_id"] or "",
        client_secret=row["client_secret"],
        progress=_progress(row),
        canceled=row["canceled"],
        refused=row["refused"],
        unwanted=row["unwanted"],
        contradiction=row["contradiction"],
        look_demanded=row["look_demanded"],
        manual_reason=row["manual_reason"],
        next_attempt_time=row["next_attempt_time"],
    )


def _progress(row: asyncpg.Record) -> Progress | None:
    if row["progress_second"] is None:
        return None
    return Progress(row["progress_second"], IntentStatus(row["progress_status"]), row["progress_code"])


def _said(row: asyncpg.Record) -> ReturnsSaid | None:
    if row["said_second"] is None:
        return None
    return ReturnsSaid(row["said_second"], row["said_refunded"], row["said_disputed"])


def _attempt(row: asyncpg.Record) -> Attempt:
    return Attempt(
        id=row["id"],
        kind=AttemptKind(row["kind"]),
        outcome=Outcome(row["outcome"]),
        object_id=row["object_id"] or "",
        code=row["code"],
        captured=row["captured"],
        second=row["second"],
        amount=row["amount"],
        reason=row["reason"],
        request_key=row["request_key"],
        calls=row["calls"],
        refusals=row["refusals"],
        last_call_time=row["last_call_time"],
        saved=row["saved"],
        doubt_time=row["doubt_time"],
        key_time=row["key_time"],
        create_time=row["create_time"],
        end_time=row["end_time"],
    )


def _dispute(row: asyncpg.Record) -> Dispute:
    return Dispute(
        provider_id=row["provider_id"],
        amount=row["amount"],
        state=DisputeState(row["state"]),
        withdrawals=row["withdrawals"],
        reinstatements=row["reinstatements"],
        reason=row["reason"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )
