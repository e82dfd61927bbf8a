"""A statement as FOCUS 1.2: its lines, usage by meter. Pure.

The organization charges its teams: it is provider and issuer, and who runs a model is publisher and host. The sums of
EffectiveCost and of BilledCost are the statement's `total_usd`, and that of x_Amount its `total`. The charge period of
a line is the month, or the earlier one that it is about: then it is a Correction. Lines of unknown price have no row:
the first row says how many calls they are.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal

from apps.core.money import pico_from_usd, rate_from_usd_per_million
from apps.core.periods import Calendar
from apps.reports import focus
from apps.reports.cells import cell
from apps.reports.document import CREDIT_KINDS, FEE_KINDS, SHARED_KINDS, USAGE_KINDS, Document, Line, MeterCost
from apps.reports.focus import CORRECTION, Row
from apps.reports.meter_costs import Card, split_cost

PURCHASE, CREDIT, TAX, ADJUSTMENT = "Purchase", "Credit", "Tax", "Adjustment"
_CATEGORIES = {
    **dict.fromkeys(FEE_KINDS, PURCHASE),
    **dict.fromkeys((*CREDIT_KINDS, "credit_note"), CREDIT),
    "tax": TAX,
}
_METERS = {"throughput": "Provisioned Throughput", "throughput_idle": "Provisioned Throughput", "seats": "Seats"}
_BILLED = ("BilledCost", "ListCost", "ContractedCost")
_USED = ("EffectiveCost", "PricingCurrencyEffectiveCost")
_PRICES = (
    "ListUnitPrice", "ContractedUnitPrice", "PricingCurrencyListUnitPrice", "PricingCurrencyContractedUnitPrice",
)  # fmt: skip
# Of what is bought for a month, the quantity is one month of it.
_MONTH, _MONTHS = "1.0", "Months"

# The rates of a provider's model on one statement.
_Cards = Mapping[tuple[str, str], list[Card]]


def rows_of_document(document: Document) -> Iterator[Row]:
    """In the order of its lines."""
    return focus.telling(_rows(document), document.unpriced_events)


def _rows(document: Document) -> Iterator[Row]:
    whole, cards, clock = _whole(document), _cards(document.by_meter), Calendar([(None, document.timezone)])
    for number, line in enumerate(document.lines, start=1):
        if line.cost_usd is None:
            continue
        head = {**whole, **_about(document, number, line, clock)}
        if line.kind in USAGE_KINDS:
            yield from _usage(line, {**head, **focus.by_whom(line.provider, document.organization_name)}, cards)
        else:
            vendor = line.provider or document.organization_name
            yield from _charges(line, {**head, **focus.by_whom(vendor, document.organization_name)})


def _whole(document: Document) -> Row:
    row = {
        **focus.about_account(document.organization, document.organization_name),
        "BillingPeriodStart": focus.instant(document.period_start),
        "BillingPeriodEnd": focus.instant(document.period_end),
        "x_StatementId": cell(document.id),
        "x_Currency": document.currency,
    }
    return row if document.number is None else {**row, "InvoiceId": document.label}


def _about(document: Document, number: int, line: Line, clock: Calendar) -> Row:
    names = {document.team: document.team_name or document.team} if document.team else {}
    start, end = document.period_start, document.period_end
    row = {
        **focus.whose(line.team, names),
        **focus.where(line.project, line.workflow),
        "x_LineKind": line.kind,
        "x_Amount": _decimal(line.amount),
    }
    if line.of_month is not None and line.of_month != document.month:
        start, end = _month(line.of_month, clock)
        row["ChargeClass"] = CORRECTION
    if document.number is not None:
        row["InvoiceDetailId"] = f"{document.label}:{number}"
    return {**row, "ChargePeriodStart": focus.instant(start), "ChargePeriodEnd": focus.instant(end)}


def _month(month: str, clock: Calendar) -> tuple[datetime, datetime]:
    return clock.period("month", clock.month_start(date.fromisoformat(f"{month}-01")))


def _decimal(amount: str | None) -> str:
    return "" if amount is None else amount if "." in amount else f"{amount}.0"


# --- usage ---------------------------------------------------------------------------------------------


def _cards(costs: list[MeterCost]) -> _Cards:
    """What each meter cost on the statement, as a rate: it gives each line of the model its meters' parts."""
    listed: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    paid: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for cost in costs:
        key = cost.provider, cost.model
        if cost.list_usd_per_million is not None:
            listed[key][cost.meter] = rate_from_usd_per_million(Decimal(cost.list_usd_per_million))
        if cost.quantity:
            paid[key][cost.meter] = focus.derived_rate(pico_from_usd(Decimal(cost.cost_usd)), cost.quantity)
    return {key: [Card(listed[key], rates)] for key, rates in paid.items()}


def _usage(line: Line, head: Row, cards: _Cards) -> Iterator[Row]:
    split = split_cost(_pico(line), line.meters, cards.get((line.provider, line.model), ()))
    head["x_CostBasis"] = "exact" if split.is_exact else "apportioned"
    head["x_RequestCount"] = focus.count(line.events)
    for meter, cost_pico in split.costs.items():
        sku = focus.sku_of(line.provider, line.model, "", meter)
        yield {**head, **sku, **focus.amounts(meter, line.meters.get(meter, 0), cost_pico, split.card)}
        head |= {"x_RequestCount": "", "x_Amount": ""}


# --- everything else -----------------------------------------------------------------------------------


def _charges(line: Line, head: Row) -> Iterator[Row]:
    category, name = _CATEGORIES.get(line.kind, ADJUSTMENT), line.name or line.kind
    row = {
        **head,
        "ServiceName": cell(name),
        "ChargeCategory": category,
        "ChargeFrequency": "One-Time",
        "ChargeDescription": cell(f"{name}: {line.driver}" if line.driver else name),
        **dict.fromkeys((*_BILLED, *_USED), focus.usd(_pico(line))),
    }
    if category == PURCHASE:
        return _fee(line, row)
    return iter([{**row, **_allocated(line)} if line.kind in SHARED_KINDS else row])


def _fee(line: Line, row: Row) -> Iterator[Row]:
    """Two rows, as FOCUS has it: what was bought is billed, and what the month used up of it is the effective cost."""
    cost, nothing, sku = focus.usd(_pico(line)), focus.usd(0), line.source or line.kind
    row |= {
        "SkuId": sku,
        "SkuPriceId": sku,
        "SkuMeter": _METERS[line.kind],
        "PricingCategory": "Standard",
        "PricingQuantity": _MONTH,
        "PricingUnit": _MONTHS,
    }
    yield {**row, "ChargeFrequency": "Recurring", **dict.fromkeys(_USED, nothing), **dict.fromkeys(_PRICES, cost)}
    yield {
        **row,
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ConsumedQuantity": _MONTH,
        "ConsumedUnit": _MONTHS,
        **dict.fromkeys((*_BILLED, *_PRICES), nothing),
        "x_Amount": "",
    }


def _allocated(line: Line) -> Row:
    """By what, and how much of it, a part of a pool was given; to whom, SubAccountId says."""
    details = {"driver": line.driver, **({"share": line.share} if line.share else {})}
    return {
        "AllocatedMethodId": line.source,
        "AllocatedMethodDetails": focus.json_text(details),
        **({"AllocatedResourceId": cell(line.team), "AllocatedResourceName": cell(line.team)} if line.team else {}),
    }


def _pico(line: Line) -> int:
    assert line.cost_usd is not None
    return pico_from_usd(Decimal(line.cost_usd))
