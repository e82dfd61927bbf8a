"""Plans out of the runs that a workflow really made, and how far a plan has been held against them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.planner import fit as fits
from apps.planner import observed_sql
from apps.planner.definition import bounded
from apps.planner.kinds import Folded
from apps.planner.models import NOTE_LENGTH_MAX
from apps.planner.observed import ObservedRun, ObservedStep, SlopeSums
from apps.planner.observed_sql import RunRow, StepRow
from apps.planner.prices import PlanCard, card_of
from apps.planner.reckoning import Reckoned, rate_book, reckon
from apps.planner.results import amount
from apps.planner.shapes import Card, ModelChoice, Plan
from apps.pricing.rating import RateBook
from apps.teams.models import Workflow
from apps.teams.selectors import require_workflow
from apps.usage.selectors import in_time

DAYS, DAYS_MAX = 28, 60
# The latest of more runs; a workflow's cost drifts more than so many runs leave open.
RUNS_READ_MAX = 2_000
# What was billed for a model is told where it is so far from what the plan's price makes of the same tokens.
BILLED_APART = 0.02
NO_TASK_TYPE = "calls"
# Of unpriced models, what a sentence has room for.
NAMES_SHOWN, NAMED_MAX = 3, 60
_SAID = {"success": True, "failure": False}


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted plan at today's prices. `calibration` is what `Plan.calibration` keeps."""

    fit: fits.Fit
    reckoned: Reckoned
    calibration: dict[str, Any]


def fit_workflow(org: Organization, *, workflow: str, at: datetime, days: int = DAYS) -> Fitted:
    """The plan that a workflow's runs of the last days followed.

    Raises `DomainError`: `workflow_unknown`, `days_invalid`, `runs_missing` where it made none that name a run,
    `query_too_slow`.
    """
    if not 1 <= days <= DAYS_MAX:
        raise DomainError("days_invalid", f"days is {days}: write a number of days from 1 to {DAYS_MAX}.", param="days")
    with tenant(org):
        found = require_workflow(org, workflow)
        runs, since = in_time(
            "Reading the workflow's runs",
            lambda: observed_runs(org, found, start=at - timedelta(days=days), at=at),
            "look back on fewer days",
        )
    if not runs:
        raise DomainError(
            "runs_missing",
            f"{workflow} has no runs of the last {days} days that are over: its calls must say a run_id.",
            param="workflow",
        )
    return fitted(org, runs, at=at, since=since)


def fitted(
    org: Organization, runs: list[ObservedRun], *, at: datetime, since: datetime,
    earlier: Plan | None = None, supposed: Sequence[PlanCard] = (),
) -> Fitted:  # fmt: skip
    """The plan of these runs, drawn towards an earlier one where there is one, at the prices of `at` and those that
    somebody supposed.
    """
    book = rate_book(org)
    window = max(1, round((at - since) / timedelta(days=1)))
    cards = _cards(book, runs, at) | {card.model: card.card() for card in supposed}
    found = fits.fit(runs, cards=cards, earlier=earlier, window_days=window)
    plan = found.plan if earlier is None else _with_other(found.plan, earlier)
    reckoned = reckon(org, bounded(plan), at=at, supposed=supposed, book=book)
    return Fitted(found, reckoned, calibration_json(found, since, at))


def _with_other(plan: Plan, earlier: Plan) -> Plan:
    """The earlier plan's other cost where it is more than what was folded: no event shows it, and none denies it."""
    if earlier.other_cost_usd.likely <= plan.other_cost_usd.likely:
        return plan
    return replace(plan, other_cost_usd=earlier.other_cost_usd)


def observed_runs(
    org: Organization, workflow: Workflow, *, start: datetime, at: datetime
) -> tuple[list[ObservedRun], datetime]:
    """The latest runs since `start`, at most `RUNS_READ_MAX`, and the instant they were looked for from.

    Inside `tenant(org)`.
    """
    rows = observed_sql.runs_of(org.pk, workflow.pk, start, at, RUNS_READ_MAX)
    if not rows:
        return [], start
    oldest = rows[-1].first_at
    since = oldest if len(rows) == RUNS_READ_MAX else start
    steps = defaultdict(list)
    for step in observed_sql.steps_of(org.pk, [row.run_id for row in rows], oldest):
        steps[step.run_id].append(_step(step))
    clock = calendar(org)
    day_of = partial(_day, clock)
    return [_run(row, tuple(steps[row.run_id]), day_of(row.first_at)) for row in rows if row.run_id in steps], since


def _day(clock: Any, at: datetime) -> Any:
    return at.astimezone(clock.zone_at(at)).date()


def _run(row: RunRow, steps: tuple[ObservedStep, ...], day: Any) -> ObservedRun:
    return ObservedRun(
        run_id=row.run_id,
        day=day,
        steps=steps,
        # What one run started is no independent evidence.
        cluster=row.parent_run_id,
        succeeded=_SAID.get(row.outcome or ""),
    )


