"""Pulling from a durable consumer: what waits arrives at once, what comes alone does not wait for company.

nats-py's `fetch(n)` holds a single message back until its timeout when fewer than n arrive, so the pull requests of
JetStream's documented API (`$JS.API.CONSUMER.MSG.NEXT`) are sent here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import APIError

EXPIRES_S = 1.0
# After this long without a word the request is taken for lost: the server was restarted, or the consumer is gone.
SILENCE_S = EXPIRES_S + 0.5
# What a killed consumer held comes to another one after this; who works longer says so.
ACK_WAIT_S = 5
PENDING_MAX = 1_000

_log = structlog.get_logger()


class ConsumerGone(Exception):  # noqa: N818 - healed by making it again
    """Nobody answers for the consumer."""


class Puller:
    """Messages of one durable consumer; at most `batch` are asked for and not yet taken."""

    def __init__(self, client: Client, *, stream: str, durable: str, batch: int) -> None:
        self._client = client
        self._stream = stream
        self._durable = durable
        self._batch = batch
        self._asked = 0
        self._waiting: deque[Msg] = deque()
        self._arrived = asyncio.Event()
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._gone = False

    async def open(self) -> None:
        """Makes the durable consumer, or brings it up to date, and begins to listen."""
        config = ConsumerConfig(
            durable_name=self._durable,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_S,
            max_deliver=-1,  # a bound here would drop silently; attempts are counted in the database
            max_ack_pending=PENDING_MAX,
        )
        with contextlib.suppress(ConsumerGone):
            await self.probe()
        try:
            await self._client.jetstream().add_consumer(self._stream, config)
        except APIError as error:
            raise ConsumerGone(self._stream) from error
        if self._subscription is None:
            self._subscription = await self._client.subscribe(self._inbox, cb=self._receive)
        self._gone, self._asked = False, 0

    async def close(self) -> None:
        """Stops listening; what was not taken comes again at once, to whoever pulls next."""
        if self._subscription is None or self._client.is_closed:
            return
        await self._subscription.unsubscribe()
        self._subscription = None
        while self._waiting:
            await self._waiting.popleft().nak()

    async def probe(self) -> int:
        """How many messages the consumer has not delivered yet.

        Raises:
            ConsumerGone: there is no such consumer; or it stood beyond its stream's end and would have skipped everything up
                to there, so it was removed. Made again it begins at the beginning; handlers drop what they know.
        """
        js = self._client.jetstream()
        try:
            info = await js.consumer_info(self._stream, self._durable)
            # Asked after the consumer: a stream only grows.
            end = (await js.stream_info(self._stream)).state.last_seq
            if any(place is not None and place.stream_seq > end for place in (info.delivered, info.ack_floor)):
                _log.error("a consumer stood beyond the stream's end; it begins anew", consumer=self._durable)
                await js.delete_consumer(self._stream, self._durable)
                raise ConsumerGone(self._durable)
        except APIError as error:
            raise ConsumerGone(self._durable) from error
        return info.num_pending or 0

    async def end(self) -> int:
        """Where the stream ends now.

        Raises:
            ConsumerGone: there is no such stream.
        """
        try:
            return int((await self._client.jetstream().stream_info(self._stream)).state.last_seq)
        except APIError as error:
            raise ConsumerGone(self._stream) from error

    async def acknowledged(self, up_to: int) -> bool:
        """Whether everything in the stream up to there was acknowledged.

        Raises:
            ConsumerGone: there is no such consumer.
        """
        try:
            info = await self._client.jetstream().consumer_info(self._stream, self._durable)
        except APIError as error:
            raise ConsumerGone(self._durable) from error
        if not info.num_pending and not info.num_ack_pending:
            return True
        return bool(info.ack_floor and (info.ack_floor.stream_seq or 0) >= up_to)

    async def take(self) -> list[Msg]:
        """What has arrived, at most `batch`; waits for something about a second, then returns nothing.

        Raises:
            ConsumerGone: the server says that nobody answers for the consumer.
        """
        await self._ask()
        if not self._waiting:
            await self._listen()
        if self._gone:
            raise ConsumerGone(self._durable)
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._batch))]

    async def _ask(self) -> None:
        if self._asked > self._batch // 2:
            return
        request = {"batch": self._batch - self._asked, "expires": int(EXPIRES_S * 1e9)}
        self._asked = self._batch
        next_subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._durable}"
        await self._client.publish(next_subject, json.dumps(request).encode(), reply=self._inbox)

    async def _listen(self) -> None:
        self._arrived.clear()
        try:
            async with asyncio.timeout(SILENCE_S):
                await self._arrived.wait()
        except TimeoutError:
            self._asked = 0

    async def _receive(self, message: Msg) -> None:
        status = (message.headers or {}).get("Status")
        if status is None:
            self._asked = max(0, self._asked - 1)  # a request that was taken for lost may be answered after all
            self._waiting.append(message)
        else:
            self._note(status, message.headers or {})
        self._arrived.set()

    def _note(self, status: str, headers: dict[str, str]) -> None:
        """A status ends a request: whatever of it has not come will not come."""
        self._asked = max(0, self._asked - int(headers.get("Nats-Pending-Messages", self._asked)))
        # 503: no responders; 409 with this text: the consumer was deleted under the request.
        self._gone = status == "503" or "Deleted" in headers.get("Description", "")
