"""What finance does with months: review, close, adjust; the currency, its rates, and when months close."""

from uuid import uuid4

from django.http import HttpResponse, HttpResponseRedirect

from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb
from apps.portal.pages_chargeback import AdjustmentRow, AdjustmentsPage, ChargebackPage, RateRow
from apps.portal.pages_prices import FormError
from apps.portal.views.statements import LINE_LABELS, asked_month, statements_page
from apps.reports import adjustments as booking
from apps.reports import chargeback_terms, closing, months
from apps.reports.adjustments import BY_HAND, AdjustmentDraft
from apps.reports.chargeback_terms import GivenRate
from apps.reports.currencies import USD, currency_names
from apps.reports.models_statements import Adjustment, ExchangeRate
from apps.reports.statements import parse_month
from apps.reports.tasks import hint_seal
from apps.teams.selectors import list_teams

ROWS_SHOWN = 200
RATES_SHOWN = 60


@organization_page(
    section="statements",
    permission=Permission.VIEW_STATEMENTS,
    writes=Permission.MANAGE_STATEMENTS,
    is_act=True,
)
def month_act(visit: Visit, month: str, act: str) -> HttpResponse:
    """Review, reopen or close a month; what stands in the way is shown on the page of its statements."""
    acts = {"review": closing.begin_review, "reopen": closing.reopen, "close": closing.fence}
    if act not in acts:
        raise NotFound("page")
    found = parse_month(month)
    try:
        acts[act](org=visit.org, month=found, actor=visit.user)
    except DomainError as wrong:
        return statements_page(visit, FormError.of(wrong), found)
    if act == "close":
        hint_seal(visit.org.pk)
    return HttpResponseRedirect(visit.url("statements", {"month": month}))


# --- adjustments ----------------------------------------------------------------------------------------

_ADJUSTED = ("kind", "month", "team", "name", "amount_usd", "reason", "refers_to", "request_id")


@organization_page(section="statements", permission=Permission.VIEW_STATEMENTS, writes=Permission.MANAGE_STATEMENTS)
def adjustments(visit: Visit) -> HttpResponse:
    """The newest of them, of one booked month where it is asked for; the form books one."""
    error, given = None, {name: str(visit.request.POST.get(name, ""))[:600].strip(" ") for name in _ADJUSTED}
    if visit.request.method == "POST":
        try:
            [row] = booking.book(org=visit.org, lines=[_draft(given)], actor=visit.user)
            return HttpResponseRedirect(visit.url("adjustments", {"month": f"{row.booked_month:%Y-%m}"}))
        except DomainError as wrong:
            error = FormError.of(wrong)
    else:
        this_month = visit.calendar.month_of(visit.at)
        # A form that is sent twice books once.
        given |= {"kind": "adjustment", "month": f"{this_month:%Y-%m}", "request_id": str(uuid4())}
        given |= {
            name: str(visit.request.GET[name])[:300] for name in ("team", "refers_to") if name in visit.request.GET
        }
    month = asked_month(visit)
    with tenant(visit.org):
        rows = booking.find_adjustments(visit.org, month=month, after=None, limit=ROWS_SHOWN)
        teams = tuple(team.slug for team in list_teams(visit.org))
    page = AdjustmentsPage(
        month_label=f"{month:%B %Y}" if month else "",
        rows=tuple(_row(visit, row) for row in rows),
        is_cut=len(rows) == ROWS_SHOWN,
        kinds=tuple((kind.value, LINE_LABELS[kind]) for kind in BY_HAND),
        teams=teams,
        given=given,
        error=error,
        may_change=visit.may(Permission.MANAGE_STATEMENTS),
        all_url=visit.url("adjustments"),
    )
    frame = visit.frame("Adjustments", Crumb("Statements", visit.url("statements")), Crumb("Adjustments"))
    return visit.render("portal/adjustments.html", frame=frame, adjustments=page, error=error)


