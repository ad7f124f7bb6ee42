from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.ports import PortBook
from tests.cli.pretend_parts import Fakes
from tests.support.folders import reachable_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder that any user may reach: pytest's own are closed, and root lends PostgreSQL another user."""
    with reachable_folder() as path:
        yield path / "data"


@pytest.fixture
def ports(tmp_path: Path) -> PortBook:
    return PortBook(tmp_path / "ports.json")


@pytest.fixture
def fakes(tmp_path: Path, ports: PortBook) -> Fakes:
    return Fakes(tmp_path / "journal", ports)
