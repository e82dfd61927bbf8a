"""Reads the catalog of the migrated database, and breaks each rule once to see that the reading finds it."""

import os
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.db import models

from apps.core.tenancy import TenantManager
from apps.organizations.models import Zone
from tests import database
from tests.architecture.catalog import DIRECTORY, RULES, offences, tables_without_closed_manager

Owner = psycopg.Connection[Any]


@pytest.fixture
def owner() -> Iterator[Owner]:
    """finops_owner in a transaction that is rolled back."""
    with psycopg.connect(database.owner_url()) as connection:
        yield connection
        connection.rollback()


@pytest.mark.parametrize("rule", RULES)
def test_the_catalog_keeps_the_rule(owner: Owner, rule: str) -> None:
    assert offences(owner, rule) == [], RULES[rule].says


def test_every_tenant_table_has_a_manager_that_fails_closed(owner: Owner) -> None:
    assert tables_without_closed_manager(owner) == [], (
        "Derive the model from TenantModel, or set objects = TenantManager()."
    )


def test_every_foreign_key_between_tenant_models_is_composite(owner: Owner) -> None:
    """A field with db_constraint=False is held by nothing unless its migration says composite_key."""
    held = {
        (table, column)
        for table, column in owner.execute(
            "SELECT k.conrelid::regclass::text, a.attname FROM pg_constraint k"
            " JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[2] WHERE k.contype = 'f'"
        )
    }
    declared = {
        (model._meta.db_table, field.column)
        for model in _tenant_models()
        for field in model._meta.concrete_fields
        if isinstance(field, models.ForeignKey) and field.related_model in _tenant_models()
    }
    assert declared - held == set(), "Add composite_key(table, column, to_table) to the migration."
    assert declared, "no tenant model refers to another: this test looks in the wrong place"


def test_no_relation_leads_from_a_global_row_to_tenant_rows() -> None:
    """A reverse accessor such as organization.keys would be a door beside for_org."""
    leading = [
        f"{field.model.__name__}.{field.name}"
        for model in _tenant_models()
        for field in model._meta.get_fields()
        if isinstance(field, models.ForeignKey) and not field.remote_field.hidden
    ]
    assert leading == [], "Set related_name='+'."


