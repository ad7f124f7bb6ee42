"""Settings of the sandbox."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from mesh.config import ProcessSettings


class SandboxSettings(ProcessSettings):
    """What the sandbox reads. Keys are pretend ones, made for it: it refuses those that look live."""

    listen_host: str = "127.0.0.1"
    listen_port: int = Field(8094, ge=0, le=65535, description="port of the HTTP server; 0: any free one")
    sandbox_book: Path = Field(description="SQLite file that holds everything; made where it does not exist")
    stripe_api_key: SecretStr = Field(description="sk_test_…: the secret key that it accepts")
    stripe_publishable_key: SecretStr = Field(description="pk_test_…: the key that it accepts from browsers")
    webhook_url: str = Field("", pattern="^(https?://.+)?$", description="where webhooks go; empty: nowhere")
    webhook_secrets: SecretStr = Field(SecretStr(""), description="whsec_…, several with commas: it signs with each")
    webhook_events: str = Field("*", description="types of events that go to webhook_url, with commas; *: all")
    public_url: str = Field("", pattern="^(https?://[^/]+)?$", description="origin for browsers; empty: the caller's Host")
    search_delay_s: int = Field(60, ge=0, description="seconds of its clock until search finds a change")

    @field_validator("stripe_api_key")
    @classmethod
    def _secret(cls, key: SecretStr) -> SecretStr:
        return _beginning("sk_test_", key)

    @field_validator("stripe_publishable_key")
    @classmethod
    def _publishable(cls, key: SecretStr) -> SecretStr:
        return _beginning("pk_test_", key)

    @property
    def signing_secrets(self) -> tuple[str, ...]:
        return tuple(filter(None, (part.strip() for part in self.webhook_secrets.get_secret_value().split(","))))

    @property
    def enabled_events(self) -> tuple[str, ...]:
        return tuple(filter(None, (part.strip() for part in self.webhook_events.split(","))))


def _beginning(prefix: str, key: SecretStr) -> SecretStr:
    if not key.get_secret_value().startswith(prefix):
        raise ValueError(f"must begin with {prefix}")
    return key
