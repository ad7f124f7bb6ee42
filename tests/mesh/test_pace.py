"""A drain leaves intake its share of the processor, and is still faster than what comes in."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.events.pace import REST_S_MAX, Pace
from tests.support.log import Log, fact


@pytest.mark.requirement("EVT-4")
def test_a_drain_rests_as_long_as_it_works_and_never_long() -> None:
    pace = Pace()
    assert pace.rest_s(0.02) == 0.02
    assert pace.rest_s(30) == REST_S_MAX


@pytest.mark.requirement("EVT-4")
@pytest.mark.parametrize("incoming", [0.2, 0.49, 0.6, 0.9])
def test_what_came_in_during_a_drain_becomes_at_most_half_of_it(incoming: float) -> None:
    """`incoming`: as a share of what a relay publishes that never rests. It gains two to one where that is possible."""
    pace, pages, gained = Pace(), 1_000.0, []
    for _ in range(12):
        pace.note(int(pages))
        came_in = pages * incoming * (1 + pace.rest_s(0.01) / 0.01)
        gained.append(pages / came_in)
        pages = came_in
        if pages < 10:
            return
    assert gained[-1] >= min(2, 1 / incoming) * 0.99


@pytest.mark.requirement("EVT-4")
def test_whoever_has_caught_up_rests_again() -> None:
    pace = Pace()
    for pages in (10, 9, 8):
        pace.note(pages)
    assert pace.rest_s(0.02) < 0.02
    pace.note(0)
    assert pace.rest_s(0.02) == 0.02


class Counting(Pace):
    """Rests not at all, and remembers how often it might have."""

    def __init__(self) -> None:
        super().__init__()
        self.rests = 0
        self.noted: list[int] = []

    def rest_s(self, worked_s: float) -> float:
        del worked_s
        self.rests += 1
        return 0

    def note(self, pages: int) -> None:
        self.noted.append(pages)


@pytest.mark.requirement("EVT-4")
async def test_the_relay_rests_after_every_full_page_and_at_no_other_time(log: Log) -> None:
    relay: Any = log.relay(page=2)
    relay._pace = pace = Counting()
    position = await log.begin(relay)
    await log.write(fact())
    position = await relay.drain(position)
    assert (pace.rests, pace.noted) == (0, [0])

    await log.write(*[fact() for _ in range(7)])
    await relay.drain(position)

    assert (pace.rests, pace.noted) == (3, [0, 3])
    relay._pace = again = Counting()
    await relay._republish(position, before=2, suffix=":r1")
    assert again.rests == 4
