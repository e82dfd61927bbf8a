"""An organization with a history to forecast from: spend by day, put where rollups are, as the owner."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from apps.organizations.models import Organization
from apps.usage.deltas import MEASURES, SPEND_DIMENSIONS
from tests.usage.ledger import as_owner

WEEK = (12, 12, 12, 12, 12, 6, 4)


def spend_days(org: Organization, first: datetime, costs: Sequence[float | str | None], **where: Any) -> None:
    """Spend of days from `first` on, one rollup each; None: nothing. Names given are known ones."""
    for number, cost in enumerate(costs):
        if cost is not None:
            spend_day(org, first + timedelta(days=number), Decimal(str(cost)), where)


def spend_day(org: Organization, day: datetime, cost: Decimal, where: Mapping[str, Any]) -> None:
    ids = {f"{name}_id": 1 for name in ("team", "project", "workflow") if where.get(name)}
    row: dict[str, Any] = {
        **dict.fromkeys(SPEND_DIMENSIONS), **dict.fromkeys(MEASURES, 0),
        "organization_id": org.pk, "day_start": day, "booked_month": day.date().replace(day=1), "grain": uuid4(),
        "provider": "anthropic", "model": "claude-sonnet-4-5", "key_id": 1, "status": "ok", "priced": True,
        "events": 1, "cost_usd": cost, **where, **ids,
    }  # fmt: skip
    columns = ", ".join(row)
    as_owner(f"INSERT INTO usage_dayrollup ({columns}) VALUES ({', '.join(['%s'] * len(row))})", *row.values())


def weeks_of(days: int, level: float = 1.0, first_weekday: int = 0) -> list[float]:
    return [level * WEEK[(first_weekday + day) % 7] for day in range(days)]
