"""The route table: compiled once from the contract, looked up by segment count and verb."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule

from gateway.exchange import Exchange
from gateway.problems import MethodNotAllowed, RouteNotFound
from gateway.transcode.template import Template, compile_template, take_apart
from mesh.rpc.contract import Method


@dataclass(frozen=True, slots=True)
class Route:
    """One way in which HTTP reaches one RPC. `body` is "*", a field's name, or empty for none."""

    http_method: str
    template: Template
    body: str
    method: Method


@dataclass(frozen=True, slots=True)
class Match:
    """A route and the path's values for its variables."""

    route: Route
    values: list[tuple[str, str]]


def routes_of(methods: Mapping[str, Method]) -> list[Route]:
    """The routes of all methods that have an HTTP form."""
    return [
        Route(verb.upper(), compile_template(path), rule.body, method)
        for method in methods.values()
        for rule in _rules(method)
        for verb, path in [_pattern(rule)]
    ]


def _rules(method: Method) -> Iterator[HttpRule]:
    options = method.descriptor.GetOptions()
    if options.HasExtension(annotations_pb2.http):
        rule = options.Extensions[annotations_pb2.http]
        yield rule
        yield from rule.additional_bindings


def _pattern(rule: HttpRule) -> tuple[str, str]:
    kind = rule.WhichOneof("pattern")
    if kind == "custom":
        return rule.custom.kind, rule.custom.path
    return str(kind), getattr(rule, str(kind))


class Routes:
    """Finds the route of a request."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._table: dict[tuple[int, str], list[Route]] = {}
        # Literal segments win over variables, wherever both match.
        for route in sorted(routes, key=lambda route: len(route.template.variables)):
            key = (len(route.template.literals), route.template.verb)
            self._table.setdefault(key, []).append(route)

    def find(self, exchange: Exchange) -> Match:
        """The route and its variables; HEAD finds what GET finds.

        Raises:
            RouteNotFound: no route has this path.
            MethodNotAllowed: routes have it, none with this method.
        """
        taken = take_apart(exchange.path)
        if taken is None:
            raise RouteNotFound("no route has this path")
        segments, verb = taken
        candidates = self._table.get((len(segments), verb), ())
        matching = [route for route in candidates if route.template.matches(segments)]
        wanted = "GET" if exchange.method == "HEAD" else exchange.method
        for route in matching:
            if route.http_method == wanted:
                return Match(route, [(name, segments[index]) for index, name in route.template.variables])
        if matching:
            raise MethodNotAllowed(allow=", ".join(allowed(matching)))
        raise RouteNotFound("no route has this path")

    def methods(self, path: bytes) -> list[str]:
        """The HTTP methods that a path takes; none for an unknown one."""
        segments, verb = take_apart(path) or ((), "")
        candidates = self._table.get((len(segments), verb), ())
        return allowed(route for route in candidates if route.template.matches(segments))


def allowed(routes: Iterable[Route]) -> list[str]:
    """The methods of routes in a stable order, HEAD with GET."""
    methods = {route.http_method for route in routes}
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)
