"""What the donation service reads from its environment."""

from __future__ import annotations

from mesh.config import ServiceSettings


class Settings(ServiceSettings):
    """The donation service."""

    database_schema: str = "donation"
