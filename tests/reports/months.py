"""What tests of closing share: a month that is over, and the worker's turn at it."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from apps.core.periods import month_before, next_month
from apps.organizations.models import Organization
from apps.reports import closing
from tests.database import as_worker
from tests.usage.ledger import month_start
from tests.world import Api, make_event

THIS_MONTH = datetime.now(UTC).date().replace(day=1)
# The month before the last: it may close whatever today is.
MONTH = month_before(THIS_MONTH, 2)
NEXT = next_month(MONTH)
NAME, NEXT_NAME = f"{MONTH:%Y-%m}", f"{NEXT:%Y-%m}"
MIDDLE = month_start(MONTH) + timedelta(days=14)


def work(org: Organization) -> int:
    """The worker's turn; how many months became final."""
    with as_worker():
        return closing.work(org, at=timezone.now())


def close(org: Organization, api: Api, month: date = MONTH) -> dict[str, Any]:
    """Close a month by the API and let the worker make it final; how it stands then."""
    response = api.post(f"statements/months/{month:%Y-%m}/close", {})
    assert response.status_code == 202, response.content
    assert work(org) == 1
    return state(api, month)


def send(api: Api, *teams: str | None, at: Any = MIDDLE, **fields: Any) -> None:
    named = [{"team": team} if team else {} for team in teams]
    api.send(*(make_event(occurred_at=at.isoformat(), **name, **fields) for name in named))


def adjust(api: Api, **given: Any) -> Any:
    line = {"month": NAME, "team": "search", "name": "Promise", "amount_usd": "-0.001", "reason": "agreed"}
    return api.post("statements/adjustments", line | given)


def state(api: Api, month: date = MONTH) -> dict[str, Any]:
    response = api.get(f"statements/months/{month:%Y-%m}")
    assert response.status_code == 200, response.content
    found: dict[str, Any] = response.json()
    return found


def statements(api: Api, month: date = MONTH, **query: str) -> dict[str | None, dict[str, Any]]:
    response = api.get("statements", month=f"{month:%Y-%m}", **query)
    assert response.status_code == 200, response.content
    return {one["team"]: one for one in response.json()["data"]}


def booked(api: Api, month: date = MONTH) -> Decimal:
    """The month's usage as /spend says it."""
    span = {"from": month_start(month).isoformat(), "to": month_start(next_month(month)).isoformat()}
    total = api.get("spend", basis="booked", **span).json()["total"]
    return Decimal(total["cost_usd"] or 0)
