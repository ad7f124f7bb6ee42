"""Our own processes: what each is called, where it answers, and the environment that it gets, nothing else."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

from cli.config import MeshSettings
from cli.folder import DataFolder
from cli.part import Part
from cli.stripe import Stripe

# What a Python process needs of the terminal's environment, and the settings that tune a service without secrets.
_PASSED_ON = (
    "PATH",
    "PYTHONPATH",
    "PYTHONDONTWRITEBYTECODE",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "ADMISSION",
    "CHAOS",
    "CRASH_POINTS",
    "DATABASE_POOL",
    "DRAIN_S",
    "GRACE_S",
    "STREAM_REPLICAS",
    "VERIFY_CHANGES_MAX",
    "VERIFY_PATIENCE_S",
    "VERIFY_PERIOD_S",
)


@dataclass(frozen=True, kw_only=True)
class Service:
    """A gRPC service: `schema` names its schema and, with a suffix, its roles; `publishes`: a log of events of its own."""

    name: str
    package: str
    schema: str
    publishes: bool


SERVICES = (
    Service(name="donation", package="donation_svc", schema="donation", publishes=True),
    Service(name="payment", package="payment_svc", schema="payment", publishes=True),
    Service(name="aggregator", package="aggregator_svc", schema="aggregator", publishes=False),
)


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Where the servers are, embedded or not. `admin_dsn` may create roles and schemas."""

    admin_dsn: str
    nats_url: str
    redis_url: str


@dataclass(frozen=True, kw_only=True)
class Ports:
    donation: int
    payment: int
    aggregator: int
    gateway: int
    live: int
    sandbox: int

    def address(self, name: str) -> str:
        return f"127.0.0.1:{getattr(self, name)}"


def metrics_port(folder: DataFolder, name: str) -> int:
    """Where a part of ours serves its metrics; the same at every start unless somebody took it."""
    return folder.ports().port(f"{name}_metrics")


def role_dsn(admin_dsn: str, *, role: str, password: str) -> str:
    """The admin's DSN with another user."""
    parts = urlsplit(admin_dsn)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{quote(password, safe='')}@{place}"))


def service_password(folder: DataFolder, service: Service) -> str:
    return folder.secret(f"{service.schema}_service_password")


def batch_password(folder: DataFolder, service: Service) -> str:
    return folder.secret(f"{service.schema}_batch_password")


class Processes:
    """Makes the parts from settings, ports, servers and the folder's secrets."""

    def __init__(
        self, *, settings: MeshSettings, folder: DataFolder, ports: Ports, servers: Servers, stripe: Stripe
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._ports = ports
        self._servers = servers
        self._stripe = stripe

    def sandbox(self) -> tuple[Part, ...]:
        """The sandbox of Stripe; nothing where the real one is used."""
        if not self._stripe.sandbox_url:
            return ()
        own = {
            **self._stripe.for_sandbox(),
            "SANDBOX_BOOK": str(self._folder.path / "sandbox" / "stripe.sqlite"),
            "WEBHOOK_URL": f"http://{self._ports.address('gateway')}/webhooks/stripe",
        }
        return (self._part(name="sandbox", package="sandbox", probe="http", own=own),)

    def services(self) -> tuple[Part, ...]:
        return tuple(self._service(service) for service in SERVICES)

    def gateways(self) -> tuple[Part, ...]:
        return (self._gateway(name="gateway", role="rest"), self._gateway(name="live", role="live"))

    def _service(self, service: Service) -> Part:
        password = service_password(self._folder, service)
        own = {
            "DATABASE_URL": role_dsn(self._servers.admin_dsn, role=f"{service.schema}_service", password=password),
            "DATABASE_SCHEMA": service.schema,
            "NATS_URL": self._servers.nats_url,
            "EVENT_SHARDS": str(self._settings.event_shards),
            "PAGE_TOKEN_KEY": self._folder.secret("page_token_key"),
            **self._extras(service.name),
        }
        return self._part(name=service.name, package=service.package, probe="grpc", own=own)

    def _extras(self, name: str) -> Mapping[str, str]:
        """What one service reads and the others do not."""
        extras = {
            "donation": {
                "PAYMENT_TARGET": self._ports.address("payment"),
                "DATA_KEY": self._folder.secret("donation_data_key"),
                "ACCESS_TOKEN_KEY": self._folder.secret("access_token_key"),
                "PAYMENTS_LIVE": str(self._stripe.is_live).lower(),
            },
            "payment": {"DATA_KEY": self._folder.secret("payment_data_key"), **self._stripe.for_payments()},
            "aggregator": {
                "REDIS_URL": self._servers.redis_url,
                "DONATION_TARGET": self._ports.address("donation"),
            },
        }
        return extras[name]

    def _gateway(self, *, name: str, role: str) -> Part:
        own = {
            "GATEWAY_ROLE": role,
            "DONATION_TARGET": self._ports.address("donation"),
            "PAYMENT_TARGET": self._ports.address("payment"),
            "AGGREGATOR_TARGET": self._ports.address("aggregator"),
            "LIVE_URL": f"http://{self._ports.address('live')}",
            "CORS_ORIGINS": json.dumps(self._settings.cors_origins or self._own_origins()),
            "DEVELOPMENT_TOKEN": self._folder.secret("development_token"),
            **self._stripe.for_gateways(),
        }
        return self._part(name=name, package="gateway", probe="http", own=own)

    def _own_origins(self) -> list[str]:
        return [f"http://{host}:{self._ports.gateway}" for host in ("127.0.0.1", "localhost")]

    def _part(self, *, name: str, package: str, probe: str, own: Mapping[str, str]) -> Part:
        address = self._ports.address(name)
        common = {
            "MESH_MODE": "development",
            "LOG_LEVEL": self._settings.log_level,
            "LISTEN_HOST": "127.0.0.1",
            "LISTEN_PORT": address.rpartition(":")[2],
            "METRICS_PORT": str(metrics_port(self._folder, name)),
            "PYTHONUNBUFFERED": "1",
        }
        own = {key: self._by_edge(f"{name}.{key}", value) for key, value in own.items()}
        passed_on = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
        command = (sys.executable, "-m", package)
        return Part(name=name, command=command, probe=probe, address=address, environment={**passed_on, **common, **own})

    def _by_edge(self, edge: str, value: str) -> str:
        """The value, with another address in it where the settings lead this edge elsewhere."""
        address = self._settings.edges.get(edge)
        if address is None:
            return value
        parts = urlsplit(value)
        if not parts.netloc:
            return address
        user, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}{at}{address}"))
