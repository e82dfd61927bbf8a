"""Both walls, each on its own, on the real database as finops_app."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any, cast

import pytest
from django.db import DatabaseError, IntegrityError, ProgrammingError, connection, connections, transaction
from django.db.backends.postgresql.base import DatabaseWrapper

from apps.core.tenancy import TenancyError, current_organization_id, tenant
from apps.organizations.models import Organization
from apps.organizations.services import create_organization, issue_key
from apps.teams.models import Project, Team, Workflow
from apps.teams.services import create_project, create_team
from apps.usage import sql, tasks
from apps.usage.services import roll_up
from tests.database import as_worker
from tests.world import Api, make_event, unique

NOBODY = 2**40
TRANSACTIONS, THREADS, POOL = 10_000, 6, 2


def fetch(statement: str, *values: int) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def setting() -> str | None:
    value: str | None = fetch("SELECT current_setting('app.org', true)")[0][0]
    return value


@dataclass(frozen=True)
class Side:
    org: Organization
    api: Api


@dataclass(frozen=True)
class Pair:
    """Two organizations; nobody signs in, so nobody has a password."""

    acme: Side
    globex: Side


def make_side(name: str) -> Side:
    org = create_organization(name=unique(name), owner_email=f"owner@{name}.example")
    return Side(org, Api(issue_key(org=org, name="tests", scopes=["ingest"]).secret))


@pytest.fixture
def pair() -> Pair:
    return Pair(make_side("acme"), make_side("globex"))


@pytest.fixture
def teams(pair: Pair) -> Pair:
    """A team "search" in each organization."""
    for org in (pair.acme.org, pair.globex.org):
        create_team(org=org, slug="search")
    return pair


# --- tenant() ----------------------------------------------------------------------------------------


def test_it_names_the_organization_until_the_block_ends(pair: Pair) -> None:
    with tenant(pair.acme.org):
        assert setting() == str(pair.acme.org.pk)
        assert current_organization_id() == pair.acme.org.pk
    assert setting() in (None, "")
    assert current_organization_id() is None


def test_it_forgets_the_organization_after_an_error(teams: Pair) -> None:
    acme = teams.acme.org
    with suppress(ZeroDivisionError), tenant(acme):
        Team.objects.for_org(acme).update(name="changed")
        raise ZeroDivisionError
    assert setting() in (None, "")
    assert current_organization_id() is None
    with tenant(acme):
        assert Team.objects.for_org(acme).get().name == "search"


def test_it_takes_an_id_or_an_organization(teams: Pair) -> None:
    with tenant(teams.acme.org.pk):
        assert Team.objects.for_org(teams.acme.org).count() == 1
        assert Team.objects.for_org(teams.acme.org.pk).count() == 1


@pytest.mark.parametrize("org", ["1", "1'; SET app.org = '2", None, 1.5])
def test_it_refuses_what_is_no_organization(org: Any) -> None:
    with pytest.raises((AttributeError, TypeError, ValueError)), tenant(org):
        pass
    assert current_organization_id() is None


def test_the_same_organization_inside_joins_the_transaction(teams: Pair) -> None:
    acme = teams.acme.org
    with suppress(ZeroDivisionError), tenant(acme):
        with tenant(acme.pk):
            Team.objects.for_org(acme).update(name="changed")
        assert setting() == str(acme.pk)
        raise ZeroDivisionError
    with tenant(acme):
        assert Team.objects.for_org(acme).get().name == "search"


def test_another_organization_inside_is_an_error(pair: Pair) -> None:
    acme, globex = pair.acme.org, pair.globex.org
    with tenant(acme):
        with (
            pytest.raises(TenancyError, match=f"{globex.pk} was opened inside organization {acme.pk}"),
            tenant(globex),
        ):
            pass
        assert setting() == str(acme.pk)


def test_a_snapshot_cannot_begin_inside(pair: Pair) -> None:
    with (
        tenant(pair.acme.org),
        pytest.raises(TenancyError, match="repeatable_read"),
        tenant(pair.acme.org, repeatable_read=True),
    ):
        pass


def test_repeatable_read_gives_every_statement_one_snapshot(teams: Pair) -> None:
    acme = teams.acme.org
    with tenant(acme, repeatable_read=True):
        assert Team.objects.for_org(acme).count() == 1
        in_another_thread(lambda: create_team(org=acme, slug="later"))
        assert Team.objects.for_org(acme).count() == 1
    with tenant(acme):
        assert Team.objects.for_org(acme).count() == 2


def test_it_is_the_outermost_transaction(pair: Pair) -> None:
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"), tenant(pair.acme.org):
        pass


def test_a_new_thread_begins_without_an_organization(pair: Pair) -> None:
    with tenant(pair.acme.org):
        assert in_another_thread(current_organization_id) is None


# --- wall one: managers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        lambda: Team.objects.all(),
        lambda: Team.objects.get(slug="search"),
        lambda: Team.objects.filter(slug="search"),
        lambda: Team.objects.count(),
        lambda: Team.objects.create(slug="new"),
        lambda: Team.objects.bulk_create([Team(slug="new")]),
        lambda: Team._default_manager.first(),
    ],
)
def test_a_manager_refuses_what_names_no_organization(pair: Pair, query: Any) -> None:
    with (
        tenant(pair.acme.org),
        pytest.raises(TenancyError, match=r"start with Team\.objects\.for_org\(org\)"),
    ):
        query()


def test_a_manager_needs_its_tenant_around_it(pair: Pair) -> None:
    acme, globex = pair.acme.org, pair.globex.org
    with pytest.raises(TenancyError, match=rf"needs `with tenant\({acme.pk}\)"):
        Team.objects.for_org(acme)
    with tenant(globex), pytest.raises(TenancyError, match=rf"for_org\({acme.pk}\)"):
        Team.objects.for_org(acme)


# --- wall two: row-level security --------------------------------------------------------------------


def test_raw_sql_without_a_tenant_sees_no_rows(teams: Pair) -> None:
    assert fetch("SELECT * FROM teams_team") == []
    with transaction.atomic():
        assert fetch("SELECT * FROM teams_team") == []


def test_raw_sql_sees_only_the_tenants_rows(teams: Pair) -> None:
    for org in (teams.acme.org, teams.globex.org):
        with tenant(org):
            assert fetch("SELECT organization_id, slug FROM teams_team") == [(org.pk, "search")]


INSERT = "INSERT INTO teams_team (organization_id, slug, name, created_at) VALUES (%s, 'x', 'x', now()) RETURNING 1"


def test_raw_sql_without_a_tenant_cannot_write(teams: Pair) -> None:
    acme = teams.acme.org
    with pytest.raises(ProgrammingError, match="row-level security"):
        fetch(INSERT, acme.pk)
    assert fetch("UPDATE teams_team SET name = 'changed' RETURNING 1") == []
    with tenant(acme):
        assert Team.objects.for_org(acme).get().name == "search"


def test_writes_for_another_organization_are_refused(teams: Pair) -> None:
    acme, globex = teams.acme.org, teams.globex.org
    with pytest.raises(ProgrammingError, match="row-level security"), tenant(globex):
        fetch(INSERT, acme.pk)
    with pytest.raises(ProgrammingError, match="row-level security"), tenant(globex):
        Team(organization=acme, slug="x", name="x").save()
    with pytest.raises(ProgrammingError, match="row-level security"), tenant(globex):
        fetch("UPDATE teams_team SET organization_id = %s RETURNING 1", acme.pk)
    with tenant(globex):
        changed = fetch("UPDATE teams_team SET name = 'taken' RETURNING organization_id")
    assert changed == [(globex.pk,)]


def test_a_foreign_key_cannot_point_into_another_organization(teams: Pair) -> None:
    project = create_project(org=teams.acme.org, slug="chat")
    with pytest.raises(IntegrityError, match="same_organization"), tenant(teams.globex.org):
        Workflow(organization=teams.globex.org, slug="x", name="x", project=project).save()
    with tenant(teams.globex.org):
        assert not Project.objects.for_org(teams.globex.org).exists()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM usage_event_default",
        "TRUNCATE teams_team",
        "DELETE FROM audit_auditentry",
        "UPDATE usage_event SET cost_usd = 0",
        "CREATE TABLE mine (id int)",
        "SELECT usage_create_partition('2030-01-01')",
        "SET ROLE finops_owner",
        "SET ROLE finops_worker",
        "ALTER TABLE teams_team DISABLE ROW LEVEL SECURITY",
    ],
)
def test_the_site_has_no_right_to(pair: Pair, statement: str) -> None:
    with pytest.raises(DatabaseError, match=r"permission denied|must be owner"), tenant(pair.acme.org):
        fetch(statement)


# --- many threads, few connections -------------------------------------------------------------------


def test_pooled_connections_carry_nothing_from_one_tenant_to_the_next(teams: Pair) -> None:
    """Threads of mixed tenants share two connections; some transactions fail, some name no tenant."""
    orgs = [teams.acme.org, teams.globex.org]
    numbers = count()
    with pool_of(POOL), ThreadPoolExecutor(THREADS) as threads:
        seen = list(threads.map(lambda seed: transact(orgs, numbers, Random(seed)), range(THREADS)))
    assert sum(seen) >= TRANSACTIONS


def transact(orgs: list[Organization], numbers: Iterator[int], random: Random) -> int:
    """Transactions until the numbers run out; how many. Raises where one sees what is not its own."""
    done = 0
    while next(numbers) < TRANSACTIONS:
        org, kind = random.choice(orgs), random.random()
        if kind < 0.1:
            with transaction.atomic():
                assert fetch("SELECT organization_id FROM teams_team") == []
        elif kind < 0.2:
            with pytest.raises(DatabaseError), tenant(org):
                fetch("SELECT 1/0")
        else:
            with tenant(org):
                assert fetch("SELECT organization_id FROM teams_team") == [(org.pk,)]
        connections["default"].close()
        done += 1
    return done


@contextmanager
def pool_of(size: int) -> Iterator[None]:
    """The process's pool with at most `size` connections for a while."""
    options = connection.settings_dict["OPTIONS"]
    before = options["pool"]
    try:
        _set_pool(options, {**before, "min_size": 1, "max_size": size, "timeout": 30})
        yield
        assert cast("DatabaseWrapper", connection).pool.get_stats()["pool_max"] == size
    finally:
        _set_pool(options, before)


