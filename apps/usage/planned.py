"""What plans say that workflows will spend, as forecasts need it: who keeps plans says it here, plan by plan."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from apps.core.errors import DomainError
from apps.core.money import COST_MAX_USD
from apps.core.tenancy import HasPk, org_id_of, tenant
from apps.usage.models_forecast import PlannedSpend

ROWS_OF_PLAN_MAX = 50


@dataclass(frozen=True, slots=True)
class Planned:
    """A line of `PlannedSpend`: USD a day from `first_day` to `last_day`, both within (None: without end)."""

    kind: str
    workflow: str
    first_day: date
    low_usd: Decimal
    likely_usd: Decimal
    high_usd: Decimal
    last_day: date | None = None
    workflow_id: int | None = None
    team: str | None = None
    project: str | None = None


def set_planned_spend(org: HasPk | int, plan_id: int, rows: Sequence[Planned]) -> None:
    """Put these in the place of whatever the plan said before; none: it says nothing any more.

    Joins the caller's `tenant(org)`, or opens its own. Raises `DomainError`: `planned_rows_too_many`,
    `planned_kind_unknown`, `planned_days_reversed`, `planned_amounts_invalid`.
    """
    if len(rows) > ROWS_OF_PLAN_MAX:
        raise DomainError(
            "planned_rows_too_many",
            f"{len(rows)} lines of planned spend: a plan may have {ROWS_OF_PLAN_MAX}; join the days that are alike.",
            param="rows",
        )
    for row in rows:
        _require(row)
    org_id = org_id_of(org)
    with tenant(org):
        PlannedSpend.objects.for_org(org_id).filter(plan_id=plan_id).delete()
        PlannedSpend.objects.for_org(org_id).bulk_create(
            PlannedSpend(
                organization_id=org_id,
                plan_id=plan_id,
                line=line,
                kind=row.kind,
                team=row.team,
                project=row.project,
                workflow=row.workflow,
                workflow_id=row.workflow_id,
                first_day=row.first_day,
                last_day=row.last_day,
                low_usd=row.low_usd,
                likely_usd=row.likely_usd,
                high_usd=row.high_usd,
            )
            for line, row in enumerate(rows)
        )


def _require(row: Planned) -> None:
    if row.kind not in PlannedSpend.Kind.values:
        raise DomainError(
            "planned_kind_unknown", f"kind is '{row.kind}': use {', '.join(PlannedSpend.Kind.values)}.", param="kind"
        )
    if row.last_day is not None and row.last_day < row.first_day:
        raise DomainError(
            "planned_days_reversed",
            f"last_day is {row.last_day}, before first_day {row.first_day}: swap them, or leave last_day out.",
            param="last_day",
        )
    amounts = (row.low_usd, row.likely_usd, row.high_usd)
    lowest = -COST_MAX_USD if row.kind == PlannedSpend.Kind.PRICE else Decimal(0)
    is_finite = all(usd.is_finite() and lowest <= usd < COST_MAX_USD for usd in amounts)
    if not is_finite or list(amounts) != sorted(amounts):
        raise DomainError(
            "planned_amounts_invalid",
            f"USD a day are {row.low_usd}, {row.likely_usd} and {row.high_usd}: give low <= likely <= high,"
            " from 0 on but for a change of prices.",
            param="likely_usd",
        )


def planned_spend(org: HasPk | int, first_day: date, last_day: date) -> list[PlannedSpend]:
    """What plans say of the days from `first_day` to `last_day`, both within. Inside `tenant(org)`."""
    rows = PlannedSpend.objects.for_org(org).filter(first_day__lte=last_day).exclude(last_day__lt=first_day)
    return list(rows.order_by("plan_id", "line"))
