"""What workflows did in a time, as sides of a variance: from rollups and run rows alone. Inside no transaction.

Costs by token class are those of `apps.reports.meter_costs`: exact where the rates of one card explain a day's cost,
else shared out in proportion to them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from apps.core.errors import DomainError
from apps.core.money import pico_from_usd, sum_usd, usd_from_pico
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.planner import actuals_sql
from apps.planner.actuals_sql import CUTS, Begun
from apps.planner.reckoning import rate_book
from apps.planner.shapes import ModelChoice
from apps.planner.variance import CLASSES, ClassUse, ModelUse, Workflow, WorkflowUse
from apps.pricing.rating import RateBook
from apps.reports.meter_costs import Rates, split_cost
from apps.reports.selectors import SpendQuestion, SpendRow, spend
from apps.usage.selectors import in_time

# Groups of calls (workflow, provider, model, service tier) of one answer, and of a workflow also by day.
GROUPS_MAX = 20_000
# From this part of calls on that name their run, the others are taken to be of runs alike; below it nobody knows.
RUNS_KNOWN_FROM = 0.5
# Runs at the edges of a month have calls on either side of it.
ALL_RUNS_FROM = 0.98
_CLASS_OF = {f"{name}_tokens": name for name in CLASSES}
_GROUPED = ("workflow", "provider", "model", "service_tier", "priced")


@dataclass(frozen=True, slots=True)
class RunsKnown:
    """Of a workflow: runs that began, calls in all, and the part of them that named a run."""

    begun: int
    calls: int
    named_share: float

    @property
    def basis(self) -> str:
        """How runs were counted: all of them (`runs`), with those that nobody named (`estimated`), or not (`calls`)."""
        if not self.begun or self.named_share < RUNS_KNOWN_FROM:
            return "calls"
        return "runs" if self.named_share >= ALL_RUNS_FROM else "estimated"

    @property
    def runs(self) -> float | None:
        if self.basis == "calls":
            return None
        return self.begun / self.named_share if self.basis == "estimated" else float(self.begun)


@dataclass(frozen=True, slots=True)
class Actuals:
    """One side of a comparison; `as_of` is the instant whose rollups and pending deltas were read."""

    start: datetime
    end: datetime
    as_of: datetime
    uses: tuple[WorkflowUse, ...]
    runs: Mapping[Workflow, RunsKnown] = field(default_factory=dict)
    unpriced_calls: int = 0

    @property
    def calls(self) -> int:
        return sum(known.calls for known in self.runs.values())

    @property
    def usd(self) -> Decimal:
        return sum_usd(use.usd for use in self.uses)


def actual_uses(
    org: Organization, start: datetime, end: datetime, cut: Mapping[str, str], *, book: RateBook | None = None
) -> Actuals:
    """Of [start, end), cut to a workflow, team, project or environment ("": what names none).

    One workflow is read day by day. Raises `DomainError` (`too_much_to_compare`, `query_too_slow`).
    """
    assert set(cut) <= set(CUTS)
    names = _Names(book or rate_book(org))
    question = SpendQuestion(
        start, end, _GROUPED, dict(cut), granularity="day" if cut.get("workflow") else "none", limit=GROUPS_MAX
    )
    with tenant(org):
        answer = in_time("Comparing months", lambda: spend(org, question), "compare one workflow or team alone")
        begun = in_time(
            "Counting runs",
            lambda: actuals_sql.runs_begun(org.pk, (start, end), cut),
            "compare one workflow or team alone",
        )
    if answer.following is not None:
        raise DomainError(
            "too_much_to_compare",
            f"There are more than {GROUPS_MAX} groups of calls to compare: ask for one team or workflow.",
            param="team",
        )
    sums = _summed(answer.rows, names, start)
    runs = _runs(answer.rows, begun)
    return Actuals(
        start=start,
        end=end,
        as_of=answer.as_of,
        uses=tuple(WorkflowUse(name, runs[name].runs, tuple(_uses(models))) for name, models in sums.items()),
        runs=runs,
        unpriced_calls=sum(row.sums.unpriced_events for row in answer.rows),
    )


class _Names:
    """Models by the names that prices know them by: plans and events spell one model alike, or trade it."""

    def __init__(self, book: RateBook) -> None:
        self.rates, self._book = Rates(book), book
        self._known: dict[tuple[str, str], ModelChoice] = {}

    def of(self, provider: str, model: str) -> ModelChoice:
        if (provider, model) not in self._known:
            self._known[provider, model] = named(self._book, ModelChoice(provider, model))
        return self._known[provider, model]


def named(book: RateBook, model: ModelChoice) -> ModelChoice:
    """The model by the name under which its prices stand; as it is where nothing is known of it."""
    provider, name, _ = book.names(model.provider, model.model)
    known = book.catalog.recognise(provider, name)
    return ModelChoice(provider, known.model if known else name)


@dataclass(slots=True)
class _Sum:
    """A model of a workflow, being added up."""

    model: ModelChoice
    attempts: int = 0
    retries: int = 0
    escalations: int = 0
    unpriced_calls: int = 0
    tokens: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    picos: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    other_pico: int = 0


def _summed(rows: Iterable[SpendRow], names: _Names, start: datetime) -> dict[Workflow, dict[ModelChoice, _Sum]]:
    found: dict[Workflow, dict[ModelChoice, _Sum]] = {}
    for row in rows:
        workflow, provider, model, tier, priced = row.groups
        choice = names.of(provider or "", model or "")
        models = found.setdefault(workflow, {})
        one = models.setdefault(choice, _Sum(choice))
        if priced != "true":
            one.unpriced_calls += row.sums.events
            continue
        one.attempts += row.sums.events
        one.retries += row.sums.retries
        one.escalations += row.sums.escalations
        cards = names.rates.cards(provider or "", model or "", tier, row.bucket or start)
        cost = pico_from_usd(row.sums.cost_usd or Decimal(0))
        for meter, pico in split_cost(cost, row.sums.meters, cards).costs.items():
            name = _CLASS_OF.get(meter)
            if name is None:
                one.other_pico += pico
            else:
                one.tokens[name] += row.sums.meters[meter]
                one.picos[name] += pico
    return found


def _uses(models: Mapping[ModelChoice, _Sum]) -> Iterator[ModelUse]:
    for one in models.values():
        classes = {
            name: ClassUse(float(one.tokens[name]), usd_from_pico(one.picos[name]))
            for name in CLASSES
            if one.tokens[name]
        }
        # What was taken back of a class leaves no tokens, and may leave money.
        left = sum(pico for name, pico in one.picos.items() if name not in classes)
        yield ModelUse(
            one.model,
            float(one.attempts),
            float(one.retries),
            float(one.escalations),
            classes,
            usd_from_pico(one.other_pico + left),
            float(one.unpriced_calls),
        )


def _runs(rows: Iterable[SpendRow], begun: Mapping[Workflow, Begun]) -> dict[Workflow, RunsKnown]:
    calls: dict[Workflow, int] = defaultdict(int)
    for row in rows:
        calls[row.groups[0]] += row.sums.events
    nothing = Begun(0, 0)
    found = {}
    for workflow, count in calls.items():
        one = begun.get(workflow, nothing)
        found[workflow] = RunsKnown(one.runs, count, min(1.0, one.calls / count) if count else 0.0)
    return found
