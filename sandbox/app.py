"""The sandbox, put together: the one module that knows all of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import resources

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mesh.tasks import background
from sandbox import book
from sandbox.config import SandboxSettings
from sandbox.server import serving
from sandbox.stripe import control, pages
from sandbox.stripe.api import StripeApi
from sandbox.stripe.engine import Engine
from sandbox.stripe.service import Credentials
from sandbox.stripe.webhooks import Deliveries, endpoint_session
from sandbox.stripe.work import Rules


@asynccontextmanager
async def application(settings: SandboxSettings) -> AsyncIterator[int]:
    """Everything, while entered; yields the port."""
    schema = resources.files("sandbox.stripe").joinpath("schema.sql").read_text()
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(book.opened(settings.sandbox_book, schema=schema))
        engine = Engine(opened, _rules(settings))
        await engine.load()
        deliveries = await _deliveries(engine, settings, stack)
        await stack.enter_async_context(background(engine.tick, *([deliveries.run] if deliveries else [])))
        yield await stack.enter_async_context(serving(_app(engine, deliveries, settings), settings))


def _rules(settings: SandboxSettings) -> Rules:
    return Rules(
        publishes=bool(settings.webhook_url),
        enabled_events=settings.enabled_events,
        search_delay_s=settings.search_delay_s,
    )


async def _deliveries(engine: Engine, settings: SandboxSettings, stack: AsyncExitStack) -> Deliveries | None:
    if not settings.webhook_url:
        return None
    session = await stack.enter_async_context(endpoint_session())
    deliveries = Deliveries(engine, url=settings.webhook_url, secrets=settings.signing_secrets, session=session)
    engine.woken = deliveries.wake
    return deliveries


def _app(engine: Engine, deliveries: Deliveries | None, settings: SandboxSettings) -> ASGIApp:
    secret = settings.stripe_api_key.get_secret_value()
    credentials = Credentials(secret=secret, publishable=settings.stripe_publishable_key.get_secret_value())
    api = StripeApi(engine, credentials, deliveries, public_url=settings.public_url)
    pages_and_control: list[BaseRoute] = [
        Route("/healthz", _healthy),
        Route("/readyz", _healthy),
        *pages.routes(engine),
        *control.routes(engine, secret),
    ]
    others = Starlette(routes=pages_and_control)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        """The API is nearly all that is asked for, so it is found without a walk through routes."""
        await (api if scope["path"].startswith("/v1/") else others)(scope, receive, send)

    return app


async def _healthy(_: Request) -> Response:
    return JSONResponse({"status": "ready"})
