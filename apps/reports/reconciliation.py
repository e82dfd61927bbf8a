"""A provider's month: its bills against what was metered, how much of them was, and who bears the difference.

All bills of a provider and month are taken together: which of a provider's accounts a call went to, its event does not
say. Names of models are compared as the catalog and the organization's aliases mean them.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache

from apps.core.errors import DomainError
from apps.core.meters import METERS
from apps.core.money import EXACT, USD_PLACES, pico_from_usd, split, sum_usd, usd_from_pico
from apps.core.periods import Calendar, next_month
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.pricing.rating import RateBook
from apps.pricing.selectors import load_catalog, load_model_aliases, load_terms
from apps.reports import invoices_sql
from apps.reports.bill_readers.lines import WIDE
from apps.reports.gaps import (
    BUCKETS,
    EXCHANGE,
    TAXES,
    UNMETERED,
    Billed,
    Gap,
    Metered,
    compare,
    share_of,
)
from apps.reports.invoices import RATE_MIN
from apps.reports.invoices_sql import BilledRow, MeteredRow
from apps.reports.models_invoices import Invoice, TrueUp
from apps.reports.models_statements import ExchangeRate

# Models by days of one month.
METERED_ROWS_MAX = 100_000
_ZERO = Decimal(0)
_PICO = Decimal(1).scaleb(-USD_PLACES)
# (provider, model) as sent, to what they mean.
Names = Callable[[str, str], tuple[str, str]]


@dataclass(frozen=True)
class Reconciliation:
    """`sent` are, by model as it is compared, the names that its events have: (provider, model).

    `booked_usd` is what of each bucket was trued up already. `days` says in which zone days are ("utc" or "local").
    """

    month: date
    provider: str
    days: str
    invoices: Sequence[Invoice]
    gap: Gap
    booked_usd: Mapping[str, Decimal]
    sent: Mapping[str, Collection[tuple[str, str]]]

    @property
    def remaining_usd(self) -> dict[str, Decimal]:
        """What of each bucket is on no statement yet."""
        return {name: EXACT.subtract(usd, self.booked_usd.get(name, _ZERO)) for name, usd in self.gap.buckets.items()}

    @property
    def coverage(self) -> Decimal | None:
        """The share of what was billed for usage that was metered, to 6 decimals; None where nothing was billed."""
        return share_of(self.gap.covered_usd, self.gap.coverable_usd)


@dataclass(frozen=True)
class MonthBills:
    """A month's reconciliations by provider, and what was metered of providers that sent no bill yet."""

    month: date
    found: Sequence[Reconciliation]
    without_bill: Mapping[str, Decimal] = field(default_factory=dict)

    @property
    def coverage(self) -> Decimal | None:
        """Over all bills; None where there is none."""
        covered = sum_usd(one.gap.covered_usd for one in self.found)
        return share_of(covered, sum_usd(one.gap.coverable_usd for one in self.found))


def coverage(org: Organization, month: date) -> MonthBills:
    """How much of the month's bills was metered: `coverage` overall and of each provider, None without a bill."""
    return reconcile_month(org, month)


def reconcile_month(org: Organization, month: date, provider: str = "") -> MonthBills:
    """Every provider's reconciliation of a month, or one's, in one snapshot.

    Raises `DomainError` (`too_many_lines`) above `METERED_ROWS_MAX` models by days.
    """
    with tenant(org, repeatable_read=True):
        return reconciled(org, month, provider)


def reconciled(org: Organization, month: date, provider: str = "") -> MonthBills:
    """`reconcile_month` inside a `tenant(org)` that is open already."""
    invoices = Invoice.objects.for_org(org).filter(month=month).order_by("pk")
    by_provider: dict[str, list[Invoice]] = defaultdict(list)
    for invoice in invoices.filter(provider=provider) if provider else invoices:
        by_provider[invoice.provider].append(invoice)
    usage = _Usage(org, month, RateBook(load_catalog(), load_terms(org), load_model_aliases(org)))
    billed = _Billed(org, month, [invoice for rows in by_provider.values() for invoice in rows], usage.names)
    found = [_of_provider(usage, billed, name, rows) for name, rows in sorted(by_provider.items())]
    without = {
        name: usd for name, usd in sorted(usage.month_usd.items()) if usd and name not in by_provider and not provider
    }
    return MonthBills(month, found, without)


