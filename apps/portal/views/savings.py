"""Savings: what could be saved, what was decided, and what it came to."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from django.http import HttpResponse, HttpResponseRedirect
from msgspec import Meta

from apps.core.cursors import cursor_of, position_of
from apps.core.errors import DomainError
from apps.core.money import usd_text
from apps.core.tenancy import tenant
from apps.insights import recommending, savings
from apps.insights.models_savings import Recommendation
from apps.insights.recommendation_words import GRADES, LABELS, words_of
from apps.insights.recommendations import Label
from apps.organizations.permissions import Permission
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb
from apps.portal.pages_prices import FormError
from apps.portal.pages_savings import RecommendationPage, SavingsPage
from apps.portal.saving_rows import evidence_of, ledger_row, part_of, row_of, together_of

ROWS = 50
LEDGER_ROWS = 50
State = Recommendation.State
STATES = (
    ("open", "open"),
    ("accepted", "accepted"),
    ("done", "done"),
    ("dismissed", "dismissed"),
    ("gone", "not found any more"),
)
_Position = tuple[Annotated[str, Meta(pattern=r"^-?[0-9]{1,26}(\.[0-9]{1,12})?$")], Annotated[int, Meta(ge=1)]]
_GIVEN = ("act", "reason", "hours", "hourly_rate_usd", "day", *recommending.TRIAL)


@organization_page(section="savings", permission=Permission.VIEW_SPEND, within_team=True)
def savings_page(visit: Visit) -> HttpResponse:
    """Recommendations of a state by what they save, what they save together, and the ledger."""
    query, part, org = visit.request.GET, part_of(visit), visit.org
    asked = str(query.get("state", "open"))
    state = asked if asked in dict(STATES) else "open"
    workflow = str(query.get("workflow", ""))[:256].replace("\0", "")
    with tenant(org):
        rows = savings.find_recommendations(
            org,
            part=part,
            state=None if state == "gone" else state,
            workflow=workflow or None,
            vanished=state == "gone",
            after=_after(visit),
            limit=ROWS + 1,
        )
        adopted = savings.find_adoptions(org, part=part, limit=savings.LEDGER_MAX)
        found_at, days = savings.last_round(org)
        together = [together_of(savings.joint(org, each, part)) for each in (State.OPEN, State.ACCEPTED)]
    kept = {"state": state, **({"workflow": workflow} if workflow else {})}
    if visit.teams is not None and "team" in query:
        kept["team"] = visit.team or ""
    page = SavingsPage(
        rows=tuple(row_of(visit, row) for row in rows[:ROWS]),
        states=STATES,
        state=state,
        team=kept.get("team", ""),
        open=together[0],
        accepted=together[1],
        ledger=tuple(ledger_row(visit, row) for row in adopted[:LEDGER_ROWS]),
        totals=savings.ledger_totals(adopted),
        found_at=found_at,
        days=days,
        left_out=len(part.without),
        first_url=visit.url("savings", kept) if query.get("cursor") else "",
        next_url=visit.url("savings", {**kept, "cursor": _cursor(rows[ROWS - 1])}) if len(rows) > ROWS else "",
    )
    return visit.render("portal/savings.html", frame=visit.frame("Savings", Crumb("Savings")), savings=page)


def _cursor(row: Recommendation) -> str:
    return cursor_of((usd_text(row.headline_usd), row.pk))


def _after(visit: Visit) -> tuple[Decimal, int] | None:
    """Where the page before ended; None where the text is no cursor of ours."""
    try:
        usd, pk = position_of(str(visit.request.GET.get("cursor", "")), _Position)
    except DomainError:
        return None
    return (Decimal(usd), pk) if pk < 2**63 else None


@organization_page(
    section="savings", permission=Permission.VIEW_SPEND, writes=Permission.ANSWER_SIGNALS, within_team=True
)
def recommendation(visit: Visit, recommendation_id: int) -> HttpResponse:
    """One recommendation: the evidence, how its saving was reckoned, and what is decided."""
    with tenant(visit.org):
        row = savings.recommendation_of(visit.org, recommendation_id, part_of(visit))
    given = {name: str(visit.request.POST.get(name, ""))[:600].strip(" ") for name in _GIVEN}
    error = None
    if visit.request.method == "POST":
        try:
            _act(visit, row, given)
            return HttpResponseRedirect(visit.url_of("recommendation", str(row.pk)))
        except DomainError as wrong:
            error = FormError.of(wrong)
    page = _page(visit, row, given, error)
    frame = visit.frame(page.row.title, Crumb("Savings", visit.url("savings")), Crumb(page.row.title))
    return visit.render("portal/recommendation.html", frame=frame, one=page, error=error)


def _act(visit: Visit, row: Recommendation, given: dict[str, str]) -> None:
    on: dict[str, Any] = {"org": visit.org, "recommendation_id": row.pk, "actor": visit.user}
    if given["act"] == "dismiss":
        recommending.dismiss(**on, reason=given["reason"])
    elif given["act"] == "done":
        recommending.mark_done(**on, adopted_at=_since(visit, given["day"]))
    elif given["act"] == "reopen":
        recommending.reopen(**on)
    else:
        recommending.accept(
            **on,
            hours=_said_number(given, "hours"),
            hourly_usd=_said_number(given, "hourly_rate_usd"),
            trial=_trial(given),
        )


def _since(visit: Visit, text: str) -> datetime | None:
    """The first instant of the day since when it takes effect; None: now."""
    if not text:
        return None
    day = visit.day_start(text)
    if day is None or day > visit.at:
        raise DomainError("adopted_at_invalid", f"'{text[:20]}' is no day up to today.", param="day")
    return max(day, visit.at - recommending.LATE_MAX + timedelta(minutes=1)) if _is_oldest(visit, day) else day


def _is_oldest(visit: Visit, day: datetime) -> bool:
    """Whether it is the day that the last instant allowed lies in."""
    return visit.calendar.day(visit.at - recommending.LATE_MAX) == day


def _said_number(given: dict[str, str], name: str) -> Decimal | None:
    if not given[name]:
        return None
    try:
        return Decimal(given[name])
    except ArithmeticError:
        raise DomainError(
            "implementation_invalid", f"'{given[name][:20]}' is no number: write one such as 12.5.", param=name
        ) from None


def _trial(given: dict[str, str]) -> dict[str, int] | None:
    figures = {name: given[name] for name in recommending.TRIAL}
    if not any(figures.values()):
        return None
    for name, text in figures.items():
        if not (text.isascii() and text.isdigit() and len(text) <= 10):
            raise DomainError("trial_invalid", f"'{text[:20]}' is no count: give all four of a trial.", param=name)
    return {name: int(text) for name, text in figures.items()}


def _page(visit: Visit, row: Recommendation, given: dict[str, str], error: FormError | None) -> RecommendationPage:
    words = words_of(row.kind, row.evidence)
    with tenant(visit.org):
        adoption = savings.adoption_of(visit.org, row)
    cost, monthly = row.implementation_usd, row.headline_usd
    return RecommendationPage(
        row=row_of(visit, row),
        kind=row.kind.replace("_", " "),
        segment=" ".join(part for part in row.segment.split("|") if part),
        do=words.do,
        reckoned=words.reckoned,
        verify=words.verify,
        label=LABELS[Label(row.label)],
        grade=GRADES[row.grade],
        runs_needed=row.runs_needed if row.label == Label.UNVERIFIED else None,
        trial=row.trial,
        evidence=evidence_of(row.evidence),
        runs=tuple((run_id, visit.url_below("runs", run_id)) for run_id in row.runs),
        first_found_at=row.first_found_at,
        found_at=row.found_at,
        vanished_at=row.vanished_at,
        implementation_usd=cost,
        payback_months=round(cost / monthly, 1) if cost is not None and monthly > 0 else None,
        adoption=ledger_row(visit, adoption) if adoption is not None else None,
        may_answer=visit.may(Permission.ANSWER_SIGNALS),
        given=given,
        error=error,
    )
