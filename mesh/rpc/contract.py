"""Reads methods and their policies out of the contract's descriptors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType

from giving.common.v1 import policy_pb2
from giving.common.v1.policy_pb2 import MethodPolicy
from google.protobuf import message_factory
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

REQUEST_BYTES_DEFAULT = 65_536
DEADLINE_MS_DEFAULT = 5_000


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC of the contract."""

    descriptor: MethodDescriptor
    policy: MethodPolicy
    request_class: type[Message]
    response_class: type[Message]

    @property
    def path(self) -> str:
        """Its path on the wire, such as /giving.donation.v1.DonationService/GetDonation."""
        return f"/{self.descriptor.containing_service.full_name}/{self.descriptor.name}"

    @property
    def max_request_bytes(self) -> int:
        return self.policy.max_request_bytes or REQUEST_BYTES_DEFAULT

    @property
    def deadline_s(self) -> float:
        return (self.policy.deadline_ms or DEADLINE_MS_DEFAULT) / 1000

    @property
    def mutates(self) -> bool:
        return bool(self.policy.idempotency_field)

    @property
    def streams_out(self) -> bool:
        return bool(self.descriptor.server_streaming)

    @property
    def streams_in(self) -> bool:
        return bool(self.descriptor.client_streaming)


def services_of(modules: Iterable[ModuleType]) -> list[ServiceDescriptor]:
    """The services that generated modules declare."""
    files: Iterable[FileDescriptor] = (module.DESCRIPTOR for module in modules)
    return [service for file in files for service in file.services_by_name.values()]


def methods_of(services: Iterable[ServiceDescriptor]) -> Mapping[str, Method]:
    """The methods of services by their path.

    Raises:
        LookupError: a method has no policy, or one without role, ownership or rate class.
    """
    methods = (_method(descriptor) for service in services for descriptor in service.methods)
    return {method.path: method for method in methods}


def _method(descriptor: MethodDescriptor) -> Method:
    policy = descriptor.GetOptions().Extensions[policy_pb2.policy]
    if not (policy.roles and policy.ownership and policy.rate_class):
        raise LookupError(f"{descriptor.full_name} has no complete policy")
    return Method(
        descriptor,
        policy,
        message_factory.GetMessageClass(descriptor.input_type),
        message_factory.GetMessageClass(descriptor.output_type),
    )