def _of_provider(usage: "_Usage", billed: "_Billed", provider: str, invoices: Sequence[Invoice]) -> Reconciliation:
    days = "local" if all(invoice.days == Invoice.Days.LOCAL for invoice in invoices) else "utc"
    metered, sent = usage.of(provider, days)
    gap = compare(billed.lines[provider], metered, month_usd=usage.month_usd.get(provider, _ZERO))
    return Reconciliation(usage.month, provider, days, invoices, gap, billed.booked_usd[provider], sent)


# --- what was billed -----------------------------------------------------------------------------------


class _Billed:
    """Bills of a month, and what was booked of them, by provider: read at once, however many there are."""

    def __init__(self, org: Organization, month: date, invoices: Sequence[Invoice], names: Names) -> None:
        by_id = {invoice.pk: invoice for invoice in invoices}
        rates = _rates(org, month) if any(invoice.per_usd is not None for invoice in invoices) else {}
        self.lines: dict[str, list[Billed]] = defaultdict(list)
        for row in invoices_sql.billed(org.pk, list(by_id)):
            invoice = by_id[row.invoice_id]
            self.lines[invoice.provider].append(_billed(row, invoice, rates, names))
        self.booked_usd: dict[str, dict[str, Decimal]] = defaultdict(dict)
        for booked in TrueUp.objects.for_org(org).filter(month=month):
            of = self.booked_usd[booked.provider]
            of[booked.bucket] = EXACT.add(of.get(booked.bucket, _ZERO), booked.cost_usd)


def _rates(org: Organization, month: date) -> dict[str, Decimal]:
    """What statements of the month are reckoned with, by currency: of several rates of one the newest."""
    rates = ExchangeRate.objects.for_org(org).filter(month=month, rate__gte=RATE_MIN).order_by("pk")
    return dict(rates.values_list("currency", "rate"))


def _billed(row: BilledRow, invoice: Invoice, rates: Mapping[str, Decimal], names: Names) -> Billed:
    exchange = _ZERO
    if invoice.currency in rates:
        paid = WIDE.quantize(WIDE.divide(row.amount, rates[invoice.currency]), _PICO)
        exchange = EXACT.subtract(paid, row.amount_usd)
    model = names(invoice.provider, row.model)[1] if row.model else ""
    return Billed(row.day, model, row.meter, row.quantity, row.amount_usd, row.kind, exchange)


# --- what was metered ----------------------------------------------------------------------------------


class _Usage:
    """A month's usage by provider, model, meter and day; each kind of days is read once, when it is first asked for."""

    def __init__(self, org: Organization, month: date, book: RateBook) -> None:
        self.month, self.names = month, _names(book)
        self._org, self._book, self._clock = org, book, calendar(org)
        self._read: dict[str, list[MeteredRow]] = {}
        self._of: dict[str, dict[str, list[tuple[str, MeteredRow]]]] = {}
        self.month_usd: dict[str, Decimal] = defaultdict(Decimal)
        for row in self._rows("local"):
            provider, _ = self.names(row.provider, row.model)
            self.month_usd[provider] = EXACT.add(self.month_usd[provider], row.cost_usd)

    def of(self, provider: str, days: str) -> tuple[list[Metered], dict[str, set[tuple[str, str]]]]:
        """What was metered of a provider, and the names that each model's events have."""
        found: list[Metered] = []
        sent: dict[str, set[tuple[str, str]]] = defaultdict(set)
        for model, row in self._by_provider(days).get(provider, ()):
            sent[model].add((row.provider, row.model))
            found += self._by_meter(row, model, days)
        return found, sent

    def _by_provider(self, days: str) -> dict[str, list[tuple[str, MeteredRow]]]:
        """Rows with the models they mean. Sorted out once: a month may have bills of many providers."""
        if days not in self._of:
            self._of[days] = defaultdict(list)
            for row in self._rows(days):
                provider, model = self.names(row.provider, row.model)
                self._of[days][provider].append((model, row))
        return self._of[days]

    def _rows(self, days: str) -> list[MeteredRow]:
        start, end = _span(self.month, days, self._clock)
        if days == "utc" and (start, end) == _span(self.month, "local", self._clock):
            days = "local"
        if days not in self._read:
            rows = invoices_sql.metered(self._org.pk, days, start, end, limit=METERED_ROWS_MAX + 1)
            if len(rows) > METERED_ROWS_MAX:
                raise DomainError(
                    "too_many_lines",
                    f"The month has more than {METERED_ROWS_MAX:,} models by days: too many to be compared with bills.",
                    param="month",
                )
            self._read[days] = rows
        return self._read[days]

    def _by_meter(self, row: MeteredRow, model: str, days: str) -> Iterator[Metered]:
        """The cost of a day shared out in proportion to rate x quantity, as statements do."""
        zone = UTC if days == "utc" else self._clock.zone_at(row.day_start)
        day = row.day_start.astimezone(zone).date()
        noon = row.day_start + timedelta(hours=12)
        price = self._book.price(row.provider, row.model, "", "", noon)
        used = [index for index, quantity in enumerate(row.quantities) if quantity]
        weights = [row.quantities[index] * (price.base.weights[index] if price else 0) for index in used]
        if not any(weights):
            weights = [row.quantities[index] for index in used]
        if not used:
            yield Metered(day, model, "", 0, row.cost_usd)
            return
        parts = split(pico_from_usd(row.cost_usd), weights)
        for index, part in zip(used, parts, strict=True):
            yield Metered(day, model, METERS[index], row.quantities[index], usd_from_pico(part))


