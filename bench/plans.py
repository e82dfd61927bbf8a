"""How well plans predict: fitted on one half of recorded runs, held against the other half.

The traces have no dates in common, so "the first half" is the first half in the order of the file, by workflow, and
because one order is one sample, random halves as well. Forks of a conversation share calls and stay on one side.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from apps.planner.estimate import cost_per_run, draw
from apps.planner.fit import RUNS_CALIBRATED, RUNS_PROVISIONAL, Fit, fit
from apps.planner.moments import slope_weights
from apps.planner.shapes import ModelChoice, Plan, Range
from apps.planner.templates import TEMPLATES
from bench.plan_runs import (
    DATA,
    LARGE_CARD,
    TraceRun,
    agent_runs,
    at_factors,
    by_kind,
    cards_of,
    cost_usd,
    levels,
)

# Fewer runs in a half are no evidence of anything.
HALF_MIN = 10
RANDOM_HALVES = 30
DRAWS = 2_000
BOUNDS = (10, 20, 40, 80)
SEED = 7
CLASSES = {1: "one loop", 3: "three classes"}

Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Forecast:
    """One half predicted from the other: from `fitted` runs in `clusters`, held against `tested` runs; USD a run."""

    workflow: str
    fitted: int
    clusters: int
    tested: int
    predicted_usd: float
    low_usd: float
    high_usd: float
    actual_usd: float
    mean_usd: float

    @property
    def error(self) -> float:
        return self.predicted_usd / self.actual_usd - 1

    @property
    def plain_error(self) -> float:
        """Of the first half's mean cost, which no plan that knows nothing more can beat."""
        return self.mean_usd / self.actual_usd - 1

    @property
    def is_covered(self) -> bool:
        return self.low_usd <= self.actual_usd <= self.high_usd

    @property
    def status(self) -> str:
        """By the numbers of runs alone: the traces have no days."""
        if self.clusters >= RUNS_CALIBRATED:
            return "calibrated"
        return "provisional" if self.fitted >= RUNS_PROVISIONAL else "planned"


def measure() -> Iterator[Line]:
    if not (DATA / "agent_calls.csv.gz").exists():
        yield {
            "name": "plans",
            "value": None,
            "unit": "",
            "detail": f"skipped: no traces in {DATA.name} beside the project",
        }
        return
    agents = agent_runs()
    by_level = {"kinds of agent": by_kind(agents), **levels()}
    everything: list[Forecast] = []
    in_order: list[Forecast] = []
    for level, runs in by_level.items():
        found = list(predictions(runs, halves=RANDOM_HALVES))
        everything += [forecast for _, some in found for forecast in some]
        in_order += [forecast for forecast, _ in found]
        yield from _level(level, found)
    yield {
        "name": "plans_in_order",
        "value": errors(in_order)["median_error"],
        "unit": "% median error, first half to second in order, all workflows",
        "detail": {"workflows": len(in_order), **errors(in_order)},
    }
    yield from _by_status(everything)
    yield from replays(agents)
    yield from bounds([*by_kind(agents), *agents])
    yield from from_templates(agents)
    plain = ("kinds of agent", "agents", "turns", "chat", "single calls")
    yield from templates({name: by_level[name] for name in plain})
    yield from lognormal_bias(by_level)


# --- predictions ------------------------------------------------------------------------------------------


def workflows(runs: Sequence[TraceRun]) -> Mapping[str, list[TraceRun]]:
    found: dict[str, list[TraceRun]] = defaultdict(list)
    for one in runs:
        found[one.workflow].append(one)
    return {name: some for name, some in sorted(found.items()) if len(some) >= 2 * HALF_MIN}


def predictions(runs: Sequence[TraceRun], *, halves: int) -> Iterator[tuple[Forecast, list[Forecast]]]:
    """By workflow: the second half in order from the first, and the same for random halves."""
    for name, some in workflows(runs).items():
        ordered = predict(name, *split(some, list(dict.fromkeys(one.group for one in some))))
        yield ordered, [predict(name, first, second) for first, second in random_halves(some, halves)]


