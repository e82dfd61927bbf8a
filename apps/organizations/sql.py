"""Statements of the organization directory."""

from django.db import connection, connections, transaction
from psycopg import sql


def next_organization_id() -> int:
    """An id that no organization has, so that one can be made inside its own `tenant()` transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('organizations_organization_id_seq')")
        number: int = cursor.fetchone()[0]
        return number


def erase_rows(org_id: int) -> dict[str, int]:
    """Delete every row of the organization, in one transaction as finops_owner; how many, by table.

    Foreign keys are checked at its end, so the order of the tables does not matter.
    """
    counts: dict[str, int] = {}
    with transaction.atomic(using="owner"), connections["owner"].cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        cursor.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
            " WHERE a.attname = 'organization_id' AND NOT a.attisdropped AND c.relkind IN ('r', 'p')"
            " AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace ORDER BY c.relname"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(sql.SQL("DELETE FROM {} WHERE organization_id = %s").format(sql.Identifier(table)), [org_id])
            counts[table] = cursor.rowcount
    return counts
