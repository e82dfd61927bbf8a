"""Pools of shared cost: making, changing, ordering and ending them, each from a month on.

What a pool was in a month that is closed stays: a change ends the row and adds another. Whoever changes pools holds the
month row, so that no month closes meanwhile and no two changes together make a circle.
"""

from collections.abc import Iterable
from datetime import date
from typing import Any

from django.db.models import F, Q, QuerySet

from apps.audit import services as audit
from apps.core.errors import DomainError
from apps.core.money import usd_text
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.reports import chargeback
from apps.reports.allocation import pool_of, row_by_id
from apps.reports.chargeback import Pool
from apps.reports.models_allocation import AllocationPool
from apps.reports.pool_terms import ORDER_MAX, PoolTerms, read_terms
from apps.usage.services import closing_month

# In force in one month.
POOLS_MAX = 100
_COPIED = (
    "name", "position", "source", "method", "amount_usd", "team", "contract", "to_team", "driver", "base", "percents",
    "capacity",
)  # fmt: skip


def create_pool(
    *, org: Organization, terms: PoolTerms, from_month: date, until_month: date | None = None, actor: object
) -> AllocationPool:
    """A pool for the months [from_month, until_month).

    Raises `DomainError`: what `read_terms` does, `order_invalid`, `months_invalid`, `month_closed`, `pool_name_taken`,
    `pool_order_taken`, `pool_source_taken`, `pool_cycle`, `too_many_pools`.
    """
    if until_month is not None and until_month <= from_month:
        raise DomainError(
            "months_invalid",
            f"until_month {until_month:%Y-%m} does not come after from_month {from_month:%Y-%m}: it is the first month"
            " without the pool.",
            param="until_month",
        )
    with tenant(org):
        _require_open(org, from_month)
        row = AllocationPool(
            organization=org,
            from_month=from_month,
            until_month=until_month,
            created_by=str(actor),
            position=_order(org, terms.order, from_month),
            **read_terms(org, terms),
        )
        _add(org, [row])
        audit.record(org=org, actor=actor, action="pools.created", subject=row.name, data=_said(row))
    return row


def change_pool(
    *, org: Organization, pool_id: int, terms: PoolTerms, from_month: date, actor: object
) -> AllocationPool:
    """Another pool in its place from a month on, until it would have ended. Raises like `create_pool`, `NotFound`."""
    with tenant(org):
        _require_open(org, from_month)
        old = _in_force(org, pool_id, from_month)
        row = AllocationPool(
            organization=org,
            from_month=from_month,
            until_month=old.until_month,
            replaces=old,
            created_by=str(actor),
            position=old.position if terms.order is None else _order(org, terms.order, from_month),
            **read_terms(org, terms),
        )
        _end(old, from_month)
        _add(org, [row])
        audit.record(org=org, actor=actor, action="pools.changed", subject=row.name, data=_said(row))
    return row


def end_pool(*, org: Organization, pool_id: int, from_month: date, actor: object) -> AllocationPool:
    """Share nothing by it from a month on.

    Raises `NotFound`, `DomainError`: `month_closed`, `months_invalid`, and `pool_cycle` never: fewer pools make none.
    """
    with tenant(org):
        _require_open(org, from_month)
        row = _in_force(org, pool_id, from_month)
        _end(row, from_month)
        data = {"until_month": f"{from_month:%Y-%m}"}
        audit.record(org=org, actor=actor, action="pools.ended", subject=row.name, data=data)
    return row


def move_pool(*, org: Organization, pool_id: int, up: bool, from_month: date, actor: object) -> AllocationPool:
    """Take it one place earlier or later from a month on; at the end of the order it stays.

    Raises `NotFound`, `DomainError`: `month_closed`, `months_invalid`, `pool_cycle`, `pool_order_taken`.
    """
    with tenant(org):
        _require_open(org, from_month)
        row = _in_force(org, pool_id, from_month)
        rows = list(_touching(org, from_month).filter(from_month__lte=from_month).order_by("position"))
        place = next(index for index, one in enumerate(rows) if one.pk == row.pk) + (-1 if up else 1)
        if not 0 <= place < len(rows):
            return row
        other = rows[place]
        moved, passed = _moved(row, other.position, from_month, actor), _moved(other, row.position, from_month, actor)
        _end(row, from_month)
        _end(other, from_month)
        _add(org, [moved, passed])
        data = {"now": "before" if up else "after", "other": other.name, "from_month": f"{from_month:%Y-%m}"}
        audit.record(org=org, actor=actor, action="pools.reordered", subject=row.name, data=data)
    return moved


def draft_pools(
    org: Organization, month: date, *, terms: PoolTerms | None = None, replaces: int | None = None
) -> list[Pool]:
    """The pools of a month as they would be with one more, with another in the place of one, or (`terms` None) without
    it. Inside `tenant(org)`; changes nothing. Raises like `create_pool`, `NotFound`.
    """
    rows = list(_touching(org, month).filter(from_month__lte=month))
    if replaces is not None and all(row.pk != replaces for row in rows):
        _refuse_months(row_by_id(org, replaces), month)
    kept = [row for row in rows if row.pk != replaces]
    if terms is not None:
        old = next((row for row in rows if row.pk == replaces), None)
        position = old.position if old and terms.order is None else _order(org, terms.order, month)
        kept.append(AllocationPool(organization=org, from_month=month, position=position, **read_terms(org, terms)))
    _require_sound(kept, month)
    return [pool_of(row) for row in _ordered(kept)]


