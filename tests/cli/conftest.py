from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pretend_parts import Fakes

from cli.ports import PortBook


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder that any user may reach: pytest's own are closed, and root lends PostgreSQL another user."""
    path = Path(tempfile.mkdtemp(prefix="giving-mesh-test-"))
    path.chmod(0o711)
    yield path / "data"
    shutil.rmtree(path)


@pytest.fixture
def ports(tmp_path: Path) -> PortBook:
    return PortBook(tmp_path / "ports.json")


@pytest.fixture
def fakes(tmp_path: Path, ports: PortBook) -> Fakes:
    return Fakes(tmp_path / "journal", ports)
