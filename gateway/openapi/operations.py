"""One operation per route: parameters, body, answers, what the policy adds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from giving.common.v1 import policy_pb2
from giving.common.v1.policy_pb2 import MethodPolicy
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import MethodDescriptorProto

from gateway.openapi.image import FILE_SERVICE, METHOD, Image
from gateway.openapi.schemas import Schema, Schemas

_VARIABLE = re.compile(r"\{([a-z0-9_.]+)(?:=\*)?\}")
_KEY: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Fills the body's idempotency field. A repeat with the same key returns the same resource.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
_PROBLEM = {"$ref": "#/components/responses/Problem"}


@dataclass(frozen=True, slots=True)
class Binding:
    """One HTTP form of a method; `number` counts a method's forms from 0."""

    service: str
    method: MethodDescriptorProto
    comment: str
    http_method: str
    path: str
    body: str
    number: int

    @property
    def policy(self) -> MethodPolicy:
        """The method's rules."""
        return self.method.options.Extensions[policy_pb2.policy]

    @property
    def in_path(self) -> tuple[str, ...]:
        """The fields that the path carries."""
        return tuple(_VARIABLE.findall(self.path))


def bindings(image: Image) -> Iterator[Binding]:
    """Every route of the contract, in its order."""
    for file in image.files:
        for at, service in enumerate(file.service):
            for index, method in enumerate(service.method):
                comment = image.comment_at(file, FILE_SERVICE, at, METHOD, index)
                for number, rule in enumerate(_rules(method)):
                    verb = rule.WhichOneof("pattern")
                    path = _VARIABLE.sub(r"{\1}", getattr(rule, verb))
                    yield Binding(service.name, method, comment, verb, path, rule.body, number)


def _rules(method: MethodDescriptorProto) -> list[Any]:
    if not method.options.HasExtension(annotations_pb2.http):
        return []
    rule = method.options.Extensions[annotations_pb2.http]
    return [rule, *rule.additional_bindings]


def operation(binding: Binding, image: Image, schemas: Schemas) -> Schema:
    """The operation object of one route."""
    name = f"{binding.service}_{binding.method.name}"
    result: Schema = {
        "operationId": f"{name}_{binding.number + 1}" if binding.number else name,
        "summary": binding.comment.partition(". ")[0].rstrip("."),
        "description": binding.comment,
        "tags": [binding.service],
        "parameters": _parameters(binding, image, schemas),
        "responses": _responses(binding, schemas),
        "x-roles": [policy_pb2.Role.Name(role).removeprefix("ROLE_").lower() for role in binding.policy.roles],
        "security": [{}, {"bearer": []}] if policy_pb2.ROLE_PUBLIC in binding.policy.roles else [{"bearer": []}],
    }
    if binding.policy.idempotency_field:
        result["x-idempotency-field"] = binding.policy.idempotency_field
    return result | ({"requestBody": _body(binding, schemas)} if binding.body else {})


def _parameters(binding: Binding, image: Image, schemas: Schemas) -> list[Schema]:
    request = binding.method.input_type.removeprefix(".")
    leaves = list(_leaves(request, image, schemas))
    parameters = [_parameter(name, schema, "path") for name, schema in leaves if name in binding.in_path]
    if not binding.body:
        parameters += [_parameter(name, schema, "query") for name, schema in leaves if name not in binding.in_path]
    return parameters + ([_KEY] if binding.policy.idempotency_field else [])


def _parameter(name: str, schema: Schema, place: str) -> Schema:
    plain = {key: value for key, value in schema.items() if key != "description"}
    description = schema.get("description", "")
    return {"name": name, "in": place, "required": place == "path", "description": description, "schema": plain}


def _leaves(message: str, image: Image, schemas: Schemas, prefix: str = "") -> Iterator[tuple[str, Schema]]:
    """Fields that a parameter can name, those of nested messages by dotted paths."""
    for index, field in enumerate(image.messages[message].field):
        nested = field.type_name.removeprefix(".")
        if not (nested.startswith("giving.") and nested in image.messages):
            yield prefix + field.name, schemas.field(message, index)
        elif field.label != field.LABEL_REPEATED:
            yield from _leaves(nested, image, schemas, f"{prefix}{field.name}.")


def _responses(binding: Binding, schemas: Schemas) -> Schema:
    streams = binding.method.server_streaming
    kind = "text/event-stream" if streams else "application/json"
    content = {kind: {"schema": schemas.refer(binding.method.output_type)}}
    done = {"description": "Each event's data is one such message." if streams else "Done.", "content": content}
    has_tag = bool(binding.policy.http_caching.etag_field)
    unchanged = {"304": {"description": "The caller has this version already."}} if has_tag else {}
    return {"200": done} | unchanged | {"default": _PROBLEM}


def _body(binding: Binding, schemas: Schemas) -> Schema:
    """The whole message less what the path carries."""
    name = binding.method.input_type.removeprefix(".")
    schema = schemas.message(name, without=binding.in_path) if binding.in_path else schemas.refer(name)
    return {"required": True, "content": {"application/json": {"schema": schema}}}
