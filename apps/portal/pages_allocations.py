"""What the templates about pools of shared cost read."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from apps.portal.pages import Option, Tab
from apps.portal.pages_budgets import Choice
from apps.portal.pages_prices import FormError


@dataclass(frozen=True, slots=True)
class BearerRow:
    """What a team bears of a pool, and by what; `team` None: the statement without a team. `kind` is for throughput."""

    team: str | None
    kind: str
    driver: str
    share: Decimal | None
    cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class PoolPanel:
    """`taken_from` is the statement that its cost leaves, "" where it leaves none. `bearers` are the largest parts."""

    id: int
    number: int
    name: str
    source: str
    method: str
    months: str
    total_usd: Decimal
    taken_from: str
    bearers: tuple[BearerRow, ...]
    bearer_count: int
    rest_usd: Decimal
    url: str
    edit_url: str
    is_first: bool
    is_last: bool


@dataclass(frozen=True, slots=True)
class AllocationsPage:
    """`month` is as a form sends it. Closed months are read only."""

    month: str
    month_label: str
    months: tuple[Tab, ...]
    pools: tuple[PoolPanel, ...]
    is_closed: bool
    may_change: bool
    new_url: str
    statements_url: str


@dataclass(frozen=True, slots=True)
class PercentField:
    number: int
    team: str
    percent: str
    is_wrong: bool


@dataclass(frozen=True, slots=True)
class TeamChangeRow:
    team: str | None
    before_usd: Decimal
    after_usd: Decimal
    difference_usd: Decimal


@dataclass(frozen=True, slots=True)
class PreviewPanel:
    """The teams of which most changes; `bearers` are those of the pool itself."""

    month_label: str
    teams: tuple[TeamChangeRow, ...]
    team_count: int
    total: TeamChangeRow
    bearers: tuple[BearerRow, ...]
    bearer_count: int


@dataclass(frozen=True, slots=True)
class PoolForm:
    """`percents` are fields for teams with a share, with empty ones to add more."""

    given: Mapping[str, str]
    error: FormError | None
    sources: tuple[Choice, ...]
    methods: tuple[Choice, ...]
    teams: tuple[str, ...]
    contracts: tuple[Option, ...]
    drivers: tuple[Option, ...]
    bases: tuple[Option, ...]
    percents: tuple[PercentField, ...]
    preview: PreviewPanel | None
    is_new: bool
    submit: str
    back_url: str
