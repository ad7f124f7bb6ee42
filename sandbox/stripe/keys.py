"""Idempotency keys: the first answer of a key is its answer, until the key is forgotten."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

from sandbox.stripe.refusals import Refused, key_reused
from sandbox.stripe.work import Work

KEPT_S = 24 * 3600
_LENGTH_MAX = 255


@dataclass(frozen=True, slots=True)
class Key:
    """A key with what it stands for: the same key must not come with another `path` or `fingerprint`."""

    account: str
    value: str
    path: str
    fingerprint: str


class Saved(NamedTuple):
    status: int
    body: str
    request_id: str


def check_length(value: str) -> None:
    if len(value) > _LENGTH_MAX:
        message = f"Idempotency-Key must be at most {_LENGTH_MAX} characters, but it is {len(value)}."
        raise Refused(message, kind="idempotency_error", saved=False)


def fingerprint(method: str, parameters: str) -> str:
    return hashlib.sha256(f"{method} {parameters}".encode()).hexdigest()


def saved(work: Work, key: Key) -> Saved | None:
    """The answer that the key has already.

    Raises:
        Refused: it was used for something else.
    """
    row = work.ask("get_saved", key.account, key.value, work.now - KEPT_S).fetchone()
    if row is None:
        return None
    path, known, status, body, request_id = row
    if path != key.path:
        raise key_reused(key.value, other_path=path)
    if known != key.fingerprint:
        raise key_reused(key.value)
    return Saved(status, body, request_id)


def save(work: Work, key: Key, *, status: int, body: str) -> None:
    work.ask("save_answer", key.account, key.value, key.path, key.fingerprint, status, body, work.cause.request_id, work.now)


def forget(work: Work) -> None:
    """Drops answers whose keys are too old."""
    work.ask("forget_answers", work.now - KEPT_S)
