"""Takes a wall away, to see that the other one holds; or both from one table, to see that a leak would show."""

import re
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import psycopg
from django.db import connection, models

from apps.core.tenancy import TenantManager
from tests import database


@contextmanager
def without_filters(tables: Collection[str] | None = None) -> Iterator[None]:
    """Wall one gone: `for_org` answers every row, and our SQL no longer compares organization_id.

    `tables` limits it to these tables.
    """
    for_org = TenantManager.for_org

    def every_row(manager: Any, org: Any) -> models.QuerySet[Any]:
        if tables is not None and manager.model._meta.db_table not in tables:
            return for_org(manager, org)
        return models.Manager.get_queryset(manager)

    # Only our own SQL is unquoted, and an assignment is not a comparison.
    source = r"\b" if tables is None else rf"FROM (?:{'|'.join(tables)})(?: (?!WHERE)\w+)? WHERE "
    compared = re.compile(rf"(?P<before>(?<!SET ){source})(\w\.)?organization_id = (?P<value>%s|%\(org\)s)")

    def rewrite(execute: Any, statement: Any, *rest: Any) -> Any:
        if isinstance(statement, str):
            statement = compared.sub(r"\g<before>\g<value>::bigint IS NOT NULL", statement)
        return execute(statement, *rest)

    with patch.object(TenantManager, "for_org", every_row), connection.execute_wrapper(rewrite):
        yield


@contextmanager
def without_policies(tables: Collection[str] | None = None) -> Iterator[None]:
    """Wall two gone: row-level security is off, in this process's own database."""
    connection.close()
    with psycopg.connect(database.owner_url(), autocommit=True) as owner:
        secured = [
            table
            for (table,) in owner.execute("SELECT relname FROM pg_class WHERE relrowsecurity ORDER BY relname")
            if tables is None or table in tables
        ]
        assert tables is None or set(tables) == set(secured)
        try:
            for table in secured:
                owner.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
            yield
        finally:
            connection.close()
            for table in secured:
                owner.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")


@contextmanager
def without_walls(tables: Collection[str]) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(without_policies(tables))
        stack.enter_context(without_filters(tables))
        yield
