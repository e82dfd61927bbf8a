"""The worked statement of a month, through the API and to the cent.

A fee of 12,000 for throughput of which 70 % was used, a shared pool of 6,000 over direct usage, a credit of 4,000 over
direct usage and throughput used, seats: 94,700.00 in all.
"""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from apps.organizations.models import Organization
from apps.teams.services import create_team
from tests.api.tenants import make_api, make_org
from tests.reports.months import MONTH, NAME, booked, close, statements
from tests.usage.ledger import month_start
from tests.world import Api, make_event

BEGIN = month_start(MONTH)
TEAMS = ("growth", "rnd", "search", "support")
DIRECT = {"support": 42_000, "search": 18_000, "growth": 9_000, "rnd": 6_000, None: 3_750}
THROUGHPUT = {"support": 6_600, "search": 1_800}
SEATS = {"support": 1_200, "rnd": 750}
# Team: direct, throughput used, throughput idle, shared, credit, seats, total.
EXPECTED = {
    "support": ("42000.00", "6600.00", "2828.57", "3360.00", "-2330.94", "1200.00", "53657.63"),
    "search": ("18000.00", "1800.00", "771.43", "1440.00", "-949.64", "0.00", "21061.79"),
    "growth": ("9000.00", "0.00", "0.00", "720.00", "-431.65", "0.00", "9288.35"),
    "rnd": ("6000.00", "0.00", "0.00", "480.00", "-287.77", "750.00", "6942.23"),
    None: ("3750.00", "0.00", "0.00", "0.00", "0.00", "0.00", "3750.00"),
}
COLUMNS = (("usage", "unattributed"), ("throughput",), ("throughput_idle",), ("shared",), ("credit",), ("seats",))


@pytest.fixture
def org() -> Organization:
    org = make_org()
    for team in TEAMS:
        create_team(org=org, slug=team)
    return org


@pytest.fixture
def api(org: Organization) -> Api:
    return make_api(org)


def created(api: Api, path: str, **fields: Any) -> Any:
    response = api.post(path, fields)
    assert response.status_code == 201, response.content
    return response.json()


def use(api: Api, team: str | None, provider: str, model: str, tokens: int) -> None:
    at = (BEGIN + timedelta(hours=30)).isoformat()
    named = {"team": team} if team else {}
    api.send(make_event(provider=provider, model=model, occurred_at=at, usage={"input_tokens": tokens}, **named))


def contract(api: Api, **fields: Any) -> int:
    number: int = created(api, "contracts", starts_at=BEGIN.isoformat(), **fields)["id"]
    return number


def a_month(api: Api) -> None:
    contract(api, kind="price", name="a dollar a million", provider="home", model="llm", rates={"input_tokens": "1"})
    fee = contract(
        api, kind="throughput", name="Units", provider="azure", model="reserved", amount_usd="120", quantity=1,
        ends_at=(BEGIN + timedelta(hours=100)).isoformat(),
    )  # fmt: skip
    credit = contract(api, kind="credit", name="Commitment", provider="home", model="llm", amount_usd="4000")
    for team, amount in SEATS.items():
        contract(api, kind="seats", name=f"Seats of {team}", amount_usd=str(amount), quantity=1, team=team)
    for team, usd in DIRECT.items():
        use(api, team, "home", "llm", usd * 10**6)
    for team, used in THROUGHPUT.items():
        use(api, team, "azure", "reserved", used)
    month = {"from_month": NAME}
    created(
        api, "allocations", name="Throughput", source="contract", contract=fee, method="usage",
        driver="input_tokens", capacity=12_000, **month,
    )  # fmt: skip
    created(
        api, "allocations", name="Platform", source="amount", amount_usd="6000", method="proportional",
        base="direct_usage", **month,
    )  # fmt: skip
    created(
        api, "allocations", name="Commitment", source="contract", contract=credit, method="proportional",
        base="direct_and_throughput", **month,
    )  # fmt: skip


def columns(statement: dict[str, Any]) -> tuple[str, ...]:
    def total(kinds: tuple[str, ...]) -> str:
        return f"{sum(Decimal(line['amount']) for line in statement['lines'] if line['kind'] in kinds):.2f}"

    return (*map(total, COLUMNS), statement["total"])


def test_it_is_right_to_the_cent(org: Organization, api: Api) -> None:
    a_month(api)
    found = statements(api)
    assert {team: columns(one) for team, one in found.items()} == EXPECTED
    assert sum(Decimal(one["total"]) for one in found.values()) == Decimal("94700.00")
    assert sum(Decimal(one["total_usd"]) for one in found.values()) == Decimal(94700)
    assert sum(Decimal(one["usage_usd"]) for one in found.values()) == booked(api) == Decimal(78750)


def test_it_is_the_same_once_it_is_final(org: Organization, api: Api) -> None:
    a_month(api)
    close(org, api)
    assert {team: columns(one) for team, one in statements(api).items()} == EXPECTED


def test_every_share_names_its_driver(api: Api) -> None:
    a_month(api)
    shares = {line["kind"]: line for line in statements(api)["support"]["lines"] if line["share"]}
    assert {kind: (line["driver"], line["share"]) for kind, line in shares.items()} == {
        "throughput": ("input tokens 6,600 of 12,000", "0.55"),
        "throughput_idle": ("input tokens 6,600 of 8,400", "0.785714285714"),
        "shared": ("direct usage 42,000.00 of 75,000.00 USD", "0.56"),
        "credit": ("direct usage and throughput 48,600.00 of 83,400.00 USD", "0.58273381295"),
    }


@pytest.mark.parametrize(
    ("currency", "rate", "decimals"), [("JPY", "151.37", 0), ("EUR", "0.9137", 2), ("KWD", "0.3071", 3)]
)
def test_parts_add_up_in_other_currencies_too(api: Api, currency: str, rate: str, decimals: int) -> None:
    api.call("put", "statements/terms", {"currency": currency})
    given = {"month": NAME, "currency": currency, "rate": rate, "source": "tests"}
    created(api, "statements/rates", rates=[given])
    a_month(api)
    found = statements(api)
    unit = Decimal(1).scaleb(-decimals)
    wholes = {("throughput", "throughput_idle"): 12_000, ("shared",): 6_000, ("credit",): -4_000}
    for kinds, usd in wholes.items():
        parts = [Decimal(line["amount"]) for one in found.values() for line in one["lines"] if line["kind"] in kinds]
        assert sum(parts) == (usd * Decimal(rate)).quantize(unit)
    for one in found.values():
        assert sum(Decimal(line["amount"]) for line in one["lines"]) == Decimal(one["total"])
        assert Decimal(one["total"]) == Decimal(one["total"]).quantize(unit)
