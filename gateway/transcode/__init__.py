"""HTTP requests → RPCs, by the `google.api.http` options of the contract."""

from gateway.transcode.answers import LocalAnswer, Rendered, Renderer
from gateway.transcode.rest import LocalAnswers, Transcoder
from gateway.transcode.routes import Route, Routes, routes_of

__all__ = ["LocalAnswer", "LocalAnswers", "Rendered", "Renderer", "Route", "Routes", "Transcoder", "routes_of"]
