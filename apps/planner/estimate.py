"""What a run of a plan costs, in closed form, and what a month of them may: no simulation of calls, no Django.

Two layers that are never mixed: what is not known of the inputs (draws of their ranges) and how much one run differs
from the next (which a month of many runs averages out). Formulae: docs/planner.md, "The cost model".
"""

from collections.abc import Mapping
from math import ceil

import numpy as np
from numpy.typing import NDArray

from apps.planner.loops import Array, calls_at, reached, smallest_bound
from apps.planner.ranges import draw_values, inputs, scores, stream, values_at
from apps.planner.shapes import (
    CALLS_MAX,
    Advice,
    Cards,
    ClassCost,
    Driver,
    Estimate,
    Loop,
    ModelCost,
    Percentiles,
    Plan,
    Point,
    RunCost,
    Step,
    StepCost,
)
from apps.planner.spend import CLASSES, Share, Spend, spend
from apps.planner.tokens import contexts

DRAWS = 5_000
DRAWS_MAX = 20_000
MONTHS = 12
MONTHS_MAX = 36

CHATBOT_INPUT_TOKENS, CHATBOT_OUTPUT_TOKENS = 3_000, 300
VOLUME_CV = 0.08  # how much a month's volume wavers about what was expected of it
LEVELS = (0.1, 0.5, 0.9, 0.99)
SUCCESS_MIN = 1e-6  # a rarer success is none
RUNS_SEEN = 20_000  # single runs that stand for how much one differs from the next
Group = tuple[str, ...]
# What differs from run to run together: what a run is asked and what is looked up for it, what a call answers, and what
# its tools do. A prefix is the same in every run.
ASKED: Group = ("input_tokens", "retrieved_tokens")
VARYING: tuple[Group, ...] = (ASKED, ("output_tokens", "reasoning_tokens"), ("tool_result_tokens",))
# Cost a call has a CV of 0.6 to 1.6 on the traces of docs/planner.md; with these two about one of their runs in a
# hundred costs more than the P99 (`python -m bench estimate`).
TOKENS_CV = 0.8
OWN_PART = 0.5  # of that variance: what a run's calls have in common

Values = Mapping[str, Array]


def cost_per_run(plan: Plan, cards: Cards, point: Point = "likely") -> RunCost:
    """Expected cost of one run with every input at `point`, by step, model and token class.

    KeyError names a model without a card: an unpriced model has no estimate.
    """
    return _run_cost(plan, cards, values_at(plan, point))


def draw(
    plan: Plan,
    cards: Cards,
    *,
    seed: int,
    draws: int = DRAWS,
    months: int = MONTHS,
    budget_usd: float | None = None,
    tokens_cv: float = TOKENS_CV,
) -> Estimate:
    """Percentiles of run and months from `draws` draws of the uncertain inputs; the same seed gives the same result.

    `tokens_cv` is how much the tokens of single runs differ (sd / mean); 0: runs differ by their loops alone.
    """
    if not 1 <= draws <= DRAWS_MAX or not 1 <= months <= MONTHS_MAX:
        raise ValueError(f"{draws} draws of {months} months; the limits are {DRAWS_MAX} and {MONTHS_MAX}")
    values, ranks = draw_values(plan, seed=seed, draws=draws)
    run = np.broadcast_to(spend(plan, cards, values).usd, (draws,))
    likely = cost_per_run(plan, cards)
    single = _single_runs(plan, cards, seed, tokens_cv)
    cv = float(np.std(single) / np.mean(single)) if np.mean(single) > 0 else 0.0
    by_month = _months(run, values, cv, months, stream(seed, "months"))
    over = None if budget_usd is None else tuple(float(np.mean(month > budget_usd)) for month in by_month)
    first, one_run = _percentiles(by_month[0]), _percentiles(single)
    loops = tuple(_loop(step, values_at(plan, "likely")) for step in plan.steps)
    return Estimate(
        seed=seed,
        draws=draws,
        likely=likely,
        run=_percentiles(run),
        success=_success(plan, run, values),
        one_run=one_run,
        run_cv=cv,
        months=tuple(_percentiles(month) for month in by_month),
        over_budget=over[0] if over else None,
        over_budget_months=over,
        drivers=_drivers(plan, cards, run, values, ranks, months),
        chatbot_multiple=likely.chatbot_multiple,
        loops=loops,
        advice=Advice(first.p90, first.p99, one_run.p99, {loop.step: loop.calls_max_advised for loop in loops}),
    )


