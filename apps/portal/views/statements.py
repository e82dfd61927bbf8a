from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal

from django.http import HttpResponse
from django.utils.text import slugify

from apps.core.errors import DomainError, NotFound
from apps.core.money import sum_usd
from apps.core.periods import month_before, next_month
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal import formats
from apps.portal.access import Visit, organization_page
from apps.portal.dispute_rows import row_of
from apps.portal.months import month_panel
from apps.portal.pages import Crumb, Tab
from apps.portal.pages_prices import FormError
from apps.portal.pages_statements import (
    Figure,
    MeterRow,
    PaperLine,
    PaperSection,
    Quantity,
    StatementPage,
    StatementRow,
    StatementsPage,
)
from apps.portal.spending import ratio
from apps.portal.views.events import meter_label
from apps.reports import statements as reports
from apps.reports.currencies import USD
from apps.reports.disputes import disputes_of, line_key, line_of
from apps.reports.disputing import may_be_disputed
from apps.reports.document import (
    ADJUSTMENT_KINDS,
    CREDIT_KINDS,
    FEE_KINDS,
    SHARED_KINDS,
    Document,
    Line,
    MeterCost,
    usd,
)
from apps.reports.papers import CSV, PAPERS
from apps.reports.papers.rows import statements_csv
from apps.reports.statements import parse_month, statement_by_id

MONTHS_SHOWN = 6
FIRST_YEAR = 1980
# A page of more is slow to draw and to read; every line is in the files.
LINES_SHOWN = 500
# What the page offers, by the end of the file's name.
DOWNLOADS = (("pdf", "PDF"), ("xlsx", "XLSX"), ("csv", "CSV"), ("journal.csv", "Journal"), ("focus.csv", "FOCUS"))
LINE_LABELS = {
    "throughput": "Provisioned throughput",
    "throughput_idle": "Provisioned throughput that nobody used",
    "seats": "Seats",
    "grant": "Free grant",
    "credit": "Committed-spend credit",
    "shared": "Shared cost",
    "adjustment": "Adjustment",
    "credit_note": "Credit note",
    "dispute": "Settled dispute",
    "true_up": "True-up to the provider's bill",
    "exchange": "Exchange difference",
    "tax": "Tax",
}


@organization_page(section="statements", permission=Permission.VIEW_STATEMENTS, within_team=True)
def statements(visit: Visit) -> HttpResponse:
    return statements_page(visit, None)


def statements_page(visit: Visit, error: FormError | None, month: date | None = None) -> HttpResponse:
    """The month that is asked for, with what went wrong where something was to be done with it."""
    this_month = visit.calendar.month_of(visit.at)
    month = month or asked_month(visit) or this_month
    found = reports.statements(visit.org, month, at=visit.at, team=visit.team, is_bounded=False)
    total_usd = sum_usd(usd(one.total_usd) for one in found)
    page = StatementsPage(
        month_label=f"{month:%B %Y}",
        months=tuple(_tabs(visit, this_month, month)),
        as_of=found[0].as_of if found else visit.at,
        currency=found[0].currency if found else USD,
        rows=tuple(_row(visit, one, total_usd) for one in sorted(found, key=lambda one: -usd(one.total_usd))),
        total=_total(visit, month, found, total_usd),
        csv_url=visit.url("statements_csv", {"month": f"{month:%Y-%m}"}),
        panel=None if visit.team is not None else month_panel(visit, month),
        error=error,
    )
    frame = visit.frame("Statements", Crumb("Statements"))
    return visit.render("portal/statements.html", frame=frame, statements=page, error=error)


def _row(visit: Visit, one: Document, total_usd: Decimal) -> StatementRow:
    return StatementRow(
        team=one.team,
        label=one.label if one.number is not None else "",
        status=one.status,
        events=one.events,
        unpriced_events=one.unpriced_events,
        share=ratio(usd(one.total_usd), total_usd),
        total_usd=_known(one.total_usd),
        total=None if one.currency == USD else one.total,
        url=visit.url_below("statements", one.id),
    )


def _total(visit: Visit, month: date, found: Sequence[Document], total_usd: Decimal) -> StatementRow:
    amounts = [Decimal(one.total) for one in found if one.total is not None]
    currency = found[0].currency if found else USD
    return StatementRow(
        team=None,
        label="",
        status="",
        events=sum(one.events for one in found),
        unpriced_events=sum(one.unpriced_events for one in found),
        share=None,
        total_usd=total_usd if any(one.total_usd is not None for one in found) or not found else None,
        total=None if currency == USD or not amounts else f"{sum_usd(amounts):f}",
        url=visit.url("spend", _days(month)),
    )


def _known(amount: str | None) -> Decimal | None:
    """What is not known is not zero."""
    return None if amount is None else Decimal(amount)


