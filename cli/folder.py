"""The data folder: secrets, remembered ports, the run file, and the data of embedded servers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from cli.ports import PortBook
from cli.refusal import CommandRefused

_SECRET_BYTES = 32


class DataFolder:
    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def run_file(self) -> Path:
        return self.path / "run.json"

    def prepare(self) -> None:
        """Makes the folder.

        Raises:
            CommandRefused: it cannot be written.
        """
        try:
            self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
            probe = self.path / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise CommandRefused(
                f"the data folder {self.path} cannot be written ({error.strerror}): choose another with --data or MESH_DATA"
            ) from None

    @property
    def ports_file(self) -> Path:
        return self.path / "ports.json"

    def ports(self) -> PortBook:
        return PortBook(self.ports_file)

    def secret(self, name: str) -> str:
        """A random secret, made at first use and kept for the owner's eyes only."""
        known = self._secrets()
        if name not in known:
            known[name] = secrets.token_hex(_SECRET_BYTES)
            write_private(self.path / "secrets.json", json.dumps(known, indent=1) + "\n")
        return known[name]

    def _secrets(self) -> dict[str, str]:
        path = self.path / "secrets.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for one supervisor; the kernel lets go of it when the process ends, however it ends.

        Raises:
            CommandRefused: another one holds it.
        """
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CommandRefused(
                    f"a mesh already runs on {self.path}: see `mesh status`, stop it with `mesh down`"
                ) from None
            yield

    def is_locked(self) -> bool:
        """Whether a supervisor runs on this folder."""
        if not (self.path / "lock").exists():
            return False
        try:
            with self.locked():
                return False
        except CommandRefused:
            return True


def write_private(path: Path, text: str) -> None:
    """Replaces a file in one step; only its owner reads it."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    scratch.replace(path)
