"""Sealing what only the holder of a key may read: AES-256-GCM, bound to what it belongs to."""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import Annotated

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import AfterValidator, SecretStr

KEY_BYTES = 32
_NONCE_BYTES = 12


class SealBroken(Exception):  # noqa: N818 - named for the fact
    """Another key, another owner, or changed bytes; which of them cannot be told."""


class Seal:
    """Seals and opens under one key.

    Nonces are random, which NIST SP 800-38D allows for 2**32 sealings a key: a key that seals without end has to be changed
    before that.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def close(self, plain: bytes, *, belongs_to: bytes) -> bytes:
        """The sealed bytes: nonce, then text and tag. They open only with the same `belongs_to`."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, belongs_to)

    def open(self, sealed: bytes, *, belongs_to: bytes) -> bytes:
        """What was sealed.

        Raises:
            SealBroken: it cannot be opened with this key for this owner.
        """
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], belongs_to)
        except (InvalidTag, ValueError) as error:
            raise SealBroken("cannot be opened") from error


def new_key() -> bytes:
    """A random key."""
    return secrets.token_bytes(KEY_BYTES)


def key_from(text: str) -> bytes:
    """A key as settings hold it: 64 hexadecimal digits, or base64 of 32 bytes.

    Raises:
        ValueError: it is neither.
    """
    try:
        key = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError("must be 32 random bytes, as 64 hexadecimal digits or in base64")
    return key


def _well_formed(secret: SecretStr) -> SecretStr:
    key_from(secret.get_secret_value())
    return secret


# A setting that holds a key.
SealingKey = Annotated[SecretStr, AfterValidator(_well_formed)]
