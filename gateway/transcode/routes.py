"""The route table: compiled once from the contract, looked up by segment count and verb."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

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


_Places: TypeAlias = tuple[int, ...]
_ByLiterals: TypeAlias = dict[tuple[str | None, ...], dict[str, Route]]


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
    """Finds the route of a request: by segment count and verb, then by the literals at the places that routes have."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._shapes: dict[tuple[int, str], dict[_Places, _ByLiterals]] = {}
        # Literal segments win over variables, wherever both match.
        for route in sorted(routes, key=lambda route: len(route.template.variables)):
            literals = route.template.literals
            places = tuple(index for index, literal in enumerate(literals) if literal is not None)
            shapes = self._shapes.setdefault((len(literals), route.template.verb), {})
            by_method = shapes.setdefault(places, {}).setdefault(tuple(literals[index] for index in places), {})
            by_method[route.http_method] = route

    def find(self, exchange: Exchange) -> Match:
        """The route and its variables; HEAD finds what GET finds.

        Raises:
            RouteNotFound: no route has this path.
            MethodNotAllowed: routes have it, none with this method.
        """
        segments, found = self._matching(exchange.path)
        if not found:
            raise RouteNotFound("no route has this path")
        wanted = "GET" if exchange.method == "HEAD" else exchange.method
        for by_method in found:
            if route := by_method.get(wanted):
                return Match(route, [(name, segments[index]) for index, name in route.template.variables])
        raise MethodNotAllowed(allow=", ".join(_names(found)))

    def methods(self, path: bytes) -> list[str]:
        """The HTTP methods that a path takes; none for an unknown one."""
        return _names(self._matching(path)[1])

    def _matching(self, path: bytes) -> tuple[tuple[str, ...], list[dict[str, Route]]]:
        segments, verb = take_apart(path) or ((), "")
        shapes = self._shapes.get((len(segments), verb), {})
        keyed = ((tuple([segments[index] for index in places]), routes) for places, routes in shapes.items())
        return segments, [routes[literals] for literals, routes in keyed if literals in routes]


def _names(found: Iterable[Mapping[str, Route]]) -> list[str]:
    """The methods of routes in a stable order, HEAD with GET."""
    methods = {method for by_method in found for method in by_method}
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)
