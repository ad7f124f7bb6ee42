"""The bank's page of 3-D Secure, as the donor's browser meets it. It needs no script."""

from __future__ import annotations

import hmac
from html import escape
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from sandbox.stripe import intents, money
from sandbox.stripe.engine import Engine
from sandbox.stripe.own import own
from sandbox.stripe.refusals import Refused
from sandbox.stripe.work import Object, Work

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>3D Secure test page</title>
<style>
  body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 32rem; margin: 3rem auto; padding: 0 1rem; color: #1a1f36; }}
  form {{ display: flex; gap: 1rem; flex-wrap: wrap; }}
  button {{ font: inherit; padding: .6rem 1.2rem; border: 2px solid #4b45c6; border-radius: .4rem; cursor: pointer; }}
  button[value=complete] {{ background: #4b45c6; color: #fff; }}
  button[value=fail] {{ background: #fff; color: #4b45c6; }}
  button:focus-visible {{ outline: 3px solid #ffb400; outline-offset: 2px; }}
</style>
<main>
<h1>3D Secure test page</h1>
{main}
</main>
</html>
"""
_ASK = """<p>Your bank asks whether you pay <strong>{amount}</strong>. This is a sandbox: no bank is involved.
Then you come back to the shop automatically.</p>
<form method="post">
<button name="outcome" value="complete" autofocus>Complete authentication</button>
<button name="outcome" value="fail">Fail authentication</button>
</form>"""
_DONE = "<p>{said} You may close this page.</p>"
# It lies in frames of any site, as banks' pages do; it may load nothing.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action *",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}


def routes(engine: Engine) -> list[Route]:
    path = "/3ds/{intent}/{challenge}"

    async def show(request: Request) -> Response:
        try:
            intent = await engine.transact(lambda work: _challenged(work, request.path_params))
        except Refused:
            return _page("<p>There is no such authentication.</p>", status=404)
        if intent["status"] != "requires_action":
            return _back(intent)
        return _page(_ASK.format(amount=escape(money.for_people(intent["amount"], intent["currency"]))))

    async def answer(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        if form.get("outcome") not in ("complete", "fail"):
            return _page("<p>That is no answer.</p>", status=400)
        passed = form["outcome"] == "complete"
        try:
            intent = await engine.transact(lambda work: _answered(work, request.path_params, passed=passed))
        except Refused:
            return _page("<p>There is no such authentication.</p>", status=404)
        return _back(intent)

    return [Route(path, show, methods=["GET"]), Route(path, answer, methods=["POST"])]


def _challenged(work: Work, path: dict[str, Any]) -> Object:
    intent = work.get("payment_intent", path["intent"])
    if not hmac.compare_digest(own(intent).get("challenge", "").encode(), path["challenge"].encode()):
        raise Refused("There is no such authentication.", status=404)
    return intent


def _answered(work: Work, path: dict[str, Any], *, passed: bool) -> Object:
    return intents.answer_challenge(work, _challenged(work, path), passed=passed)


def _back(intent: Object) -> Response:
    """To the merchant's page, where there is one."""
    passed = intent["status"] in ("succeeded", "requires_capture", "processing", "requires_confirmation")
    url = own(intent).get("return_url")
    if not url:
        return _page(_DONE.format(said="Authentication is complete." if passed else "Authentication has failed."))
    return RedirectResponse(_with_result(url, intent, passed=passed), status_code=303, headers=_HEADERS)


def _with_result(url: str, intent: Object, *, passed: bool) -> str:
    result = {
        "payment_intent": intent["id"],
        "payment_intent_client_secret": intent["client_secret"],
        "redirect_status": "succeeded" if passed else "failed",
    }
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=urlencode([*parse_qsl(parts.query, keep_blank_values=True), *result.items()])))


def _page(main: str, *, status: int = 200) -> Response:
    return HTMLResponse(_PAGE.format(main=main), status_code=status, headers=_HEADERS)