@organization_page(section="statements", permission=Permission.VIEW_STATEMENTS, within_team=True)
def statements_download(visit: Visit) -> HttpResponse:
    """The month as CSV, or the statement of one team."""
    month = asked_month(visit) or visit.calendar.month_of(visit.at)
    team = visit.request.GET.get("team", visit.team)
    if team is not None and "\0" in team:
        raise NotFound("statement")
    found = reports.statements(visit.org, month, at=visit.at, team=team, is_bounded=False)
    response = HttpResponse(statements_csv(found), content_type=CSV)
    name = f"chargeback-{month:%Y-%m}" + ("" if team is None else f"-{slugify(team) or 'unattributed'}")
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


@organization_page(section="statements", permission=Permission.VIEW_STATEMENTS, within_team=True)
def statement(visit: Visit, statement_id: str) -> HttpResponse:
    found = statement_of(visit, statement_id)
    month, here = found.first_day, visit.url_below("statements", found.id)
    with tenant(visit.org):
        # A final document holds those of its seal; here stand the later ones too.
        disputed = disputes_of(visit.org, month, found.team)
        may_dispute = visit.may(Permission.DISPUTE_STATEMENTS) and may_be_disputed(visit.org, month)
    page = StatementPage(
        id=found.label if found.number is not None else f"{found.month} / {found.team or 'unattributed'}",
        organization_name=found.organization_name,
        timezone=found.timezone,
        team=found.team,
        team_name=found.team_name or "Unattributed",
        status=found.status,
        month_label=f"{month:%B %Y}",
        first_day=month,
        last_day=next_month(month) - timedelta(days=1),
        as_of=found.as_of,
        currency=found.currency,
        rate=_rate(found),
        sections=tuple(_sections(visit, found, may_dispute)),
        figures=tuple(_figures(found)),
        meters=tuple(_meter(row) for row in found.by_meter),
        meters_usd=sum_usd(Decimal(row.cost_usd) for row in found.by_meter),
        total_usd=_known(found.total_usd),
        total=found.total,
        total_url=visit.url("spend", {"group_by": "workflow", "team": found.team or "", **_days(month)}),
        sha256=found.sha256 if found.number is not None else "",
        downloads=tuple((label, f"{here}.{paper}") for paper, label in DOWNLOADS),
        disputes=tuple(row_of(visit, row) for row in disputed),
    )
    crumbs = (Crumb("Statements", visit.url("statements", {"month": found.month})), Crumb(page.team_name))
    frame = visit.frame(f"Statement of {page.team_name}, {page.month_label}", *crumbs)
    return visit.render("portal/statement.html", frame=frame, statement=page)


@organization_page(section="statements", permission=Permission.VIEW_STATEMENTS, within_team=True)
def statement_paper(visit: Visit, statement_id: str, paper: str) -> HttpResponse:
    """The statement as a file."""
    found = statement_of(visit, statement_id)
    response = HttpResponse(PAPERS[paper].render(found), content_type=PAPERS[paper].content_type)
    name = f"chargeback-{found.month}-{slugify(found.team or 'unattributed') or 'team'}.{paper}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def statement_of(visit: Visit, statement_id: str) -> Document:
    """The statement, if the person may see its team. Raises `NotFound`."""
    found = statement_by_id(visit.org, statement_id, at=visit.at)
    if visit.team is not None and found.team not in visit.membership.teams:
        raise NotFound("statement")
    return found


def _rate(found: Document) -> str:
    if found.currency == USD:
        return ""
    if found.rate is None:
        return f"The rate of {found.month} is not known yet: amounts are in USD alone."
    return f"1 USD = {found.rate.per_usd} {found.currency} ({found.rate.source})"


def asked_month(visit: Visit) -> date | None:
    """The month that the address names; None where it names none."""
    try:
        return parse_month(visit.request.GET.get("month", ""))
    except DomainError:
        return None


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


# --- the paper ------------------------------------------------------------------------------------------

# Kinds of lines that no event made, each group with its title and its note.
_BESIDE = (
    (
        (*FEE_KINDS, *CREDIT_KINDS),
        "contracts",
        "Contracts",
        "Fees that no call carries, and what grants and credits take off.",
    ),
    (SHARED_KINDS, "shared", "Shared cost", "Parts of pools that several teams bear, each with its driver."),
    (ADJUSTMENT_KINDS, "adjustments", "Adjustments", "What was booked beside usage, with its reason."),
)


def _sections(visit: Visit, found: Document, may_dispute: bool) -> Iterable[PaperSection]:
    """A section a project, then what has no project, what came late, what no event made, and what has no price."""
    own = [line for line in found.lines if line.kind in ("usage", "unattributed")]
    for project in sorted({line.project for line in own if line.project is not None}):
        yield _section(
            visit, found, may_dispute, "usage", project, "", [line for line in own if line.project == project]
        )
    if loose := [line for line in own if line.project is None]:
        title = "Without a project" if found.team is not None else "Unattributed"
        note = "Events that name no project this organization knows."
        yield _section(visit, found, may_dispute, "unattributed", title, note, loose)
    if late := [line for line in found.lines if line.kind == "late"]:
        note = "Usage of earlier months that came, or changed, after they were closed."
        yield _section(visit, found, may_dispute, "late", "Late usage", note, late)
    for kinds, name, title, note in _BESIDE:
        if beside := [line for line in found.lines if line.kind in kinds]:
            yield _section(visit, found, may_dispute, name, title, note, beside)
    if unpriced := [line for line in found.lines if line.kind == "unpriced"]:
        note = "No price is known for these models. Their cost is in no amount above."
        yield _section(visit, found, may_dispute, "unpriced", "Unpriced", note, unpriced)