def random_halves(runs: Sequence[TraceRun], count: int) -> Iterator[tuple[list[TraceRun], list[TraceRun]]]:
    random = np.random.default_rng(SEED)
    for _ in range(count):
        groups = sorted({one.group for one in runs})
        random.shuffle(groups)
        yield split(runs, groups)


def split(runs: Sequence[TraceRun], groups: Sequence[str]) -> tuple[list[TraceRun], list[TraceRun]]:
    """The runs of the first groups, until they are half of all, and the others."""
    sizes: dict[str, int] = defaultdict(int)
    for one in runs:
        sizes[one.group] += 1
    taken: set[str] = set()
    count = 0
    for group in groups:
        if count >= len(runs) / 2:
            break
        taken.add(group)
        count += sizes[group]
    return [one for one in runs if one.group in taken], [one for one in runs if one.group not in taken]


def predict(
    name: str, first: Sequence[TraceRun], second: Sequence[TraceRun], *, earlier: Plan | None = None
) -> Forecast:
    cards = cards_of(first)
    fitted = fit([one.run for one in first], cards=cards, next_runs=len(second), earlier=earlier)
    cards = at_factors(cards, fitted.price_factors)
    run = draw(fitted.plan, cards, seed=SEED, draws=DRAWS, months=1).run
    return Forecast(
        workflow=name,
        fitted=len(first),
        clusters=fitted.evidence.clusters,
        tested=len(second),
        predicted_usd=cost_per_run(fitted.plan, cards).usd,
        low_usd=run.p10,
        high_usd=run.p90,
        actual_usd=mean_usd(second),
        mean_usd=mean_usd(first),
    )


def mean_usd(runs: Sequence[TraceRun]) -> float:
    return sum(one.cost_usd for one in runs) / len(runs)


def errors(forecasts: Sequence[Forecast]) -> Line:
    """Median and P90 of absolute errors, and how often the interval held; in percent."""
    found = np.abs([forecast.error for forecast in forecasts])
    plain = np.abs([forecast.plain_error for forecast in forecasts])
    return {
        "median_error": percent(float(np.median(found))),
        "p90_error": percent(float(np.quantile(found, 0.9))),
        "covered": percent(sum(forecast.is_covered for forecast in forecasts) / len(forecasts)),
        "median_error_of_plain_mean": percent(float(np.median(plain))),
        "p90_error_of_plain_mean": percent(float(np.quantile(plain, 0.9))),
    }


def percent(share: float) -> float:
    return round(100 * share, 1)


def _level(level: str, found: Sequence[tuple[Forecast, list[Forecast]]]) -> Iterator[Line]:
    ordered = [forecast for forecast, _ in found]
    yield {
        "name": f"plans_{level.replace(' ', '_')}",
        "value": errors(ordered)["median_error"],
        "unit": "% median error, first half to second in order",
        "detail": {**errors(ordered), "random_halves": errors([f for _, some in found for f in some])},
    }
    for forecast, shuffled in found:
        yield {
            "name": f"plans_{level.replace(' ', '_')}: {forecast.workflow}",
            "value": percent(forecast.error),
            "unit": "% error, first half to second in order",
            "detail": {
                "fitted": forecast.fitted, "clusters": forecast.clusters, "tested": forecast.tested,
                "status": forecast.status,
                "predicted_usd": _usd(forecast.predicted_usd), "p10_usd": _usd(forecast.low_usd),
                "p90_usd": _usd(forecast.high_usd), "actual_usd": _usd(forecast.actual_usd),
                "covered": forecast.is_covered, "random_halves": errors(shuffled),
            },
        }  # fmt: skip


def _usd(value: float) -> float:
    return float(f"{value:.3g}")


