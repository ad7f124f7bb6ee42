"""Ports: those that settings name, or free ones that the data folder remembers."""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path

from cli.refusal import CommandRefused

# Below Linux's ephemeral range (32768…): there somebody's outgoing connection takes the port of a restarted server.
_LOWEST = 10_000
_HIGHEST = 32_000
_TRIES_MAX = 1_000


def is_free(port: int) -> bool:
    """Whether a server could listen on it now, at 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def require_free(port: int, *, variable: str) -> int:
    """The port.

    Raises:
        CommandRefused: another program listens there.
    """
    if not is_free(port):
        raise CommandRefused(taken(port, variable=variable))
    return port


def taken(port: int, *, variable: str) -> str:
    return f"port {port} is in use by another program: set {variable} to a free port"


class PortBook:
    """The ports of a data folder: what was picked once stays, as long as nobody else takes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}

    def port(self, name: str, *, configured: int = 0) -> int:
        """The configured port; without one the remembered, or a new free one."""
        if configured:
            return require_free(configured, variable=f"{name.upper()}_PORT")
        port = self._ports.get(name)
        if port is None or not is_free(port):
            port = self._ports[name] = self._pick()
            self._path.write_text(json.dumps(self._ports, indent=1) + "\n")
        return port

    def _pick(self) -> int:
        for _ in range(_TRIES_MAX):
            port = random.randint(_LOWEST, _HIGHEST)  # noqa: S311 - nothing is secret about a port
            if port not in self._ports.values() and is_free(port):
                return port
        raise CommandRefused(f"no free port between {_LOWEST} and {_HIGHEST}")