def _section(
    visit: Visit, found: Document, may_dispute: bool, kind: str, title: str, note: str, lines: Sequence[Line]
) -> PaperSection:
    amounts = [Decimal(line.amount) for line in lines if line.amount is not None]
    return PaperSection(
        kind=kind,
        title=title,
        note=note,
        lines=tuple(_line(visit, found, may_dispute, line) for line in _shown(lines)),
        more_lines=max(0, len(lines) - LINES_SHOWN),
        events=sum(line.events for line in lines),
        unpriced_events=sum(line.unpriced_events for line in lines),
        subtotal_usd=None if kind == "unpriced" else sum_usd(usd(line.cost_usd) for line in lines),
        subtotal=f"{sum_usd(amounts):f}" if amounts else None,
    )


def _shown(lines: Sequence[Line]) -> Sequence[Line]:
    """As they stand, or those of the largest amounts where they are too many."""
    return (
        lines if len(lines) <= LINES_SHOWN else sorted(lines, key=lambda line: -abs(usd(line.cost_usd)))[:LINES_SHOWN]
    )


def _line(visit: Visit, found: Document, may_dispute: bool, line: Line) -> PaperLine:
    return PaperLine(
        project=line.project,
        workflow=line.workflow,
        provider=line.provider,
        model=line.model,
        quantities=tuple(Quantity(meter_label(meter), quantity) for meter, quantity in line.meters.items()),
        events=line.events,
        unpriced_events=line.unpriced_events,
        cost_usd=_known(line.cost_usd),
        amount=line.amount,
        url=_made_by(visit, found, line),
        title=f"{LINE_LABELS[line.kind]}: {line.name}" if line.kind in LINE_LABELS else "",
        detail=" · ".join(filter(None, (line.driver, line.of_month and f"of {line.of_month}", line.refers_to))),
        dispute_url=_dispute_url(visit, found, line) if may_dispute and line.cost_usd is not None else "",
    )


def _dispute_url(visit: Visit, found: Document, line: Line) -> str:
    named = {"month": found.month, "team": found.team or "", "line": line_key(line_of(line))}
    return visit.url("dispute_new", named)


def _made_by(visit: Visit, found: Document, line: Line) -> str:
    """The page of what made a line; "" where it is closed to the person."""
    source, _, number = line.source.partition(":")
    if source and visit.team is not None:
        return ""
    if source == "contract":
        return visit.url("contracts") + f"#contract-{number}"
    if source == "adjustment":
        return visit.url("adjustments", {"month": found.month})
    if source:
        return visit.url("allocations", {"month": found.month})
    filters = {
        "team": line.team or "",
        "project": line.project or "",
        "workflow": line.workflow or "",
        "provider": line.provider,
        "model": line.model,
        "priced": "false" if line.kind == "unpriced" else "true",
        **_days(parse_month(line.of_month) if line.of_month else found.first_day),
    }
    return visit.url("events", filters)


def _meter(row: MeterCost) -> MeterRow:
    label = meter_label(row.meter) if row.meter else "Correction of a price"
    rate = row.list_usd_per_million or ""
    return MeterRow(row.model, row.provider, label, row.quantity, rate, Decimal(row.cost_usd))


def _figures(found: Document) -> Iterable[Figure]:
    """The summary beside the total, in USD; what is not known is left out."""
    summary = found.summary
    if summary.budget_usd is not None:
        over = usd(summary.variance_usd)
        side = "over" if over > 0 else "under"
        note = f"{formats.money(abs(over))} {side}" + (
            f" ({summary.variance_percent} %)" if summary.variance_percent is not None else ""
        )
        yield Figure("Budget of the month, USD", formats.money(usd(summary.budget_usd)), note)
    if summary.forecast_usd is not None:
        yield Figure("Forecast of the month, USD", formats.money(usd(summary.forecast_usd)))
    if summary.year_to_date_usd is not None:
        yield Figure("Year to date, USD", formats.money(usd(summary.year_to_date_usd)))
    if summary.cost_per_run_usd is not None:
        yield Figure("Cost a run, USD", formats.money(usd(summary.cost_per_run_usd)), f"{summary.runs:,} runs")
    if summary.cost_per_successful_run_usd is not None:
        note = f"{summary.successful_runs:,} ended in success"
        yield Figure("Cost a success, USD", formats.money(usd(summary.cost_per_successful_run_usd)), note)
