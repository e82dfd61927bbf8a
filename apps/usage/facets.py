"""Past days, summed up by what only events hold: operations, tags, runs.

Rollups have a fixed grain, since every event adds to them on its way in. A facet is a dimension outside of it. Once a
day is over, its events are read again and summed up by each facet that has values; a delta that is later moved into
the day forgets that (`sql.move_spend_deltas`), so that what is there is never less than the events.
"""

from datetime import datetime

from django.utils import timezone

from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.usage import facets_sql, sql
from apps.usage.facets_sql import TAG, Day
from apps.usage.services import roll_up

# Of a facet that has nearly as many values as events, sums are no quicker to read, unless they are few.
EVENTS_PER_ROW_MIN = 4
ROWS_MIN = 1_000
TAGS_MAX = 20
# A month and what it is compared with; what is left, of a long history, is for the next hour.
DAYS_MAX = 62


def sum_up_days(org: Organization) -> int:
    """Sum up the organization's days that are over and are not, or no longer, summed up; how many were.

    Locks: the organization's turn to roll up, one day at a time. Running it again changes nothing.
    """
    roll_up(org)
    with tenant(org):
        today = calendar(org).day(timezone.now())
        days = facets_sql.days_to_sum(org.pk, sql.sealed_before(org.pk), today, limit=DAYS_MAX)
    for day, events in days:
        with tenant(org):
            # No delta is moved meanwhile: what comes now is in the queue when the day is noted.
            sql.take_rollup_turn(org.pk, waits=True)
            facets_sql.forget_days(org.pk, [day])
            facets_sql.note_day(org.pk, _sum_up(org.pk, day, events))
    return len(days)


def _sum_up(org_id: int, day: datetime, events: int) -> Day:
    found, is_all = facets_sql.facets_of(org_id, day, tags_max=TAGS_MAX)
    rows_max = max(events // EVENTS_PER_ROW_MIN, ROWS_MIN)
    summed = [name for name in found if facets_sql.sum_up(org_id, day, name, rows_max=rows_max)]
    left_out = [name for name in found if name not in summed]
    return Day(day, summed, left_out if is_all else [*left_out, TAG])