def _run_cost(plan: Plan, cards: Cards, values: Values) -> RunCost:
    found = spend(plan, cards, values)
    usd, success = float(found.usd), float(values["success_rate"])
    steps = tuple(_step_cost(step, found) for step in plan.steps)
    card = cards[plan.steps[0].model]
    chatbot = CHATBOT_INPUT_TOKENS * card.input + CHATBOT_OUTPUT_TOKENS * card.output
    return RunCost(
        usd=usd,
        success_usd=usd / success if success >= SUCCESS_MIN else None,
        other_usd=float(found.other),
        steps=steps,
        chatbot_usd=chatbot,
        chatbot_multiple=usd / chatbot if chatbot > 0 else None,
    )


def _step_cost(step: Step, found: Spend) -> StepCost:
    models = tuple(_model_cost(share) for share in found.shares if share.step == step.name)
    router = float(found.taken[step.name] * found.router[step.name])
    return StepCost(step.name, router + sum(model.usd for model in models), router, models)


def _model_cost(share: Share) -> ModelCost:
    reach, nothing = float(share.reach), np.zeros(())
    classes = {
        name: ClassCost(
            reach * float(share.tokens.get(name, nothing)), reach * float(share.usd_by_class.get(name, nothing))
        )
        for name in CLASSES
    }
    return ModelCost(
        step=share.step,
        model=share.model,
        runs_share=reach,
        calls=reach * float(share.calls),
        attempts=reach * float(share.attempts),
        usd=reach * float(share.usd),
        **classes,
    )


def _months(run: Array, values: Values, cv: float, months: int, random: np.random.Generator) -> list[Array]:
    """USD of month 1, 2, ... in every draw.

    What a month wavers by has mean 1, the variance CV^2/V of a mean over V runs and that of volume; it is drawn
    lognormal, which is normal where it is small and never negative where it is not.
    """
    found, runs = [], np.broadcast_to(values["runs_per_month"], run.shape)
    for _ in range(months):
        variance = np.log1p(cv * cv / np.maximum(runs, 1e-9) + VOLUME_CV * VOLUME_CV)
        noise = np.exp(np.sqrt(variance) * random.standard_normal(run.shape) - 0.5 * variance)
        found.append(runs * run * noise)
        runs = runs * values["growth"]
    return found


def _single_runs(plan: Plan, cards: Cards, seed: int, tokens_cv: float) -> Array:
    """USD of single runs at the likely inputs: which steps they take, how often they call, how long what is sent and
    answered is, and whether they escalate.
    """
    values = values_at(plan, "likely")
    total = np.full(RUNS_SEEN, float(values["other_cost_usd"]))
    for step in plan.steps:
        exact = {
            **values,
            f"{step.name}.calls": np.arange(1.0, step.calls_max + 1.0),
            f"{step.name}.dispersion": np.zeros(()),
        }
        shares = reached(float(values[f"{step.name}.calls"]), float(values[f"{step.name}.dispersion"]), step.calls_max)
        calls = calls_at(shares, _levels(seed, f"{step.name}:calls"))
        factors = {group: _factor(f"{step.name}:{group[0]}", group, calls, seed, tokens_cv) for group in VARYING}
        by_model = _varied(step, Plan((step,), plan.runs_per_month), cards, exact, calls, factors)
        total += _single_step(step, by_model, values, seed)
    return total


def _single_step(step: Step, by_model: list[Array], values: Values, seed: int) -> Array:
    levels = {name: _levels(seed, f"{step.name}:{name}") for name in ("taken", "escalated")}
    first, *large = by_model
    usd = first
    if large:
        escalated = levels["escalated"] < values[f"{step.name}.escalation_rate"]
        stays = first if step.routing == "cascade" else first * ~escalated
        router = values[f"{step.name}.router_cost_usd"] if step.routing == "router" else 0.0
        usd = stays + large[0] * escalated + router
    return np.asarray(usd * (levels["taken"] < values[f"{step.name}.runs_share"]))


def _varied(
    step: Step, alone: Plan, cards: Cards, exact: Values, calls: NDArray[np.intp], factors: Mapping[Group, Array]
) -> list[Array]:
    """USD at each of the step's models of runs of so many calls, whose tokens are so many times the likely ones.

    A group of tokens is worth what a run costs less without them; that part of its cost is multiplied.
    """
    most = (step.calls_max,)
    whole = [np.broadcast_to(share.usd, most) for share in spend(alone, cards, exact).shares]
    worth: dict[Group, list[Array]] = {}
    for group in VARYING:
        names = [f"{step.name}.{name}" for name in group]
        if any(float(exact[name]) > 0 for name in names):
            without = spend(alone, cards, {**exact, **dict.fromkeys(names, np.zeros(()))}).shares
            worth[group] = [np.maximum(one - share.usd, 0.0) for one, share in zip(whole, without, strict=True)]
    found = []
    for place, one in enumerate(whole):
        parts = sum((by_model[place] for by_model in worth.values()), np.zeros(most))
        # Where a cache's minimum makes the parts worth more than the whole, each is taken as its share of it.
        fitting = np.divide(one, parts, out=np.ones(most), where=parts > one)
        usd = one[calls - 1]
        for group, by_model in worth.items():
            usd = usd + (by_model[place] * fitting)[calls - 1] * (factors[group] - 1.0)
        found.append(usd)
    return found


