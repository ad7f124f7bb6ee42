"""What the payment service reads from its environment."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from mesh.config import ServiceSettings
from mesh.seal import SealingKey


class Settings(ServiceSettings):
    """The payment service."""

    database_schema: str = "payment"
    data_key: SealingKey = Field(description="seals the raw bodies of the provider's events")
    stripe_api_key: SecretStr = Field(min_length=8, description="sk_…: Stripe's, or the sandbox's")
    stripe_api_base: str = Field(
        "", pattern="^(https?://[^/]+)?$", description="origin of the sandbox; empty: Stripe itself"
    )
    stripe_request_s: float = Field(8.0, gt=0, le=60, description="seconds that one request to the provider may take")
    asking_lease_s: float = Field(
        10.0, gt=0, le=300, description="seconds after which a payment is taken over from a process that died while asking"
    )
    stripe_poll_s: float = Field(
        60.0, ge=0, le=3600, description="seconds between two walks through events that were never delivered; 0: none"
    )
    settlement_poll_s: float = Field(
        600.0, ge=0, le=86400, description="seconds between two walks through the movements on Stripe's balance; 0: none"
    )
    settlement_missing_after_s: float = Field(
        172_800.0, gt=0, description="seconds after which what Stripe's balance does not show is missing there"
    )
    stripe_webhook_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        min_length=1, description="whsec_…, separated by commas: while secrets are rotated two are valid"
    )

    @field_validator("stripe_webhook_secrets", mode="before")
    @classmethod
    def _separated(cls, value: object) -> object:
        return tuple(part for part in map(str.strip, value.split(",")) if part) if isinstance(value, str) else value
