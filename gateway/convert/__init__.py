"""JSON ↔ proto, strict and compiled from descriptors.

json_format names no fields in its errors and Python's json is lax; here every mistake of a body is found in one pass
and named by its dotted path. Field names are the proto's own, both ways, in one form only.
"""

from gateway.convert.parse import Json, Members, Number, parse
from gateway.convert.read import Reader, Readers, Violations
from gateway.convert.write import Writers, to_json

__all__ = ["Json", "Members", "Number", "Reader", "Readers", "Violations", "Writers", "parse", "to_json"]
