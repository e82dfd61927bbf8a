"""What a plan says of a stretch of time, as a side of a variance: its likely inputs, in closed form. Pure.

A plan counts its months from the day of its launch: the n-th has `runs_per_month` x `growth`^n runs, spread evenly over
its days. What is planned of a calendar month is the sum over its days; before the launch there is nothing. Without a
launch date every month is the first.
"""

from calendar import monthrange
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from apps.core.money import usd_from_pico
from apps.planner.estimate import cost_per_run
from apps.planner.shapes import Cards, ModelChoice, ModelCost, Plan, RunCost
from apps.planner.variance import CLASSES, ClassUse, ModelUse, Workflow, WorkflowUse

# A plan grows no further: nobody plans ten years ahead, and floats end somewhere.
MONTHS_MAX = 120


@dataclass(frozen=True, slots=True)
class Planned:
    """`beside_usd` is what the plan says of other cost and routers: no call of a model stands for it."""

    use: WorkflowUse
    runs: float
    beside_usd: Decimal


def planned_use(
    plan: Plan, cards: Cards, workflow: Workflow, runs: float, named: Callable[[ModelChoice], ModelChoice] = lambda m: m
) -> Planned:
    """So many runs of the plan; `named` says what calls call its models. KeyError: a model without a card."""
    run = cost_per_run(plan, cards)
    models: dict[ModelChoice, list[tuple[ModelCost, bool]]] = {}
    escalated = {(step.name, step.escalates_to) for step in plan.steps if step.routing == "cascade"}
    for model in run.models:
        is_escalated = (model.step, model.model) in escalated
        models.setdefault(named(model.model), []).append((model, is_escalated))
    uses = tuple(_model(model, costs, runs) for model, costs in models.items())
    return Planned(WorkflowUse(workflow, runs, tuple(use for use in uses if use.attempts)), runs, _beside(run, runs))


def _model(model: ModelChoice, costs: list[tuple[ModelCost, bool]], runs: float) -> ModelUse:
    attempts = sum(cost.attempts for cost, _ in costs) * runs
    calls = sum(cost.calls for cost, _ in costs) * runs
    classes = {
        name: ClassUse(
            sum(cost.classes[name].tokens for cost, _ in costs) * runs,
            _usd(sum(cost.classes[name].usd for cost, _ in costs) * runs),
        )
        for name in CLASSES
    }
    return ModelUse(
        model,
        attempts,
        attempts - calls,
        sum(cost.calls for cost, is_escalated in costs if is_escalated) * runs,
        {name: use for name, use in classes.items() if use.tokens},
    )


def _beside(run: RunCost, runs: float) -> Decimal:
    return _usd((run.other_usd + sum(step.router_usd for step in run.steps)) * runs)


def _usd(amount: float) -> Decimal:
    return usd_from_pico(round(amount * 1e12))


def planned_runs(plan: Plan, launch: date | None, days: Mapping[date, float]) -> float:
    """The likely runs of these days, each with the part of it that counts."""
    return sum(part * _runs_a_day(plan, launch, day) for day, part in days.items())


def _runs_a_day(plan: Plan, launch: date | None, day: date) -> float:
    first = day.replace(day=1) if launch is None else launch
    number = _months_since(first, day)
    if number < 0:
        return 0.0
    length = (_month_later(first, number + 1) - _month_later(first, number)).days
    return (
        plan.runs_per_month.likely * plan.growth.likely ** (0 if launch is None else min(number, MONTHS_MAX)) / length
    )


def _months_since(first: date, day: date) -> int:
    """How many whole months of a plan that began on `first` are over on `day`; below 0 before it began."""
    number = (day.year - first.year) * 12 + day.month - first.month
    return number if _month_later(first, number) <= day else number - 1


def _month_later(day: date, months: int) -> date:
    """The same day so many months on, or the last of a shorter month."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def days_of(first: date, after: date) -> Iterator[date]:
    """[first, after)."""
    for number in range((after - first).days):
        yield first + timedelta(days=number)