def _by_status(forecasts: Sequence[Forecast]) -> Iterator[Line]:
    """Random halves by what the number of runs would let a plan be called; and all from 200 runs on."""
    kinds: Mapping[str, Callable[[Forecast], bool]] = {
        "planned": lambda one: one.status == "planned",
        "provisional": lambda one: one.status == "provisional",
        "calibrated": lambda one: one.status == "calibrated",
        "of_200_runs": lambda one: one.fitted >= RUNS_CALIBRATED,
    }
    for kind, belongs in kinds.items():
        if some := [forecast for forecast in forecasts if belongs(forecast)]:
            yield {
                "name": f"plans_{kind}",
                "value": errors(some)["median_error"],
                "unit": "% median error, random halves",
                "detail": {"workflows": len({one.workflow for one in some}), "halves": len(some), **errors(some)},
            }


# --- closed form against replay ---------------------------------------------------------------------------


def replays(runs: Sequence[TraceRun]) -> Iterator[Line]:
    """The closed form on fitted inputs against the runs themselves, call by call."""
    for name, some in workflows(runs).items():
        cards, actual = cards_of(some), mean_usd(some)
        fitted = fit([one.run for one in some], cards=cards)
        cards = at_factors(cards, fitted.price_factors)
        one_by_one = cost_per_run(by_the_book(some, fitted), cards).usd
        yield {
            "name": f"plans_replay: {name}",
            "value": percent(cost_per_run(fitted.plan, cards).usd / actual - 1),
            "unit": "% beyond replay",
            "detail": {
                "runs": len(some),
                "replay_usd": _usd(actual),
                "inputs_one_by_one": percent(one_by_one / actual - 1),
            },
        }


def by_the_book(runs: Sequence[TraceRun], fitted: Fit) -> Plan:
    """The same plan with each input fitted for itself: slope and intercept of the runs, reuse by the gaps' share."""
    steps = []
    for step in fitted.plan.steps:
        seen = [[call for model, call in one.calls if model == step.model] for one in runs]
        prompts = [np.array([call.prompt_tokens for call in some], dtype=float) for some in seen if some]
        numbers = [np.arange(len(some), dtype=float) for some in prompts]
        sxx = np.array([((x - x.mean()) ** 2).sum() for x in numbers])
        sxy = np.array([((x - x.mean()) * y).sum() for x, y in zip(numbers, prompts, strict=True)])
        weights = slope_weights(sxx, sxy)
        slope = float((weights * sxy).sum() / (weights * sxx).sum()) if sxx.sum() else 0.0
        base = float(np.concatenate(prompts).mean() - slope * np.concatenate(numbers).mean())
        gaps = np.array([gap for one in runs for gap in one.gaps_s])
        prefix = min(step.prefix_tokens.likely, base)
        steps.append(
            replace(
                step,
                prefix_tokens=Range.exact(prefix),
                input_tokens=Range.exact(max(0.0, base - prefix)),
                tool_result_tokens=Range.exact(max(0.0, slope - step.output_tokens.likely)),
                reuse_rate=Range.exact(float((gaps <= 300).mean()) if len(gaps) else 1.0),
            )
        )
    return replace(fitted.plan, steps=tuple(steps))


def bounds(runs: Sequence[TraceRun]) -> Iterator[Line]:
    """What a bound on calls would have left of the cost, by the plan and by the runs cut there."""
    for name, some in workflows(runs).items():
        cards = cards_of(some)
        fits = {classes: fit([one.run for one in some], cards=cards, classes=classes) for classes in CLASSES}
        detail = {}
        for bound in BOUNDS:
            left = sum(cut_usd(one, bound) for one in some) / len(some)
            detail[str(bound)] = {
                CLASSES[classes]: percent(
                    cost_per_run(bounded(found.plan, bound), at_factors(cards, found.price_factors)).usd / left - 1
                )
                for classes, found in fits.items()
            }
        yield {"name": f"plans_bound: {name}", "value": None, "unit": "% beyond replay by bound", "detail": detail}


def bounded(plan: Plan, calls: int) -> Plan:
    return replace(plan, steps=tuple(replace(step, calls_max=min(calls, step.calls_max)) for step in plan.steps))


