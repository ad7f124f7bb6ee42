"""Stripe's errors, by the fact that each states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DOCS = "https://stripe.com/docs/error-codes/"


class Refused(Exception):  # noqa: N818 - an answer to the caller
    """An error as Stripe answers it. `saved`: it is kept under the idempotency key, because execution had begun."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        saved: bool = True,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.saved = saved
        self.headers = headers or {}
        self.error = _error(message, kind, more)

    @property
    def body(self) -> dict[str, Any]:
        return {"error": self.error}


def _error(message: str, kind: str, more: Mapping[str, Any]) -> dict[str, Any]:
    error = {name: value for name, value in more.items() if value is not None}
    if "code" in error:
        error["doc_url"] = _DOCS + error["code"].replace("_", "-")
    return {**error, "message": message, "type": kind}


def malformed(message: str, *, param: str, code: str | None = None) -> Refused:
    """A parameter that Stripe refuses before it begins: nothing is saved under the key."""
    return Refused(message, param=param, code=code, saved=False)


def unknown_parameters(names: list[str]) -> Refused:
    word = "parameter" if len(names) == 1 else "parameters"
    return malformed(f"Received unknown {word}: {', '.join(names)}", param=names[0], code="parameter_unknown")


def missing_parameter(name: str) -> Refused:
    return malformed(f"Missing required param: {name}.", param=name, code="parameter_missing")


def no_such(kind: str, object_id: str, *, param: str) -> Refused:
    word = {"payment_method": "PaymentMethod"}.get(kind, kind)
    return Refused(f"No such {word}: '{object_id}'", status=404, code="resource_missing", param=param)


def unexpected_state(intent: Mapping[str, Any], doing: str) -> Refused:
    message = (
        f"You cannot {doing} this PaymentIntent because it has a status of {intent['status']}. "
        "Only a PaymentIntent with another status may be used like that."
    )
    return Refused(message, code="payment_intent_unexpected_state", payment_intent=intent)


def key_in_use(key: str) -> Refused:
    message = (
        "There is currently another in-progress request using this Idempotent Key "
        f"(that probably means you submitted twice, and the other request is still going through): {key}. "
        "Please try again later."
    )
    return Refused(message, status=409, kind="idempotency_error", code="idempotency_key_in_use", saved=False)


def key_reused(key: str, *, other_path: str | None = None) -> Refused:
    used = f"the endpoint ({other_path})" if other_path else "the same parameters"
    message = (
        f"Keys for idempotent requests can only be used with {used} they were first used with. "
        f"Try using a key other than '{key}' if you meant to execute a different request."
    )
    return Refused(message, kind="idempotency_error", saved=False)


def server_error() -> Refused:
    message = "Sorry, there was an unexpected error while processing your request. Please contact us if it persists."
    return Refused(message, status=500, kind="api_error")


def rate_limited() -> Refused:
    message = "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits."
    return Refused(
        message, status=429, code="rate_limit", saved=False, headers={"Stripe-Rate-Limited-Reason": "global-rate"}
    )
