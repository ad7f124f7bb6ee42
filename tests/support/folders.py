"""Folders for servers' data."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cli.servers import place

MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 4 << 30


def use_memory() -> None:
    """Has temporary folders lie in memory where there is room and programs may run.

    Servers flush as in service, which a disk that several of them share takes seconds for. What a power cut would lose no
    test could show: a killed process loses nothing that it has handed over to the system.
    """
    if "TMPDIR" in os.environ or not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK):
        return
    room = os.statvfs(MEMORY)
    if room.f_bavail * room.f_frsize >= MEMORY_BYTES_MIN and not room.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None


@contextlib.contextmanager
def reachable_folder() -> Iterator[Path]:
    """A folder that any user may pass, removed afterwards.

    pytest's own are closed: for root, who lends PostgreSQL another user, the data would go elsewhere and stay there.
    """
    path = Path(tempfile.mkdtemp(prefix="giving-mesh-test-"))
    path.chmod(0o711)
    assert place.reachable(path), f"{path.parent} is closed to other users: set TMPDIR to a folder that they may pass"
    try:
        yield path
    finally:
        shutil.rmtree(path)
