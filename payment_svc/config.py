"""What the payment service reads from its environment."""

from __future__ import annotations

from mesh.config import ServiceSettings


class Settings(ServiceSettings):
    """The payment service."""

    database_schema: str = "payment"
