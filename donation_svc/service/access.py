"""Who may see a donation. A guest holds a token of it: made of the donation's id and a key, stored nowhere."""

from __future__ import annotations

import base64
import hashlib
import hmac
from uuid import UUID

from giving.common.v1.identity_pb2 import Identity
from giving.common.v1.policy_pb2 import ROLE_INTERNAL

from donation_svc.domain.donations import Donation
from mesh.rpc.tenancy import sees_everything

PREFIX = "gdt_"
_PURPOSE = b"donation access v1"
_MAC_BYTES = 16


class Access:
    """Makes tokens and decides who sees what; every replica has the same key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def token_of(self, donation_id: UUID) -> str:
        """The token of one donation; the same each time."""
        mac = hmac.new(self._key, _PURPOSE + donation_id.bytes, hashlib.sha256).digest()[:_MAC_BYTES]
        return PREFIX + base64.urlsafe_b64encode(donation_id.bytes + mac).decode().rstrip("=")

    def may_see(self, identity: Identity, donation: Donation) -> bool:
        """Whether the caller may read the donation: who gives, who receives, services and operators."""
        if sees_everything(identity) or self._is_givers(identity, donation):
            return True
        return bool(identity.charity_id) and identity.charity_id == str(donation.charity_id)

    def may_confirm(self, identity: Identity, donation: Donation) -> bool:
        """Whether the caller may learn what confirms the payment: who gives, and services on his behalf."""
        return ROLE_INTERNAL in identity.roles or self._is_givers(identity, donation)

    def _is_givers(self, identity: Identity, donation: Donation) -> bool:
        if identity.donor_id and identity.donor_id == str(donation.donor_id):
            return True
        return hmac.compare_digest(identity.access_token.encode(), self.token_of(donation.id).encode())
