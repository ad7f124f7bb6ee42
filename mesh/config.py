"""Settings: environment or files only, every mistake listed at once, secrets wrapped so that no log shows them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NoReturn, TypeVar

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

EXIT_CONFIGURATION = 78  # EX_CONFIG of sysexits.h

SettingsT = TypeVar("SettingsT", bound=BaseSettings)


class ProcessSettings(BaseSettings):
    """What every process of the mesh reads. Secrets may be files named like the variable in the folder SECRETS_DIR."""

    # A variable without a value is how composed environments leave one out.
    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    mesh_mode: Literal["production", "development"] = Field(
        "production", description="development: plaintext peers on loopback count as internal and operator"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    metrics_port: int = Field(0, ge=0, le=65535, description="port of /metrics; 0: none")
    drain_s: float = Field(1.0, ge=0, le=60, description="seconds between not being ready and the end of listening")
    grace_s: float = Field(10.0, ge=0, le=300, description="seconds that calls in flight may take to finish")
    crash_points: str = Field("", description="for tests, in development only: labels at which the process ends itself")
    chaos: str = Field("", description="for the chaos run, in development only: the file that says where processes die")

    @field_validator("crash_points", "chaos")
    @classmethod
    def _never_in_production(cls, plan: str, info: ValidationInfo) -> str:
        if plan and info.data.get("mesh_mode") != "development":
            raise ValueError("is set outside of development mode; refusing to start with it")
        return plan


class ServiceSettings(ProcessSettings):
    """What a gRPC service with a database and events reads."""

    listen_host: str = "127.0.0.1"
    listen_port: int = Field(ge=0, le=65535, description="port of the gRPC server; 0: any free one")
    database_url: SecretStr = Field(description="postgresql://… of the service's own role")
    database_schema: str = Field("public", pattern="^[a-z_]+$", description="schema of the service")
    database_pool: int = Field(10, ge=2, le=100, description="connections to PostgreSQL at most")
    nats_url: SecretStr = Field(description="nats://…")
    page_token_key: SecretStr = Field(min_length=16, description="signs page tokens; the same in every replica")
    event_shards: int = Field(8, ge=1, le=1024)
    stream_replicas: int = Field(1, ge=1, le=5)
    admission: int = Field(512, ge=1, description="calls in progress at most, per rate class")


def load(settings: type[SettingsT]) -> SettingsT:
    """Reads the environment.

    Prints every mistake, one line each, and exits with 78 where there is one.
    """
    folder = os.environ.get("SECRETS_DIR") or None
    if folder and not Path(folder).is_dir():
        _exit_saying([("SECRETS_DIR", f"{folder} is not a folder")])
    try:
        return settings(_secrets_dir=folder)
    except ValidationError as error:
        _exit_saying(_mistakes(error))


def _mistakes(error: ValidationError) -> list[tuple[str, str]]:
    return [
        (
            ".".join(str(part) for part in mistake["loc"]).upper(),
            "is not set" if mistake["type"] == "missing" else mistake["msg"],
        )
        for mistake in error.errors(include_url=False, include_input=False)
    ]


def _exit_saying(mistakes: Iterable[tuple[str, str]]) -> NoReturn:
    for name, problem in mistakes:
        print(f"configuration: {name}: {problem}", file=sys.stderr)  # noqa: T201 - logs are not configured yet
    raise SystemExit(EXIT_CONFIGURATION)
