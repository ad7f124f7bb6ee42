"""Settings of the gateway."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from mesh.config import ProcessSettings

# An origin stands in the pages' security policy, so it holds nothing that could end a directive there.
_ORIGIN = r"^(https?://[A-Za-z0-9._\[\]:-]+)?$"


class GatewaySettings(ProcessSettings):
    """What a gateway process reads. Targets are gRPC addresses: host:port, or dns:///name:port for several."""

    listen_host: str = "127.0.0.1"
    listen_port: int = Field(8080, ge=0, le=65535, description="port of the HTTP server; 0: any free one")
    gateway_role: Literal["rest", "live"] = Field(
        "rest", description="live: serves the event streams and nothing else, so that fan-out never delays a payment"
    )
    donation_target: str = Field(min_length=1)
    payment_target: str = Field(min_length=1)
    aggregator_target: str = Field(min_length=1)
    notification_target: str = Field("", description="empty: its methods answer NOT_IMPLEMENTED")
    live_url: str = Field("", pattern=_ORIGIN, description="origin of the live process, as browsers reach it")
    stripe_publishable_key: str = Field(
        "", pattern="^(pk_[A-Za-z0-9_]+)?$", description="pk_…, for the browser; empty: the pages take no payments"
    )
    stripe_browser_base: str = Field(
        "", pattern=_ORIGIN, description="origin of the sandbox, as browsers reach it; empty: Stripe itself"
    )
    featured_campaign: UUID | None = Field(None, description="what the start page shows; empty: it asks for a campaign")
    cors_origins: tuple[str, ...] = Field((), description="exact origins that browsers may call from, as a JSON list")
    development_token: SecretStr | None = Field(
        None, min_length=8, description="bearer token that acts as internal and operator, in development only"
    )
    connections_max: int = Field(10_000, ge=1, description="open HTTP connections at most; the next gets 503")
    readers_max: int = Field(5_000, ge=1, description="open event streams at most; the next gets 503")

    @field_validator("development_token")
    @classmethod
    def _only_in_development(cls, token: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if token is not None and info.data.get("mesh_mode") != "development":
            raise ValueError("is set outside of development mode; refusing to start with it")
        return token
