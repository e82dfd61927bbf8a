"""A provider's month: the bridge from what was metered to what was billed, and who bears the difference."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal

from django.http import HttpResponse, HttpResponseRedirect

from apps.core.money import sum_usd
from apps.core.periods import next_month
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb
from apps.portal.pages_invoices import BucketRow, CellRow, DayRow, ReconciliationPage, ShareRow
from apps.portal.ranges import query_string
from apps.portal.views.events import meter_label
from apps.portal.views.invoices import DAYS_IN, invoice_url, reconciliation_url, title_of
from apps.reports import true_ups
from apps.reports.gaps import BUCKETS, Cell, Day, share_of
from apps.reports.invoices import invoice_by_id
from apps.reports.reconciliation import Reconciliation, Share, reconcile_month, shares

CELLS_SHOWN = 100
# What a bucket is called, and what is in it.
WORDS: Mapping[str, tuple[str, str]] = {
    "price": ("Another unit price", "The same quantity, billed at another price than calls were given."),
    "quantity": (
        "More or fewer units",
        "At the bill's price: calls that were not metered, or not billed.",
    ),
    "unmetered": ("Never metered", "Models, days and fees of which nothing was metered at all."),
    "timing": (
        "Other days",
        "Hours at the edges that the provider's month has and yours has not, or the reverse.",
    ),
    "credits": ("Credits", "What the provider took off."),
    "tax": ("Tax", "What no call carries."),
    "exchange": ("Exchange", "The bill's own rate against the month's."),
    "rounding": ("Rounding", "Under a cent a line."),
    "unexplained": ("Unexplained", "The bill has no quantities that would tell a price from calls."),
}
KIND_LABELS = {"true_up": "true-up", "tax": "tax", "exchange": "exchange"}


@organization_page(section="statements", permission=Permission.VIEW_STATEMENTS)
def reconciliation(visit: Visit, invoice_id: int) -> HttpResponse:
    with tenant(visit.org):
        invoice = invoice_by_id(visit.org, invoice_id)
    (found,) = reconcile_month(visit.org, invoice.month, invoice.provider).found
    chosen = _chosen(visit, found)
    with tenant(visit.org):
        parts = shares(visit.org, found, chosen)
    page = _page(visit, invoice_id, found, chosen, parts)
    title = f"{found.provider}, {page.month_label}"
    crumbs = (
        Crumb("Bills", visit.url("invoices", {"month": f"{found.month:%Y-%m}"})),
        Crumb(title_of(invoice), invoice_url(visit, invoice_id)),
        Crumb("Reconciliation"),
    )
    frame = visit.frame(f"Billed against metered: {title}", *crumbs)
    return visit.render("portal/reconciliation.html", frame=frame, page=page)


def _chosen(visit: Visit, found: Reconciliation) -> frozenset[str]:
    """The buckets that are ticked, all that have something left where none is."""
    left = {name for name, usd in found.remaining_usd.items() if usd}
    asked = left.intersection(visit.request.GET.getlist("bucket"))
    return frozenset(asked or left)


def _page(
    visit: Visit, invoice_id: int, found: Reconciliation, chosen: frozenset[str], parts: Sequence[Share]
) -> ReconciliationPage:
    gap, remaining = found.gap, found.remaining_usd
    here = reconciliation_url(visit, invoice_id)
    model = str(visit.request.GET.get("model", ""))
    model = model if model in gap.model_days else ""
    days = gap.model_days[model] if model else gap.days
    cells = sorted(gap.cells, key=lambda cell: (-cell.gap_usd.copy_abs(), cell.model, cell.meter))
    may_book = visit.may(Permission.MANAGE_STATEMENTS)
    return ReconciliationPage(
        provider=found.provider,
        month_label=f"{found.month:%B %Y}",
        bills=tuple((title_of(one), invoice_url(visit, one.pk)) for one in found.invoices),
        days_in=DAYS_IN[found.days],
        verdict=gap.verdict,
        billed_usd=gap.billed_usd,
        metered_usd=gap.metered_usd,
        gap_usd=gap.gap_usd,
        gap_share=share_of(gap.gap_usd, gap.billed_usd),
        coverage=found.coverage,
        buckets=tuple(_bucket(found, name, remaining[name], chosen) for name in BUCKETS),
        cells=tuple(_cell(visit, found, cell, here) for cell in cells[:CELLS_SHOWN]),
        cells_left_out=max(len(cells) - CELLS_SHOWN, 0),
        model=model,
        all_days_url=here,
        days=tuple(_day(visit, found, day, model) for day in days),
        shares=tuple(_shares(parts)),
        shares_usd=sum_usd(part.usd for part in parts),
        left_usd=sum_usd(remaining.values()),
        is_anything_left=any(remaining.values()),
        true_up_url=f"{invoice_url(visit, invoice_id)}/true-up" if may_book else "",
        here=here,
        chosen=chosen,
    )


def _bucket(found: Reconciliation, name: str, left: Decimal, chosen: Collection[str]) -> BucketRow:
    label, says = WORDS[name]
    usd = found.gap.buckets[name]
    return BucketRow(
        name=name,
        label=label,
        says=says,
        usd=usd,
        share=share_of(usd, found.gap.usage_usd),
        booked_usd=found.booked_usd.get(name, Decimal(0)),
        remaining_usd=left,
        is_chosen=name in chosen,
    )


def _cell(visit: Visit, found: Reconciliation, cell: Cell, here: str) -> CellRow:
    why = ", ".join(WORDS[name][0].lower() for name in BUCKETS if cell.buckets.get(name))
    has_days = cell.model in found.gap.model_days
    return CellRow(
        model=cell.model,
        meter=meter_label(cell.meter) if cell.meter else "",
        billed_usd=cell.billed_usd,
        metered_usd=cell.metered_usd,
        gap_usd=cell.gap_usd,
        billed_quantity=cell.billed_quantity,
        metered_quantity=cell.metered_quantity,
        why=why or "agrees",
        days_url=f"{here}{query_string({'model': cell.model})}#days" if cell.model and has_days else "",
        events_url=_usage_url(visit, found, cell.model, found.month, next_month(found.month) - timedelta(days=1)),
    )


def _day(visit: Visit, found: Reconciliation, day: Day, model: str) -> DayRow:
    return DayRow(
        day=day.day,
        billed_usd=day.billed_usd,
        metered_usd=day.metered_usd,
        gap_usd=day.gap_usd,
        gap_share=share_of(day.gap_usd, day.billed_usd),
        verdict=day.verdict,
        events_url=_usage_url(visit, found, model, day.day, day.day),
    )


def _usage_url(visit: Visit, found: Reconciliation, model: str, first: date, last: date) -> str:
    """What was metered: the events of a model under the one name they have, else its spend by model."""
    names = found.sent.get(model, ()) if model else {name for sent in found.sent.values() for name in sent}
    days = {"from": first.isoformat(), "to": last.isoformat()}
    providers = {provider for provider, _ in names}
    if len(names) == 1:
        ((provider, sent),) = names
        return visit.url("events", {"provider": provider, "model": sent, **days})
    if len(providers) == 1:
        return visit.url("spend", {"group_by": "model", "provider": providers.pop(), **days})
    return visit.url("spend", {"group_by": "provider", **days})


def _shares(parts: Sequence[Share]) -> Iterator[ShareRow]:
    """By team, the statement without one last."""
    by_team: dict[str | None, dict[str, list[Decimal]]] = defaultdict(lambda: defaultdict(list))
    for part in parts:
        by_team[part.team][part.kind].append(part.usd)
    for team in sorted(by_team, key=lambda team: (team is None, team or "")):
        kinds = tuple((KIND_LABELS[kind], sum_usd(amounts)) for kind, amounts in by_team[team].items())
        yield ShareRow(team, kinds, sum_usd(usd for _, usd in kinds))


@organization_page(
    section="statements", permission=Permission.VIEW_STATEMENTS, writes=Permission.MANAGE_STATEMENTS, is_act=True
)
def true_up(visit: Visit, invoice_id: int) -> HttpResponse:
    buckets = visit.request.POST.getlist("bucket")
    true_ups.true_up(org=visit.org, invoice_id=invoice_id, actor=visit.user, buckets=buckets)
    return HttpResponseRedirect(reconciliation_url(visit, invoice_id))
