"""Privileges on tables that come with the frameworks; our own tables are granted in their migrations."""

from django.apps import apps
from django.core.management.base import CommandError
from django.db import ProgrammingError, connections
from psycopg import sql

RUN_TIME_ROLES = ("finops_app", "finops_worker")


def make_run_time_roles(alias: str) -> None:
    """Create the run-time roles that a server lacks, with the password of DATABASE_URL.

    Raises `CommandError` where they are missing and this connection may not create roles.
    """
    password = connections["default"].settings_dict["PASSWORD"] or None
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", [list(RUN_TIME_ROLES)])
        missing = sorted(set(RUN_TIME_ROLES) - {name for (name,) in cursor.fetchall()})
        for role in missing:
            statement = sql.SQL("CREATE ROLE {} LOGIN NOBYPASSRLS PASSWORD {}").format(
                sql.Identifier(role), sql.Literal(password)
            )
            try:
                cursor.execute(statement)
            except ProgrammingError:
                raise CommandError(
                    f"The role {role} does not exist and this connection may not create it:"
                    " run docker/postgres/roles.sql as a superuser first."
                ) from None


def grant_framework_tables(alias: str) -> None:
    """Let the run-time roles use the tables of installed third-party apps, and read which migrations ran."""
    tables = [
        model._meta.db_table
        for config in apps.get_app_configs()
        if not config.name.startswith("apps.")
        for model in config.get_models(include_auto_created=True)
        if model._meta.managed
    ]
    connection = connections[alias]
    with connection.cursor() as cursor:
        existing = set(connection.introspection.table_names(cursor))
        for table in sorted(existing.intersection(tables)):
            cursor.execute(
                f"GRANT SELECT, INSERT, UPDATE, DELETE ON {connection.ops.quote_name(table)}"
                " TO finops_app, finops_worker"
            )
        if "django_migrations" in existing:
            cursor.execute("GRANT SELECT ON django_migrations TO finops_app, finops_worker")
