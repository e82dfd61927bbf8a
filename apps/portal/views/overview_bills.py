"""The card of the overview about providers' bills: how much of them was metered."""

from decimal import Decimal

from apps.core.errors import DomainError
from apps.core.money import sum_usd
from apps.core.tenancy import tenant
from apps.portal.homes import Home
from apps.portal.pages_invoices import Coverage, CoverageRow
from apps.portal.views.invoices import reconciliation_url
from apps.reports.invoices import last_month
from apps.reports.reconciliation import Reconciliation, reconcile_month

ROWS_SHOWN = 4


def coverage(home: Home) -> Coverage | None:
    """Of the last month with a bill; None where there is none, or it is too much to compare here."""
    visit = home.visit
    with tenant(visit.org):
        month = last_month(visit.org)
    if month is None:
        return None
    try:
        found = reconcile_month(visit.org, month)
    except DomainError:
        return None
    worst = sorted(found.found, key=lambda one: (one.coverage is None, one.coverage or Decimal(0), one.provider))
    return Coverage(
        month_label=f"{month:%B %Y}",
        coverage=found.coverage,
        gap_usd=sum_usd(one.gap.gap_usd for one in found.found),
        rows=tuple(_row(home, one) for one in worst[:ROWS_SHOWN]),
        row_count=len(worst),
        without_bill=len(found.without_bill),
        url=visit.url("invoices", {"month": f"{month:%Y-%m}"}),
    )


def _row(home: Home, one: Reconciliation) -> CoverageRow:
    url = reconciliation_url(home.visit, one.invoices[0].pk)
    return CoverageRow(one.provider, one.coverage, one.gap.verdict, url)
