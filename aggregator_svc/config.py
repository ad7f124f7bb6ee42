"""What the aggregator reads from its environment."""

from __future__ import annotations

from pydantic import Field, SecretStr

from mesh.config import ServiceSettings


class Settings(ServiceSettings):
    """The aggregator."""

    database_schema: str = "aggregator"
    redis_url: SecretStr = Field(description="redis://…")
    donation_target: str = Field(min_length=1, description="gRPC address of the donation service")
    verify_period_s: float = Field(15.0, ge=0, le=3600, description="seconds between two rounds of the verifier; 0: none")
    verify_changes_max: int = Field(
        20_000, ge=1000, description="events of the donation service's log that one round of the verifier looks for"
    )
    verify_patience_s: float = Field(
        10.0, ge=0, le=50, description="seconds that what is under way may take before a difference is drift"
    )
