"""Personal data stands apart, sealed under a key of its donor."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from mesh.seal import Seal, SealBroken, key_from
from tests.donation.conftest import Desk, donor, promise, speaking_as
from tests.support.books import counted, reading
from tests.support.giving import Cause
from tests.support.mesh import COMMON

WORDS = {"name": "Ada Lovelace", "email": "ada@example.org", "message": "for Charles", "locale": "en-GB"}
PERSONAL = {"donor_name": WORDS["name"], "donor_email": WORDS["email"], "message": WORDS["message"], "locale": "en-GB"}


async def opened(desk: Desk, donation_id: str) -> tuple[dict[str, str], UUID]:
    """What is personal of a donation, and whose key it is sealed with."""
    async with reading(desk.schemas, "donation") as connection:
        row = await connection.fetchrow(
            "SELECT sealed, owner_id, sealed_key FROM personal JOIN donor_key USING (owner_id) WHERE donation_id = $1",
            donation_id,
        )
    assert row
    key = Seal(key_from(COMMON["data_key"])).open(row["sealed_key"], belongs_to=row["owner_id"].bytes)
    return json.loads(Seal(key).open(row["sealed"], belongs_to=UUID(donation_id).bytes)), row["owner_id"]


@pytest.mark.requirement("INT-6")
async def test_no_table_shows_a_name_an_address_or_a_message(desk: Desk, appeal: Cause) -> None:
    donation_id = (await desk.give(promise(appeal.campaign_id, **PERSONAL))).donation.donation_id

    async with reading(desk.schemas, "donation") as connection:
        tables = await connection.fetch(
            "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'donation'"
        )
        for table in tables:
            dump = " ".join(row[0] for row in await connection.fetch(f"SELECT t::text FROM {table['name']} t"))
            for word in ("Lovelace", "ada@example", "for Charles", "en-GB"):
                assert word not in dump
                assert word.encode().hex() not in dump
    words, owner_id = await opened(desk, donation_id)
    assert (words, owner_id) == (WORDS, UUID(donation_id))


@pytest.mark.requirement("INT-6")
async def test_a_known_donor_has_one_key_and_each_guest_gift_one_of_its_own(desk: Desk, appeal: Cause) -> None:
    ada = "0190b4a2-0000-7000-8000-0000000000b1"
    caller = speaking_as(donor(ada))
    mine = [(await desk.give(promise(appeal.campaign_id, **PERSONAL), **caller)).donation.donation_id for _ in range(2)]
    others = [(await desk.give(promise(appeal.campaign_id, **PERSONAL))).donation.donation_id for _ in range(2)]

    assert [(await opened(desk, some_id))[1] for some_id in mine] == [UUID(ada), UUID(ada)]
    assert [(await opened(desk, some_id))[1] for some_id in others] == [UUID(some_id) for some_id in others]


@pytest.mark.requirement("INT-6")
async def test_sealed_data_that_was_moved_to_another_donation_does_not_open(desk: Desk, appeal: Cause) -> None:
    one, two = [(await desk.give(promise(appeal.campaign_id, **PERSONAL))).donation.donation_id for _ in range(2)]
    async with reading(desk.schemas, "donation") as connection:
        await connection.execute(
            """UPDATE personal p SET (sealed, owner_id) = (SELECT sealed, owner_id FROM personal WHERE donation_id = $1)
            WHERE p.donation_id = $2""",
            one,
            two,
        )
    with pytest.raises(SealBroken):
        await opened(desk, two)


async def test_a_gift_without_a_word_about_its_giver_keeps_nothing(desk: Desk, appeal: Cause) -> None:
    before = await counted(desk.schemas, "personal"), await counted(desk.schemas, "donor_key")
    await desk.give(promise(appeal.campaign_id))
    assert (await counted(desk.schemas, "personal"), await counted(desk.schemas, "donor_key")) == before
