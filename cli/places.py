"""Where the books of a mesh are: as its run file and the data folder say, or as the environment does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from cli.config import CheckSettings, MeshSettings
from cli.folder import DataFolder
from cli.processes import SERVICES, batch_password, role_dsn
from cli.refusal import CommandRefused
from cli.runfile import Run
from cli.servers.postgres import administrator_dsn
from cli.stripe import Stripe, sandbox_of

# service → the name of its schema.
SCHEMAS: Mapping[str, str] = {service.name: service.schema for service in SERVICES}


@dataclass(frozen=True, kw_only=True)
class Places:
    """What is empty or missing is not known here. `databases`: by service, the DSN of the role that only reads."""

    databases: Mapping[str, str] = field(default_factory=dict, repr=False)
    nats_url: str = field(default="", repr=False)
    redis_url: str = field(default="", repr=False)
    rest_url: str = ""
    aggregator: str = ""
    payment: str = ""
    sandbox: Stripe | None = field(default=None, repr=False)


def of_run(run: Run, folder: DataFolder, settings: MeshSettings) -> Places:
    """The places of a mesh that `mesh up` runs.

    Raises:
        CommandRefused: a part does not run, or a server is not ours and its URL is not set here.
    """
    admin_dsn = _value(settings.database_url)
    admin_dsn = admin_dsn or administrator_dsn(folder, address=_embedded(run, "postgres", variable="DATABASE_URL"))
    nats, sandbox = run.address("nats"), run.address("sandbox")
    return Places(
        databases={
            service.name: role_dsn(admin_dsn, role=f"{service.schema}_batch", password=batch_password(folder, service))
            for service in SERVICES
        },
        nats_url=_value(settings.nats_url) or (f"nats://{nats}" if nats else ""),
        redis_url=_value(settings.redis_url) or f"redis://{_embedded(run, 'valkey', variable='REDIS_URL')}/0",
        rest_url=f"http://{address_of(run, 'gateway')}",
        aggregator=address_of(run, "aggregator"),
        payment=address_of(run, "payment"),
        sandbox=sandbox_of(folder, address=sandbox) if sandbox else None,
    )


def of_environment(settings: CheckSettings) -> Places | None:
    """The places that the environment names; None where it names no database."""
    named = {name: _value(getattr(settings, f"{name}_database_url")) for name in SCHEMAS}
    databases = {name: dsn for name, dsn in named.items() if dsn}
    if not databases:
        return None
    return Places(
        databases=databases,
        nats_url=_value(settings.nats_url),
        redis_url=_value(settings.redis_url),
        rest_url=settings.rest_url or "",
        aggregator=settings.aggregator_target,
    )


def address_of(run: Run, name: str) -> str:
    """Where a part answers.

    Raises:
        CommandRefused: it does not run.
    """
    address = run.address(name)
    if address is None:
        raise CommandRefused(f"{name} does not run: see `mesh status`")
    return address


def _embedded(run: Run, name: str, *, variable: str) -> str:
    address = run.address(name)
    if address is None:
        raise CommandRefused(f"the mesh uses a {name} of yours: set {variable} here as for `mesh up`")
    return address


def _value(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""
