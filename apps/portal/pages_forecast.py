"""What the page of forecasts reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class DayRow:
    """A day of the chart: what was spent on it, or is expected, and all of it up to its end."""

    label: str
    is_ahead: bool
    cost_usd: Decimal
    sum_usd: Decimal


@dataclass(frozen=True, slots=True)
class ForecastChart:
    spec: Mapping[str, Any]
    sentence: str
    rows: tuple[DayRow, ...]
    has_plan: bool
    has_limit: bool


@dataclass(frozen=True, slots=True)
class LayerRow:
    label: str
    usd: Decimal


@dataclass(frozen=True, slots=True)
class ForecastRow:
    """`odds` "": no budget of this month watches it alone. `note` says what the figures rest on."""

    label: str
    team: str
    url: str
    note: str
    spent_usd: Decimal
    low_usd: Decimal
    expected_usd: Decimal
    high_usd: Decimal
    limit_usd: Decimal | None
    limit_url: str
    odds: str
    reached_on: date | None
    earliest_on: date | None

    @property
    def is_over(self) -> bool:
        return self.limit_usd is not None and self.spent_usd >= self.limit_usd


@dataclass(frozen=True, slots=True)
class ForecastPage:
    """`whole`: what the chart is of; None: nothing is forecast yet. `direct_usd`: what its own series says, where that
    is more than a tenth off.
    """

    month: str
    whole: ForecastRow | None
    is_learning: bool
    direct_usd: Decimal | None
    layers: tuple[LayerRow, ...]
    chart: ForecastChart | None
    teams: tuple[ForecastRow, ...]
    workflows: tuple[ForecastRow, ...]
    is_part: bool
    most: int
    back_url: str
    as_of: datetime | None
