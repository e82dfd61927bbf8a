"""Who sees which cards of the overview, and in which order: the one table of it, and what the cards are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from apps.budgets.outlook import Standing
from apps.organizations.permissions import Role
from apps.portal.access import Visit
from apps.portal.ranges import Span
from apps.reports.selectors import Spend
from apps.usage.models_forecast import Forecast

# Rows of cards that stand side by side. A card that has nothing to say is left out, and the rest of its row has room.
_SPEND = (
    ("nothing",),
    ("figures",),
    ("signals",),
    ("over_time", "changes"),
    ("budgets", "teams", "workflows", "models"),
)
HOMES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    Role.OWNER: (("stops",), *_SPEND, ("coverage",)),
    Role.ADMIN: (("stops",), *_SPEND),
    Role.FINANCE: (("stops",), ("month",), ("coverage",), *_SPEND),
    Role.ENGINEER: (("stops",), ("own_workflows",), *_SPEND),
    # Stops and bounds are of the whole organization, and of teams there is one.
    Role.LEAD: (*_SPEND[:-1], ("budgets", "workflows", "models")),
    Role.VIEWER: (("stops",), *_SPEND),
}


@dataclass(frozen=True, slots=True)
class Home:
    """What several cards are made of, read once: `answers` by dimension, each compared with the period before.

    For a lead, all of it is of the team. `standings` are of the budgets that they may know of; `ahead` is what the
    month is forecast to come to, None where that is not known.
    """

    visit: Visit
    span: Span
    answers: Mapping[str, Spend]
    teams: Sequence[str]
    standings: Sequence[Standing]
    ahead: Forecast | None
    last_event_at: datetime | None

    @property
    def spend(self) -> Spend:
        """Whose total is that of all answers."""
        return self.answers["team"]

    def url(self, name: str, parameters: Mapping[str, str] | None = None) -> str:
        """A page over the same range, and within the same team."""
        return self.visit.url(name, {**self.visit.cut(parameters or {}), **self.span.parameters})
