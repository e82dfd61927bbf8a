"""The inbox of incidents, and the page of one with its answers."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.http import HttpResponse, HttpResponseRedirect

from apps.core.cursors import cursor_of, position_of
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.insights import services, wording
from apps.insights.models import Incident, ScopeKind
from apps.insights.selectors import (
    LOOKED_BACK,
    SIGNAL_NAMES,
    STATES,
    children_of,
    dearest,
    evaluated_at,
    find_incidents,
    incident_by_id,
    series_of,
)
from apps.insights.shared import cut_incidents
from apps.organizations.permissions import Permission
from apps.portal.access import Visit, organization_page
from apps.portal.audit_words import within
from apps.portal.pages import Crumb
from apps.portal.pages_prices import FormError
from apps.portal.pages_signals import Cell, Choice, Entry, Line, SignalChart, SignalGroup, SignalPage, SignalsPage
from apps.portal.signal_chart import signal_chart
from apps.portal.signal_rows import row_of
from apps.teams.selectors import list_teams
from apps.usage.shared import uses_of

ROWS = 100
CHART_DAYS = timedelta(days=35)
STATE_WORDS = {"live": "live", "": "every state", **{state: state for state in STATES if state != "live"}}
GROUPS = (
    ("critical", "Now", "Runs that run away and budgets that burn."),
    ("notify", "Worth a look", "Above the gate of a notice."),
    ("digest", "Small", "In Monday's digest."),
)


@organization_page(section="signals", permission=Permission.VIEW_SPEND, within_team=True)
def signals(visit: Visit) -> HttpResponse:
    """Live incidents, the dearest first; or those of a state, the newest first."""
    asked = _asked(visit)
    team = visit.team if visit.team is not None else asked["team"] or None
    only: dict[str, Any] = {"team": team, "workflow": asked["workflow"] or None, "signal": asked["signal"]}
    is_live = asked["state"] == "live"
    with tenant(visit.org):
        if is_live:
            rows = dearest(visit.org, limit=ROWS + 1, **only)
        else:
            rows = find_incidents(visit.org, state=asked["state"], after=_after(visit), limit=ROWS + 1, **only)
        rows = cut_incidents(visit.org, visit.calendar, rows, visit.part, visit.at)
        looked = evaluated_at(visit.org)
        teams = tuple(one.slug for one in list_teams(visit.org)) if visit.teams is None else visit.teams
    shown = rows[:ROWS]
    is_cut = len(rows) > ROWS
    kept = {name: value for name, value in asked.items() if value or name == "state"}
    page = SignalsPage(
        groups=_groups(visit, shown) if is_live else (SignalGroup("", "", tuple(row_of(visit, one) for one in shown)),),
        count=len(shown),
        excess_usd=sum((one.excess_usd or Decimal(0) for one in shown if one.closed_at is None), Decimal(0)),
        states=tuple(Choice(*pair) for pair in STATE_WORDS.items()),
        signals=tuple(Choice(name, wording.label(name)) for name in SIGNAL_NAMES),
        teams=teams,
        asked={**asked, "team": team or ""},
        evaluated_at=looked,
        is_filtered=any(asked[name] for name in ("team", "workflow", "signal")),
        is_cut=is_cut and is_live,
        next_url=visit.url("signals", {**kept, "cursor": cursor_of(shown[-1].pk)}) if is_cut and not is_live else "",
        all_url=visit.url("signals", {"state": ""}),
    )
    return visit.render("portal/signals.html", frame=visit.frame("Signals", Crumb("Signals")), signals=page)


def _asked(visit: Visit) -> dict[str, str]:
    """The filters that can be used; what is not known is left out."""
    query = visit.request.GET
    asked = {name: str(query.get(name, "")) for name in ("team", "workflow", "signal")}
    state = str(query.get("state", "live"))
    asked = {name: "" if "\0" in value or len(value) > 256 else value for name, value in asked.items()}
    asked["signal"] = asked["signal"] if asked["signal"] in SIGNAL_NAMES else ""
    return {**asked, "state": state if state in STATE_WORDS else "live"}


def _after(visit: Visit) -> int | None:
    try:
        found: int = position_of(str(visit.request.GET.get("cursor", "")), int)
    except DomainError:
        return None
    return found if 0 < found < 2**63 else None


def _groups(visit: Visit, rows: list[Incident]) -> tuple[SignalGroup, ...]:
    groups = [
        SignalGroup(title, says, tuple(row_of(visit, one) for one in rows if one.tier == tier))
        for tier, title, says in GROUPS
    ]
    return tuple(group for group in groups if group.rows)


# --- one, and its answers -------------------------------------------------------------------------------


@organization_page(
    section="signals", permission=Permission.VIEW_SPEND, writes=Permission.ANSWER_SIGNALS, within_team=True
)
def signal(visit: Visit, incident_id: int) -> HttpResponse:
    """One incident: what changed, where, which runs show it, what to do, and what was said of it."""
    with tenant(visit.org):
        incident = incident_by_id(visit.org, incident_id)
    if visit.teams is not None and incident.team not in visit.teams:
        raise NotFound("incident")
    with tenant(visit.org):
        cut_incidents(visit.org, visit.calendar, [incident], visit.part, visit.at)
    given = {name: str(visit.request.POST.get(name, ""))[:600].strip(" ") for name in ("act", "reason")}
    error = None
    if visit.request.method == "POST":
        try:
            _act(visit, incident, given["act"], given["reason"])
            return HttpResponseRedirect(visit.url_of("signal", str(incident.pk)))
        except DomainError as wrong:
            error = FormError.of(wrong)
    title = wording.label(incident.signal) + (f" of {incident.scope}" if incident.scope else "")
    frame = visit.frame(title, Crumb("Signals", visit.url("signals")), Crumb(title))
    page = _page(visit, incident, given, error)
    return visit.render("portal/signal.html", frame=frame, signal=page, error=error)


def _act(visit: Visit, incident: Incident, act: str, reason: str) -> None:
    if act in ("useful", "not_useful"):
        services.rate(org=visit.org, incident_id=incident.pk, is_useful=act == "useful", actor=visit.user)
    else:
        services.answer(org=visit.org, incident_id=incident.pk, act=act, reason=reason, actor=visit.user)


def _page(visit: Visit, one: Incident, given: dict[str, str], error: FormError | None) -> SignalPage:
    with tenant(visit.org):
        parent = incident_by_id(visit.org, one.parent_id) if one.parent_id else None
        children = children_of(visit.org, one, ROWS) if one.scope_kind == ScopeKind.TEAM else []
        children = cut_incidents(visit.org, visit.calendar, children, visit.part, visit.at)
        chart = _chart(visit, one)
    label, says = wording.fix_words(one.fix)
    return SignalPage(
        row=row_of(visit, one),
        entries=tuple(
            Entry(wording.label(entry["signal"]), wording.change_words(entry), Decimal(entry["excess_usd"]),
                  bool(entry["in_alarm"]))
            for entry in one.signals
        ),
        chart=chart,
        cells=tuple(_cell(visit, one, cell) for cell in one.cause.get("cells", ())),
        runs=tuple((run, visit.url_below("runs", run)) for run in one.runs),
        runs_url=visit.url("runs", _runs_asked(one)) if one.scope_kind == ScopeKind.WORKFLOW else "",
        fix=(label, says, _fix_url(visit, one)),
        history=tuple(
            Line(datetime.fromisoformat(line["at"]), line["what"], within(line["actor"]), line["reason"])
            for line in reversed(one.history)
        ),
        parent=row_of(visit, parent) if parent else None,
        children=tuple(row_of(visit, child) for child in children),
        is_live=one.closed_at is None,
        is_acknowledged=one.state == Incident.State.ACKNOWLEDGED,
        may_answer=visit.may(Permission.ANSWER_SIGNALS),
        is_useful=one.is_useful,
        reason=given["reason"] if error else one.reason,
        peak_usd=one.peak_usd,
        act=given["act"],
        error=error,
    )  # fmt: skip


def _chart(visit: Visit, one: Incident) -> SignalChart | None:
    """The leading signal of a workflow by day; of teams and the organization no readings are kept."""
    if one.scope_kind != ScopeKind.WORKFLOW:
        return None
    until = min(one.closed_at + timedelta(days=2), visit.at) if one.closed_at else visit.at
    start = min(one.since, until) - CHART_DAYS
    zone = visit.calendar.zone_at(visit.at)
    start = max(start, until - timedelta(days=99))
    whole_since = None
    if visit.part is not None:
        uses = uses_of(visit.org, visit.calendar, [one.scope], visit.part, start - LOOKED_BACK, visit.at)
        whole_since = uses[one.scope].whole_since
    found = series_of(visit.org, one.scope, start, until, whole_since=whole_since)
    series = next((series for series in found if series.signal == one.signal), None)
    return signal_chart(series, zone) if series else None


def _cell(visit: Visit, one: Incident, cell: dict[str, Any]) -> Cell:
    named = {name: value for name, value in cell["cell"].items() if value is not None}
    words = ", ".join(f"{name.replace('_', ' ')} {value or 'none'}" for name, value in cell["cell"].items())
    scope = {} if one.scope_kind == ScopeKind.ORGANIZATION else {str(one.scope_kind): one.scope}
    if "model" in named:
        named["provider"], _, named["model"] = named["model"].partition("/")
    return Cell(
        words=words,
        share=Decimal(str(min(max(cell["share"], 0), 1))),
        excess_usd=Decimal(cell["excess_usd"]),
        url=visit.url("spend", {**scope, **named, "range": "30d"}),
    )


def _runs_asked(one: Incident) -> dict[str, str]:
    return {"workflow": one.scope, "range": "7d", "sort": "cost"}


def _fix_url(visit: Visit, one: Incident) -> str:
    """The page on which the fix is made, for who may open it."""
    is_workflow = one.scope_kind == ScopeKind.WORKFLOW
    if visit.teams is not None:
        return visit.url("runs", {"workflow": one.scope}) if is_workflow else ""
    match one.fix:
        case "bound_loop" if is_workflow:
            return visit.url("bounds", {"workflow": one.scope}) + "#set"
        case "names":
            return visit.url("unattributed")
        case "prices":
            return visit.url("unpriced")
        case "budget":
            return visit.url("budgets")
    return visit.url("runs", _runs_asked(one)) if is_workflow else visit.url("spend")
