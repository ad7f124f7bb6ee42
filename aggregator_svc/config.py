"""What the aggregator reads from its environment."""

from __future__ import annotations

from pydantic import Field, SecretStr

from mesh.config import ServiceSettings


class Settings(ServiceSettings):
    """The aggregator."""

    database_schema: str = "aggregator"
    redis_url: SecretStr = Field(description="redis://…")