def _step(row: StepRow) -> ObservedStep:
    return ObservedStep(
        name=row.task_type or NO_TASK_TYPE,
        model=ModelChoice(row.provider, row.model),
        calls=row.calls,
        attempts=row.attempts,
        prompt_tokens=row.prompt_tokens,
        cache_read_tokens=row.cache_read_tokens,
        cache_write_5m_tokens=row.cache_write_5m_tokens,
        cache_write_1h_tokens=row.cache_write_1h_tokens,
        output_tokens=row.output_tokens,
        reasoning_tokens=row.reasoning_tokens,
        retrieved_tokens=row.retrieved_tokens,
        first_prompt_tokens=row.first_prompt_tokens,
        first_cached_tokens=row.first_cached_tokens,
        batch_calls=row.batch_calls,
        peak_tokens=row.peak_tokens,
        escalated_from=row.escalated_from,
        billed_usd=None if row.billed_usd is None else float(row.billed_usd),
        slope=SlopeSums(row.n, row.x, row.xx, row.y, row.xy),
    )


def _cards(book: RateBook, runs: list[ObservedRun], at: datetime) -> dict[ModelChoice, Card]:
    models = {step.model for run in runs for step in run.steps}
    cards = {model: card_of(book, model, at) for model in models}
    return {model: card.card() for model, card in cards.items() if card is not None}


def calibration_json(found: fits.Fit, since: datetime, at: datetime) -> dict[str, Any]:
    """How far the runs are enough, and what is missing until they are."""
    seen = found.evidence
    return {
        "status": found.status,
        "runs": seen.runs,
        "independent_runs": seen.clusters,
        "days": seen.days,
        "weekend_days": seen.weekend_days,
        "since": since.isoformat(),
        "at": at.isoformat(),
        "missing": missing_of(seen),
        "run_usd": None
        if found.observed_usd is None
        else {name: amount(getattr(found.observed_usd, name)) for name in ("mean", "p50", "p90")},
        "kinds": found.kinds,
        "folded": None if found.folded is None else _folded_json(found.folded),
        "unpriced": [f"{model.provider}/{model.model}" for model in found.unpriced],
        "billed": [
            {"provider": model.provider, "model": model.model, "factor": round(factor, 3)}
            for model, factor in sorted(found.price_factors.items())
            if model not in found.unpriced and abs(factor - 1) >= BILLED_APART
        ],
    }


def _folded_json(folded: Folded) -> dict[str, Any]:
    """Kinds of calls that became no step: in other cost as far as they have a price, and else named."""
    return {
        "kinds": folded.kinds,
        "run_usd": None if folded.run_usd is None else amount(folded.run_usd),
        "share": None if folded.share is None else round(folded.share, 4),
        "unpriced": [
            {"provider": model.provider, "model": model.model, "calls": calls}
            for model, calls in folded.unpriced.items()
        ],
    }


def folded_words(calibration: Mapping[str, Any]) -> str:
    """What a fit says of the calls that became no step; "" where all did."""
    folded = calibration.get("folded")
    if not folded:
        return ""
    says = f"{folded['kinds']} of {calibration['kinds']} kinds of calls became no step"
    if folded["run_usd"] is not None:
        says += f": they are in other cost, {folded['share']:.1%} of what a run costs"
    return f"{says}.{_unpriced_words(folded['unpriced'])}"


def note_of(*sentences: str) -> str:
    """What a version's note has room for."""
    words = " ".join(filter(None, sentences))
    plain = "".join(one if one.isprintable() else " " for one in words)
    return plain if len(plain) <= NOTE_LENGTH_MAX else f"{plain[: NOTE_LENGTH_MAX - 1]}…"


def billed_words(calibration: Mapping[str, Any]) -> str:
    """Where calls were billed otherwise than the plan's prices say; "" where they were not."""
    apart = [
        f"{one['provider']}/{one['model']}"[:NAMED_MAX] + f" {one['factor'] - 1:+.0%}"
        for one in calibration.get("billed", ())
    ]
    if not apart:
        return ""
    more = f" and {len(apart) - NAMES_SHOWN} more" if len(apart) > NAMES_SHOWN else ""
    return (
        f"Billed otherwise than these prices say: {', '.join(apart[:NAMES_SHOWN])}{more}. Long prompts, service tiers"
        " and prices that changed are in no plan."
    )


def _unpriced_words(unpriced: Sequence[Mapping[str, Any]]) -> str:
    if not unpriced:
        return ""
    calls = sum(one["calls"] for one in unpriced)
    named = ", ".join(f"{one['provider']}/{one['model']}"[:NAMED_MAX] for one in unpriced[:NAMES_SHOWN])
    more = f" and {len(unpriced) - NAMES_SHOWN} more" if len(unpriced) > NAMES_SHOWN else ""
    return f" In no figure, for want of a price: {calls:,} calls of {named}{more}. Price them, and fit again."


def missing_of(seen: fits.Evidence) -> list[str]:
    """What a plan needs until it is calibrated, in words."""
    wanted = (
        (fits.RUNS_CALIBRATED - seen.clusters, "more runs" if seen.clusters == seen.runs else "more independent runs"),
        (fits.DAYS_CALIBRATED - seen.days, "more days on which runs began"),
        (1 - seen.weekend_days, "day of a weekend"),
    )
    return [f"{count} {what}" for count, what in wanted if count > 0]
