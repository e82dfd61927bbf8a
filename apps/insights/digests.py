"""The week's digest, and the gate that feedback moves."""

from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from apps.budgets.models import Crossing
from apps.core.money import usd_text
from apps.insights import fatigue
from apps.insights.models import Incident, Watcher

MONDAY = 0
SENDS_AT_HOUR = 8
LINES_MAX = 20
FEEDBACK = timedelta(days=30)


def weekly(org_id: int, hour: datetime, at: datetime) -> int:
    """On Monday mornings, a crossing for each team that has open incidents which nobody was told of; how many.

    `hour` in the organization's zone. Running it again in the week changes nothing: the week is the crossing's subject.
    """
    if hour.weekday() != MONDAY or hour.hour < SENDS_AT_HOUR:
        return 0
    week = f"{hour.isocalendar().year}-{hour.isocalendar().week:02d}"
    by_team: dict[str | None, list[Incident]] = defaultdict(list)
    # What is part of a team's incident is told of with it, and counted in it.
    rows = Incident.objects.for_org(org_id).filter(closed_at=None, tier=Incident.Tier.DIGEST, parent=None)
    for one in rows.order_by("-excess_usd"):
        by_team[one.team].append(one)
    crossings = [
        Crossing(
            organization_id=org_id,
            crossing_id=uuid4(),
            kind=Crossing.Kind.SIGNAL_DIGEST,
            subject=f"digest:{week}:{team or ''}",
            severity="info",
            team=team,
            crossed_at=at,
            facts=_facts(of),
        )
        for team, of in by_team.items()
    ]
    return len(Crossing.objects.for_org(org_id).bulk_create(crossings, ignore_conflicts=True))


def _facts(of: list[Incident]) -> dict[str, Any]:
    total = sum((one.excess_usd or Decimal(0) for one in of), Decimal(0))
    return {
        "incidents": len(of),
        "excess_usd": usd_text(total),
        "lines": [
            {"incident": one.pk, "signal": one.signal, "scope_kind": one.scope_kind, "scope_name": one.scope,
             "excess_usd": usd_text(one.excess_usd)}
            for one in of[:LINES_MAX]
        ],
    }  # fmt: skip


def move_gate(org_id: int, at: datetime) -> int:
    """Once in 30 days the gate goes up or down by what people said of incidents; its factor, in hundredths."""
    watcher = Watcher.objects.for_org(org_id).filter(pk=org_id).select_for_update().first()
    if watcher is None:
        return 100
    if watcher.gate_changed_at is not None and watcher.gate_changed_at > at - FEEDBACK:
        return watcher.gate_factor
    told = Incident.objects.for_org(org_id).filter(opened_at__gt=at - FEEDBACK).exclude(tier=Incident.Tier.DIGEST)
    count, useless = told.count(), told.filter(is_useful=False).count()
    factor = round(100 * fatigue.raise_gates(watcher.gate_factor / 100, incidents=count, not_useful=useless))
    if factor != watcher.gate_factor:
        watcher.gate_factor, watcher.gate_changed_at = factor, at
        watcher.save(update_fields=["gate_factor", "gate_changed_at"])
    return factor
