"""The contract, for programs and for those who write them."""

from __future__ import annotations

from importlib import resources

from gateway.pages.page import Page, fixed

_FILES = {
    b"/docs": ("docs.html", b"text/html; charset=utf-8"),
    b"/docs/docs.css": ("docs.css", b"text/css; charset=utf-8"),
    b"/docs/docs.js": ("docs.js", b"text/javascript; charset=utf-8"),
}


def documents() -> dict[bytes, Page]:
    """The contract as OpenAPI and the page that draws it."""
    web = resources.files("gateway") / "web"
    pages = {path: fixed((web / name).read_bytes(), kind) for path, (name, kind) in _FILES.items()}
    contract = resources.files("giving") / "openapi.json"
    return pages | {b"/openapi.json": fixed(contract.read_bytes(), b"application/json")}
