"""What clients say that calls cost, beside what they cost here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import DatabaseError

from apps.core.errors import DomainError
from apps.core.money import EXACT
from apps.core.retry import is_timeout
from apps.core.tenancy import HasPk, org_id_of
from apps.reports import declared_sql

EVENTS_SHOWN = 50
DEFAULT_PERCENT, DEFAULT_USD = Decimal(1), Decimal("0.01")


@dataclass(frozen=True, slots=True)
class DeclaredModel:
    """Calls of one model that declared a cost. The amounts are of those that are priced here too; `unpriced_events` are
    not. `differing_events` lie further apart than was asked.
    """

    provider: str
    model: str
    events: int
    unpriced_events: int
    differing_events: int
    declared_usd: Decimal
    ours_usd: Decimal

    @property
    def difference_usd(self) -> Decimal:
        """Declared less ours."""
        return EXACT.subtract(self.declared_usd, self.ours_usd)


@dataclass(frozen=True, slots=True)
class DeclaredEvent:
    event_id: str
    occurred_at: datetime
    provider: str
    model: str
    declared_usd: Decimal
    ours_usd: Decimal

    @property
    def difference_usd(self) -> Decimal:
        return EXACT.subtract(self.declared_usd, self.ours_usd)


@dataclass(frozen=True, slots=True)
class Declared:
    """By model, the largest difference first; and the events that differ most."""

    models: Sequence[DeclaredModel]
    events: Sequence[DeclaredEvent]


def declared_costs(
    org: HasPk,
    *,
    start: datetime,
    end: datetime,
    over_percent: Decimal = DEFAULT_PERCENT,
    over_usd: Decimal = DEFAULT_USD,
) -> Declared:
    """Declared costs of [start, end); they differ where they are further from ours than `over_percent` and `over_usd`.

    Inside `tenant(org)`. Raises `DomainError` (`query_too_slow`) after 5 seconds.
    """
    asked = declared_sql.Asked(org_id_of(org), start, end, over_percent, over_usd)
    try:
        models = [DeclaredModel(*row) for row in declared_sql.by_model(asked)]
        events = [DeclaredEvent(*row) for row in declared_sql.differing(asked, EVENTS_SHOWN)]
    except DatabaseError as error:
        if is_timeout(error):
            raise DomainError(
                "query_too_slow", "Comparing took longer than 5 seconds: shorten the range.", param="from"
            ) from error
        raise
    return Declared(sorted(models, key=lambda model: -abs(model.difference_usd)), events)
