"""What tests of re-rating share: contracts, previews and acts through the API, and the worker's turn."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from apps.organizations.models import Organization
from apps.usage import repricing
from apps.usage.services import reconcile, roll_up
from tests.database import as_worker
from tests.world import Api

MODEL = "claude-sonnet-4-5"
# 1,000 input at 3 USD and 100 output at 15 USD a million.
LISTED = Decimal("0.0045")
# The same at half of the input's price.
HALVED = Decimal("0.0030")


def work(org: Organization, steps: int | None = None) -> None:
    with as_worker():
        if steps is None:
            repricing.work(org)
        else:
            for _ in range(steps):
                repricing._step(org)


def settle(org: Organization) -> None:
    """Everything rolled up, and proved."""
    with as_worker():
        roll_up(org)
        assert reconcile(org).differences == []


def contract(api: Api, **fields: Any) -> dict[str, Any]:
    response = api.post(
        "contracts",
        {
            "kind": "price",
            "name": "half input",
            "provider": "anthropic",
            "model": MODEL,
            "rates": {"input_tokens": "1.5"},
            "starts_at": "2026-01-01T00:00:00Z",
            **fields,
        },
    )
    assert response.status_code == 201, response.content
    found: dict[str, Any] = response.json()
    return found


def preview(api: Api, **fields: Any) -> dict[str, Any]:
    now = timezone.now()
    body = {
        "reason": "the contract was signed in January",
        "from": (now - timedelta(days=30)).isoformat(),
        "to": (now + timedelta(days=1)).isoformat(),
        **fields,
    }
    response = api.post("reratings", body)
    assert response.status_code == 201, response.content
    found: dict[str, Any] = response.json()
    return found


def act(api: Api, found: dict[str, Any], verb: str, status: int = 200) -> dict[str, Any]:
    response = api.post(f"reratings/{found['id']}/{verb}", {})
    assert response.status_code == status, response.content
    answer: dict[str, Any] = response.json()
    return answer


def read(api: Api, found: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = api.get(f"reratings/{found['id']}").json()
    return answer


def cost(api: Api, **query: Any) -> Decimal:
    return Decimal(api.get("spend", **query).json()["total"]["cost_usd"])


def costs_by(api: Api, *groups: str) -> dict[Any, Any]:
    rows = api.get("spend", group_by=",".join(groups)).json()["rows"]
    return {tuple(row[group] for group in groups): row["cost_usd"] for row in rows if row["events"]}


def rerate(api: Api, org: Organization, **fields: Any) -> dict[str, Any]:
    """Previewed and posted."""
    found = preview(api, **fields)
    work(org)
    act(api, found, "post")
    work(org)
    return read(api, found)
