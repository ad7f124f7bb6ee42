"""Page tokens: keyset cursors, signed, bound to the list that they were made for."""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import hmac
from dataclasses import dataclass
from uuid import UUID

from giving.common.v1.page_pb2 import PageCursor, ShardCursor
from google.protobuf.message import DecodeError

from mesh.errors import PageTokenInvalid

SIZE_DEFAULT = 50
SIZE_MAX = 100
FIRST = UUID(int=0)
LAST = UUID(int=2**128 - 1)
_MAC_BYTES = 16


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """The place of an item in a list that is ordered by time; its name decides between items of the same time."""

    time: datetime.datetime
    name: str


EARLIEST = Position(datetime.datetime(1, 1, 1, tzinfo=datetime.UTC), "")
LATEST = Position(datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC), "")


def page_size(asked: int) -> int:
    """How many items a page holds: 50 where nothing is asked, 100 at most."""
    return min(asked, SIZE_MAX) if asked else SIZE_DEFAULT


class PageTokens:
    """Makes and reads tokens; every replica has the same key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, last_id: UUID, *, list_name: str) -> str:
        """A token for the page after `last_id` of the list, whose name includes its filter."""
        return self._made(ShardCursor(last_id=last_id.bytes), list_name)

    def make_at(self, last: Position, *, list_name: str) -> str:
        """The same of a list that is ordered by time."""
        end = ShardCursor(last_name=last.name)
        end.last_time.FromDatetime(last.time)
        return self._made(end, list_name)

    def read(self, token: str, *, list_name: str, start: UUID) -> UUID:
        """The id after which the page begins; `start` for an empty token.

        Raises:
            PageTokenInvalid: it was not made here, or for another list.
        """
        return UUID(bytes=self._read(token, list_name).last_id) if token else start

    def read_at(self, token: str, *, list_name: str, start: Position) -> Position:
        """The position after which the page of a list begins that is ordered by time; `start` for an empty token.

        Raises:
            PageTokenInvalid: it was not made here, or for another list.
        """
        if not token:
            return start
        end = self._read(token, list_name)
        return Position(end.last_time.ToDatetime(tzinfo=datetime.UTC), end.last_name)

    def make_position(self, last_position: int, *, list_name: str) -> str:
        """The same of a list that is ordered by a number."""
        return self._made(ShardCursor(last_position=last_position), list_name)

    def read_position(self, token: str, *, list_name: str) -> int:
        """The position after which the page begins; 0, before all others, for an empty token.

        Raises:
            PageTokenInvalid: it was not made here, or for another list.
        """
        return self._read(token, list_name).last_position if token else 0

    def make_ranked(self, last: tuple[int, UUID], *, list_name: str) -> str:
        """The same of a list that is ordered by a number, and where that is the same by id."""
        return self._made(ShardCursor(last_position=last[0], last_id=last[1].bytes), list_name)

    def read_ranked(self, token: str, *, list_name: str, start: tuple[int, UUID]) -> tuple[int, UUID]:
        """The number and the id after which the page of such a list begins; `start` for an empty token.

        Raises:
            PageTokenInvalid: it was not made here, or for another list.
        """
        if not token:
            return start
        end = self._read(token, list_name)
        return end.last_position, UUID(bytes=end.last_id)

    def _made(self, end: ShardCursor, list_name: str) -> str:
        body = PageCursor(filter_digest=_digest(list_name), shards=[end]).SerializeToString()
        return _encoded(body + self._mac(body))

    def _read(self, token: str, list_name: str) -> ShardCursor:
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            if _encoded(raw) != token:
                raise PageTokenInvalid("the page token cannot be read")
            body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
            if not hmac.compare_digest(mac, self._mac(body)):
                raise PageTokenInvalid("the page token was not made by this mesh")
            cursor = PageCursor.FromString(body)
        except (binascii.Error, ValueError, DecodeError) as error:
            raise PageTokenInvalid("the page token cannot be read") from error
        if cursor.filter_digest != _digest(list_name):
            raise PageTokenInvalid("the page token belongs to another list")
        return cursor.shards[0]

    def _mac(self, body: bytes) -> bytes:
        return hmac.new(self._key, body, hashlib.sha256).digest()[:_MAC_BYTES]


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _digest(list_name: str) -> int:
    return int.from_bytes(hashlib.sha256(list_name.encode()).digest()[:8], "big")
