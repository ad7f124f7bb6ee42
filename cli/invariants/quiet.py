"""Whether the mesh is quiet: everything that is committed is published, and everything published is applied."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import nats
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from cli.invariants.view import CONNECT_S_MAX, NotHere, View
from mesh.events.stream import StreamFace, stream_face, stream_name

# service with a log → the consumers of its stream.
CONSUMERS: Mapping[str, tuple[str, ...]] = {
    "donation": ("aggregator-totals", "payment-ledger"),
    "payment": ("donation-payments",),
}


class NotQuiet(Exception):  # noqa: N818 - an answer, not an error
    """Events are under way; the text says which."""


async def under_way(view: View) -> list[str]:
    """What is committed and not yet everywhere, in words; nothing where the mesh is quiet.

    Raises:
        NotHere: the broker or a database is not known.
    """
    if not view.places.nats_url:
        raise NotHere("NATS_URL is not set, so nobody knows what is under way")
    words = []
    async with _connected(view.places.nats_url) as client:
        for service in CONSUMERS:
            words += await _of_log(view, client.jetstream(), service)
    return words


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Client]:
    """A connection that is not sought again when it breaks, nor where nobody answers at first."""
    async with asyncio.timeout(CONNECT_S_MAX):
        client = await nats.connect(
            url, name="mesh check", allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0, error_cb=_ignore
        )
    try:
        yield client
    finally:
        await client.close()


async def _ignore(error: Exception) -> None:
    """Whoever waits for an answer is told by an error of his own."""


async def _of_log(view: View, js: JetStreamContext, service: str) -> list[str]:
    # The relay first: what it has published by now is in the stream by the time that the consumers are asked.
    async with view.present(service) as reading:
        (relay,) = await reading.all("relay")
    words = [f"{relay['unpublished']} events of {service} are not published"] if relay["unpublished"] else []
    if relay["epoch_ahead"]:
        words.append(f"the log of {service} is about to be published again in a new epoch")
    try:
        face = await stream_face(js, service=service)
        consumers = {info.name: info for info in await js.consumers_info(stream_name(service))}
    except NotFoundError:
        return [*words, f"the stream of {service} is not there yet"]
    if face.has_lost(StreamFace(relay["stream_created"], relay["stream_seq"])):
        words.append(f"the stream of {service} has lost messages and is about to be healed")
    return [*words, *(state for name in CONSUMERS[service] if (state := _state(name, consumers.get(name))))]


def _state(name: str, info: Any) -> str:
    if info is None:
        return f"{name} does not listen yet"
    pending = (info.num_pending or 0) + (info.num_ack_pending or 0)
    return f"{pending} messages wait for {name}" if pending else ""


async def log_ends(view: View) -> list[tuple[Any, ...]]:
    """The ends of the logs: the same twice means that nothing was committed in between."""
    ends = []
    for service in CONSUMERS:
        async with view.present(service) as reading:
            ends += [(service, *row) for row in await reading.all("newest_event")]
    return ends
