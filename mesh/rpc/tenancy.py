"""Whose rows a caller may touch."""

from __future__ import annotations

from uuid import UUID

from giving.common.v1.identity_pb2 import Identity
from giving.common.v1.policy_pb2 import ROLE_INTERNAL, ROLE_OPERATOR

from mesh.errors import PermissionDenied


def sees_everything(identity: Identity) -> bool:
    """Whether the caller is a service or an operator."""
    return not {ROLE_INTERNAL, ROLE_OPERATOR}.isdisjoint(identity.roles)


def tenant_of(identity: Identity) -> UUID | None:
    """The only tenant that the caller may touch; None for services and operators, who may touch all.

    Raises:
        PermissionDenied: the caller is neither, and belongs to no tenant.
    """
    if sees_everything(identity):
        return None
    if not identity.charity_id:
        raise PermissionDenied("this method is for a charity's own callers")
    return UUID(identity.charity_id)


def may_touch(identity: Identity, tenant_id: UUID) -> bool:
    """Whether the caller may touch what belongs to a tenant."""
    return tenant_of(identity) in (None, tenant_id)
