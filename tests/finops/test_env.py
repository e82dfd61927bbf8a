"""Environment variables: read with a type, refused with a sentence."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from finops.env import database_from_url, env_bool, env_int, env_list, env_secret, env_str


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    def set_to(value: str | None) -> None:
        if value is None:
            monkeypatch.delenv("SETTING", raising=False)
        else:
            monkeypatch.setenv("SETTING", value)

    monkeypatch.delenv("SETTING_FILE", raising=False)
    return set_to


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ImproperlyConfigured) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("value", [None, ""])
def test_it_takes_the_default_for_what_is_unset_or_empty(
    setting: Callable[[str | None], None], value: str | None
) -> None:
    setting(value)
    assert env_str("SETTING", default="a") == "a"
    assert env_bool("SETTING", default=True) is True
    assert env_int("SETTING", default=3) == 3
    assert env_list("SETTING", default=["a", "b"]) == ["a", "b"]
    assert env_secret("SETTING", default="") == ""


@pytest.mark.parametrize("read", [env_str, env_secret])
def test_it_names_what_must_be_set(setting: Callable[[str | None], None], read: Callable[[str], str]) -> None:
    setting(None)
    assert "SETTING is not set" in refused(lambda: read("SETTING"))


def test_it_names_the_choices(setting: Callable[[str | None], None]) -> None:
    setting("wbe")
    sentence = refused(lambda: env_str("SETTING", choices=("web", "worker", "beat")))
    assert sentence == "SETTING is 'wbe': it must be web, worker or beat."
    setting("web")
    assert env_str("SETTING", choices=("web", "worker")) == "web"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", True),
        ("TRUE", True),
        ("yes", True),
        (" on ", True),
        ("0", False),
        ("False", False),
        ("no", False),
    ],
)
def test_it_reads_a_truth_value(setting: Callable[[str | None], None], text: str, value: bool) -> None:
    setting(text)
    assert env_bool("SETTING", default=not value) is value


@pytest.mark.parametrize("text", ["2", "maybe", "t", "None"])
def test_it_refuses_an_odd_truth_value(setting: Callable[[str | None], None], text: str) -> None:
    setting(text)
    sentence = refused(lambda: env_bool("SETTING", default=False))
    assert repr(text.lower()) in sentence
    assert "1, true, yes, on, 0, false, no or off" in sentence


@pytest.mark.parametrize(
    ("text", "limits", "wanted"),
    [
        ("ten", {}, "a whole number."),
        ("1.5", {}, "a whole number."),
        ("0", {"minimum": 1}, "a whole number, 1 or more."),
        ("11", {"maximum": 10}, "a whole number, 10 or less."),
        ("11", {"minimum": 1, "maximum": 10}, "a whole number from 1 to 10."),
    ],
)
def test_it_refuses_a_number_outside_its_limits(
    setting: Callable[[str | None], None], text: str, limits: dict[str, int], wanted: str
) -> None:
    setting(text)
    sentence = refused(lambda: env_int("SETTING", 5, **limits))
    assert text in sentence
    assert sentence.endswith(f"it must be {wanted}")


@pytest.mark.parametrize("number", [1, 10])
def test_it_takes_a_number_at_its_limits(setting: Callable[[str | None], None], number: int) -> None:
    setting(str(number))
    assert env_int("SETTING", 5, minimum=1, maximum=10) == number


def test_it_splits_a_list_at_commas(setting: Callable[[str | None], None]) -> None:
    setting("a.example, b.example")
    assert env_list("SETTING") == ["a.example", "b.example"]
    setting("a.example,,b.example")
    assert "'a.example,,b.example'" in refused(lambda: env_list("SETTING"))


def test_it_reads_a_secret_from_a_file(
    setting: Callable[[str | None], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "secret"
    setting(None)
    monkeypatch.setenv("SETTING_FILE", str(path))
    assert "cannot be read" in refused(lambda: env_secret("SETTING"))
    path.write_text("\n")
    assert "is empty" in refused(lambda: env_secret("SETTING"))
    path.write_text("hush\n")
    assert env_secret("SETTING") == "hush"
    setting("loud")
    assert "both set" in refused(lambda: env_secret("SETTING"))


@pytest.mark.parametrize(
    ("url", "host", "port", "options"),
    [
        ("postgresql://alice:pass%40word@db.example:6432/acme", "db.example", "6432", {}),
        (
            "postgres://alice:pass%40word@db.example/acme?sslmode=require",
            "db.example",
            "",
            {"sslmode": "require"},
        ),
        ("postgresql://alice:pass%40word@/acme?host=/run/pg&port=5432", "/run/pg", "5432", {}),
        ("postgresql://alice:pass%40word@%2Frun%2Fpg/acme", "/run/pg", "", {}),
        ("postgresql://alice:pass%40word@[::1]:5432/acme", "::1", "5432", {}),
    ],
)
def test_it_turns_a_url_into_a_database(url: str, host: str, port: str, options: dict[str, str]) -> None:
    assert database_from_url(url) == {
        "ENGINE": "apps.core.postgres",
        "NAME": "acme",
        "USER": "alice",
        "PASSWORD": "pass@word",
        "HOST": host,
        "PORT": port,
        "OPTIONS": options,
        "CONN_HEALTH_CHECKS": True,
    }


def test_it_shares_connections_among_threads_when_asked() -> None:
    assert database_from_url("postgresql://a@b/c", pool_max=8)["OPTIONS"]["pool"]["max_size"] == 8


@pytest.mark.parametrize(
    "url",
    [
        "mysql://alice:hush@db/acme",
        "dbname=acme password=hush",
        "postgresql://alice:hush@db",
        "postgresql://alice:hush@db/",
        "postgresql://alice:hush@db/acme?unheard=of",
        "postgresql://alice:hush@[::1/acme",
    ],
)
def test_it_refuses_an_odd_url_and_keeps_its_password_to_itself(url: str) -> None:
    sentence = refused(lambda: database_from_url(url, variable="DATABASE_OWNER_URL"))
    assert sentence.startswith("DATABASE_OWNER_URL ")
    assert "hush" not in sentence


@given(st.text(max_size=60))
def test_no_url_ends_in_another_error(text: str) -> None:
    try:
        entry = database_from_url(f"postgresql://{text}")
    except ImproperlyConfigured:
        return
    assert entry["NAME"] == conninfo_to_dict(f"postgresql://{text}")["dbname"]
