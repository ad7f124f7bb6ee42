"""/sandbox: faults, time, the book, and the way to what `dashboard` does. For tests and operators."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox.stripe import calls, dashboard, events, faults, oracle, report, switches
from sandbox.stripe.engine import Engine
from sandbox.stripe.refusals import Refused, malformed
from sandbox.stripe.switches import Given
from sandbox.stripe.webhooks import SKEW
from sandbox.stripe.work import Object, Work

Handler = Callable[[Request], Awaitable[Response]]
Act = Callable[[Work, Given], Any]


def routes(engine: Engine, secret: str) -> list[Route]:
    control = _Control(engine, secret)
    return [
        *control.acts("/sandbox/faults", POST=_add_api_fault, GET=_list_faults, DELETE=_clear_faults),
        *control.acts("/sandbox/webhooks/faults", POST=_add_webhook_fault),
        *control.acts("/sandbox/webhooks/release", POST=_release),
        *control.acts("/sandbox/webhooks/retry", POST=_retry),
        *control.acts("/sandbox/webhooks/resend", POST=_resend),
        *control.acts("/sandbox/webhooks/clock", POST=_skew),
        *control.acts("/sandbox/disputes", POST=dashboard.open_dispute),
        *control.acts("/sandbox/disputes/{id}/win", POST=dashboard.win),
        *control.acts("/sandbox/disputes/{id}/lose", POST=dashboard.lose),
        *control.acts("/sandbox/refunds", POST=dashboard.refund),
        *control.acts("/sandbox/refunds/{id}/fail", POST=dashboard.fail_refund),
        *control.acts("/sandbox/payouts", POST=dashboard.pay_out),
        *control.acts("/sandbox/payouts/{id}/fail", POST=dashboard.fail_payout),
        *control.acts("/sandbox/fees", POST=dashboard.take_fee),
        *control.acts("/sandbox/settlement", POST=dashboard.settle, GET=dashboard.settlement),
        Route("/sandbox/settlement.csv", control.guarded(control.settlement), methods=["GET"]),
        *control.acts("/sandbox/requests", GET=switches.requests),
        Route("/sandbox/clock", control.guarded(control.clock), methods=["GET", "POST"]),
        Route("/sandbox/book", control.guarded(control.book), methods=["GET"]),
    ]


class _Control:
    def __init__(self, engine: Engine, secret: str) -> None:
        self._engine = engine
        self._secret = f"Bearer {secret}"

    def acts(self, path: str, **by_method: Act) -> list[Route]:
        """Routes that each run one transaction."""
        return [Route(path, self.guarded(self._transacting(act)), methods=[method]) for method, act in by_method.items()]

    def guarded(self, handler: Handler) -> Handler:
        """Asks for the secret key; answers refusals as the API does."""

        async def handle(request: Request) -> Response:
            given = request.headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), self._secret.encode()):
                return JSONResponse({"error": {"message": "Give the secret key as bearer."}}, status_code=401)
            try:
                return await handler(request)
            except Refused as refused:
                return JSONResponse(refused.body, status_code=refused.status)

        return handle

    def _transacting(self, act: Act) -> Handler:
        async def handle(request: Request) -> Response:
            given = await _given(request)
            return JSONResponse(await self._engine.transact(lambda work: act(work, given)))

        return handle

    async def clock(self, request: Request) -> Response:
        """GET: the time. POST: moves it by `advance_s`, or on to `time`, and lets happen what is due then."""
        given = await _given(request)
        if request.method == "POST":
            seconds = given.integer("advance_s") or (given.integer("time") or 0) - self._engine.clock.now()
            if seconds < 0:
                raise malformed("The clock does not go back.", param="time")
            await self._engine.advance(seconds=seconds)
        return JSONResponse({"time": self._engine.clock.now()})

    async def book(self, _: Request) -> Response:
        return JSONResponse(await self._engine.read(oracle.book))

    async def settlement(self, request: Request) -> Response:
        """The report as Stripe itemises it, of a payout or of a time."""
        given = await _given(request)
        asked = await self._engine.read(lambda work: report.asked(work, given))
        return StreamingResponse(self._engine.stream(asked), media_type="text/csv; charset=utf-8")


async def _given(request: Request) -> Given:
    body = await request.body()
    try:
        document = json.loads(body) if body else {}
    except ValueError:
        raise malformed("The body is no JSON.", param="") from None
    return Given({**request.query_params, **request.path_params, **document})


def _add_api_fault(work: Work, given: Given) -> Object:
    call = given.choice("call", (*calls.names(), faults.ANY_CALL), default=faults.ANY_CALL)
    fault = given.choice("fault", faults.API_FAULTS)
    faults.ask_for(work, "api", fault, call=call, times=given.times(), seconds=given.seconds())
    return _list_faults(work, given)


def _add_webhook_fault(work: Work, given: Given) -> Object:
    fault = given.choice("fault", faults.WEBHOOK_FAULTS)
    faults.ask_for(
        work,
        "webhook",
        fault,
        types=given.texts("types"),
        times=given.times(),
        seconds=given.seconds(),
        copies=given.integer("copies") or 1,
    )
    return _list_faults(work, given)


def _list_faults(work: Work, _: Given) -> Object:
    return {scope: [faults.Fault(*row)._asdict() for row in work.ask("faults", scope)] for scope in ("api", "webhook")}


def _clear_faults(work: Work, given: Given) -> Object:
    """What is withheld stays so until it is released."""
    work.ask("clear_faults")
    return _list_faults(work, given)


def _release(work: Work, _: Given) -> Object:
    return {"released": switches.release(work)}


def _retry(work: Work, _: Given) -> Object:
    return {"hurried": switches.retry(work)}


def _resend(work: Work, given: Given) -> Object:
    row = events.row_of(work, given.text("event"))
    work.deliver(row)
    work.announced.append(row)
    return {"event": given.text("event")}


def _skew(work: Work, given: Given) -> Object:
    seconds = given.integer("skew_s") or 0
    work.ask("set_setting", SKEW, str(seconds))
    return {"skew_s": seconds}
