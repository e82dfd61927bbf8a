"""Whose workflows are: since when all of what one does belongs to some teams. Inside `tenant(org)`.

What is kept by workflow (readings, incidents, recommendations, forecasts) cannot be cut to a team. Who may see a part
of the organization is shown it for the time in which the workflow was wholly of that part.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from django.db import DatabaseError, transaction

from apps.core.periods import Calendar
from apps.core.retry import is_timeout
from apps.core.tenancy import HasPk, limit_time, org_id_of
from apps.usage import shared_sql
from apps.usage.parts_sql import Part
from apps.usage.selectors import sealed_before

T = TypeVar("T")

TIMEOUT_MS = 3_000


@dataclass(frozen=True, slots=True)
class Use:
    """`is_own`: the part has calls of the workflow; `is_shared`: so have others, or its runs hold calls of others.

    Every call since `whole_since` is of the part: no time that was looked at where others called today, or where it is
    not known.
    """

    is_own: bool
    is_shared: bool
    whole_since: datetime


def uses_of(
    org: HasPk, clock: Calendar, workflows: Sequence[str], part: Part, since: datetime, at: datetime
) -> Mapping[str, Use]:
    """By workflow, what was the part's in [since, at), as far back as no event was deleted.

    What takes a statement longer than 3 seconds is not known: nothing is whole then.
    """
    found = _in_time(lambda: _uses(org_id_of(org), clock, workflows, part, max(since, sealed_before(org)), at))
    unknown = Use(is_own=False, is_shared=True, whole_since=at)
    return found if found is not None else dict.fromkeys(workflows, unknown)


def _uses(
    org_id: int, clock: Calendar, workflows: Sequence[str], part: Part, since: datetime, at: datetime
) -> dict[str, Use]:
    rows = shared_sql.last_use(org_id, "workflow", workflows, part, since, at)
    own = {row.name for row in rows if row.is_own}
    others = {row.name: row.day for row in rows if not row.is_own}
    runs = shared_sql.last_shared_runs(org_id, workflows, part, since, at)
    found = {}
    for workflow in workflows:
        last = max((day for day in (others.get(workflow), runs.get(workflow)) if day is not None), default=None)
        whole = since if last is None else clock.period("day", last)[1]
        found[workflow] = Use(workflow in own, last is not None, max(since, whole))
    return found


def own_alone(
    org: HasPk | int, kind: str, names: Sequence[str], part: Part, since: datetime, at: datetime
) -> frozenset[str]:
    """Those of these workflows or projects (`kind`) in whose name nobody but the part made calls in [since, at).

    None where that takes longer than 3 seconds to say. What runs hold besides is not looked at.
    """
    if not names:
        return frozenset()
    rows = _in_time(lambda: shared_sql.last_use(org_id_of(org), kind, names, part, since, at))
    return frozenset() if rows is None else frozenset(names) - {row.name for row in rows if not row.is_own}


def _in_time(read: Callable[[], T]) -> T | None:
    """What `read` reads, None where that takes too long; the transaction goes on."""
    try:
        with transaction.atomic():
            limit_time(TIMEOUT_MS)
            found = read()
            shared_sql.unlimit_time()
            return found
    except DatabaseError as error:
        if is_timeout(error):
            return None
        raise
