"""The only way to tenant data.

`with tenant(org):` opens one transaction, names the organization to Postgres and to the ORM, and closes
both. Wall one: managers of tenant models refuse any query that does not say `for_org(org)`. Wall two:
row-level security compares `organization_id` with the setting `app.org`, and answers no rows where it is
not set. Nothing inside waits on the network.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from django.db import connection, models, transaction
from psycopg import ClientCursor

from apps.core.deadline import patience, watchdog


class TenancyError(RuntimeError):
    """Tenant data was asked for without, or with another, organization: a bug of ours."""


class HasPk(Protocol):
    @property
    def pk(self) -> Any: ...


_current: ContextVar[int | None] = ContextVar("current_organization_id", default=None)


def current_organization_id() -> int | None:
    return _current.get()


def org_id_of(org: HasPk | int) -> int:
    return int(org if isinstance(org, int) else org.pk)


@contextmanager
def tenant(org: HasPk | int, *, repeatable_read: bool = False) -> Iterator[None]:
    """One transaction on one organization's rows.

    It is the outermost transaction (durable: a commit is a commit). Nested use joins it for the same
    organization and raises `TenancyError` for another. `repeatable_read` gives every statement in it the
    same snapshot, which nested use is too late to ask for.
    """
    org_id = org_id_of(org)
    outer = _current.get()
    if outer is not None:
        if outer != org_id:
            raise TenancyError(f"Organization {org_id} was opened inside organization {outer}.")
        if repeatable_read:
            raise TenancyError(f"repeatable_read begins a transaction: organization {org_id} is already open.")
        yield
        return
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            if repeatable_read:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            # The statement, not set_config(): Citus carries only SET LOCAL to its workers.
            cursor.execute(f"SET LOCAL app.org = '{org_id:d}'")
        token = _current.set(org_id)
        try:
            yield
        finally:
            _current.reset(token)


def limit_time(milliseconds: int) -> None:
    """Cancel any later statement of this transaction that runs longer."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = {milliseconds:d}")


STATEMENT_TIMEOUT_MS = 600


CUT_AFTER_SECONDS = 0.8


@contextmanager
def impatient() -> Iterator[None]:
    """In the block, a connection that is not had or a statement that has no answer after `CUT_AFTER_SECONDS` is an
    `OperationalError`, whatever the server does.
    """
    token = patience.set(CUT_AFTER_SECONDS)
    try:
        with connection.execute_wrapper(_watched):
            yield
    except Exception:
        connection.close_if_unusable_or_obsolete()
        raise
    finally:
        patience.reset(token)


def _watched(execute: Callable[..., Any], statement: str, parameters: Any, many: bool, context: dict[str, Any]) -> Any:
    with watchdog.watching(connection.connection, CUT_AFTER_SECONDS):
        return execute(statement, parameters, many, context)


def ask(org: HasPk | int, statement: str, parameters: Sequence[Any] = ()) -> Any:
    """The one value of one statement, in a `tenant()` transaction of its own that costs a single round trip.

    For the answers that others wait for: after `STATEMENT_TIMEOUT_MS` Postgres cancels it, and after
    `CUT_AFTER_SECONDS` it is given up (`OperationalError`).
    """
    org_id = org_id_of(org)
    if _current.get() is not None:
        raise TenancyError("ask() is a transaction of its own.")
    connection.ensure_connection()
    raw = connection.connection
    with connection.wrap_database_errors, watchdog.watching(raw, CUT_AFTER_SECONDS), ClientCursor(raw) as cursor:
        asked = cursor.mogrify(statement, parameters)
        try:
            cursor.execute(
                f"BEGIN; SET LOCAL app.org = '{org_id:d}'; SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS};"
                f" {asked}; COMMIT"
            )
            while cursor.description is None:
                cursor.nextset()
            row = cursor.fetchone()
            assert row is not None
            return row[0]
        except Exception:
            if not raw.closed:
                raw.rollback()
            raise


M = TypeVar("M", bound=models.Model)


class TenantManager(models.Manager[M]):
    """Fails closed: every query starts with `for_org(org)`, inside `tenant(org)`."""

    def get_queryset(self) -> models.QuerySet[M]:
        name = self.model.__name__
        raise TenancyError(f"{name} is tenant data: start with {name}.objects.for_org(org).")

    def for_org(self, org: HasPk | int) -> models.QuerySet[M]:
        org_id = org_id_of(org)
        if _current.get() != org_id:
            raise TenancyError(
                f"{self.model.__name__}.objects.for_org({org_id}) needs `with tenant({org_id}):` around it."
            )
        return super().get_queryset().filter(organization_id=org_id)


class TenantModel(models.Model):
    """A row that belongs to one organization."""

    organization = models.ForeignKey(
        "organizations.Organization", on_delete=models.PROTECT, related_name="+", db_index=False
    )

    objects = TenantManager()

    class Meta:
        abstract = True
