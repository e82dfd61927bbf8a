"""The statements that storing a batch executes, recorded with their parameters and executed again."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "finops.settings")
django.setup()

__all__ = [
    "SpendQuestion", "accept_batch", "execute_all", "principal_for", "read_batch", "reconcile", "recorded", "roll_up",
    "spend", "sql", "sum_up_days", "tenant", "window_for",
]  # fmt: skip

from django.db import connection  # noqa: E402

from apps.core.tenancy import tenant  # noqa: E402
from apps.ingest.record import read_batch  # noqa: E402
from apps.ingest.services import accept_batch, window_for  # noqa: E402
from apps.organizations.selectors import Principal, principal_for  # noqa: E402
from apps.reports import sql  # noqa: E402
from apps.reports.selectors import SpendQuestion, spend  # noqa: E402
from apps.usage.facets import sum_up_days  # noqa: E402
from apps.usage.services import reconcile, roll_up  # noqa: E402


@dataclass(frozen=True, slots=True)
class Statements:
    """One transaction: (SQL, parameters) in order, without the opening and the commit."""

    organization_id: int
    executed: list[tuple[str, Any]]


class Discard(Exception):
    """Rolls a recording back, so that what it stored is new again."""


def recorded(bodies: list[bytes], secret: str, at: datetime) -> list[Statements]:
    principal = principal_for(secret, at=at)
    return [_record(body, principal, at) for body in bodies]


def _record(body: bytes, principal: Principal, at: datetime) -> Statements:
    batch = read_batch(body, "application/json", window_for(principal, at))
    executed: list[tuple[str, Any]] = []

    def note(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if "usage_" in sql and not sql.startswith("SET"):
            executed.append((sql, parameters))
        return execute(sql, parameters, many, context)

    try:
        with tenant(principal.organization), connection.execute_wrapper(note):
            accept_batch(principal=principal, items=batch.items, received_at=at)
            raise Discard
    except Discard:
        return Statements(principal.organization.pk, executed)


def execute_all(statements: Statements) -> None:
    """The transaction again, answers fetched."""
    with tenant(statements.organization_id), connection.cursor() as cursor:
        for sql, parameters in statements.executed:
            cursor.execute(sql, parameters)
            cursor.fetchall()
