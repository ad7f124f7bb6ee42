"""Where the wheels keep the servers' programs."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

from cli.refusal import CommandRefused


def find(*, distribution: str, program: str, variable: str) -> Path:
    """The program of an installed wheel.

    Raises:
        CommandRefused: the wheel is not there or not for this machine; names the setting that does without.
    """
    try:
        files = metadata.distribution(distribution).files or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if file.name == program and os.access(path, os.X_OK):
            return path.resolve()
    raise CommandRefused(
        f"{program} is missing, the package {distribution} is not installed here: "
        f"run `make up`, or set {variable} to a server"
    )
