"""Who is told of incidents: crossings, which the alerts app delivers. Inside `tenant(org)`."""

from datetime import datetime
from typing import Any
from uuid import uuid4

from apps.budgets.models import Crossing
from apps.core.money import usd_text
from apps.insights.incidents import Round
from apps.insights.models import Incident

RANK: dict[str, int] = {Incident.Tier.DIGEST: 0, Incident.Tier.NOTIFY: 1, Incident.Tier.CRITICAL: 2}
SEVERITIES: dict[str, str] = {
    Incident.Tier.CRITICAL: "critical",
    Incident.Tier.NOTIFY: "warning",
    Incident.Tier.DIGEST: "info",
}


def tell(work: Round) -> None:
    """A crossing for each incident that is worth a person's time now, and for the end of one that was."""
    rows = [
        _crossing(one, Crossing.Kind.SIGNAL_OPENED, f"incident:{one.pk}:{one.tier}", SEVERITIES[one.tier], work.at)
        for one in (*work.opened, *work.raised)
        if RANK[one.tier] > 0 and one.parent_id is None
    ]
    rows += [
        _crossing(one, Crossing.Kind.SIGNAL_CLOSED, f"incident:{one.pk}", "info", work.at)
        for one in work.closed
        if RANK[one.tier] > 0 and one.parent_id is None
    ]
    Crossing.objects.for_org(work.org_id).bulk_create(rows, ignore_conflicts=True)


def _crossing(one: Incident, kind: str, subject: str, severity: str, at: datetime) -> Crossing:
    return Crossing(
        organization_id=one.organization_id,
        crossing_id=uuid4(),
        kind=kind,
        subject=subject,
        severity=severity,
        team=one.team,
        run_id=one.runs[0] if one.family == "runaway" and one.runs else None,
        crossed_at=at,
        facts=facts_of(one),
    )


def facts_of(one: Incident) -> dict[str, Any]:
    """An incident as a message tells of it."""
    lead = one.lead
    return {
        "incident": one.pk,
        "signal": one.signal,
        "family": one.family,
        "tier": one.tier,
        "scope_kind": one.scope_kind,
        "scope_name": one.scope,
        "value": lead.get("value"),
        "baseline": lead.get("baseline"),
        "low": lead.get("low"),
        "high": lead.get("high"),
        "excess_usd": usd_text(one.excess_usd),
        "since": one.since.isoformat(),
        "cause": one.cause.get("words", ""),
        "fix": one.fix,
    }