def _factor(name: str, group: Group, calls: NDArray[np.intp], seed: int, tokens_cv: float) -> Array:
    """How many times the likely tokens each run has: lognormal with mean 1.

    What a run is asked differs in full. What each call adds averages out over its calls, but for the part of the
    variance that is the run's own.
    """
    of_run = 1.0 if group == ASKED else OWN_PART + (1.0 - OWN_PART) / calls
    variance = np.log1p(tokens_cv * tokens_cv * of_run)
    z = scores(RUNS_SEEN)[stream(seed, name).permutation(RUNS_SEEN)]
    return np.asarray(np.exp(np.sqrt(variance) * z - 0.5 * variance))


def _levels(seed: int, name: str) -> Array:
    return np.asarray((stream(seed, name).permutation(RUNS_SEEN) + 0.5) / RUNS_SEEN)


def _success(plan: Plan, run: Array, values: Values) -> Percentiles | None:
    """None where a rate of 0 is within the range: what a success costs has no bound then."""
    if plan.success_rate.low < SUCCESS_MIN:
        return None
    return _percentiles(run / np.maximum(values["success_rate"], SUCCESS_MIN))


def _drivers(
    plan: Plan, cards: Cards, run: Array, values: Values, ranks: Mapping[str, NDArray[np.int64]], months: int
) -> tuple[Driver, ...]:
    """Each uncertain input at its P10 and its P90 while all others are likely, in one evaluation."""
    if not ranks:
        return ()
    found, around = inputs(plan), {name: np.asarray(value) for name, value in values_at(plan, "likely").items()}
    for place, name in enumerate(ranks):
        column = np.full(2 * len(ranks), found[name].likely)
        column[2 * place], column[2 * place + 1] = found[name].low, found[name].high
        around[name] = column
    usd = _mean_month(np.broadcast_to(spend(plan, cards, around).usd, (2 * len(ranks),)), around, months)
    outcome = np.argsort(np.argsort(_mean_month(run, values, months)))
    drivers = [
        Driver(name, float(usd[2 * place]), float(usd[2 * place + 1]), _rank_correlation(rank, outcome))
        for place, (name, rank) in enumerate(ranks.items())
    ]
    moving = [driver for driver in drivers if driver.swing_usd > 0]
    return tuple(sorted(moving, key=lambda driver: (-driver.swing_usd, driver.name)))


def _mean_month(run: Array, values: Values, months: int) -> Array:
    growth = values["growth"]
    volume: Array = np.zeros_like(growth)
    for _ in range(months):
        volume = 1.0 + growth * volume
    return np.asarray(run * values["runs_per_month"] * volume / months)


def _rank_correlation(left: NDArray[np.int64], right: NDArray[np.int64]) -> float:
    """Spearman's, of two permutations of 0..n-1."""
    count = len(left)
    if count < 2:
        return 0.0
    # Not np.dot, whose threads wait for each other where other processes have the cores.
    apart = np.square(left - right).sum()
    return float(1.0 - 6.0 * apart / (count * (count * count - 1.0)))


def _loop(step: Step, values: Values) -> Loop:
    mean, dispersion = float(values[f"{step.name}.calls"]), float(values[f"{step.name}.dispersion"])
    beyond = reached(mean, dispersion, step.calls_max + 1)
    return Loop(
        step=step.name,
        context_tokens=contexts(step, values),
        reached=tuple(float(share) for share in beyond[:-1]),
        calls_mean=float(beyond[:-1].sum()),
        calls_p50=_calls_within(beyond[:-1], 0.5),
        calls_p99=_calls_within(beyond[:-1], 0.01),
        cut_share=float(beyond[-1]),
        calls_max_advised=smallest_bound(mean, dispersion, CALLS_MAX),
    )


def _calls_within(shares: Array, left: float) -> int:
    """The smallest number of calls that at most the share `left` of runs exceed."""
    within = np.flatnonzero(shares <= left)
    return int(within[0]) if len(within) else len(shares)


def _percentiles(sample: Array) -> Percentiles:
    """Mean and percentiles; the k-th of n sorted values stands for the middle of the k-th stratum."""
    places = [min(max(level * len(sample) - 0.5, 0.0), len(sample) - 1.0) for level in LEVELS]
    ordered = np.partition(sample, sorted({int(place) for place in places} | {ceil(place) for place in places}))
    return Percentiles(float(np.mean(sample)), *(_between(ordered, place) for place in places))


def _between(ordered: Array, place: float) -> float:
    below, above = float(ordered[int(place)]), float(ordered[ceil(place)])
    return below + (above - below) * (place - int(place))
