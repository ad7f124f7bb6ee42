"""The pages on which people give. One document serves all of them; its script reads the address and `/page.json`."""

from __future__ import annotations

import re
from dataclasses import replace
from http import HTTPStatus
from importlib import resources

from gateway.config import GatewaySettings
from gateway.convert import to_json
from gateway.exchange import Answer, Exchange
from gateway.guests import introduction
from gateway.pages.page import Page, fixed
from mesh.money import EXPONENTS, granularity

_KINDS = {
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
# A shared cache that kept this answer would give the same number to several browsers.
_CACHING = b"private, no-cache"
_CAMPAIGN_PATH = re.compile(rb"/c/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_STRIPE_SCRIPTS = ("https://js.stripe.com", "https://*.js.stripe.com")


def giving_pages(settings: GatewaySettings) -> dict[bytes, Page]:
    """The start page, the campaigns' pages, and what they are made of."""
    folder = resources.files("gateway") / "web" / "page"
    shell = _introduced(
        fixed((folder / "page.html").read_bytes(), b"text/html; charset=utf-8", policy=_policy(settings), caching=_CACHING)
    )
    files = [(name, kind) for file in folder.iterdir() if (kind := _kind(name := file.name))]
    parts = {b"/page/" + name.encode(): fixed((folder / name).read_bytes(), kind) for name, kind in files}
    configuration = fixed(to_json(_configuration(settings)), b"application/json")
    return {b"/": shell, b"/c/{campaign_id}": _campaigns(shell), b"/page.json": configuration, **parts}


def _campaigns(shell: Page) -> Page:
    """The same page for every campaign; where the address can be none's, programs are told so by the status too."""

    async def campaign(exchange: Exchange) -> Answer:
        answer = await shell(exchange)
        known = _CAMPAIGN_PATH.fullmatch(exchange.path)
        return answer if known or answer.status != HTTPStatus.OK else replace(answer, status=HTTPStatus.NOT_FOUND)

    return campaign


def _introduced(page: Page) -> Page:
    """The page, which also gives the browser its number."""

    async def greet(exchange: Exchange) -> Answer:
        answer = await page(exchange)
        return replace(answer, headers=[*answer.headers, *introduction(exchange)])

    return greet


def _kind(name: str) -> bytes | None:
    return _KINDS.get(name[name.rfind(".") :])


def _configuration(settings: GatewaySettings) -> dict[str, object]:
    """What the page's script has to know. Everything in it is public."""
    return {
        "publishable_key": settings.stripe_publishable_key,
        "stripe_base": settings.stripe_browser_base,
        "live_url": settings.live_url,
        "featured_campaign": str(settings.featured_campaign or ""),
        "sends_receipts": bool(settings.notification_target),
        "currencies": {code: {"exponent": EXPONENTS[code], "step": granularity(code)} for code in sorted(EXPONENTS)},
    }


def _policy(settings: GatewaySettings) -> bytes:
    """The page runs our own files and, where there is a real key, Stripe's; it talks to us and to Stripe only."""
    own = ["'self'"]
    real = _STRIPE_SCRIPTS if settings.stripe_publishable_key and not settings.stripe_browser_base else ()
    api = ["https://api.stripe.com"] if real else [settings.stripe_browser_base]
    directives = {
        "default-src": ["'none'"],
        "script-src": [*own, *real],
        "style-src": own,
        "img-src": [*own, "data:", *(["https://*.stripe.com"] if real else [])],
        "connect-src": [*own, settings.live_url, *api],
        "frame-src": [*real, "https://hooks.stripe.com"] if real else ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
    return "; ".join(f"{name} {' '.join(filter(None, sources))}" for name, sources in directives.items()).encode()
