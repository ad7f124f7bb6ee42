"""What is personal of a donation, sealed under a key of its donor, which is sealed under the service's own."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from uuid import UUID

from giving.donation.v1.donation_service_pb2 import CreateDonationRequest

from donation_svc.domain.donations import Donation
from donation_svc.store.promises import PromiseStore
from mesh.postgres import Connection
from mesh.seal import Seal, new_key


class PersonalData:
    """Keeps what is personal; without the donor's key nobody reads it again."""

    def __init__(self, *, promises: PromiseStore, master_key: bytes) -> None:
        self._promises = promises
        self._master = Seal(master_key)

    async def keep(
        self, connection: Connection, donation: Donation, words: Mapping[str, str], *, now: datetime.datetime
    ) -> None:
        """Stores what is personal in the donation's own transaction; nothing where there is nothing.

        A guest's gift is an owner of its own: guests cannot be told apart.
        """
        if not words:
            return
        owner_id = donation.donor_id or donation.id
        key = await self._key(connection, owner_id, now=now)
        sealed = Seal(key).close(json.dumps(words).encode(), belongs_to=donation.id.bytes)
        await self._promises.keep_personal(connection, donation, owner_id, sealed)

    async def _key(self, connection: Connection, owner_id: UUID, *, now: datetime.datetime) -> bytes:
        offered = self._master.close(new_key(), belongs_to=owner_id.bytes)
        kept = await self._promises.keep_key(connection, owner_id, offered, now=now)
        return self._master.open(kept, belongs_to=owner_id.bytes)


def personal_words(request: CreateDonationRequest) -> Mapping[str, str]:
    """What of a request is personal; empty values are left out."""
    words = {
        "name": request.donor_name,
        "email": request.donor_email,
        "message": request.message,
        "locale": request.locale,
    }
    return {name: text for name, text in words.items() if text}
