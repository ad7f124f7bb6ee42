"""One call from its head to its answer, in one transaction: fault, key, effect, saved answer, entry in the list."""

from __future__ import annotations

import email.utils
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sandbox.stripe import calls, faults, forms, keys
from sandbox.stripe.calls import Asked, Call
from sandbox.stripe.faults import Fault
from sandbox.stripe.keys import Key
from sandbox.stripe.refusals import Refused, rate_limited, server_error
from sandbox.stripe.render import rendered
from sandbox.stripe.shapes.account import API_VERSION
from sandbox.stripe.work import Work, dumps

# Requests that are kept for tests to look at.
_REQUESTS_KEPT = 20_000
_TRIMMED_EACH = 1_000
_HIDDEN = (
    "key",
    "client_secret",
    "card[number]",
    "card[cvc]",
    "payment_method_data[card][number]",
    "payment_method_data[card][cvc]",
)


@dataclass(frozen=True, slots=True)
class Request:
    """A call as it came. `key`: its idempotency key; `credential`: its API key; `origin`: how it reached us."""

    id: str
    method: str
    path: str
    params: Mapping[str, Any]
    credential: str
    key: str
    account: str
    origin: str


@dataclass(frozen=True, slots=True)
class Credentials:
    secret: str
    publishable: str

    def is_public(self, given: str) -> bool:
        """Whether it is the publishable key.

        Raises:
            Refused: it is no key of ours.
        """
        if not given:
            raise _unauthorised(
                "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer "
                "auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
            )
        if hmac.compare_digest(given.encode(), self.secret.encode()):
            return False
        if hmac.compare_digest(given.encode(), self.publishable.encode()):
            return True
        raise _unauthorised(f"Invalid API Key provided: {given[:8]}{'*' * 12}{given[-4:] if len(given) > 16 else ''}")  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class Answer:
    """`call`: the name of the call; `announced`: rows of the events of the transaction; `fault`: what the transport does."""

    status: int
    body: str
    headers: Mapping[str, str]
    call: str = ""
    fault: Fault | None = None
    announced: tuple[int, ...] = ()
    before_answer: bool = False


def _unauthorised(message: str) -> Refused:
    return Refused(message, status=401, saved=False, headers={"WWW-Authenticate": 'Basic realm="Stripe"'})


def serve(work: Work, request: Request, credentials: Credentials) -> Answer:
    """The answer, with its effects in the transaction."""
    name, fault = "", None
    try:
        public = credentials.is_public(request.credential)
        call, object_id = calls.find(request.method, request.path)
        name = call.name
        if public and not call.public:
            raise _secret_key_required()
        fault = faults.strikes(work, name)
        asked = Asked(request.params, object_id, public, request.origin)
        answer = _keyed(work, request, call, asked, fault)
    except Refused as refused:
        answer = refusal(refused, request.id)
    # By the clock that stamps objects and events too, wherever it was moved to.
    headers = {**answer.headers, "Date": email.utils.formatdate(work.now, usegmt=True)}
    answer = replace(answer, call=name, fault=fault, headers=headers)
    work.flush()
    _enter(work, request, answer)
    if not work.announced:
        return answer
    return replace(answer, announced=tuple(work.announced), before_answer=faults.before_answer(work))


def _secret_key_required() -> Refused:
    message = (
        "This API call cannot be made with a publishable API key. Please use a secret API key. You can find a list of your "
        "API keys at https://dashboard.stripe.com/account/apikeys."
    )
    return Refused(message, status=403, code="secret_key_required", saved=False)


def _keyed(work: Work, request: Request, call: Call, asked: Asked, fault: Fault | None) -> Answer:
    """The answer that the key has, or a new one that it gets."""
    key = _key(request)
    if fault is not None and fault.fault in ("error_429", "refuse_connection"):
        raise rate_limited()
    known = keys.saved(work, key) if key else None
    if known is not None:
        replayed = {"Idempotent-Replayed": "true", "Original-Request": known.request_id}
        return Answer(known.status, known.body, {**_headers(request.id), "Idempotency-Key": request.key, **replayed})
    answer, is_saved = _executed(work, request, call, asked, fault)
    if key and is_saved:
        keys.save(work, key, status=answer.status, body=answer.body)
    return replace(answer, headers={**answer.headers, "Idempotency-Key": request.key}) if key else answer


def _key(request: Request) -> Key | None:
    """GET has no effects, so Stripe does not look at its keys."""
    if request.method != "POST" or not request.key:
        return None
    keys.check_length(request.key)
    fingerprint = keys.fingerprint(request.method, forms.canonical(dict(request.params)))
    return Key(request.account, request.key, f"/v1/{request.path}", fingerprint)


def _executed(work: Work, request: Request, call: Call, asked: Asked, fault: Fault | None) -> tuple[Answer, bool]:
    """The answer, and whether a key keeps it."""
    if fault is not None and fault.fault == "error_500":
        return refusal(server_error(), request.id), True
    try:
        result = calls.answer(work, call, asked)
        if isinstance(result, Refused):  # with effects, such as the failed charge of a decline
            answer, is_saved = refusal(result, request.id), result.saved
        else:
            view = rendered(work, result, expand=asked.given.get("expand") or (), public=_is_reduced(asked, result))
            answer, is_saved = Answer(200, dumps(view), _headers(request.id)), True
    except Refused as refused:
        work.drop()
        answer, is_saved = refusal(refused, request.id), refused.saved
    if fault is not None and fault.fault == "error_500_after":
        return refusal(server_error(), request.id), True
    return answer, is_saved


def _is_reduced(asked: Asked, result: Mapping[str, Any]) -> bool:
    return asked.public and result["object"] == "payment_intent"


def refusal(refused: Refused, request_id: str) -> Answer:
    log = {"request_log_url": f"https://dashboard.stripe.com/test/logs/{request_id}?t=0"}
    body = dumps({"error": {**refused.error, **log}})
    return Answer(refused.status, body, {**_headers(request_id), **refused.headers})


def _headers(request_id: str) -> dict[str, str]:
    return {"Request-Id": request_id, "Stripe-Version": API_VERSION}


def _enter(work: Work, request: Request, answer: Answer) -> None:
    """Puts the call into the list of calls, without what is secret in it."""
    told = {name: "…" if name in _HIDDEN else value for name, value in forms.flat("", dict(request.params))}
    fault = answer.fault.fault if answer.fault else None
    row = work.ask(
        "add_request",
        request.id,
        work.now,
        request.method,
        f"/v1/{request.path}",
        answer.call,
        request.key or None,
        dumps(told),
        answer.status,
        fault,
    ).lastrowid
    if row is not None and row % _TRIMMED_EACH == 0:
        work.ask("drop_old_requests", _REQUESTS_KEPT)