def _set_pool(options: dict[str, Any], pool: dict[str, Any]) -> None:
    connection.close()
    cast("DatabaseWrapper", connection).close_pool()
    options["pool"] = pool


# --- tasks open the same door ------------------------------------------------------------------------


def test_a_task_moves_only_its_own_organizations_deltas(pair: Pair) -> None:
    for side in (pair.acme, pair.globex):
        side.api.send(make_event())
    with as_worker():
        tasks.roll_up(pair.globex.org.pk)
        assert not pending(pair.globex.org)
        assert pending(pair.acme.org)


@pytest.mark.parametrize("org_id", [NOBODY, 0, -1])
def test_a_task_for_no_organization_does_nothing(pair: Pair, org_id: int) -> None:
    pair.acme.api.send(make_event())
    with as_worker():
        tasks.roll_up(org_id)
        assert roll_up(org_id) == 0
        assert pending(pair.acme.org)
        assert not pending(org_id)


@pytest.mark.parametrize("org_id", [None, "", "1 OR true", [1]])
def test_a_task_without_an_organization_asks_the_database_nothing(org_id: Any) -> None:
    asked = []

    def record(execute: Any, statement: str, *rest: Any) -> Any:
        asked.append(statement)
        return execute(statement, *rest)

    with (
        connection.execute_wrapper(record),
        pytest.raises((AttributeError, TypeError, ValueError)),
    ):
        tasks.roll_up(org_id)
    assert asked == []


def pending(org: Organization | int) -> bool:
    with tenant(org):
        return sql.has_pending(org if isinstance(org, int) else org.pk)


def in_another_thread(work: Any) -> Any:
    def run() -> Any:
        try:
            return work()
        finally:
            connections["default"].close()

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(run).result()
