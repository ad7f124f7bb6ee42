"""The table of refusals: complete, and kept to by everyone who raises one."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from types import ModuleType

import grpc
import pytest
from giving.common.v1 import error_pb2

import mesh
from mesh.errors import FIELDS_MAX, FORMS, FieldViolation, InvalidArgument, Refusal, to_status

ROOT = Path(mesh.__file__).parent.parent
PACKAGES = ("mesh", "donation_svc", "payment_svc", "aggregator_svc", "notification_svc", "gateway")
# The classes of HTTP answers that a gRPC code may become.
STATUSES = {
    "INVALID_ARGUMENT": {400, 415},
    # 503 for a switched-off intake: callers over HTTP come back, channels of ours must not retry by themselves.
    "FAILED_PRECONDITION": {402, 409, 422, 503},
    "NOT_FOUND": {404},
    "ABORTED": {409},
    "UNAUTHENTICATED": {401},
    "PERMISSION_DENIED": {403},
    "RESOURCE_EXHAUSTED": {413, 429},
    "UNAVAILABLE": {503},
    "DEADLINE_EXCEEDED": {504},
    "INTERNAL": {500},
    "UNIMPLEMENTED": {405, 501},
}


def test_every_reason_but_the_zero_has_a_form() -> None:
    assert set(FORMS) == set(error_pb2.ErrorReason.values()) - {0}


@pytest.mark.parametrize("number", sorted(FORMS), ids=error_pb2.ErrorReason.Name)
def test_a_reasons_http_status_fits_its_code(number: int) -> None:
    form = FORMS[number]
    assert form.http_status in STATUSES[form.code.name]
    assert HTTPStatus(form.http_status)
    assert form.code is not grpc.StatusCode.OK
    assert len(set(form.metadata)) == len(form.metadata)


def test_names_and_numbers_are_unique() -> None:
    values = error_pb2.ErrorReason.DESCRIPTOR.values
    assert len({value.name for value in values}) == len({value.number for value in values}) == len(values)


def modules() -> Iterator[ModuleType]:
    for package in PACKAGES:
        if not (ROOT / package).is_dir():
            continue
        for found in pkgutil.walk_packages([str(ROOT / package)], prefix=f"{package}."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def refusals() -> dict[str, type[Refusal]]:
    """Every refusal that the code names, by the name of its class."""
    found: dict[str, type[Refusal]] = {}
    for module in modules():
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, Refusal) and "reason" in vars(value):
                # Services do not import each other, so several may say the same.
                assert found.setdefault(name, value).reason == value.reason, f"{name} means two things"
    return found


def test_each_reason_has_at_most_one_name() -> None:
    numbers = [refusal.reason for refusal in refusals().values() if refusal is not Refusal]
    assert len(numbers) == len(set(numbers))


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            yield name, node


def test_whoever_raises_a_refusal_gives_exactly_the_contracts_metadata() -> None:
    known = refusals()
    wrong = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for name, call in calls(ast.parse(path.read_text())):
                refusal = known.get(name)
                # A class that takes other arguments says itself what it carries.
                if refusal is None or refusal is Refusal or "__init__" in vars(refusal):
                    continue
                given = {keyword.arg for keyword in call.keywords} - {"fields", "retry_after_s"}
                if None not in given and given != set(FORMS[refusal.reason].metadata):
                    wrong.append(f"{path.relative_to(ROOT)}:{call.lineno} {name} carries {sorted(map(str, given))}")
    assert not wrong


def test_no_log_line_names_a_value_event() -> None:
    """The logger calls its message `event`; a second one is a TypeError where something has just gone wrong."""
    methods = {"debug", "info", "warning", "error", "critical", "exception"}
    wrong = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for name, call in calls(ast.parse(path.read_text())):
                if name in methods and any(keyword.arg == "event" for keyword in call.keywords):
                    wrong.append(f"{path.relative_to(ROOT)}:{call.lineno}")
    assert not wrong


@pytest.mark.requirement("SEC-6")
def test_a_refusal_is_never_larger_than_its_caller_takes() -> None:
    mistakes = [FieldViolation("a" * 100_000, "\u00e9" * 100_000)] * 10_000
    refusal = InvalidArgument.of_fields(mistakes)
    assert len(refusal.fields) == FIELDS_MAX
    assert refusal.detail.endswith("and 9992 more")
    assert len(to_status(refusal).SerializeToString()) < 8_000


def test_one_mistake_is_told_in_full() -> None:
    refusal = InvalidArgument.of("amount", "must be more than nothing")
    assert refusal.detail == "amount: must be more than nothing"
    assert refusal.fields == (FieldViolation("amount", "must be more than nothing"),)
