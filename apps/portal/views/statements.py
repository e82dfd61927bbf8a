from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal

from django.http import HttpResponse
from django.utils.text import slugify

from apps.core.errors import DomainError, NotFound
from apps.core.money import sum_usd
from apps.core.periods import month_before, next_month
from apps.organizations.permissions import Permission
from apps.portal.access import Visit, organization_page
from apps.portal.pages import (
    Crumb,
    PaperLine,
    PaperSection,
    Quantity,
    StatementPage,
    StatementRow,
    StatementsPage,
    Tab,
)
from apps.portal.spending import ratio
from apps.portal.views.events import meter_label
from apps.reports import statements as reports
from apps.reports.exports import statements_csv
from apps.reports.statements import USAGE, Statement, StatementLine, parse_month, statement_by_id

MONTHS_SHOWN = 6
FIRST_YEAR = 1980
CONTRACT_LABELS = {
    "throughput": "Provisioned throughput",
    "seats": "Seats",
    "grant": "Free grant",
    "credit": "Committed-spend credit",
}


@organization_page(section="statements", permission=Permission.VIEW_STATEMENTS, within_team=True)
def statements(visit: Visit) -> HttpResponse:
    this_month = visit.calendar.month_of(visit.at)
    month = _month(visit, this_month)
    found = reports.statements(visit.org, month, team=visit.team)
    total_usd = sum_usd(one.total_usd for one in found)
    events, unpriced = sum(one.events for one in found), sum(one.unpriced_events for one in found)
    page = StatementsPage(
        month_label=f"{month:%B %Y}",
        months=tuple(_tabs(visit, this_month, month)),
        as_of=found[0].as_of if found else visit.at,
        rows=tuple(_row(visit, one, total_usd) for one in sorted(found, key=lambda one: -one.total_usd)),
        total=StatementRow(
            team=None,
            status="draft",
            events=events,
            unpriced_events=unpriced,
            share=None,
            total_usd=_known(found, total_usd),
            url=visit.url("spend", _days(month)),
        ),
        csv_url=visit.url("statements_csv", {"month": f"{month:%Y-%m}"}),
    )
    frame = visit.frame("Statements", Crumb("Statements"))
    return visit.render("portal/statements.html", frame=frame, statements=page)


def _row(visit: Visit, one: Statement, total_usd: Decimal) -> StatementRow:
    return StatementRow(
        team=one.team,
        status=one.status,
        events=one.events,
        unpriced_events=one.unpriced_events,
        share=ratio(one.total_usd, total_usd),
        total_usd=_known([one], one.total_usd),
        url=visit.url_below("statements", one.id),
    )


def _known(found: Iterable[Statement], total_usd: Decimal) -> Decimal | None:
    """Where no event has a price and no contract adds a line, nothing is known: that is not zero."""
    lines = [line for one in found for line in one.lines]
    return None if lines and all(line.kind == "unpriced" for line in lines) else total_usd


@organization_page(section="statements", permission=Permission.VIEW_STATEMENTS, within_team=True)
def statements_download(visit: Visit) -> HttpResponse:
    """The month as CSV, or the statement of one team."""
    month = _month(visit, visit.calendar.month_of(visit.at))
    team = visit.request.GET.get("team", visit.team)
    if team is not None and "\0" in team:
        raise NotFound("statement")
    response = HttpResponse(
        statements_csv(reports.statements(visit.org, month, team=team)), content_type="text/csv; charset=utf-8"
    )
    name = f"chargeback-{month:%Y-%m}" + ("" if team is None else f"-{slugify(team) or 'unattributed'}")
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


