"""A migrated database for each process of the suite, cloned from one template."""

import fcntl
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from django.core.management import call_command
from django.db import connections

from tests.servers import DATABASE, EMPTY, PREFIX, RUN, TEMPLATE

T = TypeVar("T")


def create() -> None:
    """Make this process's database: the first process of a run migrates the template, all clone it."""
    mark = Path(__file__).parent.parent / ".local" / "test-template"
    mark.parent.mkdir(exist_ok=True)
    with mark.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with _owner() as owner:
            existing = {name for (name,) in owner.execute("SELECT datname FROM pg_database")}
            if TEMPLATE not in existing:
                _drop_abandoned(owner, existing)
                owner.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE {EMPTY}")
                _migrate_template()
            owner.execute(f"CREATE DATABASE {DATABASE} TEMPLATE {TEMPLATE}")


def close() -> None:
    """Let go of this process's database."""
    for connection in connections.all(initialized_only=True):
        connection.close()
        if connection.settings_dict["OPTIONS"].get("pool"):
            connection.close_pool()


def drop_run() -> None:
    """Drop every database of this run."""
    with _owner() as owner:
        names = owner.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", [f"{PREFIX}{RUN}\\_%"])
        for (name,) in names.fetchall():
            owner.execute(f"DROP DATABASE IF EXISTS {name}")


def _drop_abandoned(owner: psycopg.Connection, existing: set[str]) -> None:
    """Databases of runs whose process is gone."""
    for name in existing:
        run = name.removeprefix(PREFIX).partition("_")[0]
        if name.startswith(PREFIX) and not Path(f"/proc/{run}").exists():
            owner.execute(f"DROP DATABASE IF EXISTS {name}")


def owner_url(name: str = DATABASE) -> str:
    return os.environ["DATABASE_OWNER_URL"].replace(f"/{DATABASE}", f"/{name}")


def _migrate_template() -> None:
    with _connected("owner", TEMPLATE):
        call_command("migrate", verbosity=0)
    with _connected("default", TEMPLATE), as_worker():
        call_command("load_catalog", stdout=io.StringIO())


@contextmanager
def _connected(alias: str, name: str) -> Iterator[None]:
    """The alias on another database for a while."""
    connection = connections[alias]
    before, connection.settings_dict["NAME"] = connection.settings_dict["NAME"], name
    try:
        yield
    finally:
        connection.close()
        if connection.settings_dict["OPTIONS"].get("pool"):
            connection.close_pool()
        connection.settings_dict["NAME"] = before


def _owner() -> psycopg.Connection:
    return psycopg.connect(owner_url("postgres"), autocommit=True)


def hanging_up(work: Callable[..., T]) -> Callable[..., T]:
    """Work for a thread of a test: its connection goes back to the pool, as at the end of a request."""

    @wraps(work)
    def done(*arguments: Any, **named: Any) -> T:
        try:
            return work(*arguments, **named)
        finally:
            connections["default"].close()

    return done


@contextmanager
def as_worker() -> Iterator[None]:
    """This thread as finops_worker, with a connection of its own."""
    before = connections["default"]
    options = {name: value for name, value in before.settings_dict["OPTIONS"].items() if name != "pool"}
    settings = {**before.settings_dict, "USER": "finops_worker", "OPTIONS": options}
    connections["default"] = type(before)(settings, "default")
    try:
        yield
    finally:
        connections["default"].close()
        connections["default"] = before
