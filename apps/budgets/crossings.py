"""Crossings that nobody was told of yet: who tells of them claims them here, inside `tenant(org)`."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from apps.budgets.models import Crossing
from apps.core.tenancy import HasPk


def undispatched(org: HasPk | int) -> QuerySet[Crossing]:
    """Index: budgets_crossing_waiting."""
    return Crossing.objects.for_org(org).filter(dispatched_at=None)


def claim_undispatched(org: HasPk | int, *, limit: int) -> list[Crossing]:
    """The oldest crossings that nobody else is dispatching, locked until the transaction ends."""
    return list(undispatched(org).order_by("crossed_at").select_for_update(skip_locked=True)[:limit])


def mark_dispatched(org: HasPk | int, crossing_ids: Collection[UUID], *, at: datetime) -> None:
    Crossing.objects.for_org(org).filter(crossing_id__in=crossing_ids).update(dispatched_at=at)


def crossings_by_id(org: HasPk | int, crossing_ids: Collection[UUID]) -> list[Crossing]:
    """Oldest first."""
    return list(Crossing.objects.for_org(org).filter(crossing_id__in=crossing_ids).order_by("crossed_at"))
