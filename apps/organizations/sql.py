"""Statements of the organization directory."""

from django.db import connection


def next_organization_id() -> int:
    """An id that no organization has, so that one can be made inside its own `tenant()` transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('organizations_organization_id_seq')")
        number: int = cursor.fetchone()[0]
        return number
