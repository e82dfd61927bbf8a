"""What the invented company charges back: a shared cost, a month that is closed, a dispute, and a provider's bill."""

import csv
import io
import time
from collections.abc import Iterator
from datetime import date
from decimal import Decimal

from django.utils import timezone

from apps.core.errors import DomainError
from apps.core.periods import month_before, next_month
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.reports import closing, focus_files, months
from apps.reports.chargeback_terms import change_terms
from apps.reports.disputes import find_disputes, line_key, line_of
from apps.reports.disputing import raise_dispute
from apps.reports.invoices import BillFile, import_invoice, last_month
from apps.reports.pool_terms import PoolTerms
from apps.reports.pools import create_pool
from apps.reports.selectors import SpendQuestion
from apps.reports.statements import statements
from apps.reports.tasks import hint_seal

GATEWAY = PoolTerms(name="Gateway licence", source="amount", amount_usd="60.00", method="usage", driver="events")
DISPUTING_TEAM = "search"
LEAD = "emre@example.com"
BILLING_PROVIDER = "anthropic"
# What the bill says and the events do not: output at another price, a model that nobody meters, and tax.
DEARER = Decimal("1.04")
UNMETERED_MODEL, UNMETERED_USD = "claude-opus-4-0", Decimal("12.40")
TAX_RATE = Decimal("0.08")
POLL_SECONDS = 0.5


def furnish_terms(org: Organization, actor: object) -> None:
    """A month may close as soon as it is over, and a licence is shared by calls from last month on."""
    change_terms(org=org, currency="USD", close_after_hours=0, closes_itself=False, actor=actor)
    create_pool(org=org, terms=GATEWAY, from_month=_months(org)[0], actor=actor)


def close_last_month(org: Organization, actor: object, *, seconds_max: float) -> bool:
    """Once a worker has rolled it up; whether it is final. It stays open without calls, and without a worker."""
    month, deadline = _months(org)[0], time.monotonic() + seconds_max
    while True:
        with tenant(org):
            state, is_next = months.state_of(org, month), months.next_to_close(org) == month
        if state == months.FINAL:
            return True
        if time.monotonic() > deadline or (state == months.OPEN and not is_next):
            return False
        if state == months.OPEN:
            _fence(org, month, actor)
        time.sleep(POLL_SECONDS)


def _fence(org: Organization, month: date, actor: object) -> None:
    try:
        closing.fence(org=org, month=month, actor=actor)
    except DomainError:
        return
    hint_seal(org.pk)


def furnish_dispute(org: Organization) -> None:
    """A lead marks the line of their team that cost most, of the newest month that has one. Once."""
    with tenant(org):
        if find_disputes(org, limit=1):
            return
    for month in reversed(_months(org)):
        for document in statements(org, month, at=timezone.now(), team=DISPUTING_TEAM):
            lines = [line for line in document.lines if line.kind == "usage" and line.cost_usd]
            if not lines:
                continue
            dearest = max(lines, key=lambda line: Decimal(line.cost_usd or 0))
            raise_dispute(
                org=org,
                month=month,
                team=DISPUTING_TEAM,
                key=line_key(line_of(dearest)),
                reason="Growth's experiments ran through this workflow, not ours",
                actor=LEAD,
            )
            return


def furnish_bill(org: Organization, actor: object) -> None:
    """A provider's bill of the month in which it was used more: what was metered, and what bills differ in. Once."""
    with tenant(org):
        if last_month(org):
            return
    rows = max((_metered(org, month) for month in _months(org)), key=len)
    if rows:
        body = _csv([*rows, *_unlike(rows)])
        file = BillFile(format="focus", body=body, file_name=f"{BILLING_PROVIDER}-focus.csv", days="local")
        import_invoice(org=org, file=file, actor=actor)


def _metered(org: Organization, month: date) -> list[dict[str, str]]:
    """What was metered of the provider, as rows of FOCUS."""
    out = io.BytesIO()
    with tenant(org):
        clock = calendar(org)
    span = (clock.month_start(month), clock.month_start(next_month(month)))
    focus_files.write(org, SpendQuestion(*span, filters={"provider": BILLING_PROVIDER}), out)
    return list(csv.DictReader(io.StringIO(out.getvalue().decode(), newline="")))


def _unlike(rows: list[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Makes output dearer on the rows as they are, and adds what no event tells."""
    for row in rows:
        if row["x_Meter"] == "output_tokens":
            row["BilledCost"] = f"{Decimal(row['BilledCost']) * DEARER:.6f}"
    bare = {**rows[-1], "ConsumedQuantity": "", "PricingQuantity": ""}
    yield {**bare, "SkuPriceDetails": f'{{"ModelId": "{UNMETERED_MODEL}"}}', "BilledCost": str(UNMETERED_USD)}
    tax = sum((Decimal(row["BilledCost"]) for row in rows), UNMETERED_USD) * TAX_RATE
    yield {**bare, "ChargeCategory": "Tax", "SkuPriceDetails": "", "BilledCost": f"{tax:.2f}"}


def _csv(rows: list[dict[str, str]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def _months(org: Organization) -> tuple[date, date]:
    """Last month and this one."""
    with tenant(org):
        now = calendar(org).month_of(timezone.now())
    return month_before(now), now
