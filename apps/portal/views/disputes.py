"""Disputes: raised on a line of a statement by who bears it, answered by finance."""

from datetime import timedelta

from django.http import HttpResponse, HttpResponseRedirect

from apps.core.cursors import cursor_of, position_of
from apps.core.errors import DomainError, NotFound
from apps.core.periods import next_month
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal.access import Visit, organization_page
from apps.portal.dispute_rows import row_of
from apps.portal.pages import Crumb
from apps.portal.pages_disputes import DisputeNewPage, DisputePage, DisputesPage, Preview
from apps.portal.pages_prices import FormError
from apps.portal.views.statements import asked_month
from apps.reports import disputing
from apps.reports.disputes import about, find_disputes, line_of
from apps.reports.models_disputes import Dispute
from apps.reports.statements import parse_month
from apps.teams.selectors import list_teams

ROWS = 50
STATES = (("", "every state"), ("open", "open"), ("rejected", "rejected"), ("moved", "moved"))


@organization_page(section="statements", permission=Permission.VIEW_STATEMENTS, within_team=True)
def disputes(visit: Visit) -> HttpResponse:
    """Newest first; until a state is chosen, those that wait for an answer."""
    query = visit.request.GET
    asked = str(query.get("state", Dispute.State.OPEN))
    state, month = asked if asked in dict(STATES) else "", asked_month(visit)
    with tenant(visit.org):
        rows = find_disputes(
            visit.org,
            month=month,
            teams=None if visit.team is None else [visit.team],
            state=state or None,
            after=_after(visit),
            limit=ROWS + 1,
        )
    kept = {"state": state, **({} if visit.team is None else {"team": visit.team})}
    if month is not None:
        kept["month"] = f"{month:%Y-%m}"
    page = DisputesPage(
        rows=tuple(row_of(visit, row) for row in rows[:ROWS]),
        states=STATES,
        state=state,
        team=visit.team or "",
        month=kept.get("month", ""),
        first_url=visit.url("disputes", kept) if query.get("cursor") else "",
        next_url=visit.url("disputes", {**kept, "cursor": cursor_of(rows[ROWS - 1].pk)}) if len(rows) > ROWS else "",
        statements_url=visit.url("statements"),
    )
    frame = visit.frame("Disputes", Crumb("Statements", visit.url("statements")), Crumb("Disputes"))
    return visit.render("portal/disputes.html", frame=frame, disputes=page)


def _after(visit: Visit) -> int | None:
    """Where the page before ended; None where the text is no cursor of ours."""
    try:
        found: int = position_of(str(visit.request.GET.get("cursor", "")), int)
    except DomainError:
        return None
    return found if 0 < found < 2**63 else None


# --- raising --------------------------------------------------------------------------------------------


@organization_page(
    section="statements",
    permission=Permission.DISPUTE_STATEMENTS,
    writes=Permission.DISPUTE_STATEMENTS,
    within_team=True,
)
def dispute_new(visit: Visit) -> HttpResponse:
    """The line that the address names, which the form sends along, and why it is wrong."""
    asked = visit.request.POST if visit.request.method == "POST" else visit.request.GET
    month_name, team, key = (str(asked.get(name, "")) for name in ("month", "team", "line"))
    if key and visit.teams is not None and team not in visit.teams:
        raise NotFound("statement")
    reason, month, error, found = str(asked.get("reason", ""))[:600].strip(" "), None, None, None
    try:
        if not key or "\0" in team:
            raise DomainError("line_unknown", "Choose a line on a statement.", param="line")
        month = parse_month(month_name)
        found = disputing.line_as_it_stands(visit.org, month, team or None, key)
        if visit.request.method == "POST":
            row = disputing.raise_dispute(
                org=visit.org, month=month, team=team or None, key=key, reason=reason, actor=visit.user
            )
            return HttpResponseRedirect(visit.url_of("dispute", str(row.pk)))
    except DomainError as wrong:
        error = FormError.of(wrong)
    page = DisputeNewPage(
        about=about(line_of(found.lines[0])) if found else "",
        team=team,
        month=month_name,
        key=key,
        month_label=f"{month:%B %Y}" if month else "",
        amount_usd=found.amount_usd if found else None,
        reason=reason,
        back_url=visit.url_below("statements", f"{month_name}:{team}") if found else visit.url("statements"),
        error=error,
    )
    frame = visit.frame("Dispute a line", Crumb("Disputes", visit.url("disputes")), Crumb("Dispute a line"))
    refused = error if visit.request.method == "POST" else None
    return visit.render("portal/dispute_new.html", frame=frame, new=page, error=refused)


