"""What the payment service reads from its environment."""

from __future__ import annotations

from pydantic import Field, SecretStr

from mesh.config import ServiceSettings


class Settings(ServiceSettings):
    """The payment service."""

    database_schema: str = "payment"
    page_token_key: SecretStr = Field(min_length=16, description="signs page tokens; the same in every replica")
