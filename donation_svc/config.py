"""What the donation service reads from its environment."""

from __future__ import annotations

from pydantic import Field, SecretStr

from mesh.config import ServiceSettings
from mesh.seal import SealingKey


class Settings(ServiceSettings):
    """The donation service."""

    database_schema: str = "donation"
    payment_target: str = Field(min_length=1, description="gRPC address of the payment service")
    data_key: SealingKey = Field(description="master key of the donors' keys; without it personal data cannot be read")
    access_token_key: SecretStr = Field(min_length=16, description="signs the tokens of guests; the same in every replica")
    payments_live: bool = Field(False, description="whether the payment service moves real money; charities say the same")
    confirm_within_hours: float = Field(24, gt=0, le=24 * 30, description="how long a donor may take to confirm a payment")
