"""Donation events become deltas. An event that is not understood breaks nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from giving.common.v1.event_pb2 import Event
from giving.donation.v1 import event_pb2
from google.protobuf.message import Message

from aggregator_svc import convert
from aggregator_svc.domain.totals import CampaignWord, Delta
from aggregator_svc.service.totals import Totals
from mesh.events.consumer import data_of
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
    message = _KNOWN.get(event.type)
    return data_of(event, message) if message else None
