"""Pools of shared cost: those of a month with who bears what, and moving or ending one."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from django.http import Http404, HttpResponse, HttpResponseRedirect

from apps.core.errors import DomainError
from apps.core.meters import METERS
from apps.core.money import usd_from_pico
from apps.core.periods import month_before, next_month
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal import formats
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb, Tab
from apps.portal.pages_allocations import AllocationsPage, BearerRow, PoolPanel
from apps.portal.views.contracts import LABELS
from apps.portal.views.events import meter_label
from apps.reports import allocation, pools
from apps.reports.chargeback import CENTRAL, DIRECT_AND_THROUGHPUT, Share
from apps.reports.models_allocation import AllocationPool
from apps.reports.statements import parse_month
from apps.usage.selectors import first_open_month

MONTHS_BEFORE = 4
# Of many, those that bear most.
BEARERS_SHOWN = 12
DRIVER_LABELS = {"events": "Events", "runs": "Runs", "tokens": "Tokens"}
BASE_LABELS = {"direct_usage": "Direct usage", "direct_and_throughput": "Direct usage and throughput used"}
KIND_LABELS = {"throughput": "used", "throughput_idle": "idle"}
NO_TEAM = "the statement without a team"


@organization_page(section="statements", permission=Permission.VIEW_STATEMENTS)
def allocations(visit: Visit) -> HttpResponse:
    month = read_month(visit, str(visit.request.GET.get("month", "")))
    found = allocation.standing(visit.org, month)
    page = AllocationsPage(
        month=f"{month:%Y-%m}",
        month_label=f"{month:%B %Y}",
        months=tuple(_tabs(visit, month)),
        pools=tuple(
            _panel(visit, month, row, found.shares[row.pk], number, len(found.rows))
            for number, row in enumerate(found.rows, start=1)
        ),
        is_closed=month < open_month(visit),
        may_change=visit.may(Permission.MANAGE_STATEMENTS),
        new_url=visit.url("allocation_new", {"month": f"{month:%Y-%m}"}),
        statements_url=visit.url("statements", {"month": f"{month:%Y-%m}"}),
    )
    crumbs = (Crumb("Statements", page.statements_url), Crumb("Allocation"))
    return visit.render("portal/allocations.html", frame=visit.frame("Allocation", *crumbs), allocations=page)


@organization_page(
    section="statements", permission=Permission.VIEW_STATEMENTS, writes=Permission.MANAGE_STATEMENTS, is_act=True
)
def allocation_act(visit: Visit, pool_id: int, act: str) -> HttpResponse:
    month = parse_month(str(visit.request.POST.get("month", "")))
    if act in ("up", "down"):
        pools.move_pool(org=visit.org, pool_id=pool_id, up=act == "up", from_month=month, actor=visit.user)
    elif act == "end":
        pools.end_pool(org=visit.org, pool_id=pool_id, from_month=month, actor=visit.user)
    else:
        raise Http404
    back = str(visit.request.POST.get("back", ""))
    return HttpResponseRedirect(month_url(visit, read_month(visit, back) if back else month))


def month_url(visit: Visit, month: date) -> str:
    return visit.url("allocations", {"month": f"{month:%Y-%m}"})


def read_month(visit: Visit, text: str) -> date:
    """The month that an address says, else this one."""
    try:
        return parse_month(text)
    except DomainError:
        return visit.calendar.month_of(visit.at)


def open_month(visit: Visit) -> date:
    with tenant(visit.org):
        return first_open_month(visit.org)


def _tabs(visit: Visit, chosen: date) -> Iterable[Tab]:
    """The next month too: pools are set ahead of it."""
    this = visit.calendar.month_of(visit.at)
    shown = {chosen, next_month(this), *(month_before(this, back) for back in range(MONTHS_BEFORE))}
    for month in sorted(shown, reverse=True):
        yield Tab(f"{month:%b %Y}", month_url(visit, month), month == chosen)


def _panel(
    visit: Visit, month: date, row: AllocationPool, shares: Sequence[Share], number: int, count: int
) -> PoolPanel:
    parts = [share for share in shares if not share.is_taken]
    taken = next((share for share in shares if share.is_taken), None)
    shown = bearers(parts, row.method)
    rest = sum(share.pico for share in _largest(parts)[BEARERS_SHOWN:])
    address = visit.url_below("allocations", str(row.pk))
    return PoolPanel(
        id=row.pk,
        number=number,
        name=row.name,
        source=_source(row),
        method=_method(row),
        months=months_words(row.from_month, row.until_month),
        total_usd=usd_from_pico(sum(share.pico for share in parts)),
        taken_from="" if taken is None else f"the statement of {taken.team}" if taken.team else NO_TEAM,
        bearers=shown,
        bearer_count=len(parts),
        rest_usd=usd_from_pico(rest),
        url=address,
        edit_url=f"{address}?month={month:%Y-%m}",
        is_first=number == 1,
        is_last=number == count,
    )


def bearers(parts: Sequence[Share], method: str) -> tuple[BearerRow, ...]:
    """Who bears most of a pool that is shared by a method."""
    return tuple(
        BearerRow(
            team=share.team,
            kind=KIND_LABELS.get(share.kind, ""),
            driver=_driver_words(share, method),
            share=share.share,
            cost_usd=usd_from_pico(share.pico),
        )
        for share in _largest(parts)[:BEARERS_SHOWN]
    )


def _driver_words(share: Share, method: str) -> str:
    if share.driver == CENTRAL:
        return "shared with no team" if method == CENTRAL else "nobody has any: it stays with no team"
    return share.driver_text.replace(",", formats.THIN)


def _largest(parts: Sequence[Share]) -> list[Share]:
    """By kind as they come, the largest parts of each first."""
    kinds = list(dict.fromkeys(share.kind for share in parts))
    return sorted(parts, key=lambda share: (kinds.index(share.kind), -abs(share.pico), share.team or ""))


def months_words(from_month: date, until_month: date | None) -> str:
    if until_month is None:
        return f"since {from_month:%B %Y}"
    return f"{from_month:%b %Y} to {month_before(until_month):%b %Y}"


def _source(row: AllocationPool) -> str:
    if row.contract is not None:
        return f"{LABELS[row.contract.kind]}: {row.contract.name}"
    words: Mapping[str, str] = {
        "amount": f"{formats.money(row.amount_usd)} USD a month",
        "team": f"Everything on the statement of {row.team}",
    }
    return words.get(row.source, "The usage of no team")


def _method(row: AllocationPool) -> str:
    match row.method:
        case "direct":
            return f"all to {row.to_team}"
        case "usage":
            of = f" of a capacity of {formats.count(row.capacity)} a month" if row.capacity else ""
            return f"by {driver_label(row.driver).lower()}{of}"
        case "proportional":
            base = "direct usage and throughput used" if row.base == DIRECT_AND_THROUGHPUT else "direct usage"
            return f"in proportion to {base}"
        case "fixed":
            return "by fixed percentages"
        case "even":
            return "evenly, to each team with usage"
    return "shared with no team"


def driver_label(driver: str) -> str:
    return meter_label(driver) if driver in METERS else DRIVER_LABELS[driver]
