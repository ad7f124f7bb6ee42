"""Folders for servers' data."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cli.servers import place


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
