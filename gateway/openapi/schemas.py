"""JSON schemas of the contract's messages, with the rules that JSON Schema can say."""

from __future__ import annotations

from typing import Any, TypeAlias

from buf.validate import validate_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

from gateway.openapi.image import ENUM_VALUE, FIELD, Image

Schema: TypeAlias = dict[str, Any]
_WELL_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
}
_BIG: Schema = {"type": "string", "format": "int64", "pattern": "^(0|-?[1-9][0-9]{0,18})$"}
_SMALL: Schema = {"type": "integer", "format": "int32"}
_BY_TYPE: dict[int, Schema] = {
    Field.TYPE_BOOL: {"type": "boolean"},
    Field.TYPE_STRING: {"type": "string"},
    Field.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    **{kind: {"type": "number"} for kind in (Field.TYPE_DOUBLE, Field.TYPE_FLOAT)},
    **dict.fromkeys((Field.TYPE_INT32, Field.TYPE_SINT32, Field.TYPE_SFIXED32), _SMALL),
    **{kind: {"type": "integer", "minimum": 0} for kind in (Field.TYPE_UINT32, Field.TYPE_FIXED32)},
    **dict.fromkeys((Field.TYPE_INT64, Field.TYPE_SINT64, Field.TYPE_SFIXED64), _BIG),
    **dict.fromkeys((Field.TYPE_UINT64, Field.TYPE_FIXED64), _BIG),
}
_RULE_NAMES = {
    "min_len": "minLength",
    "max_len": "maxLength",
    "pattern": "pattern",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_pairs": "minProperties",
    "max_pairs": "maxProperties",
}


class Schemas:
    """Collects the schemas that a document refers to."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self.found: dict[str, Schema] = {}

    def refer(self, type_name: str) -> Schema:
        """A reference to a message's or an enum's schema, which is then part of the document."""
        name = type_name.removeprefix(".")
        if name in _WELL_KNOWN:
            return _WELL_KNOWN[name]
        if name not in self.found:
            self.found[name] = {}
            self.found[name] = self._enum(name) if name in self._image.enums else self.message(name)
        return {"$ref": f"#/components/schemas/{name}"}

    def message(self, name: str, *, without: tuple[str, ...] = ()) -> Schema:
        """A message's schema, less some of its fields."""
        fields = [(i, field) for i, field in enumerate(self._image.messages[name].field) if field.name not in without]
        schema: Schema = {
            "type": "object",
            "description": self._image.comment(name),
            "properties": {field.name: self.field(name, index) for index, field in fields},
            "additionalProperties": False,
        }
        required = [field.name for _, field in fields if _constraints(field).required]
        return schema | ({"required": required} if required else {})

    def field(self, owner: str, index: int) -> Schema:
        """The schema of one field of a message, its comment and its rules included."""
        field = self._image.messages[owner].field[index]
        entry = self._image.messages.get(field.type_name.removeprefix("."))
        if entry is not None and entry.options.map_entry:
            schema: Schema = {"type": "object", "additionalProperties": self._value(entry.field[1])}
        elif field.label == Field.LABEL_REPEATED:
            schema = {"type": "array", "items": self._value(field)}
        else:
            schema = dict(self._value(field))
        comment = self._image.comment(owner, FIELD, index)
        return schema | _rules(field) | ({"description": comment} if comment else {})

    def _enum(self, name: str) -> Schema:
        values = self._image.enums[name].value
        lines = [f"- `{value.name}`: {self._image.comment(name, ENUM_VALUE, index)}" for index, value in enumerate(values)]
        description = "\n".join([self._image.comment(name), "", *lines])
        return {"type": "string", "enum": [value.name for value in values], "description": description}

    def _value(self, field: Field) -> Schema:
        return self.refer(field.type_name) if field.type_name else _BY_TYPE[field.type]


def _constraints(field: Field) -> validate_pb2.FieldRules:
    return field.options.Extensions[validate_pb2.field]


def _rules(field: Field) -> Schema:
    """What of a field's rules JSON Schema can say; bounds of int64 stay words, because there they are strings."""
    constraints = _constraints(field)
    kind = constraints.WhichOneof("type")
    if kind is None or constraints.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE:
        return {}
    given = {rule.name: value for rule, value in getattr(constraints, kind).ListFields()}
    rules = {ours: given[theirs] for theirs, ours in _RULE_NAMES.items() if theirs in given}
    if kind == "string" and given.get("uuid"):
        rules["format"] = "uuid"
    if kind == "int32":
        rules |= {name: given[rule] for rule, name in (("gte", "minimum"), ("lte", "maximum")) if rule in given}
    return rules
