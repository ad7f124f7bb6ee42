"""What is sealed opens under its key for its owner, and for nobody else."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.seal import Seal, SealBroken, key_from, new_key


@given(plain=st.binary(max_size=200), owner=st.binary(max_size=40))
@pytest.mark.requirement("INT-6")
def test_what_was_sealed_opens_again(plain: bytes, owner: bytes) -> None:
    seal = Seal(new_key())
    assert seal.open(seal.close(plain, belongs_to=owner), belongs_to=owner) == plain


def test_equal_texts_look_different() -> None:
    seal = Seal(new_key())
    assert seal.close(b"ada@example.org", belongs_to=b"1") != seal.close(b"ada@example.org", belongs_to=b"1")


@pytest.mark.parametrize("place", [0, 11, 12, 20, -1])
def test_changed_bytes_do_not_open(place: int) -> None:
    seal = Seal(bytes(32))
    sealed = bytearray(seal.close(b"a" * 30, belongs_to=b"1"))
    sealed[place] ^= 1
    for spoiled in (bytes(sealed), b"", bytes(sealed[:-1])):
        with pytest.raises(SealBroken):
            seal.open(spoiled, belongs_to=b"1")


def test_another_key_or_another_owner_opens_nothing() -> None:
    sealed = Seal(bytes(32)).close(b"secret", belongs_to=b"1")
    with pytest.raises(SealBroken):
        Seal(b"1" * 32).open(sealed, belongs_to=b"1")
    with pytest.raises(SealBroken):
        Seal(bytes(32)).open(sealed, belongs_to=b"2")


def test_keys_are_read_from_hexadecimal_and_base64() -> None:
    key = new_key()
    assert key_from(key.hex()) == key_from(base64.b64encode(key).decode()) == key


@pytest.mark.parametrize("text", ["", "short", "z" * 64, base64.b64encode(bytes(31)).decode()])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        key_from(text)
