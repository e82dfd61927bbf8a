import hashlib
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ImproperlyConfigured, ValidationError
from hypothesis import HealthCheck, given
from hypothesis import settings as runs
from hypothesis import strategies as st

from apps.accounts.models import User
from apps.accounts.passwords import is_listed
from finops.env import env_file

GOOD = "plover-umbrella-cantaloupe"


def codes(password: str, user: User | None = None) -> set[str]:
    try:
        validate_password(password, user)
    except ValidationError as refused:
        return {error.code or "" for error in refused.error_list}
    return set()


@pytest.mark.parametrize(("password", "expected"), [
    (GOOD, set()),
    ("x7#Kp2!mQz9$", set()),
    ("x7#Kp2!mQz9", {"password_too_short"}),
    ("password1234", {"password_guessable"}),
    ("Password!2026", {"password_guessable"}),
    ("qwertyuiop[]", {"password_guessable"}),
    ("aaaaaaaaaaaaaaaa", {"password_guessable"}),
    ("finopsfinopsfinops", {"password_guessable"}),
    ("123", {"password_too_short", "password_guessable"}),
])  # fmt: skip
def test_what_is_quickly_guessed_is_refused(password: str, expected: set[str]) -> None:
    assert codes(password) == expected


def test_a_persons_own_address_is_quickly_guessed() -> None:
    assert codes("marguerite.oberlin1") == set()
    assert codes("marguerite.oberlin1", User(email="marguerite.oberlin@acme.example")) == {"password_guessable"}


def test_a_very_long_password_is_judged_at_once() -> None:
    assert codes(GOOD * 1_000) == set()


def digest(password: str) -> str:
    return hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper()


def listing(folder: Path, passwords: set[str], counted: bool) -> Path:
    file = folder / "breached.txt"
    suffix = ":42" if counted else ""
    file.write_text("".join(f"{line}{suffix}\n" for line in sorted(map(digest, passwords))))
    return file


@pytest.mark.parametrize("counted", [True, False])
@runs(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(listed=st.sets(st.text(max_size=12), max_size=40), other=st.text(max_size=12))
def test_the_search_finds_what_is_listed_and_nothing_else(
    tmp_path: Path, counted: bool, listed: set[str], other: str
) -> None:
    file = listing(tmp_path, listed, counted)
    assert all(is_listed(file, password) for password in listed)
    assert is_listed(file, other) == (other in listed)


def test_a_breached_password_is_refused_where_the_installation_has_the_list(tmp_path: Path, settings: Any) -> None:
    settings.BREACHED_PASSWORDS_FILE = listing(tmp_path, {GOOD, "another"}, counted=True)
    assert codes(GOOD) == {"password_breached"}
    assert codes(f"{GOOD}-9") == set()


def test_a_list_that_is_not_there_stops_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BREACHED_PASSWORDS_FILE", str(tmp_path / "none"))
    with pytest.raises(ImproperlyConfigured, match="there is no such file"):
        env_file("BREACHED_PASSWORDS_FILE")
    monkeypatch.setenv("BREACHED_PASSWORDS_FILE", "")
    assert env_file("BREACHED_PASSWORDS_FILE") is None