def _draft(given: dict[str, str]) -> AdjustmentDraft:
    if given["kind"] not in BY_HAND:
        raise DomainError("kind_unknown", f"'{given['kind'][:64]}' is not one of {', '.join(BY_HAND)}.", param="kind")
    return AdjustmentDraft(
        kind=given["kind"],
        team=given["team"] or None,
        name=given["name"],
        cost_usd=booking.signed_usd(given["amount_usd"]),
        reason=given["reason"],
        of_month=parse_month(given["month"]),
        refers_to=given["refers_to"],
        request_id=given["request_id"],
    )


def _row(visit: Visit, row: Adjustment) -> AdjustmentRow:
    booked = f"{row.booked_month:%Y-%m}"
    return AdjustmentRow(
        label=LINE_LABELS[row.kind],
        name=row.name,
        team=row.team,
        month=f"{row.of_month:%Y-%m}",
        booked_month=booked,
        amount_usd=row.cost_usd,
        reason=row.reason,
        refers_to=row.refers_to,
        refers_url=visit.url_below("statements", row.refers_to) if row.refers_to.startswith("CS-") else "",
        booked_at=row.booked_at,
        booked_by=row.booked_by,
        statement_url=visit.url_below("statements", f"{booked}:{row.team or ''}"),
    )


# --- currency and closing -------------------------------------------------------------------------------


@organization_page(section="statements", permission=Permission.VIEW_STATEMENTS, writes=Permission.MANAGE_STATEMENTS)
def chargeback(visit: Visit) -> HttpResponse:
    """The currency, when months close, and the rates; two forms, told apart by what they send."""
    error, given = None, {name: str(value)[:300].strip(" ") for name, value in visit.request.POST.items()}
    if visit.request.method == "POST":
        try:
            if "rate" in given:
                _enter_rate(visit, given)
            else:
                _change_terms(visit, given)
            return HttpResponseRedirect(visit.url("chargeback"))
        except DomainError as wrong:
            error = FormError.of(wrong)
    with tenant(visit.org):
        terms = months.terms_of(visit.org)
        rates = months.find_rates(visit.org, month=None, after=None, limit=RATES_SHOWN)
    last_month = f"{visit.calendar.month_of(visit.at):%Y-%m}"
    page = ChargebackPage(
        currency=given.get("currency", terms.currency) if "rate" not in given else terms.currency,
        currencies=tuple(currency_names().items()),
        close_after_hours=given.get("close_after_hours", str(terms.close_after_hours)),
        closes_itself="closes_itself" in given if given and "rate" not in given else terms.closes_itself,
        needs_rates=terms.currency != USD,
        month=given.get("month", last_month),
        rate_currency=given["currency"] if "rate" in given and "currency" in given else _foreign(terms.currency),
        rate=given.get("rate", ""),
        source=given.get("source", ""),
        rates=tuple(_rate_row(row) for row in rates),
        error=error,
        may_change=visit.may(Permission.MANAGE_STATEMENTS),
    )
    frame = visit.frame("Currency and closing", Crumb("Statements", visit.url("statements")), Crumb("Closing"))
    return visit.render("portal/chargeback.html", frame=frame, chargeback=page, error=error)


def _rate_row(row: ExchangeRate) -> RateRow:
    rate = f"{row.rate.normalize():f}"
    return RateRow(f"{row.month:%Y-%m}", row.currency, rate, row.source, row.entered_at, row.entered_by)


def _foreign(currency: str) -> str:
    return "" if currency == USD else currency


def _enter_rate(visit: Visit, given: dict[str, str]) -> None:
    rate = GivenRate(
        parse_month(given.get("month", "")), given.get("currency", ""), given["rate"], given.get("source", "")
    )
    chargeback_terms.enter_rates(org=visit.org, rates=[rate], actor=visit.user)


def _change_terms(visit: Visit, given: dict[str, str]) -> None:
    hours = given.get("close_after_hours", "")
    if not (hours.isascii() and hours.isdigit() and len(hours) < 6):
        raise DomainError(
            "close_after_hours_invalid", f"'{hours[:20]}' is no number of hours.", param="close_after_hours"
        )
    chargeback_terms.change_terms(
        org=visit.org,
        currency=given.get("currency", ""),
        close_after_hours=int(hours),
        closes_itself="closes_itself" in given,
        actor=visit.user,
    )
