"""The whole document."""

from __future__ import annotations

from giving.common.v1 import error_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from gateway.openapi.image import ENUM_VALUE, Image
from gateway.openapi.operations import bindings, operation
from gateway.openapi.schemas import Schema, Schemas

_REASONS = "giving.common.v1.ErrorReason"
_DESCRIPTION = """\
Takes donations so that no cent is lost, none counted twice, and everyone sees the total live.

Amounts are minor units of their currency; int64 travels as a string of digits. Unknown fields are refused. Mutating \
calls take an idempotency key: a repeat returns the same resource and carries `Idempotent-Replayed: true`. Errors are \
problem documents (RFC 9457) whose `reason` is one of `x-reasons`. Every answer carries `X-Request-Id`."""


def document(files: FileDescriptorSet) -> Schema:
    """OpenAPI 3.1 of every route in a descriptor image that holds its source info."""
    image = Image(files)
    schemas = Schemas(image)
    paths: dict[str, Schema] = {}
    for binding in bindings(image):
        paths.setdefault(binding.path, {})[binding.http_method] = operation(binding, image, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Giving Mesh", "version": "1", "description": _DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.found.items())) | {"Problem": _problem(image)},
            "responses": {"Problem": _problem_response()},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "x-reasons": reasons(image),
    }


def reasons(image: Image) -> list[Schema]:
    """Every reason of refusal: when it is used, its HTTP status, and the metadata that it carries."""
    return [
        {
            "reason": value.name.removeprefix("ERROR_REASON_"),
            "status": value.options.Extensions[error_pb2.refusal].http_status,
            "description": image.comment(_REASONS, ENUM_VALUE, index),
            "metadata": list(value.options.Extensions[error_pb2.refusal].metadata),
        }
        for index, value in enumerate(image.enums[_REASONS].value)
        if value.number
    ]


def _problem(image: Image) -> Schema:
    text: Schema = {"type": "string"}
    violation = {
        "type": "object",
        "properties": {"field": text, "description": text},
        "required": ["field", "description"],
    }
    properties: dict[str, Schema] = {
        "type": {"type": "string", "format": "uri-reference"},
        "title": text,
        "status": {"type": "integer"},
        "detail": text,
        "reason": {"type": "string", "enum": [row["reason"] for row in reasons(image)]},
        "request_id": text,
        "errors": {"type": "array", "items": violation},
        "metadata": {"type": "object", "additionalProperties": text},
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


def _problem_response() -> Schema:
    headers = {"Retry-After": {"description": "Seconds to wait, where waiting helps.", "schema": {"type": "integer"}}}
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": "Refused; `reason` says why.", "headers": headers, "content": content}