def cut_usd(one: TraceRun, calls: int) -> float:
    """What its first calls cost; a model of its own counts its own calls, as a plan's step does."""
    count: dict[ModelChoice, int] = defaultdict(int)
    total = 0.0
    for model, call in one.calls:
        count[model] += 1
        if count[model] <= calls:
            total += cost_usd(model, call)
    return total


# --- templates --------------------------------------------------------------------------------------------


def templates(by_level: Mapping[str, Sequence[TraceRun]]) -> Iterator[Line]:
    """A template as it stands, on the workflow's model, against what runs cost; nobody filled anything in."""
    for level, some in by_level.items():
        for name, runs in workflows(some).items():
            title = template_of(name)
            cards, actual = cards_of(runs), mean_usd(runs)
            run = draw(on_model(TEMPLATES[title].plan, runs), cards, seed=SEED, draws=DRAWS, months=1).run
            yield {
                "name": f"plans_template: {level}: {name}",
                "value": round(run.p50 / actual, 2),
                "unit": "template / actual",
                "detail": {
                    "template": title, "p10_usd": _usd(run.p10), "p50_usd": _usd(run.p50), "p90_usd": _usd(run.p90),
                    "actual_usd": _usd(actual), "covered": run.p10 <= actual <= run.p90,
                },
            }  # fmt: skip


def template_of(workflow: str) -> str:
    if workflow.startswith("Explore"):
        return "research"
    return "chat" if workflow in {"mooncake chat", "azure conv", "azure code"} else "coding"


def on_model(plan: Plan, runs: Sequence[TraceRun]) -> Plan:
    """The plan on the model that makes most of the runs' calls."""
    model = Counter(model for one in runs for model, _ in one.calls).most_common(1)[0][0]
    bare = replace(plan.steps[0], model=model, routing="none", escalates_to=None)
    return replace(plan, steps=(bare,))


def from_templates(runs: Sequence[TraceRun]) -> Iterator[Line]:
    """The same halves, fitted plans drawn towards the template that they would have been planned by."""
    found: list[Forecast] = []
    for name, some in workflows(runs).items():
        earlier = on_model(TEMPLATES[template_of(name)].plan, some)
        found += [predict(name, *halves, earlier=earlier) for halves in random_halves(some, RANDOM_HALVES)]
    figures = errors(found)
    yield {
        "name": "plans_agents_from_templates",
        "value": figures["median_error"],
        "unit": "% median error, random halves",
        "detail": figures,
    }


# --- what a log fit does ----------------------------------------------------------------------------------


def lognormal_bias(by_level: Mapping[str, Sequence[TraceRun]]) -> Iterator[Line]:
    """Cost per call: its spread, how many independent calls give its mean to 10 %, what a log fit makes of the mean."""
    for name, costs in _call_costs(by_level).items():
        cv = float(costs.std() / costs.mean())
        logs = np.log(costs)
        blocks = [costs[i : i + 1000].mean() for i in range(0, len(costs) - 999, 1000)]
        steps = np.abs(np.diff(blocks)) / blocks[:-1] if len(blocks) > 1 else np.array([math.nan])
        yield {
            "name": f"plans_log_fit: {name}",
            "value": percent(float(np.exp(logs.mean() + logs.var() / 2) / costs.mean()) - 1),
            "unit": "% beyond the mean",
            "detail": {
                "calls": len(costs), "cv": round(cv, 2), "calls_for_10_percent": math.ceil((1.96 * cv / 0.1) ** 2),
                "median_change_of_blocks_of_1000": percent(float(np.median(steps))),
            },
        }  # fmt: skip


def _call_costs(by_level: Mapping[str, Sequence[TraceRun]]) -> Mapping[str, np.ndarray]:
    found: dict[str, list[float]] = defaultdict(list)
    for level in ("single calls", "chat", "agents", "pair programming"):
        for one in by_level[level]:
            name = one.workflow if level != "agents" else "claude code"
            found[name] += [
                c.prompt_tokens * LARGE_CARD.input + c.output_tokens * LARGE_CARD.output for _, c in one.calls
            ]
    return {name: np.array(costs) for name, costs in found.items()}