# --- months ----------------------------------------------------------------------------------------------


def _require_open(org: Organization, month: date) -> None:
    """From here on no month closes, and nobody else changes pools."""
    first_open = closing_month(org)
    if month < first_open:
        raise DomainError(
            "month_closed",
            f"{month:%Y-%m} is closed: what was shared in it stays. Change the pool from {first_open:%Y-%m} on.",
            param="from_month",
        )


def _in_force(org: Organization, pool_id: int, month: date) -> AllocationPool:
    row = row_by_id(org, pool_id)
    _refuse_months(row, month)
    return row


def _refuse_months(row: AllocationPool, month: date) -> None:
    if month < row.from_month or (row.until_month is not None and month >= row.until_month):
        until = "" if row.until_month is None else f" and ends before {row.until_month:%Y-%m}"
        raise DomainError(
            "months_invalid",
            f"This pool '{row.name}' begins with {row.from_month:%Y-%m}{until}: {month:%Y-%m} is no month of it.",
            param="from_month",
        )


def _end(row: AllocationPool, month: date) -> None:
    row.until_month = month
    row.save(update_fields=["until_month"])


def _moved(row: AllocationPool, position: int, month: date, actor: object) -> AllocationPool:
    copied = {name: getattr(row, name) for name in _COPIED} | {"position": position}
    return AllocationPool(
        organization_id=row.organization_id,
        from_month=month,
        until_month=row.until_month,
        replaces=row,
        created_by=str(actor),
        **copied,
    )


# --- what must hold in every month -----------------------------------------------------------------------


def _add(org: Organization, added: list[AllocationPool]) -> None:
    """Store rows, if in every month that they stand in all pools together are sound."""
    since = min(row.from_month for row in added)
    rows = [*_touching(org, since), *added]
    for month in sorted({max(since, row.from_month) for row in rows}):
        if any(_holds(row, month) for row in added):
            _require_sound([row for row in rows if _holds(row, month)], month)
    for row in added:
        row.save(force_insert=True)


def _touching(org: Organization, month: date) -> QuerySet[AllocationPool]:
    """Pools that stand in the month or come later."""
    later = (Q(until_month__isnull=True) | Q(until_month__gt=month)) & ~Q(until_month=F("from_month"))
    return AllocationPool.objects.for_org(org).select_related("contract").filter(later)


def _holds(row: AllocationPool, month: date) -> bool:
    return row.from_month <= month and (row.until_month is None or month < row.until_month)


def _ordered(rows: Iterable[AllocationPool]) -> list[AllocationPool]:
    return sorted(rows, key=lambda row: (row.position, row.pk is None))


def _require_sound(rows: list[AllocationPool], month: date) -> None:
    """Raise `DomainError` for pools that cannot stand together in a month."""
    rows = _ordered(rows)
    if len(rows) > POOLS_MAX:
        raise DomainError("too_many_pools", f"In {month:%Y-%m} there are {POOLS_MAX} pools already: end one first.")
    by_name: set[str] = set()
    by_order: dict[int, str] = {}
    for row in rows:
        if row.name in by_name:
            raise DomainError(
                "pool_name_taken", f"In {month:%Y-%m} there is a pool '{row.name}' already: choose another name.",
                param="name",
            )  # fmt: skip
        if row.position in by_order:
            raise DomainError(
                "pool_order_taken",
                f"In {month:%Y-%m} '{by_order[row.position]}' has the order {row.position} already: choose another.",
                param="order",
            )
        by_name.add(row.name)
        by_order[row.position] = row.name
    for fault in chargeback.faults([pool_of(row) for row in rows]):
        param = "source" if fault.code == "pool_source_taken" else "method"
        raise DomainError(fault.code, f"In {month:%Y-%m} {fault.detail}", param=param)


def _order(org: Organization, order: int | None, month: date) -> int:
    """The order that is asked for, or one after all others."""
    if order is None:
        last = _touching(org, month).order_by("-position").values_list("position", flat=True).first()
        order = 1 if last is None else last + 1
    if type(order) is not int or not 1 <= order <= ORDER_MAX:
        raise DomainError(
            "order_invalid", f"order is {str(order)[:64]}: write a whole number from 1 to {ORDER_MAX}.", param="order"
        )
    return order


def _said(row: AllocationPool) -> dict[str, Any]:
    """What the audit log keeps of a pool."""
    said = {name: getattr(row, name) for name in ("source", "method", "team", "to_team", "driver", "base", "percents")}
    return {
        **{name: value for name, value in said.items() if value},
        "order": row.position,
        "amount_usd": usd_text(row.amount_usd),
        "contract": row.contract_id,
        "capacity": row.capacity,
        "from_month": f"{row.from_month:%Y-%m}",
        "until_month": row.until_month and f"{row.until_month:%Y-%m}",
    }
