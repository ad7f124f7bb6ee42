"""The calls of the API: what each is named, takes, and does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sandbox.stripe import disputes, events, intents, ledger, lists, methods, money, params, payouts, refunds, search, tables
from sandbox.stripe.params import Table
from sandbox.stripe.refusals import Refused, malformed, missing_parameter, no_such
from sandbox.stripe.shapes import account
from sandbox.stripe.work import Object, Work


@dataclass(frozen=True, slots=True)
class Asked:
    """A call's read parameters, the id in its path, and who asks: `public` with a publishable key, `origin` from where."""

    given: Mapping[str, Any]
    object_id: str
    public: bool
    origin: str


Run = Callable[[Work, Asked], Object | Refused]


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    table: Table
    run: Run
    required: tuple[str, ...] = ()
    public: bool = False


def _create_intent(work: Work, asked: Asked) -> Object | Refused:
    return intents.create(work, asked.given, origin=asked.origin)


def _intent(work: Work, asked: Asked) -> Object:
    """The intent; with a publishable key only for whoever has its secret."""
    if asked.public and "client_secret" not in asked.given:
        raise missing_parameter("client_secret")
    intent = work.get("payment_intent", asked.object_id)
    secret = asked.given.get("client_secret")
    if secret is not None and secret != intent["client_secret"]:
        message = "The client_secret provided does not match the client_secret associated with the PaymentIntent."
        raise Refused(message, code="payment_intent_invalid_parameter", param="client_secret")
    return intent


def _confirm_intent(work: Work, asked: Asked) -> Object | Refused:
    intent = _intent(work, asked)
    if asked.public and intent["confirmation_method"] == "manual":
        message = "This PaymentIntent's confirmation_method is manual: it can only be confirmed with a secret API key."
        raise Refused(message, code="payment_intent_unexpected_state", param="confirmation_method")
    given = {name: value for name, value in asked.given.items() if name not in ("client_secret", "expand")}
    return intents.confirm(work, intent, given, origin=asked.origin)


def _update_intent(work: Work, asked: Asked) -> Object:
    return intents.update(work, _intent(work, asked), asked.given)


def _capture_intent(work: Work, asked: Asked) -> Object:
    return intents.capture(work, _intent(work, asked), asked.given)


def _cancel_intent(work: Work, asked: Asked) -> Object:
    return intents.cancel(work, _intent(work, asked), reason=asked.given.get("cancellation_reason"))


def _create_method(work: Work, asked: Asked) -> Object:
    if "type" not in asked.given:
        raise missing_parameter("type")
    return methods.make(work, asked.given)


def _create_customer(work: Work, asked: Asked) -> Object:
    customer = account.customer(asked.given, now=work.now)
    customer["metadata"] = params.merged({}, asked.given.get("metadata") or {})
    work.add(customer)
    work.announce("customer.created", customer)
    return customer


def _attach_method(work: Work, asked: Asked) -> Object:
    method = work.get("payment_method", asked.object_id)
    method["customer"] = work.get("customer", asked.given["customer"])["id"]
    work.save(method)
    work.announce("payment_method.attached", method)
    return method


def _create_refund(work: Work, asked: Asked) -> Object:
    return refunds.create(work, asked.given)


def _update_refund(work: Work, asked: Asked) -> Object:
    return refunds.update(work, work.get("refund", asked.object_id), asked.given)


def _cancel_refund(work: Work, asked: Asked) -> Object:
    return refunds.cancel(work.get("refund", asked.object_id))


def _refunds_of_charge(work: Work, asked: Asked) -> Object:
    given = {**asked.given, "charge": work.get("charge", asked.object_id)["id"]}
    return lists.page(work, "refund", given, url=f"/v1/charges/{asked.object_id}/refunds")


def _update_dispute(work: Work, asked: Asked) -> Object:
    return disputes.update(work, work.get("dispute", asked.object_id), asked.given)


def _close_dispute(work: Work, asked: Asked) -> Object:
    return disputes.close(work, work.get("dispute", asked.object_id))


def _balance(work: Work, _: Asked) -> Object:
    return ledger.balance(work)


def _balance_transactions(work: Work, asked: Asked) -> Object:
    if "payout" in asked.given:
        payouts.check_contents_known(work.get("payout", asked.given["payout"]))
    return lists.page(work, "balance_transaction", asked.given, url="/v1/balance_transactions")


def _events(work: Work, asked: Asked) -> Object:
    return events.page(work, asked.given)


def _event(work: Work, asked: Asked) -> Object:
    return events.get(work, asked.object_id)


def _retrieve(kind: str) -> Run:
    def run(work: Work, asked: Asked) -> Object:
        return work.get(kind, asked.object_id)

    return run


def _list(kind: str, url: str) -> Run:
    def run(work: Work, asked: Asked) -> Object:
        return lists.page(work, kind, asked.given, url=url)

    return run


def _search(kind: str, url: str) -> Run:
    def run(work: Work, asked: Asked) -> Object:
        return search.search(work, kind, asked.given, url=url)

    return run


@cache
def _routes() -> Mapping[tuple[str, str], Call]:
    """By method and path without /v1/, ids as {id}."""
    return {
        **_intent_routes(),
        **_charge_routes(),
        **_balance_routes(),
        **_account_routes(),
        ("POST", "refunds"): Call("refunds.create", tables.REFUND, _create_refund),
        ("GET", "refunds"): Call("refunds.list", _narrowed("charge", "payment_intent"), _list("refund", "/v1/refunds")),
        ("GET", "refunds/{id}"): Call("refunds.retrieve", {}, _retrieve("refund")),
        ("POST", "refunds/{id}"): Call("refunds.update", tables.METADATA, _update_refund),
        ("POST", "refunds/{id}/cancel"): Call("refunds.cancel", {}, _cancel_refund),
        ("GET", "disputes"): Call("disputes.list", _narrowed("charge", "payment_intent"), _list("dispute", "/v1/disputes")),
        ("GET", "disputes/{id}"): Call("disputes.retrieve", {}, _retrieve("dispute")),
        ("POST", "disputes/{id}"): Call("disputes.update", tables.DISPUTE, _update_dispute),
        ("POST", "disputes/{id}/close"): Call("disputes.close", {}, _close_dispute),
    }