# --- one, and its answer --------------------------------------------------------------------------------

_ANSWERED = ("act", "answer", "team", "from_day")


@organization_page(
    section="statements",
    permission=Permission.VIEW_STATEMENTS,
    writes=Permission.MANAGE_STATEMENTS,
    within_team=True,
)
def dispute(visit: Visit, dispute_id: int) -> HttpResponse:
    """One dispute; finance rejects it, or looks at what a move would book and then moves it."""
    with tenant(visit.org):
        row = disputing.dispute_of(visit.org, dispute_id)
        teams = tuple(team.slug for team in list_teams(visit.org)) if visit.team is None else ()
    if visit.teams is not None and row.team not in visit.teams:
        raise NotFound("dispute")
    given = {name: str(visit.request.POST.get(name, ""))[:600].strip(" ") for name in _ANSWERED}
    error, preview = None, None
    if visit.request.method == "POST":
        try:
            preview = _act(visit, row, given)
            if preview is None:
                return HttpResponseRedirect(visit.url_of("dispute", str(row.pk)))
        except DomainError as wrong:
            error = FormError.of(wrong)
    return visit.render(
        "portal/dispute.html",
        frame=visit.frame(f"Dispute {row.pk}", Crumb("Disputes", visit.url("disputes")), Crumb(f"Dispute {row.pk}")),
        dispute=_page(visit, row, teams, given, preview, error),
        error=error,
    )


def _page(
    visit: Visit,
    row: Dispute,
    teams: tuple[str, ...],
    given: dict[str, str],
    preview: Preview | None,
    error: FormError | None,
) -> DisputePage:
    try:
        now_usd = disputing.line_as_it_stands(visit.org, row.month, row.team, row.line_key).amount_usd
    except DomainError:
        now_usd = None
    first = parse_month(row.line["of_month"]) if row.line["of_month"] else row.month
    project = row.line["project"]
    return DisputePage(
        row=row_of(visit, row),
        now_usd=now_usd,
        is_gone=now_usd is None,
        may_answer=visit.may(Permission.MANAGE_STATEMENTS) and row.state == Dispute.State.OPEN,
        teams=tuple(team for team in teams if team != row.team),
        first_day=first,
        last_day=next_month(first) - timedelta(days=1),
        given=given,
        preview=preview,
        error=error,
        project_url=visit.url_below("projects", project) if project and visit.team is None else "",
    )


def _act(visit: Visit, row: Dispute, given: dict[str, str]) -> Preview | None:
    """What a move would book, where that is asked for; None once the dispute is answered."""
    if given["act"] == "reject":
        disputing.reject(org=visit.org, dispute_id=row.pk, answer=given["answer"], actor=visit.user)
        return None
    if given["act"] == "move":
        disputing.move(
            org=visit.org,
            dispute_id=row.pk,
            to_team=given["team"],
            from_day=given["from_day"],
            answer=given["answer"],
            actor=visit.user,
        )
        return None
    found = disputing.preview_move(visit.org, row, to_team=given["team"], from_day=given["from_day"])
    return Preview(found.to_team, found.from_day, found.amount_usd, f"{found.booked_month:%Y-%m}")
