import re
from string import ascii_letters, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.organizations.keys import (
    CHECKSUM_LENGTH,
    PREFIX,
    RANDOM_LENGTH,
    hash_of,
    hint_of,
    is_well_formed,
    new_secret,
)

ALPHABET = digits + ascii_letters
# Pinned: a change of the checksum would refuse every key that was ever issued.
KNOWN = "aif_live_0000000000000000000000000000002C8GjS"

secrets = st.builds(lambda _: new_secret(), st.integers())


def test_a_new_key_has_the_promised_shape() -> None:
    secret = new_secret()
    assert re.fullmatch(r"aif_live_[0-9A-Za-z]{30}[0-9A-Za-z]{6}", secret)
    assert is_well_formed(secret)


def test_keys_do_not_repeat() -> None:
    assert len({new_secret() for _ in range(500)}) == 500


def test_every_letter_of_the_alphabet_is_drawn() -> None:
    drawn = "".join(new_secret()[len(PREFIX) : len(PREFIX) + RANDOM_LENGTH] for _ in range(200))
    assert set(drawn) == set(ALPHABET)


def test_a_key_of_the_first_day_is_still_well_formed() -> None:
    assert is_well_formed(KNOWN)


@given(secrets, st.integers(len(PREFIX), len(PREFIX) + RANDOM_LENGTH + CHECKSUM_LENGTH - 1), st.sampled_from(ALPHABET))
def test_one_mistyped_character_is_noticed(secret: str, place: int, character: str) -> None:
    mistyped = secret[:place] + character + secret[place + 1 :]
    assert is_well_formed(mistyped) == (mistyped == secret)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "aif_live_",
        KNOWN[:-1],
        f"{KNOWN}0",
        KNOWN.removeprefix("aif_live_"),
        f"aif_test_{KNOWN.removeprefix('aif_live_')}",
        f"AIF_LIVE_{KNOWN.removeprefix('aif_live_')}",
        f" {KNOWN}",
        f"{KNOWN}\n",
        f"{KNOWN[:-1]}é",
        "aif_live_" + "٣" * 36,
        "aif_live_" + "\0" * 36,
        "aif_live_" + "' OR 1=1 --".ljust(36),
        "aif_live_" + "\ud800" * 36,
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    assert not is_well_formed(text)


@given(st.text(max_size=60))
def test_any_text_is_answered(text: str) -> None:
    assert not is_well_formed(text)
    assert not is_well_formed(PREFIX + text) or len(text) == RANDOM_LENGTH + CHECKSUM_LENGTH


@given(secrets, secrets)
def test_hashes_tell_keys_apart_and_hold_nothing_of_them(one: str, other: str) -> None:
    assert len(hash_of(one)) == 32
    assert (hash_of(one) == hash_of(other)) == (one == other)


def test_a_hint_shows_the_ends_and_hides_the_secret() -> None:
    assert hint_of(KNOWN) == "aif_live_0000…8GjS"
    assert len(hint_of(new_secret())) <= 24