def _intent_routes() -> Mapping[tuple[str, str], Call]:
    path, name = "payment_intents", "payment_intents"
    secret: Table = {"client_secret": params.text}
    update = {**tables.INTENT, "amount": params.integer, "currency": money.currency}
    url = "/v1/payment_intents"
    return {
        ("POST", path): Call(f"{name}.create", tables.CREATE, _create_intent, required=("amount", "currency")),
        ("GET", path): Call(f"{name}.list", _narrowed("customer"), _list("payment_intent", url)),
        ("GET", f"{path}/search"): Call(
            f"{name}.search", tables.SEARCH, _search("payment_intent", f"{url}/search"), required=("query",)
        ),
        ("GET", f"{path}/{{id}}"): Call(f"{name}.retrieve", secret, _intent, public=True),
        ("POST", f"{path}/{{id}}"): Call(f"{name}.update", update, _update_intent),
        ("POST", f"{path}/{{id}}/confirm"): Call(f"{name}.confirm", tables.CONFIRM, _confirm_intent, public=True),
        ("POST", f"{path}/{{id}}/capture"): Call(f"{name}.capture", tables.CAPTURING, _capture_intent),
        ("POST", f"{path}/{{id}}/cancel"): Call(
            f"{name}.cancel", {"cancellation_reason": tables.CANCELLATION}, _cancel_intent
        ),
    }


def _charge_routes() -> Mapping[tuple[str, str], Call]:
    return {
        ("GET", "charges"): Call("charges.list", _narrowed("payment_intent", "customer"), _list("charge", "/v1/charges")),
        ("GET", "charges/search"): Call(
            "charges.search", tables.SEARCH, _search("charge", "/v1/charges/search"), required=("query",)
        ),
        ("GET", "charges/{id}"): Call("charges.retrieve", {}, _retrieve("charge")),
        ("GET", "charges/{id}/refunds"): Call("charges.refunds.list", _narrowed(), _refunds_of_charge),
    }


def _balance_routes() -> Mapping[tuple[str, str], Call]:
    transactions = {**_narrowed("payout", "source", "type"), "currency": money.currency}
    paid_out = {**_narrowed("destination"), "status": payouts.STATUS, "arrival_date": params.moments}
    return {
        ("GET", "balance"): Call("balance.retrieve", {}, _balance),
        ("GET", "balance_transactions"): Call("balance_transactions.list", transactions, _balance_transactions),
        ("GET", "balance_transactions/{id}"): Call("balance_transactions.retrieve", {}, _retrieve("balance_transaction")),
        ("GET", "payouts"): Call("payouts.list", paid_out, _list("payout", "/v1/payouts")),
        ("GET", "payouts/{id}"): Call("payouts.retrieve", {}, _retrieve("payout")),
    }


def _account_routes() -> Mapping[tuple[str, str], Call]:
    in_list = {"type": params.text, "types": params.texts, "delivery_success": params.boolean}
    return {
        ("POST", "customers"): Call("customers.create", tables.CUSTOMER, _create_customer),
        ("GET", "customers"): Call("customers.list", _narrowed("email"), _list("customer", "/v1/customers")),
        ("GET", "customers/{id}"): Call("customers.retrieve", {}, _retrieve("customer")),
        ("POST", "payment_methods"): Call("payment_methods.create", methods.METHOD, _create_method, public=True),
        ("GET", "payment_methods/{id}"): Call("payment_methods.retrieve", {}, _retrieve("payment_method")),
        ("POST", "payment_methods/{id}/attach"): Call(
            "payment_methods.attach", {"customer": params.text}, _attach_method, required=("customer",)
        ),
        ("GET", "events"): Call("events.list", {**lists.PAGING, **in_list}, _events),
        ("GET", "events/{id}"): Call("events.retrieve", {}, _event),
    }


def _narrowed(*names: str) -> Table:
    return {**lists.PAGING, **dict.fromkeys(names, params.text)}


def find(method: str, path: str) -> tuple[Call, str]:
    """The call of a path below /v1/, and the id in it.

    Raises:
        Refused: there is none.
    """
    parts = path.strip("/").split("/")
    routes = _routes()
    for pattern in (parts, [*parts[:1], "{id}", *parts[2:]]):
        call = routes.get((method, "/".join(pattern)))
        if call is not None:
            return call, parts[1] if "{id}" in pattern else ""
    message = f"Unrecognized request URL ({method}: /v1/{path}). Please see https://stripe.com/docs or we can help at https://support.stripe.com/."
    raise Refused(message, status=404, saved=False)


def names() -> frozenset[str]:
    return frozenset(call.name for call in _routes().values())


def answer(work: Work, call: Call, asked: Asked) -> Object | Refused:
    """Reads the parameters and does it.

    Raises:
        Refused: without any effect.
    """
    given = params.read(asked.given, {**call.table, "expand": params.texts}, required=call.required)
    if asked.public and "expand" in given:
        raise malformed("This property cannot be expanded with a publishable key.", param="expand")
    if "{" in asked.object_id:
        raise no_such("object", asked.object_id, param="id")
    return call.run(work, Asked(given, asked.object_id, asked.public, asked.origin))
