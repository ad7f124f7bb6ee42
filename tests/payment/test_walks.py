"""How far back a walk through the provider's list goes, and where it stands after each page."""

from __future__ import annotations

import datetime

import pytest

from payment_svc.domain.walks import KEPT_FOR, OVERLAP, Checkpoint, begun_anew, walk_from, walked

NOW = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)


@pytest.mark.requirement("HKI-5")
@pytest.mark.parametrize(
    ("oldest", "start"),
    [
        (None, NOW - OVERLAP),
        (NOW - HOUR, NOW - HOUR - OVERLAP),
        (NOW - datetime.timedelta(days=90), NOW - KEPT_FOR),
    ],
)
def test_a_first_walk_goes_back_to_the_oldest_payment_and_thirty_days_at_most(
    oldest: datetime.datetime | None, start: datetime.datetime
) -> None:
    assert walk_from(Checkpoint(), oldest=oldest, now=NOW) == start


@pytest.mark.requirement("HKI-5")
def test_a_later_walk_begins_ten_minutes_before_the_checkpoint() -> None:
    checkpoint = Checkpoint(position=NOW - HOUR)
    assert walk_from(checkpoint, oldest=NOW, now=NOW) == NOW - HOUR - datetime.timedelta(minutes=10)


@pytest.mark.requirement("HKI-5")
def test_a_walk_ends_at_the_time_of_its_first_page() -> None:
    """What happens while it goes on is newer than its first page, and the next walk's."""
    first = walked(Checkpoint(position=NOW - HOUR), last_id="evt_2", more=True, time=NOW)
    assert first == Checkpoint(NOW - HOUR, "evt_2", NOW)
    second = walked(first, last_id="evt_1", more=True, time=NOW + HOUR)
    assert second == Checkpoint(NOW - HOUR, "evt_1", NOW)
    assert walked(second, last_id="", more=False, time=NOW + 2 * HOUR) == Checkpoint(NOW)
    assert begun_anew(second) == Checkpoint(NOW - HOUR)
