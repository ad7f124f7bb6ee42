"""Reads the audit trail, which the database itself writes (`migrations/0002_audit.sql`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from giving.common.v1.audit_pb2 import AuditEntry

from mesh import pages
from mesh.postgres import Database


class AuditTrail:
    """What changed, by the id of what it belongs to.

    `statement` reads at most $3 entries of the reference $1 whose id is above $2, by id, each with the reason for it.
    """

    def __init__(self, database: Database, *, statement: str, tokens: pages.PageTokens) -> None:
        self._database = database
        self._statement = statement
        self._tokens = tokens

    async def read(self, reference_id: UUID, *, page_size: int, page_token: str) -> tuple[list[AuditEntry], str]:
        """A page of a trail, oldest first, and the token of the next; of an unknown reference there is nothing.

        Raises:
            PageTokenInvalid: the token is foreign.
        """
        list_name = f"audit {reference_id}"
        size = pages.page_size(page_size)
        after = self._tokens.read_position(page_token, list_name=list_name)
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._statement, reference_id, after, size + 1)
        token = self._tokens.make_position(rows[size - 1]["id"], list_name=list_name) if len(rows) > size else ""
        return [_message(row) for row in rows[:size]], token


def _message(row: Any) -> AuditEntry:
    entry = AuditEntry(
        entry_id=row["id"],
        object=row["object"],
        object_id=row["object_id"],
        changes=_changes(_columns(row["before"]), _columns(row["after"])),
        actor=row["actor"],
        correlation_id=row["correlation_id"],
        database_role=row["database_role"],
        reason=row["reason"],
    )
    entry.create_time.FromDatetime(row["create_time"])
    return entry


def _columns(stored: str | None) -> Mapping[str, Any]:
    """Values by column; nothing where there is no row."""
    return json.loads(stored) if stored is not None else {}


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[AuditEntry.Change]:
    for field in sorted({*before, *after}):
        yield AuditEntry.Change(field=field, before=_text(before.get(field)), after=_text(after.get(field)))


def _text(value: Any) -> str:
    """A text as it is, anything else as JSON, nothing as nothing."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
