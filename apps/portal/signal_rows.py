"""Incidents as pages show them: in the inbox, on their own page, on a workflow's and on the overview."""

from apps.insights import wording
from apps.insights.models import Incident, ScopeKind
from apps.portal.access import Visit
from apps.portal.pages_budgets import State
from apps.portal.pages_signals import SignalRow

STATES = {
    "open": State("open", "risk", "Nobody has taken it on yet."),
    "acknowledged": State("acknowledged", "open", "Somebody looks after it."),
    "expected": State("expected", "", "It is the new normal; the baseline is made anew from here."),
    "dismissed": State("dismissed", "", "It was of no use to be told."),
    "closed": State("closed", "", "It is over."),
}
TIERS = {
    "critical": State("critical", "bad", "A runaway run or a burning budget: told of at once."),
    "notify": State("notify", "risk", "Worth more than the gate of a notice: told of."),
    "digest": State("digest", "", "Too small to be told of by itself: in Monday's digest."),
}
_PAGES = {ScopeKind.WORKFLOW: "workflows", ScopeKind.TEAM: "teams", ScopeKind.PROJECT: "projects"}


def may_open(page: str, visit: Visit) -> bool:
    """Pages of teams and projects are closed to leads."""
    return visit.teams is None or page == "workflows"


def row_of(visit: Visit, one: Incident) -> SignalRow:
    lead = one.lead
    page = _PAGES.get(ScopeKind(one.scope_kind))
    change = wording.change_words(lead) if lead else one.history[0]["what"] if one.history else ""
    if one.scope_kind == ScopeKind.TEAM and not one.signals:
        change = next((line["what"] for line in one.history if "together" in line["what"]), "")
    return SignalRow(
        id=one.pk,
        url=visit.url_of("signal", str(one.pk)),
        title=wording.label(one.signal),
        scope=one.scope,
        scope_url=visit.url_below(page, one.scope) if page and may_open(page, visit) else "",
        team=one.team,
        change=change or str(one.cause.get("words", "")),
        cause=str(one.cause.get("words", "")) if change else "",
        state=STATES[one.state],
        tier=TIERS[one.tier],
        excess_usd=one.excess_usd,
        since=one.since,
        opened_at=one.opened_at,
        closed_at=one.closed_at,
        others=max(len(one.signals) - 1, 0),
    )
