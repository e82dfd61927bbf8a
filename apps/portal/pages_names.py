"""What the templates about teams, projects, workflows, names and rules read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from apps.portal.pages_budgets import ScopeField
from apps.portal.pages_prices import FormError


@dataclass(frozen=True, slots=True)
class Spent:
    """What is attributed to something over a range; the address has the events."""

    events: int
    unpriced_events: int
    cost_usd: Decimal | None
    url: str


@dataclass(frozen=True, slots=True)
class NameForm:
    """A form of this page: what was typed and what was wrong with it."""

    given: Mapping[str, str] = field(default_factory=dict)
    error: FormError | None = None


# --- lists -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NameRow:
    """`of` is what it belongs to now, `holds` how many things belong to it, `owner` the person who answers for it."""

    slug: str
    name: str
    url: str
    spent: Spent
    of: str | None = None
    of_url: str = ""
    holds: int = 0
    owner: str = ""


@dataclass(frozen=True, slots=True)
class NamesPage:
    """Teams, projects or workflows. `of` and `holds` are column heads, "" where there is no such column."""

    kind: str
    kinds: str
    says: str
    of: str
    holds: str
    has_owners: bool
    rows: tuple[NameRow, ...]
    is_empty: bool
    text: str
    form: NameForm
    choices: tuple[str, ...]
    month: str
    may_change: bool
    first_url: str | None
    next_url: str | None


# --- one of them -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OwnedRow:
    """A range of time in which a team owns a project, as the page of either lists it. `since` None: since ever."""

    name: str
    url: str
    state: str
    since: datetime | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class MovePreview:
    """What a move would change; `spent` are the last 30 days, by where they stay. `at` None: at once."""

    to: str
    at: datetime | None
    is_there: bool
    stays: tuple[tuple[str | None, Spent], ...]


@dataclass(frozen=True, slots=True)
class NamePage:
    """One team, project or workflow. `above` is what it belongs to, or has, in figures; like `facts` it is
    (label, text, address). `of` says whose part of it is shown, "" where it is all of it.
    """

    kind: str
    slug: str
    name: str
    above: tuple[str, str, str]
    facts: tuple[tuple[str, str, str], ...]
    month: str
    spent: Spent
    spend_url: str
    act: str
    form: NameForm
    may_change: bool
    owned: tuple[OwnedRow, ...] = ()
    owned_more: bool = False
    can_call_off: bool = False
    workflows: tuple[tuple[str, str, str], ...] = ()
    workflow_count: int = 0
    choices: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    move: MovePreview | None = None
    of: str = ""


# --- names seen in events ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FlowRow:
    """Where events come from and where they would go: slugs with slashes between, "" for unattributed."""

    before: str
    after: str
    events: int
    unpriced_events: int
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class FlowsPage:
    """What would move. `since` is how far back what is stored was looked at where not all of it was."""

    events: int
    unpriced_events: int
    cost_usd: Decimal | None
    rows: tuple[FlowRow, ...]
    row_count: int
    since: datetime | None


@dataclass(frozen=True, slots=True)
class UnattributedRow:
    """A name that leads nowhere. The days are local, and None where the range holds too many names to say.

    `is_known`: it leads somewhere since, and its spend is about to move.
    """

    kind: str
    name: str | None
    first_seen: date | None
    last_seen: date | None
    events: int
    cost_usd: Decimal | None
    unpriced_events: int
    url: str
    is_known: bool
    map_url: str
    create_url: str


@dataclass(frozen=True, slots=True)
class Settling:
    """A name that is about to be mapped or created: `choices` are slugs that it may mean, or belong to."""

    act: str
    kind: str
    name: str
    belongs_to: str
    choices: tuple[str, ...]
    form: NameForm
    flows: FlowsPage | None
    cancel_url: str


@dataclass(frozen=True, slots=True)
class UnattributedPage:
    events: int
    cost_usd: Decimal | None
    share: Decimal | None
    rows: tuple[UnattributedRow, ...]
    row_count: int
    url: str
    settling: Settling | None
    may_change: bool
    mapped_url: str
    rule_url: str


@dataclass(frozen=True, slots=True)
class AliasRow:
    kind: str
    name: str
    means: str
    means_url: str
    since: datetime
    change_url: str


@dataclass(frozen=True, slots=True)
class AliasesPage:
    rows: tuple[AliasRow, ...]
    may_change: bool
    queue_url: str
    first_url: str | None
    next_url: str | None


# --- rules -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RuleRow:
    """`when` and `gives` are (label, value)."""

    number: int
    name: str
    when: tuple[tuple[str, str], ...]
    gives: tuple[tuple[str, str], ...]
    changed_at: datetime
    changed_by: str
    url: str
    is_first: bool
    is_last: bool


@dataclass(frozen=True, slots=True)
class RulesPage:
    rows: tuple[RuleRow, ...]
    may_change: bool
    new_url: str
    queue_url: str


@dataclass(frozen=True, slots=True)
class RuleForm:
    given: Mapping[str, str]
    error: FormError | None
    scope: tuple[ScopeField, ...]
    tags: tuple[tuple[int, str, str], ...]
    gives: tuple[ScopeField, ...]
    flows: FlowsPage | None
    submit: str
    back_url: str
