"""Usage as FOCUS 1.2: a row for each meter of each group of calls of one day. Pure.

On every row ListCost = ListUnitPrice x PricingQuantity and ContractedCost = ContractedUnitPrice x PricingQuantity,
exactly; EffectiveCost, which is BilledCost too, is the meter's part of the group's exact cost, so that its sum is what
/spend says. Unpriced calls have no cost, which FOCUS cannot say: they are in no row, and the first row counts them.
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import IO, NamedTuple

from apps.core.money import RATE_PLACES, USD_PLACES
from apps.core.periods import Calendar, next_month
from apps.pricing.names import canonical_provider
from apps.reports.cells import cell
from apps.reports.focus_columns import COLUMNS, PROVIDERS, SKUS
from apps.reports.meter_costs import UNMETERED, Card, Rates, split_cost

CONTENT_TYPE = "text/csv; charset=utf-8"
CURRENCY = "USD"
CORRECTION = "Correction"
# Distinct names of which JSON is kept, so that each is written once.
_TEXTS_KEPT = 4_096
_QUANTITY_PLACES = 6
_LINES_AT_A_TIME = 256
# Columns of numbers, instants and our own words need no quotes.
_PLAIN = ("Cost", "Quantity", "UnitPrice", "PeriodStart", "PeriodEnd", "Currency", "Category", "Class", "Frequency")
_QUOTABLE = tuple(index for index, name in enumerate(COLUMNS) if not name.endswith(_PLAIN))

# One row: what is not known is missing.
Row = dict[str, str]


class Calls(NamedTuple):
    """Calls of a day that share every dimension, of known price: their cost in pico-USD, and quantities by meter.

    What was booked in a later month than the day's is late, or corrects it.
    """

    day_start: datetime
    booked_month: date
    team: str | None
    project: str | None
    workflow: str | None
    task_type: str | None
    provider: str
    model: str
    service_tier: str | None
    environment: str | None
    api_key: str
    status: str
    events: int
    cost_pico: int
    quantities: Mapping[str, int]


@dataclass(slots=True)
class Account:
    """Whose usage it is; `teams` are names by slug."""

    id: str
    name: str
    clock: Calendar
    rates: Rates
    teams: Mapping[str, str] = field(default_factory=dict)


def about_account(id_: str, name: str) -> Row:
    """What stands on every row."""
    return {
        "BillingAccountId": cell(id_),
        "BillingAccountName": cell(name),
        "BillingAccountType": "Organization",
        "BillingCurrency": CURRENCY,
        "PricingCurrency": CURRENCY,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceSubcategory": "Generative AI",
    }


def rows(groups: Iterable[Calls], account: Account, *, unpriced_events: int = 0) -> Iterator[Row]:
    """In the order of the groups. Calls that used nothing and cost nothing have no row.

    `unpriced_events` are the calls that are in no group, for the first row to tell.
    """
    return telling(_rows(groups, account), unpriced_events)


def telling(found: Iterable[Row], unpriced_events: int) -> Iterator[Row]:
    """The rows; the first says how many calls are in none of them."""
    for number, row in enumerate(found):
        if not number:
            row["x_UnpricedEvents"] = count(unpriced_events)
        yield row


def _rows(groups: Iterable[Calls], account: Account) -> Iterator[Row]:
    whole = about_account(account.id, account.name)
    of_day: tuple[datetime, date] | None = None
    dates: Row = {}
    for calls in groups:
        if of_day != (calls.day_start, calls.booked_month):
            of_day = calls.day_start, calls.booked_month
            dates = {**whole, **_dates(account.clock, *of_day)}
        yield from _rows_of(calls, account, dates)


def _dates(clock: Calendar, day_start: datetime, booked_month: date) -> Row:
    start, end = clock.period("day", day_start)
    found = {
        **billing_period(clock, booked_month),
        "ChargePeriodStart": instant(start),
        "ChargePeriodEnd": instant(end),
    }
    return found if clock.month_of(day_start) == booked_month else {**found, "ChargeClass": CORRECTION}


def billing_period(clock: Calendar, month: date) -> Row:
    start, end = clock.month_start(month), clock.month_start(next_month(month))
    return {"BillingPeriodStart": instant(start), "BillingPeriodEnd": instant(end)}


def _rows_of(calls: Calls, account: Account, dates: Row) -> Iterator[Row]:
    cards = account.rates.cards(calls.provider, calls.model, calls.service_tier, calls.day_start)
    split = split_cost(calls.cost_pico, calls.quantities, cards)
    head = {
        **dates,
        **whose(calls.team, account.teams),
        **where(calls.project, calls.workflow, calls.task_type, calls.environment),
        **by_whom(calls.provider),
        "CredentialId": calls.api_key,
        "x_ServiceTier": cell(calls.service_tier),
        "x_Status": calls.status,
        "x_CostBasis": "exact" if split.is_exact else "apportioned",
        "x_RequestCount": count(calls.events),
    }
    for meter, cost_pico in split.costs.items():
        sku = sku_of(calls.provider, calls.model, calls.service_tier or "standard", meter)
        yield {**head, **sku, **amounts(meter, calls.quantities.get(meter, 0), cost_pico, split.card)}
        # Said once, so that it can be summed.
        head["x_RequestCount"] = ""


def whose(team: str | None, names: Mapping[str, str]) -> Row:
    if team is None:
        return {}
    return {"SubAccountId": cell(team), "SubAccountName": cell(names.get(team, team)), "SubAccountType": "Team"}


@lru_cache(_TEXTS_KEPT)
def where(
    project: str | None, workflow: str | None, task_type: str | None = None, environment: str | None = None
) -> Row:
    """The resource is the workflow, else the project; tags are all that is known of it."""
    named = {"project": project, "workflow": workflow, "task_type": task_type, "environment": environment}
    row = {
        "x_Project": cell(project),
        "x_Workflow": cell(workflow),
        "x_TaskType": cell(task_type),
        "x_Environment": cell(environment),
        "Tags": json_text({name: value for name, value in named.items() if value is not None}),
    }
    if name := workflow or project:
        row["ResourceId"] = cell("/".join(filter(None, (project, workflow))))
        row["ResourceName"] = cell(name)
        row["ResourceType"] = "Workflow" if workflow else "Project"
    return row


@lru_cache(_TEXTS_KEPT)
def by_whom(provider: str, seller: str | None = None) -> Row:
    """Who runs the model, and who sells and invoices it: the same, unless an organization charges it on."""
    vendor = cell(PROVIDERS.get(canonical_provider(provider), provider))
    sold_by = ("ProviderName", "InvoiceIssuerName", "ServiceProviderName")
    return {
        **dict.fromkeys(sold_by, vendor if seller is None else cell(seller)),
        **dict.fromkeys(("PublisherName", "HostProviderName"), vendor),
        "ServiceName": f"{vendor} API",
    }


@lru_cache(_TEXTS_KEPT)
def sku_of(provider: str, model: str, service_tier: str, meter: str) -> Row:
    """What is sold: a meter of a model, and at which tier ("": at any)."""
    details = {"ModelId": model, **({"x_ServiceTier": service_tier} if service_tier else {})}
    sku_id = f"{provider}/{model}"
    row = {"ChargeCategory": "Usage", "ChargeFrequency": "Usage-Based", "PricingCategory": "Standard", "x_Meter": meter}
    if meter == UNMETERED:
        row["SkuMeter"] = "Price Correction"
    else:
        sku = SKUS[meter]
        sku_id += f"/{meter.replace('_', '-')}"
        details.update(sku.details)
        row |= {"ConsumedUnit": sku.unit, "PricingUnit": sku.pricing_unit, "SkuMeter": sku.meter}
    return {
        **row,
        "ChargeDescription": cell(f"{model} {row['SkuMeter']}"),
        "SkuId": cell(sku_id),
        "SkuPriceId": cell(f"{sku_id}/{service_tier}" if service_tier else sku_id),
        "SkuPriceDetails": json_text(details),
    }


def amounts(meter: str, quantity: int, cost_pico: int, card: Card | None) -> Row:
    """Quantities, unit prices and costs. Without a quantity there is nothing to price: it corrects what there was."""
    cost = usd(cost_pico)
    row = {"BilledCost": cost, "EffectiveCost": cost, "PricingCurrencyEffectiveCost": cost}
    if not quantity:
        return {**row, "ListCost": cost, "ContractedCost": cost, "ChargeClass": CORRECTION}
    listed, paid, basis = _unit_prices(meter, quantity, cost_pico, card)
    list_price, paid_price = unit_price(listed), unit_price(paid)
    # Mostly all three are one.
    paid_cost = cost if paid * quantity == cost_pico else usd(paid * quantity)
    row |= {
        "ConsumedQuantity": count(quantity),
        "PricingQuantity": _fixed(quantity, _QUANTITY_PLACES),
        "ListUnitPrice": list_price,
        "PricingCurrencyListUnitPrice": list_price,
        "ListCost": paid_cost if listed == paid else usd(listed * quantity),
        "ContractedUnitPrice": paid_price,
        "PricingCurrencyContractedUnitPrice": paid_price,
        "ContractedCost": paid_cost,
        "x_PriceBasis": basis,
    }
    return row


def _unit_prices(meter: str, quantity: int, cost_pico: int, card: Card | None) -> tuple[int, int, str]:
    """Listed and contracted, in micro-USD per million units, and what they are taken from.

    Where the catalog lists no price the contract's stands for it; where no price is known any more, what it cost.
    """
    if card is not None and (paid := card.paid.get(meter)) is not None:
        listed = card.listed.get(meter)
        return (paid, paid, "contract") if listed is None else (listed, paid, "list")
    derived = derived_rate(cost_pico, quantity)
    return derived, derived, "derived"


def derived_rate(cost_pico: int, quantity: int) -> int:
    """The nearest rate in micro-USD per million units."""
    return (2 * abs(cost_pico) + abs(quantity)) // (2 * abs(quantity))


# --- as text -------------------------------------------------------------------------------------------


def write(found: Iterable[Row], out: IO[bytes]) -> int:
    """CSV in UTF-8 with CRLF and a header; how many rows it has."""
    number, lines = 0, [",".join(COLUMNS)]
    for number, row in enumerate(found, start=1):  # noqa: B007  # it is what is answered
        cells = [row.get(name, "") for name in COLUMNS]
        for column in _QUOTABLE:
            if text := cells[column]:
                cells[column] = _quoted(text)
        lines.append(",".join(cells))
        if len(lines) >= _LINES_AT_A_TIME:
            _flush(lines, out)
    _flush(lines, out)
    return number


def _flush(lines: list[str], out: IO[bytes] | io.BufferedIOBase) -> None:
    out.write("".join(f"{line}\r\n" for line in lines).encode())
    lines.clear()


@lru_cache(_TEXTS_KEPT)
def _quoted(text: str) -> str:
    """As the csv module writes it, which looks at each character of each cell again."""
    if any(mark in text for mark in ',"\r\n'):
        return f'"{text.replace(chr(34), chr(34) * 2)}"'
    return text


def usd(pico: int) -> str:
    return _fixed(pico, USD_PLACES)


@lru_cache(_TEXTS_KEPT)
def unit_price(rate: int) -> str:
    return _fixed(rate, RATE_PLACES)


def count(number: int) -> str:
    """A whole number, in a column of decimals."""
    return f"{number}.0"


def _fixed(number: int, places: int) -> str:
    """An integer of units of 10^-places as a decimal, always with a point: readers guess a column's type by it."""
    text = f"{abs(number):0{places + 1}d}"
    return f"{'-' if number < 0 else ''}{text[:-places]}.{text[-places:]}"


def instant(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def json_text(found: Mapping[str, str]) -> str:
    return json.dumps(found, ensure_ascii=False)
