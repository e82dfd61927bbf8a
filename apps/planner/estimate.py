"""What a run of a plan costs, in closed form, and what a month of them may: no simulation of calls, no Django."""

from apps.planner.shapes import Cards, Estimate, Plan, Point, RunCost

DRAWS = 5_000
DRAWS_MAX = 20_000
MONTHS = 12


def cost_per_run(plan: Plan, cards: Cards, point: Point = "likely") -> RunCost:
    """Expected cost of one run with every input at `point`, by step, model and token class.

    KeyError names a model without a card: an unpriced model has no estimate.
    """
    raise NotImplementedError


def draw(
    plan: Plan, cards: Cards, *, seed: int, draws: int = DRAWS, months: int = MONTHS, budget_usd: float | None = None
) -> Estimate:
    """Percentiles of run and months from `draws` draws of the uncertain inputs; the same seed gives the same result."""
    raise NotImplementedError
