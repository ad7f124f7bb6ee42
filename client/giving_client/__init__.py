"""The typed client of the giving mesh, blocking and asynchronous.

A logical call makes its idempotency key once and keeps it over every retry, so a gift is never recorded twice. Each call
has a deadline. What the mesh refuses arrives as a `MeshError` with the reason of the contract.
"""

from giving_client.answers import CampaignAnswer, CharityAnswer, DonationAnswer, PromiseAnswer, ReversalAnswer
from giving_client.asynchronous import AsyncMeshClient
from giving_client.blocking import MeshClient
from giving_client.errors import FieldViolation, MeshError
from giving_client.retries import RetryPolicy

__all__ = [
    "AsyncMeshClient",
    "CampaignAnswer",
    "CharityAnswer",
    "DonationAnswer",
    "FieldViolation",
    "MeshClient",
    "MeshError",
    "PromiseAnswer",
    "RetryPolicy",
    "ReversalAnswer",
]
