"""Donation events become deltas. An event that is not understood breaks nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import protovalidate
from giving.common.v1.event_pb2 import Event
from giving.donation.v1 import event_pb2
from google.protobuf.message import DecodeError, Message

from aggregator_svc import convert
from aggregator_svc.domain import CampaignWord, Delta
from aggregator_svc.service import Totals
from mesh.events.consumer import EventRefused
from mesh.events.partitions import Partitions

DURABLE = "aggregator-totals"

_KNOWN: Mapping[str, type[Message]] = {
    message.DESCRIPTOR.full_name: message
    for message in (
        event_pb2.CampaignChanged,
        event_pb2.DonationDisputeChanged,
        event_pb2.DonationRefunded,
        event_pb2.DonationSucceeded,
    )
}


class DonationEvents:
    """Applies what moves totals."""

    def __init__(self, totals: Totals, partitions: Partitions) -> None:
        self._totals = totals
        self._partitions = partitions

    async def apply(self, events: Sequence[Event]) -> None:
        """Counts each event once, all or none.

        Raises:
            EventRefused: one of them breaks the contract.
        """
        deltas: list[Delta] = []
        words: list[CampaignWord] = []
        for event in events:
            data = _decode(event)
            if isinstance(data, event_pb2.CampaignChanged):
                words.append(convert.campaign_word(data))
            elif data is not None:
                deltas.append(convert.delta(event, data.change))  # type: ignore[attr-defined] # every other one has it
        await self._partitions.ensure("applied", {delta.day for delta in deltas})
        await self._totals.apply(deltas, words)


def _decode(event: Event) -> Message | None:
    message_class = _KNOWN.get(event.type)
    if message_class is None:
        return None
    try:
        data = message_class.FromString(event.data)
    except DecodeError as error:
        raise EventRefused("data is not what its type says") from error
    if protovalidate.collect_violations(data, fail_fast=True):
        raise EventRefused("data breaks its contract")
    return data
