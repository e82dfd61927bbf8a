"""What stands on a month beside usage: its rate of exchange, adjustments and credit notes."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from apps.audit.models import AuditEntry
from apps.core.periods import next_month
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.teams.services import create_team
from tests.api.tenants import make_api, make_org
from tests.reports.months import MONTH, NAME, NEXT, NEXT_NAME, THIS_MONTH, adjust, close, send, statements, work
from tests.world import Api


@pytest.fixture
def org() -> Organization:
    org = make_org()
    create_team(org=org, slug="search")
    return org


@pytest.fixture
def api(org: Organization) -> Api:
    return make_api(org)


def rate(api: Api, month: Any, rate: str, currency: str = "EUR") -> Any:
    given = {"month": f"{month:%Y-%m}", "currency": currency, "rate": rate, "source": "ECB"}
    return api.post("statements/rates", {"rates": [given]})


@pytest.mark.parametrize(
    ("currency", "per_usd", "amount"), [("JPY", "150.4", "1"), ("EUR", "0.5", "0.00"), ("KWD", "0.3", "0.001")]
)
def test_a_line_is_rounded_once_in_the_currency_of_the_statement(
    org: Organization, api: Api, currency: str, per_usd: str, amount: str
) -> None:
    api.call("put", "statements/terms", {"currency": currency})
    assert rate(api, MONTH, per_usd, currency).status_code == 201
    send(api, "search")
    one = statements(api)["search"]
    assert (one["currency"], one["lines"][0]["amount"], one["total"]) == (currency, amount, amount)
    assert one["rate"] == {"per_usd": per_usd, "source": "ECB"}
    close(org, api)
    assert rate(api, MONTH, "9", currency).json()["code"] == "month_closed"
    assert statements(api)["search"]["total"] == amount


def test_a_month_that_is_closing_keeps_its_currency(org: Organization, api: Api) -> None:
    api.call("put", "statements/terms", {"currency": "EUR"})
    rate(api, MONTH, "0.5")
    send(api, *["search"] * 10)
    api.post(f"statements/months/{NAME}/close", {})
    response = api.call("put", "statements/terms", {"currency": "GBP"})
    assert (response.status_code, response.json()["code"]) == (409, "month_closed")
    assert api.call("put", "statements/terms", {"currency": "EUR", "close_after_hours": 1}).status_code == 200
    assert work(org) == 1
    assert (statements(api)["search"]["currency"], statements(api)["search"]["total"]) == ("EUR", "0.02")
    assert api.call("put", "statements/terms", {"currency": "GBP"}).status_code == 200


def test_the_newest_rate_holds_until_the_month_is_closed(org: Organization, api: Api) -> None:
    api.call("put", "statements/terms", {"currency": "EUR"})
    send(api, *["search"] * 10)
    for given in ("0.9", "2"):
        rate(api, MONTH, given)
    assert statements(api)["search"]["total"] == "0.09"
    assert [row["rate"] for row in api.get("statements/rates", month=NAME).json()["data"]] == ["2", "0.9"]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"currency": "EU"}, "currency_unknown"),
        ({"currency": "XAU"}, "currency_unknown"),
        ({"currency": "USD"}, "rate_invalid"),
        ({"rate": "0"}, "rate_invalid"),
        ({"rate": "1000000000"}, "rate_invalid"),
        ({"rate": "-1"}, "rate_invalid"),
        ({"rate": "1e3"}, "rate_invalid"),
        ({"rate": "NaN"}, "rate_invalid"),
        ({"rate": "1.00000000001"}, "rate_invalid"),
        ({"rate": "\u0661"}, "rate_invalid"),
        ({"source": ""}, "invalid"),
        ({"month": "2026-13"}, "month_invalid"),
    ],
)
def test_a_rate_that_is_none_is_refused_and_none_is_entered(api: Api, given: dict[str, str], code: str) -> None:
    good = {"month": NAME, "currency": "EUR", "rate": "0.9", "source": "ECB"}
    response = api.post("statements/rates", {"rates": [good, good | given]})
    assert (response.status_code, response.json()["code"]) == (400, code), response.content
    assert api.get("statements/rates").json()["data"] == []


def test_an_adjustment_stands_on_its_month_while_that_is_open_and_later_on_the_next(
    org: Organization, api: Api
) -> None:
    send(api, "search")
    assert adjust(api).json()["booked_month"] == NAME
    one = statements(api)["search"]
    assert (one["adjustments_usd"], one["total_usd"], one["usage_usd"]) == (
        "-0.001000000000", "0.003500000000", "0.004500000000",
    )  # fmt: skip
    close(org, api)
    booked_later = adjust(api, kind="credit_note", refers_to="CS-1").json()
    assert (booked_later["month"], booked_later["booked_month"]) == (NAME, NEXT_NAME)
    [line] = statements(api, NEXT)["search"]["lines"]
    assert (line["kind"], line["of_month"], line["refers_to"]) == ("credit_note", NAME, "CS-000001")
    assert statements(api)["search"]["total_usd"] == "0.003500000000"


def test_an_adjustment_that_is_sent_again_is_booked_once(org: Organization, api: Api) -> None:
    with ThreadPoolExecutor(4) as pool:
        sent = list(pool.map(lambda _: call(api, request_id="promise-7"), range(4)))
    assert {response.status_code for response in sent} == {201}
    [booked] = api.get("statements/adjustments").json()["data"]
    assert all(response.json() == booked for response in sent)
    assert booked["request_id"] == "promise-7"
    send(api, "search")
    close(org, api)
    assert adjust(api, request_id="promise-7").json() == booked
    other = adjust(api, request_id="promise-7", amount_usd="-0.002")
    assert (other.status_code, other.json()["code"]) == (409, "request_id_conflict")
    assert [adjust(api).json()["request_id"] for _ in range(2)] == [None, None]
    assert len(api.get("statements/adjustments").json()["data"]) == 3
    with tenant(org):
        assert AuditEntry.objects.for_org(org).filter(action="chargeback.adjusted").count() == 3


def call(api: Api, **given: Any) -> Any:
    """From a thread of its own."""
    try:
        return adjust(Api(api.secret), **given)
    finally:
        connections.close_all()


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"request_id": "x" * 129}, "invalid"),
        ({"request_id": "a\u0085b"}, "request_id_invalid"),
        ({"team": "nobody"}, "team_unknown"),
        ({"amount_usd": "0"}, "amount_invalid"),
        ({"amount_usd": "1e5"}, "amount_invalid"),
        ({"amount_usd": "1000000000000"}, "amount_invalid"),
        ({"amount_usd": "0.0000000000001"}, "amount_invalid"),
        ({"kind": "credit_note", "refers_to": "CS-000009"}, "statement_unknown"),
        ({"kind": "credit_note"}, "statement_unknown"),
        ({"refers_to": "CS-000009"}, "statement_unknown"),
        ({"refers_to": "the last one"}, "statement_unknown"),
        ({"kind": "true_up"}, "invalid"),
        ({"reason": "\x00"}, "invalid"),
        ({"month": "soon"}, "month_invalid"),
        ({"month": f"{next_month(THIS_MONTH):%Y-%m}"}, "month_invalid"),
        ({"month": "2199-12"}, "month_invalid"),
    ],
)
def test_an_adjustment_that_cannot_be_is_refused(api: Api, given: dict[str, Any], code: str) -> None:
    response = adjust(api, **given)
    assert (response.status_code, response.json()["code"]) == (400, code), response.content
    assert api.get("statements/adjustments").json()["data"] == []
