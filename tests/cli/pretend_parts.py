"""Parts that answer like Valkey and write a journal of their life."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from cli.part import Part
from cli.ports import PortBook

_FAKE = """
import os, signal, socket, sys
name, port, journal, speed = sys.argv[1:]
def note(what):
    with open(journal, "a") as file:
        file.write(name + " " + what + "\\n")
def stop(*_):
    note("stopped")
    os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if speed == "deaf" else stop)
server = socket.create_server(("127.0.0.1", int(port)))
note("started")
print("hello from " + name, flush=True)
while True:
    connection, _ = server.accept()
    connection.recv(64)
    connection.sendall(b"+PONG\\r\\n")
    connection.close()
"""


@dataclass(frozen=True)
class Fakes:
    """Makes them, all with one journal."""

    journal: Path
    ports: PortBook

    def part(self, name: str, *, speed: str = "quick", stop_s_max: float = 10) -> Part:
        port = self.ports.port(name)
        return Part(
            name=name,
            command=(sys.executable, "-I", "-S", "-c", _FAKE, name, str(port), str(self.journal), speed),
            probe="valkey",
            address=f"127.0.0.1:{port}",
            environment={"PATH": os.environ["PATH"]},
            stop_s_max=stop_s_max,
        )

    def lines(self) -> list[str]:
        return self.journal.read_text().splitlines() if self.journal.exists() else []
