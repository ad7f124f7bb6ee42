"""OpenAPI 3.1 out of the contract's descriptor image, comments included."""

from gateway.openapi.document import document

__all__ = ["document"]