@organization_page(section="statements", permission=Permission.VIEW_STATEMENTS, within_team=True)
def statement(visit: Visit, statement_id: str) -> HttpResponse:
    found = statement_by_id(visit.org, statement_id)
    if visit.team is not None and found.team not in visit.membership.teams:
        raise NotFound("statement")
    month_label = f"{found.month:%B %Y}"
    name = found.team or "Unattributed"
    page = StatementPage(
        id=f"{found.month:%Y-%m} / {found.team or 'unattributed'}",
        team=found.team,
        status=found.status,
        month_label=month_label,
        first_day=found.month,
        last_day=next_month(found.month) - timedelta(days=1),
        as_of=found.as_of,
        sections=tuple(_sections(visit, found)),
        total_usd=_known([found], found.total_usd),
        total_url=visit.url("spend", {"group_by": "workflow", "team": found.team or "", **_days(found.month)}),
        csv_url=visit.url("statements_csv", {"month": f"{found.month:%Y-%m}", "team": found.team or ""}),
    )
    crumbs = (Crumb("Statements", visit.url("statements", {"month": f"{found.month:%Y-%m}"})), Crumb(name))
    frame = visit.frame(f"Statement of {name}, {month_label}", *crumbs)
    return visit.render("portal/statement.html", frame=frame, statement=page)


def _month(visit: Visit, default: date) -> date:
    try:
        return parse_month(visit.request.GET.get("month", ""))
    except DomainError:
        return default


def _tabs(visit: Visit, this_month: date, chosen: date) -> Iterable[Tab]:
    """Newest first, so that what matters most is in sight where the row is too narrow for all."""
    shown = sorted({chosen, *(month_before(this_month, back) for back in range(MONTHS_SHOWN))}, reverse=True)
    for month in shown:
        yield Tab(f"{month:%b %Y}", visit.url("statements", {"month": f"{month:%Y-%m}"}), month == chosen)
    earlier = month_before(shown[-1])
    if earlier.year >= FIRST_YEAR:
        yield Tab("Earlier", visit.url("statements", {"month": f"{earlier:%Y-%m}"}), False)


def _days(month: date) -> dict[str, str]:
    """The month as a range of days."""
    return {"from": month.isoformat(), "to": (next_month(month) - timedelta(days=1)).isoformat()}


def _sections(visit: Visit, found: Statement) -> Iterable[PaperSection]:
    """A section a project, then what has no project, then what has no price."""
    priced = [line for line in found.lines if line.kind in USAGE and line.kind != "unpriced"]
    for project in sorted({line.project for line in priced if line.project is not None}):
        yield _section(visit, found, "usage", project, "", [line for line in priced if line.project == project])
    if loose := [line for line in priced if line.project is None]:
        title = "Without a project" if found.team is not None else "Unattributed"
        note = "Events that name no project this organization knows."
        yield _section(visit, found, "unattributed", title, note, loose)
    if contracts := [line for line in found.lines if line.kind not in USAGE]:
        note = "Fees that no call carries, and what grants and credits take off."
        yield _section(visit, found, "contracts", "Contracts", note, contracts)
    if unpriced := [line for line in found.lines if line.kind == "unpriced"]:
        note = "No price is known for these models. Their cost is in no amount above."
        yield _section(visit, found, "unpriced", "Unpriced", note, unpriced)


def _section(
    visit: Visit, found: Statement, kind: str, title: str, note: str, lines: list[StatementLine]
) -> PaperSection:
    costs = [line.sums.cost_usd for line in lines if line.sums.cost_usd is not None]
    return PaperSection(
        kind=kind,
        title=title,
        note=note,
        lines=tuple(_line(visit, found, line) for line in lines),
        events=sum(line.sums.events for line in lines),
        unpriced_events=sum(line.sums.unpriced_events for line in lines),
        subtotal_usd=None if kind == "unpriced" else sum_usd(costs),
    )


def _line(visit: Visit, found: Statement, line: StatementLine) -> PaperLine:
    filters = {
        "team": line.team or "",
        "project": line.project or "",
        "workflow": line.workflow or "",
        "provider": line.provider,
        "model": line.model,
        "priced": "false" if line.kind == "unpriced" else "true",
        **_days(found.month),
    }
    return PaperLine(
        project=line.project,
        workflow=line.workflow,
        provider=line.provider,
        model=line.model,
        quantities=tuple(
            Quantity(meter_label(meter), quantity) for meter, quantity in line.sums.meters.items() if quantity
        ),
        events=line.sums.events,
        unpriced_events=line.sums.unpriced_events,
        cost_usd=None if line.kind == "unpriced" else line.sums.cost_usd,
        url=visit.url("events", filters),
        contract=f"{CONTRACT_LABELS[line.kind]}: {line.name}" if line.name else "",
    )
