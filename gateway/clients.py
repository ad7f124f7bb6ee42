"""Calls to the services: one channel per upstream, methods found by their descriptor."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import giving
import grpc

from gateway.config import GatewaySettings
from mesh.errors import NotImplementedYet
from mesh.rpc.channel import Caller, open_channel
from mesh.rpc.contract import Method, methods_of, services_of


@dataclass(frozen=True, slots=True)
class Upstream:
    """A service that is configured."""

    name: str
    channel: grpc.aio.Channel
    caller: Caller


class Clients:
    """The configured upstreams by the package that they serve, such as giving.donation."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.by_package = {
            package: _upstream(name, target) for package, (name, target) in _targets(settings).items() if target
        }

    def caller(self, method: Method) -> Caller:
        """Who serves a method.

        Raises:
            NotImplementedYet: its service is not configured.
        """
        upstream = self.by_package.get(package_of(method))
        if upstream is None:
            raise NotImplementedYet("this mesh does not run the method's service", method=method.descriptor.full_name)
        return upstream.caller

    async def close(self) -> None:
        """Ends all channels; calls in flight fail."""
        for upstream in self.by_package.values():
            await upstream.channel.close()


def contract_methods() -> Mapping[str, Method]:
    """Every method of the contract by its path."""
    return methods_of(services_of(_service_modules()))


def package_of(method: Method) -> str:
    """The first two parts of the method's package: what one service owns."""
    return ".".join(method.descriptor.full_name.split(".")[:2])


def _service_modules() -> list[ModuleType]:
    found = pkgutil.walk_packages(giving.__path__, "giving.")
    return [importlib.import_module(module.name) for module in found if module.name.endswith("_service_pb2")]


def _targets(settings: GatewaySettings) -> Mapping[str, tuple[str, str]]:
    return {
        "giving.donation": ("donation", settings.donation_target),
        "giving.payment": ("payment", settings.payment_target),
        "giving.aggregate": ("aggregator", settings.aggregator_target),
        "giving.notification": ("notification", settings.notification_target),
    }


def _upstream(name: str, target: str) -> Upstream:
    channel = open_channel(target)
    return Upstream(name, channel, Caller(channel, peer=name))