TABLE = "CREATE TABLE intruder (organization_id bigint NOT NULL, id bigint NOT NULL, PRIMARY KEY (organization_id, id))"
EQUAL = "organization_id = NULLIF(current_setting('app.org', true), '')::bigint"
WALLED = f"{TABLE}; ALTER TABLE intruder ENABLE ROW LEVEL SECURITY"
HOT = "CREATE TABLE usage_intruder (organization_id bigint NOT NULL, id bigint NOT NULL"
DEFINER = (
    "CREATE FUNCTION intrude(month date) RETURNS int LANGUAGE sql SECURITY DEFINER {settings} AS 'SELECT 1';"
    " REVOKE ALL ON FUNCTION intrude(date) FROM PUBLIC"
)
BREACHES = [
    ("wall", TABLE, "intruder"),
    ("wall", WALLED, "intruder"),
    ("wall", f"{TABLE}; CREATE POLICY tenant ON intruder USING ({EQUAL}) WITH CHECK ({EQUAL})", "intruder"),
    ("wall", f"{WALLED}; CREATE POLICY tenant ON intruder USING ({EQUAL})", "intruder"),
    ("wall", f"{WALLED}; CREATE POLICY tenant ON intruder USING ({EQUAL} OR id = 1) WITH CHECK ({EQUAL})", "intruder"),
    ("wall", f"{WALLED}; CREATE POLICY tenant ON intruder USING ({EQUAL}) WITH CHECK (true)", "intruder"),
    ("wall", f"{WALLED}; CREATE POLICY t ON intruder FOR SELECT USING ({EQUAL})", "intruder"),
    ("wall", f"{WALLED}; CREATE POLICY t ON intruder TO finops_app USING ({EQUAL}) WITH CHECK ({EQUAL})", "intruder"),
    ("wall", "CREATE POLICY wide ON teams_team USING (true)", "teams_team"),
    ("wall", "DROP POLICY tenant ON usage_event", "usage_event"),
    ("wall", "ALTER TABLE audit_auditentry DISABLE ROW LEVEL SECURITY", "audit_auditentry"),
    ("organization", "CREATE TABLE intruder (id bigint PRIMARY KEY)", "intruder"),
    ("exceptions", "DROP TABLE account_emailconfirmation", "account_emailconfirmation"),
    ("exceptions", "DROP FUNCTION usage_detach_partition", "usage_detach_partition(date)"),
    ("schema", "CREATE SCHEMA hidden", "hidden"),
    ("hot key", f"{HOT} PRIMARY KEY)", "usage_intruder_pkey"),
    ("hot key", f"{HOT})", "usage_intruder"),
    ("hot key", f"{HOT}, PRIMARY KEY (organization_id, id), UNIQUE (id, organization_id))", "usage_intruder_id_org"),
    ("hot key", "CREATE INDEX intruder ON usage_run (run_id)", "intruder"),
    ("hot key", "CREATE INDEX intruder ON usage_run ((organization_id + 1), run_id)", "intruder"),
    ("hot key", "CREATE INDEX intruder ON audit_auditentry (at)", "intruder"),
    (
        "hot target",
        "CREATE TABLE intruder (organization_id bigint, run_id text, CONSTRAINT into_hot FOREIGN KEY"
        " (organization_id, run_id) REFERENCES usage_run)",
        "into_hot",
    ),
    (
        "composite foreign key",
        "CREATE TABLE intruder (organization_id bigint, team_id bigint, CONSTRAINT simple FOREIGN KEY (team_id)"
        " REFERENCES teams_team (id))",
        "simple",
    ),
    ("partition grant", "GRANT SELECT ON usage_event_default TO finops_app", "usage_event_default to finops_app"),
    ("partition grant", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO finops_worker", "to finops_worker"),
    ("privilege", "GRANT TRUNCATE ON usage_delta TO finops_worker", "TRUNCATE on usage_delta to finops_worker"),
    ("privilege", "GRANT REFERENCES ON teams_team TO finops_app", "REFERENCES on teams_team to finops_app"),
    ("privilege", "GRANT SELECT ON teams_team TO PUBLIC", "SELECT on teams_team to PUBLIC"),
    ("privilege", "GRANT SELECT ON teams_team TO finops_app WITH GRANT OPTION", "SELECT on teams_team to finops_app"),
    ("privilege", "GRANT UPDATE (hash) ON audit_auditentry TO finops_app", "audit_auditentry.hash"),
    ("privilege", "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO finops_app", "default of finops_owner"),
    ("append-only", "GRANT UPDATE ON usage_event TO finops_app", "UPDATE on usage_event to finops_app"),
    ("append-only", "GRANT DELETE ON audit_auditentry TO finops_worker", "DELETE on audit_auditentry to finops_worker"),
    ("append-only", "GRANT DELETE ON usage_event TO finops_app", "DELETE on usage_event to finops_app"),
    ("ownership", "GRANT CREATE ON SCHEMA public TO finops_app", "finops_app creates in public"),
    (
        "trigger",
        "CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        " CREATE TRIGGER intruder BEFORE INSERT ON usage_run FOR EACH ROW EXECUTE FUNCTION act()",
        "intruder",
    ),
    ("trigger", "CREATE RULE intruder AS ON INSERT TO teams_team DO ALSO NOTHING", "intruder"),
    ("definer", DEFINER.format(settings="SET search_path = pg_catalog, public, pg_temp"), "intrude(month date)"),
    ("definer", DEFINER.format(settings=""), "settings of intrude"),
    ("definer", "ALTER FUNCTION usage_create_partition RESET search_path", "settings of usage_create_partition"),
    (
        "definer",
        "ALTER FUNCTION usage_create_partition SET search_path = public, pg_catalog, pg_temp",
        "settings of usage_create_partition",
    ),
    ("definer", "GRANT EXECUTE ON FUNCTION usage_create_partition TO finops_app", "date) to finops_app"),
    ("definer", "GRANT EXECUTE ON FUNCTION usage_create_partition TO PUBLIC", "date) to PUBLIC"),
    ("view", "CREATE MATERIALIZED VIEW intruder AS SELECT * FROM teams_team", "intruder"),
    ("view", "CREATE VIEW intruder AS SELECT * FROM teams_team", "intruder"),
    ("money", "ALTER TABLE usage_run ADD fee_usd numeric(20, 6)", "usage_run.fee_usd is numeric(20,6)"),
    ("money", "ALTER TABLE usage_posting ADD fee_usd numeric(38, 12)", "usage_posting.fee_usd has no upper bound"),
    (
        "money",
        "ALTER TABLE usage_posting ADD fee_usd numeric(38, 12) CHECK (fee_usd >= 0)",
        "usage_posting.fee_usd has no upper bound",
    ),
    ("money", "ALTER TABLE usage_event DROP CONSTRAINT usage_event_cost_within", "usage_event.cost_usd has no upper"),
    ("float", "ALTER TABLE usage_run ADD slope double precision", "usage_run.slope"),
    ("float", "ALTER TABLE usage_event ADD score real", "usage_event.score"),
]


@pytest.mark.parametrize(("rule", "breach", "found"), BREACHES)
def test_it_finds_a_breach(owner: Owner, rule: str, breach: str, found: str) -> None:
    before = offences(owner, rule)
    owner.execute(breach)
    assert any(found in offence for offence in offences(owner, rule) if offence not in before)


def test_every_rule_is_broken_once() -> None:
    assert {rule for rule, _, _ in BREACHES} == RULES.keys()


@pytest.mark.parametrize(
    "breach",
    [
        f"{WALLED}; CREATE POLICY tenant ON intruder USING ({EQUAL}) WITH CHECK ({EQUAL})",
        "CREATE VIEW intruder WITH (security_invoker = true) AS SELECT * FROM teams_team",
        "ALTER TABLE usage_posting ADD fee_usd numeric(38, 12) CHECK (fee_usd >= 0 AND fee_usd < 1e24)",
    ],
)
def test_it_accepts_what_keeps_the_rules(owner: Owner, breach: str) -> None:
    before = {rule: offences(owner, rule) for rule in RULES}
    owner.execute(breach)
    assert {rule: offences(owner, rule) for rule in RULES} == before


def test_a_temporary_type_never_runs_with_the_owners_rights() -> None:
    """The way in that a search_path without pg_temp leaves open: types are looked up there first."""
    with psycopg.connect(os.environ["DATABASE_WORKER_URL"], autocommit=True) as worker:
        said: list[str | None] = []
        worker.add_notice_handler(lambda notice: said.append(notice.message_primary))
        worker.execute(
            "CREATE FUNCTION pg_temp.confess(pg_catalog.date) RETURNS boolean LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE NOTICE '%', current_user; RETURN true; END $$"
        )
        worker.execute("CREATE DOMAIN pg_temp.date AS pg_catalog.date CHECK (pg_temp.confess(VALUE))")
        worker.execute("SELECT usage_create_partition(pg_catalog.date '2026-11-01')")
    assert "finops_owner" not in said


def test_it_finds_a_table_without_a_model(owner: Owner) -> None:
    owner.execute(TABLE)
    assert tables_without_closed_manager(owner) == ["intruder"]


def test_it_finds_an_open_manager(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Zone._meta.__dict__, "default_manager", models.Manager())
    assert tables_without_closed_manager(owner) == ["organizations_zone"]


def _tenant_models() -> list[type[models.Model]]:
    return [
        model
        for model in apps.get_models()
        if type(model._meta.default_manager) is TenantManager and model._meta.db_table not in DIRECTORY
    ]
