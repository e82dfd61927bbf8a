"""Bills that tests make up: rows of CSV under a mapping that fits them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from apps.core.periods import month_before
from tests.world import Api, make_event

# A month that is over.
MONTH = month_before(datetime.now(UTC).date().replace(day=1))

HEADER = "Day,Provider,Account,Model,Meter,Quantity,Amount,Currency,Kind"
MAPPED = {
    "day": "Day", "provider": "Provider", "account": "Account", "model": "Model", "meter": "Meter",
    "quantity": "Quantity", "amount": "Amount", "currency": "Currency", "kind": "Kind",
}  # fmt: skip
MAPPING = "ours"


MODEL = "claude-haiku-4-5"


def on(day: int) -> str:
    return MONTH.replace(day=day).isoformat()


def metered(api: Api, usage: dict[str, int], *, day: int = 5, hour: int = 12, **fields: Any) -> None:
    """Send one event of Claude Haiku 4.5: 1 USD a million tokens in, 5 out."""
    answer = api.send(
        make_event(**{"model": MODEL, "usage": usage, "occurred_at": f"{on(day)}T{hour:02}:00:00Z", **fields})
    )
    assert answer["accepted"] == 1, answer


def row(amount: str, **fields: str) -> str:
    """A line; what is not said is input of Claude Haiku 4.5 on the fifth of the month."""
    said = {
        "day": on(5), "provider": "anthropic", "account": "", "model": MODEL,
        "meter": "input tokens", "quantity": "", "amount": amount, "currency": "USD", "kind": "usage", **fields,
    }  # fmt: skip
    return ",".join(said[name] for name in MAPPED)


def bill(*rows: str) -> bytes:
    return "\n".join((HEADER, *rows, "")).encode()


def save_mapping(api: Api, name: str = MAPPING) -> Any:
    response = api.post("invoices/mappings", {"name": name, "mapped": MAPPED})
    assert response.status_code == 201, response.content
    return response.json()


def send_bill(api: Api, body: bytes, *, format: str = "csv", **said: str) -> Any:
    """POST the file as the body; a CSV one by the mapping of these tests."""
    if format == "csv":
        said.setdefault("mapping", MAPPING)
    query = "&".join(f"{name}={value}" for name, value in {"format": format, **said}.items())
    return api.post(f"invoices?{query}", body, content_type="application/octet-stream")


def imported(api: Api, rows: Iterable[str], **said: str) -> dict[str, Any]:
    save_mapping(api)
    response = send_bill(api, bill(*rows), **said)
    assert response.status_code == 201, response.content
    found: dict[str, Any] = response.json()
    return found
