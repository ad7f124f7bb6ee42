"""What a display may never do, seen of displays that do it."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.sampler import Reader, above


def totals(version: int, **gross: int) -> dict[str, Any]:
    """As REST and SSE show them."""
    currencies = [{"currency": code, "gross": str(figure)} for code, figure in gross.items()]
    return {"campaign_id": "c", "version": str(version), "currencies": currencies}


@pytest.mark.requirement("RES-1", "RES-2")
@pytest.mark.parametrize(
    ("second", "wrong"),
    [
        (totals(2, EUR=500), 0),
        (totals(3, EUR=500, USD=1), 0),
        (totals(1, EUR=500), 1),
        (totals(2, EUR=499), 1),
        (totals(2, USD=500), 1),
        (totals(0, EUR=1), 2),
    ],
)
def test_a_reader_sees_no_version_again_and_no_gross_fall(second: dict[str, Any], wrong: int):
    reader = Reader()
    assert list(reader.take(totals(1, EUR=500))) == []
    assert len(list(reader.take(second))) == wrong


@pytest.mark.requirement("RES-1", "RES-2")
def test_nothing_is_shown_that_is_not_committed():
    committed = {("c", "EUR"): 500}
    assert list(above(totals(1, EUR=500), committed)) == []
    assert len(list(above(totals(1, EUR=501), committed))) == 1
    assert len(list(above(totals(1, EUR=1, USD=1), committed))) == 1
