"""Page tokens: made here, for this list, and for no other."""

from __future__ import annotations

import datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import PageTokenInvalid
from mesh.pages import EARLIEST, FIRST, LAST, LATEST, PageTokens, Position, page_size

TOKENS = PageTokens(b"k" * 32)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@given(st.uuids(), st.text())
def test_a_token_leads_back_to_where_the_page_ended(last_id: UUID, list_name: str) -> None:
    assert TOKENS.read(TOKENS.make(last_id, list_name=list_name), list_name=list_name, start=FIRST) == last_id


TIMES = st.datetimes(timezones=st.just(datetime.UTC))


@given(TIMES, st.text(), st.text())
def test_a_token_leads_back_to_a_time_and_a_name(time: datetime.datetime, name: str, list_name: str) -> None:
    last = Position(time, name)
    assert last >= EARLIEST
    assert TOKENS.read_at(TOKENS.make_at(last, list_name=list_name), list_name=list_name, start=LATEST) == last


@pytest.mark.parametrize("start", [EARLIEST, LATEST])
def test_no_token_is_the_beginning_of_a_list_by_time(start: Position) -> None:
    assert TOKENS.read_at("", list_name="x", start=start) == start


def test_a_token_of_another_list_or_mesh_is_refused_by_a_list_by_time() -> None:
    token = TOKENS.make_at(EARLIEST, list_name="one")
    with pytest.raises(PageTokenInvalid, match="another list"):
        TOKENS.read_at(token, list_name="other", start=LATEST)
    with pytest.raises(PageTokenInvalid, match="this mesh"):
        PageTokens(b"other" * 8).read_at(token, list_name="one", start=LATEST)


@pytest.mark.parametrize("start", [FIRST, LAST])
def test_no_token_is_the_beginning(start: UUID) -> None:
    assert TOKENS.read("", list_name="x", start=start) == start


@given(st.uuids(), st.data())
def test_a_token_in_which_any_sign_was_changed_is_refused(last_id: UUID, data: st.DataObject) -> None:
    token = TOKENS.make(last_id, list_name="x")
    place = data.draw(st.integers(0, len(token) - 1))
    sign = data.draw(st.sampled_from([other for other in ALPHABET if other != token[place]]))
    with pytest.raises(PageTokenInvalid):
        TOKENS.read(token[:place] + sign + token[place + 1 :], list_name="x", start=FIRST)


@given(st.uuids(), st.text(alphabet=[chr(n) for n in range(33, 127) if chr(n) not in ALPHABET], min_size=1), st.data())
def test_a_token_with_signs_that_are_none_is_refused(last_id: UUID, junk: str, data: st.DataObject) -> None:
    token = TOKENS.make(last_id, list_name="x")
    place = data.draw(st.integers(0, len(token)))
    with pytest.raises(PageTokenInvalid):
        TOKENS.read(token[:place] + junk + token[place:], list_name="x", start=FIRST)


@given(st.text(min_size=1))
def test_anything_else_is_refused(token: str) -> None:
    with pytest.raises(PageTokenInvalid):
        TOKENS.read(token, list_name="x", start=FIRST)


@given(st.uuids())
def test_a_token_of_another_mesh_is_refused(last_id: UUID) -> None:
    with pytest.raises(PageTokenInvalid):
        PageTokens(b"other" * 8).read(TOKENS.make(last_id, list_name="x"), list_name="x", start=FIRST)


@given(st.uuids(), st.text(), st.text())
def test_a_token_of_another_list_is_refused(last_id: UUID, one: str, other: str) -> None:
    if one == other:
        return
    with pytest.raises(PageTokenInvalid, match="another list"):
        TOKENS.read(TOKENS.make(last_id, list_name=one), list_name=other, start=FIRST)


@given(st.integers(1, 2**63 - 1), st.text())
def test_a_token_leads_back_to_a_position_too(last: int, list_name: str) -> None:
    token = TOKENS.make_position(last, list_name=list_name)
    assert TOKENS.read_position(token, list_name=list_name) == last
    with pytest.raises(PageTokenInvalid):
        TOKENS.read_position(token, list_name=list_name + "x")
    with pytest.raises(PageTokenInvalid):
        PageTokens(b"other" * 8).read_position(token, list_name=list_name)


def test_no_token_is_the_position_before_all_others() -> None:
    assert TOKENS.read_position("", list_name="x") == 0


@pytest.mark.requirement("SEC-6")
@pytest.mark.parametrize(("asked", "size"), [(0, 50), (1, 1), (100, 100), (101, 100), (2**31 - 1, 100)])
def test_pages_have_a_bound(asked: int, size: int) -> None:
    assert page_size(asked) == size
