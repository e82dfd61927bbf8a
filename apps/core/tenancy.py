"""The only way to tenant data.

`with tenant(org):` opens one transaction, names the organization to Postgres and to the ORM, and closes
both. Wall one: managers of tenant models refuse any query that does not say `for_org(org)`. Wall two:
row-level security compares `organization_id` with the setting `app.org`, and answers no rows where it is
not set. Nothing inside waits on the network.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from django.db import connection, models, transaction


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
