"""Postings in budgets: what changes money after an event was stored changes what its budgets have spent.

A posting counts at the instant of its event, under its own dimensions. What it adds to a counter was not held before,
so it is overrun; what it takes away lowers what is spent.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import structlog

from apps.budgets import spent_sql
from apps.budgets.booking import Change, apply, counter_ids
from apps.budgets.rules import CounterKey
from apps.budgets.spent_sql import PostedRow
from apps.budgets.watch import Watch, load_watch
from apps.core.metrics import RECONCILIATIONS
from apps.core.money import pico_from_usd
from apps.core.tenancy import HasPk, org_id_of, tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import facts_version
from apps.usage.services import opening_month, sealed_since

log = structlog.get_logger(__name__)

POSTINGS_AT_ONCE = 1_000
# The checks of one organization stay short: what is older was proven while it was new.
PERIODS_PROVEN = 2


def count_postings(org_id: int) -> int:
    """Count the postings that wait, in the order of their causes; how many."""
    counted = 0
    while True:
        org = Organization.objects.get(pk=org_id)
        watch = load_watch(org)
        with tenant(org):
            opening_month(org)
            if facts_version(org_id) != org.facts_version:
                continue  # a budget came meanwhile: it counts what is posted from now on
            rows = spent_sql.take_uncounted(org_id, POSTINGS_AT_ONCE)
            _count(org, watch, rows)
        counted += len(rows)
        if len(rows) < POSTINGS_AT_ONCE:
            return counted


def _count(org: HasPk, watch: Watch, rows: Sequence[PostedRow]) -> None:
    net: dict[tuple[CounterKey, str], int] = defaultdict(int)
    changes: dict[CounterKey, Change] = defaultdict(Change)
    for row in rows:
        assumed = pico_from_usd(row.assumed_usd)
        amount = pico_from_usd(row.cost_usd) + assumed
        for _, key in watch.budgets.over(row.call, watch.calendar, row.at):
            change = changes[key]
            change.spent += amount
            change.assumed += assumed
            change.events += row.events
            change.unpriced += row.unpriced_events
            net[key, row.event_id] += amount
    for (key, _), amount in net.items():
        changes[key].overrun += max(0, amount)
    ids = counter_ids(org, watch, changes)
    apply(org, {ids[key.budget_id, key.period_start, key.subject]: change for key, change in changes.items()})


def reconcile(org: HasPk | int) -> list[dict[str, Any]]:
    """Differences between counters and what they count: events and postings, reservations. None: they agree.

    Of the periods last begun of each budget in force, whose events are all kept; in one snapshot.
    """
    org_id = org_id_of(org)
    with tenant(org_id, repeatable_read=True):
        differences = [
            *spent_sql.unbalanced_holds(org_id),
            *spent_sql.unbalanced_run_holds(org_id),
            *spent_sql.unbalanced_counters(org_id, sealed_since(org_id), PERIODS_PROVEN),
        ]
    RECONCILIATIONS.add("budgets", "differs" if differences else "agrees")
    if differences:
        log.error("budgets and usage differ", organization_id=org_id, differences=str(differences[:20]))
    return differences
