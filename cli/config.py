"""What `mesh up` reads from the environment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def _scheme(*schemes: str) -> AfterValidator:
    def check(url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return url

    return AfterValidator(check)


Port = Annotated[int, Field(ge=1, le=65535)]
# 0: a free one, remembered in the data folder.
PickedPort = Annotated[int, Field(ge=0, le=65535)]


class MeshSettings(BaseSettings):
    """Everything has a default: without any setting the whole mesh runs embedded."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    database_url: Annotated[SecretStr | None, _scheme("postgresql", "postgres")] = None
    nats_url: Annotated[SecretStr | None, _scheme("nats", "tls")] = None
    redis_url: Annotated[SecretStr | None, _scheme("redis", "rediss")] = None
    gateway_port: Port = 8080
    live_port: Port = 8081
    donation_port: Port = 8091
    payment_port: Port = 8092
    aggregator_port: Port = 8093
    sandbox_port: Port = 8094
    postgres_port: PickedPort = 0
    nats_port: PickedPort = 0
    valkey_port: PickedPort = 0
    # With the key of the real Stripe there is no sandbox, and the other two are needed.
    stripe_api_key: SecretStr | None = None
    stripe_publishable_key: SecretStr | None = None
    stripe_webhook_secrets: SecretStr | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    event_shards: int = Field(8, ge=1, le=1024)
    cors_origins: list[str] = []
    # The longest pause before a part that keeps crashing is started again.
    restart_s_max: float = Field(10.0, gt=0, le=600)
    # `part.VARIABLE` → host:port that it connects to instead: a proxy that stands on the way, for tests.
    edges: dict[str, Annotated[str, Field(pattern=r"^[\w.-]+:\d+$")]] = {}


class CheckSettings(BaseSettings):
    """Where `mesh check` finds the books of a mesh that `mesh up` does not run here. DSNs of roles that only read."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    donation_database_url: Annotated[SecretStr | None, _scheme("postgresql", "postgres")] = None
    payment_database_url: Annotated[SecretStr | None, _scheme("postgresql", "postgres")] = None
    aggregator_database_url: Annotated[SecretStr | None, _scheme("postgresql", "postgres")] = None
    nats_url: Annotated[SecretStr | None, _scheme("nats", "tls")] = None
    redis_url: Annotated[SecretStr | None, _scheme("redis", "rediss")] = None
    rest_url: Annotated[str, Field(pattern="^https?://")] | None = None
    aggregator_target: str = ""
