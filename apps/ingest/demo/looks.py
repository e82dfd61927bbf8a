"""What the schedule would have found in the weeks of the sample, found when it is in: the demo is looked at when it is
new. Everything goes through what the schedule calls, as of the hours that it would have called it; twice is as once.

Workers find (`advise`, then `look_back`); what people said of it (`follow_one`, `accept_one`) is said as people do.
"""

from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from django.utils import timezone

from apps.core.tenancy import tenant
from apps.ingest.demo import desk
from apps.insights import evaluating, recommending
from apps.insights.models import Incident, Reading, Watch, Watcher
from apps.insights.models_savings import Adoption, Recommendation
from apps.insights.recommendations import Kind
from apps.insights.savings import find_recommendations, last_round
from apps.organizations.models import Organization
from apps.usage.services import roll_up

log = structlog.get_logger(__name__)

HOUR = timedelta(hours=1)
# How far back an evaluation is made, how often from there on. A day's band is that of its evaluation at midnight.
LOOKED_BACK = ((timedelta(days=28), 24), (timedelta(days=9), 6), (timedelta(days=1), 1))
# An evaluation that the clock asked for while the sample came in saw no further back.
SEEN_BEFORE = timedelta(days=3)
# Whose word it is: people of the teams that own the workflows.
TAGGERS, BOUNDERS = "ines@example.com", "chidi@example.com"
HOURS, HOURLY_USD = Decimal(6), Decimal(90)
State = Recommendation.State


# --- what workers find ----------------------------------------------------------------------------------


def advise(org_id: int) -> None:
    """The savings that were to be seen a day before the desk's routing changed."""
    org = Organization.objects.get(pk=org_id)
    roll_up(org_id)
    recommending.find(org_id, at=org.created_at - desk.ROUTED_BEFORE - timedelta(days=1))


def look_back(org_id: int) -> None:
    """Signals of the sample's weeks, and the savings of now."""
    roll_up(org_id)
    now = timezone.now()
    with tenant(org_id):
        is_seen = Reading.objects.for_org(org_id).filter(day_start__lt=now - SEEN_BEFORE).exclude(bands={}).exists()
        if not is_seen:
            # What the clock made of half a sample.
            for model in (Incident, Watch, Watcher):
                model.objects.for_org(org_id).delete()
    for at in () if is_seen else hours_to_evaluate(now):
        evaluating.evaluate(org_id, at=at)
    recommending.find(org_id)


def hours_to_evaluate(now: datetime) -> list[datetime]:
    """The instants of past evaluations, oldest first, and now. Days begin in UTC, as those of the demo do."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    found = set()
    for back, every in LOOKED_BACK:
        for passed in range(round(back / HOUR)):
            at = hour - passed * HOUR
            if at.hour % every == 0:
                found.add(at)
    return [*sorted(found - {hour}), now]


def has_advised(org: Organization) -> bool:
    with tenant(org):
        return last_round(org)[0] is not None


def has_looked_back(org: Organization) -> bool:
    with tenant(org):
        found_at, _ = last_round(org)
        watched = Watcher.objects.for_org(org).filter(hour__gt=org.created_at - HOUR).exists()
    return watched and found_at is not None and found_at > org.created_at


def has_measured(org: Organization) -> bool:
    """Also where there is nothing to measure."""
    with tenant(org):
        return not Adoption.objects.for_org(org).filter(measured_days=0).exists()


# --- what people said of it -----------------------------------------------------------------------------


def follow_one(org: Organization) -> None:
    """The routing that the desk's events show was advised the day before, and done."""
    with tenant(org):
        if Adoption.objects.for_org(org).exists():
            return
        found = find_recommendations(org, workflow=desk.TAGGING, kind=Kind.ROUTE_DOWN, state=State.OPEN, limit=1)
    if not found:
        log.warning("no recommendation of the demo is done", why=f"none was found for {desk.TAGGING}")
        return
    changed = org.created_at - desk.ROUTED_BEFORE
    recommending.mark_done(org=org, recommendation_id=found[0].pk, actor=TAGGERS, adopted_at=changed)


def accept_one(org: Organization) -> None:
    """Of those that a bound would save the second largest: the largest is left for the visitor."""
    with tenant(org):
        if find_recommendations(org, state=State.ACCEPTED, limit=1):
            return
        found = find_recommendations(org, kind=Kind.BOUND_LOOPS, state=State.OPEN, vanished=False, limit=2)
    if not found:
        log.warning("no recommendation of the demo is accepted", why="none was found for runs that are long")
        return
    recommending.accept(org=org, recommendation_id=found[-1].pk, actor=BOUNDERS, hours=HOURS, hourly_usd=HOURLY_USD)
