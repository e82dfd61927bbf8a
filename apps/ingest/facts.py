"""What the road needs to know of an organization, kept per process until it changes."""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

from apps.core.periods import Calendar
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.teams.attribution import Names
from apps.teams.selectors import load_names
from apps.usage.selectors import sealed_before

ORGANIZATIONS_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class Facts:
    """`sealed_before`: events whose hour begins earlier have been sealed and can no longer be added to."""

    names: Names
    calendar: Calendar
    sealed_before: datetime


_kept: "OrderedDict[tuple[int, int], Facts]" = OrderedDict()
_lock = Lock()


def load_facts(org: Organization) -> Facts:
    """The facts at `org.facts_version`, which moves in the transaction of every change to them."""
    key = (org.pk, org.facts_version)
    with _lock:
        facts = _kept.get(key)
        if facts is not None:
            _kept.move_to_end(key)
            return facts
    with tenant(org):
        facts = Facts(load_names(org), calendar(org), sealed_before(org))
    with _lock:
        _kept[key] = facts
        while len(_kept) > ORGANIZATIONS_KEPT:
            _kept.popitem(last=False)
    return facts
