"""A campaign's page as a donor's browser reaches it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from giving.donation.v1.campaign_pb2 import CurrencyRule

from mesh.money import granularity
from tests.support.giving import open_cause, rule
from tests.support.mesh import Mesh


@dataclass(frozen=True)
class Site:
    """Where the pages are, and a campaign that takes gifts."""

    mesh: Mesh
    campaign_id: str

    @property
    def base(self) -> str:
        return self.mesh.base

    @property
    def address(self) -> str:
        return f"{self.base}/c/{self.campaign_id}"

    async def donations(self) -> list[dict[str, Any]]:
        """Every donation of the campaign, promised or paid."""
        async with self.mesh.rest.get(f"/v1/donations?campaign_id={self.campaign_id}") as answer:
            return list((await answer.json())["donations"])


async def open_site(mesh: Mesh) -> Site:
    """The page of a new campaign that takes three currencies, one of them without cents."""
    return Site(mesh, (await open_cause(mesh, *_rules())).campaign_id)


def _rules() -> list[CurrencyRule]:
    dollars = rule("USD", 100, 1_000_000, (500, 1000, 2500, 5000))
    dollars.goal_minor_units = 100_000
    return [dollars, rule("EUR", 100, 1_000_000, (500, 1000)), rule("JPY", 100, 1_000_000, (1000, 5000))]


def cover_of(gift: int, *, basis_points: int, fixed: int, currency: str) -> int:
    """The smallest cover by the contract's rule, found by trying: the page reckons it."""
    step = granularity(currency)
    cover = 0
    while cover * 10_000 < (gift + cover) * basis_points + fixed * 10_000:
        cover += step
    return cover
