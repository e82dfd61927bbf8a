"""A process that could see past the walls refuses to start, and says why."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from apps.core import startup
from apps.core.startup import refuse_unsafe_role
from tests import database

WAY_OUT = "Point DATABASE_URL at finops_app (site) or finops_worker (Celery)."
_USER = re.compile(r"(?<=://)\w*")


def url_of(role: str) -> str:
    return _USER.sub(role, database.owner_url(), count=1)


@pytest.fixture(scope="module")
def superuser() -> str:
    """The URL of a superuser; a server that was given to us may not offer one."""
    try:
        with psycopg.connect(url_of("postgres")):
            return url_of("postgres")
    except psycopg.OperationalError as error:
        pytest.skip(f"this server lets no superuser in: {error}")


@contextmanager
def connected_as(role: str) -> Iterator[None]:
    """This thread as another role, without a pool."""
    before = connections["default"]
    options = {name: value for name, value in before.settings_dict["OPTIONS"].items() if name != "pool"}
    connections["default"] = type(before)({**before.settings_dict, "USER": role, "OPTIONS": options}, "default")
    try:
        yield
    finally:
        connections["default"].close()
        connections["default"] = before


@pytest.mark.parametrize("role", ["finops_app", "finops_worker"])
def test_it_accepts_a_role_that_row_level_security_binds(role: str) -> None:
    with connected_as(role):
        refuse_unsafe_role()


def test_it_refuses_the_owner() -> None:
    with connected_as("finops_owner"), pytest.raises(ImproperlyConfigured, match="finops_owner has BYPASSRLS"):
        refuse_unsafe_role()


def test_it_refuses_a_superuser(superuser: str) -> None:
    with connected_as("postgres"), pytest.raises(ImproperlyConfigured, match="postgres is a superuser"):
        refuse_unsafe_role()


def test_it_refuses_a_role_that_owns_a_table(superuser: str) -> None:
    with psycopg.connect(superuser, autocommit=True) as connection:
        connection.execute("CREATE TABLE owned_by_the_site (); ALTER TABLE owned_by_the_site OWNER TO finops_app")
        try:
            with pytest.raises(ImproperlyConfigured, match="finops_app owns tables"):
                refuse_unsafe_role()
        finally:
            connection.execute("DROP TABLE owned_by_the_site")


def test_it_refuses_a_role_that_may_become_the_owner(superuser: str) -> None:
    """A member without the owner's privileges still takes them with SET ROLE."""
    role = f"finops_test_member_{os.getpid()}"
    with psycopg.connect(superuser, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN NOINHERIT; GRANT finops_owner TO {role} WITH INHERIT FALSE")
        try:
            with connected_as(role), pytest.raises(ImproperlyConfigured, match=f"{role} owns tables"):
                refuse_unsafe_role()
        finally:
            connection.execute(f"DROP ROLE {role}")


def test_it_refuses_an_older_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "POSTGRES_MINIMUM", 990000)
    with pytest.raises(ImproperlyConfigured, match=r"PostgreSQL 99 or later is needed, the server says \d+"):
        refuse_unsafe_role()


def start(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A process of its own, as a server would start it."""
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "FINOPS_PROCESS": "web", **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def sentence(ended: "subprocess.CompletedProcess[str]") -> str:
    return ended.stderr.strip().splitlines()[-1]


def test_the_site_starts_as_its_own_role() -> None:
    assert start("-c", "import finops.wsgi").returncode == 0


def test_the_site_refuses_to_start_as_the_owner() -> None:
    ended = start("-c", "import finops.wsgi", DATABASE_URL=database.owner_url())
    assert ended.returncode != 0
    assert "The database role finops_owner has BYPASSRLS" in sentence(ended)
    assert WAY_OUT in sentence(ended)


def test_the_site_refuses_to_start_as_a_superuser(superuser: str) -> None:
    ended = start("-c", "import finops.wsgi", DATABASE_URL=superuser)
    assert ended.returncode != 0
    assert "The database role postgres is a superuser" in sentence(ended)
    assert WAY_OUT in sentence(ended)


WORKER = ("-m", "celery", "-A", "finops", "worker", "--pool", "solo", "--queues", "nothing-is-sent-here")


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"FINOPS_PROCESS": "web"}, "set FINOPS_PROCESS=worker"),
        (
            {"FINOPS_PROCESS": "worker", "DATABASE_WORKER_URL": database.owner_url()},
            "finops_owner has BYPASSRLS",
        ),
    ],
)
def test_a_worker_refuses_to_start_with_the_wrong_rights(environment: dict[str, Any], why: str) -> None:
    ended = start(*WORKER, **environment)
    assert ended.returncode != 0
    assert why in ended.stderr