def _span(month: date, days: str, clock: Calendar) -> tuple[datetime, datetime]:
    """[start, end) of the month, in UTC or as the organization's."""
    if days == "local":
        return clock.month_start(month), clock.month_start(next_month(month))
    first, last = (datetime(day.year, day.month, 1, tzinfo=UTC) for day in (month, next_month(month)))
    return first, last


def _names(book: RateBook) -> Names:
    @cache
    def names(provider: str, model: str) -> tuple[str, str]:
        provider, model, _ = book.names(provider, model)
        known = book.catalog.recognise(provider, model)
        return provider, (known.model if known else model).strip().lower()

    return names


# --- who bears it --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a bucket for a team; None: the statement without a team."""

    bucket: str
    team: str | None
    usd: Decimal

    @property
    def kind(self) -> str:
        """The kind of the statement's line."""
        return self.bucket if self.bucket in (TAXES, EXCHANGE) else "true_up"


def check_buckets(buckets: Iterable[str]) -> tuple[str, ...]:
    """In their order. Raises `DomainError` (`bucket_unknown`)."""
    asked = set(buckets)
    for name in sorted(asked - set(BUCKETS)):
        raise DomainError("bucket_unknown", f"'{name[:64]}' is no bucket: use {', '.join(BUCKETS)}.", param="buckets")
    return tuple(name for name in BUCKETS if name in asked)


def shares(org: Organization, found: Reconciliation, buckets: Iterable[str] = BUCKETS) -> list[Share]:
    """Who bears what is left of the buckets, by metered cost and largest remainder. Inside `tenant(org)`.

    What was never metered is nobody's: it goes to the statement without a team.
    """
    weights = _team_costs(org, found)
    remaining = found.remaining_usd
    return [share for name in check_buckets(buckets) for share in _split(name, remaining[name], weights)]


def _split(bucket: str, usd: Decimal, weights: Mapping[str | None, int]) -> Iterator[Share]:
    if not usd:
        return
    if bucket == UNMETERED or not any(weights.values()):
        yield Share(bucket, None, usd)
        return
    teams = sorted(weights, key=lambda team: (team is None, team or ""))
    parts = split(pico_from_usd(usd), [weights[team] for team in teams])
    yield from (Share(bucket, team, usd_from_pico(part)) for team, part in zip(teams, parts, strict=True) if part)


def _team_costs(org: Organization, found: Reconciliation) -> dict[str | None, int]:
    """What each team's calls to the provider cost in the month, in pico-USD, 0 where it comes to less."""
    book = RateBook(load_catalog(), load_terms(org), load_model_aliases(org))
    names, span = _names(book), _span(found.month, "local", calendar(org))
    costs: dict[str | None, int] = defaultdict(int)
    for provider, model, team, usd in invoices_sql.metered_by_team(org.pk, *span):
        if names(provider, model)[0] == found.provider:
            costs[team] += pico_from_usd(usd)
    return {team: max(cost, 0) for team, cost in costs.items()}
