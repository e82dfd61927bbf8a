"""From rows to what recommendations are reckoned from: facts of every workflow, and the prices around them.

Inside `tenant(org)`. Nothing is written.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from apps.core.periods import local_start
from apps.core.tenancy import limit_time
from apps.insights import facts_sql
from apps.insights.facts_sql import KEY, RunRow
from apps.insights.levers_of_runs import bound_of
from apps.insights.savings_facts import Cell, Escalated, Prices, Runs, WorkflowFacts
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.planner.prices import card_of, cheaper_first, smaller_of
from apps.planner.shapes import ModelChoice
from apps.pricing.selectors import load_rate_book

WINDOW_DAYS = 28
EVENTS_MAX = 2_000_000
READING_TIMEOUT_MS = 120_000
PEERS_MIN = 3
_SUMMED = tuple(name for name in Cell.__dataclass_fields__ if name in facts_sql.CALLS and name != "output_p90")


def read_facts(org: Organization, at: datetime) -> dict[int, WorkflowFacts]:
    """What each workflow did in the last `WINDOW_DAYS` whole days, or in the newest that `EVENTS_MAX` events fill."""
    limit_time(READING_TIMEOUT_MS)
    clock = calendar(org)
    end = clock.day(at)
    zone = clock.zone_at(at)
    start = local_start(zone, (end.astimezone(zone) - timedelta(days=WINDOW_DAYS)).date())
    days = facts_sql.days_of(org.pk, start, end, events_max=EVENTS_MAX)
    if not days:
        return {}
    # A day without calls is a day too, but those before the first call are not known to be any.
    start = days[0]
    seen_days = max(1.0, round((end - start) / timedelta(days=1)))
    return _facts(org, start, end, seen_days)


def _facts(org: Organization, start: datetime, end: datetime, days: float) -> dict[int, WorkflowFacts]:
    cells: dict[int, list[Cell]] = defaultdict(list)
    rows = facts_sql.calls(org.pk, start, end)
    repeated = {_key(row): row for row in facts_sql.repeats(org.pk, start, end)}
    for row in rows:
        again = repeated.get(_key(row))
        cells[row["workflow_id"]].append(_cell(row, again))
    escalated: dict[int, list[Escalated]] = defaultdict(list)
    for row in facts_sql.escalations(org.pk, start, end):
        escalated[row["workflow_id"]].append(_escalated(row))
    runs = _runs(org.pk, facts_sql.runs(org.pk, start, end), start)
    tools, retrieved = _mean_by_workflow(rows, "tool"), _mean_by_workflow(rows, "retrieved")
    return {
        workflow_id: WorkflowFacts(
            workflow=str(workflow_id),
            days=days,
            cells=tuple(own),
            runs=runs.get(workflow_id, Runs.none()),
            escalated=tuple(escalated[workflow_id]),
            tool_tokens=tools.get(workflow_id),
            retrieved_tokens=retrieved.get(workflow_id),
            peers_tool_tokens=_third_quartile(tools, workflow_id),
            peers_retrieved_tokens=_third_quartile(retrieved, workflow_id),
        )
        for workflow_id, own in cells.items()
    }


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


def _cell(row: Mapping[str, Any], again: Mapping[str, Any] | None) -> Cell:
    told: dict[str, Any] = {name: (int if name in _COUNTS else float)(row[name]) for name in _SUMMED}
    return Cell(
        provider=row["provider"],
        model=row["model"],
        task_type=row["task_type"] or None,
        service_tier=row["service_tier"],
        **told,
        output_p90=None if row["output_p90"] is None else float(row["output_p90"]),
        repeats=int(again["repeats"]) if again else 0,
        repeats_usd=float(again["repeats_usd"]) if again else 0.0,
    )


_COUNTS = ("calls", "unpriced", "cut", "late_retries", "by_people")


def _escalated(row: Mapping[str, Any]) -> Escalated:
    return Escalated(
        from_model=row["escalated_from"],
        provider=row["provider"],
        model=row["model"],
        task_type=row["task_type"] or None,
        service_tier=row["service_tier"],
        calls=row["calls"],
        usd=float(row["usd"]),
    )


def _mean_by_workflow(rows: Iterable[Mapping[str, Any]], what: str) -> dict[int, float]:
    counted: dict[int, int] = defaultdict(int)
    tokens: dict[int, float] = defaultdict(float)
    for row in rows:
        counted[row["workflow_id"]] += row[f"{what}_calls"]
        tokens[row["workflow_id"]] += float(row[f"{what}_tokens"])
    return {workflow: tokens[workflow] / count for workflow, count in counted.items() if count}


def _third_quartile(means: Mapping[int, float], of: int) -> float | None:
    """Of the other workflows; None where they are too few to be peers."""
    others = [mean for workflow, mean in means.items() if workflow != of]
    return float(np.quantile(others, 0.75)) if len(others) >= PEERS_MIN else None


# --- runs -----------------------------------------------------------------------------------------------


def _runs(org_id: int, rows: Sequence[RunRow], since: datetime) -> dict[int, Runs]:
    by_workflow: dict[int, list[RunRow]] = defaultdict(list)
    for row in rows:
        by_workflow[row.workflow_id].append(row)
    seen = {workflow: _sample(own) for workflow, own in by_workflow.items()}
    # At most one run in twenty lies beyond the bound of its workflow.
    long = [
        (run_id, sample.bound)
        for sample in seen.values()
        for run_id, count in zip(sample.ids, sample.calls, strict=True)
        if count > sample.bound
    ]
    spent = facts_sql.spent_beyond(org_id, [run for run, _ in long], [bound for _, bound in long], since)
    return {
        workflow: replace(sample, beyond=np.array([float(spent.get(run_id, 0)) for run_id in sample.ids]))
        for workflow, sample in seen.items()
    }


def _sample(rows: Sequence[RunRow]) -> Runs:
    outcomes = {"success": 1.0, "failure": 0.0}
    calls = np.array([float(row.calls) for row in rows])
    return Runs(
        counted=rows[0].counted,
        calls=calls,
        steps=np.array([float(row.steps) for row in rows]),
        usd=np.array([float(row.usd) for row in rows]),
        outcome=np.array([outcomes.get(row.outcome or "", np.nan) for row in rows]),
        prompt=np.array([float(row.prompt) for row in rows]),
        slope=np.array([row.slope or 0.0 for row in rows]),
        failed=np.array([float(row.failed) for row in rows]),
        bound=bound_of(calls),
        ids=tuple(row.run_id for row in rows),
    )


# --- prices ---------------------------------------------------------------------------------------------


def read_prices(org: Organization, facts: Iterable[WorkflowFacts], at: datetime) -> Prices:
    """A card for every model in use and for what could take its place, by the organization's own rate book.

    Elsewhere is only where the organization buys already: a new provider is more than a price.
    """
    book = load_rate_book(org)
    used = sorted({cell.choice for one in facts for cell in one.cells if cell.calls})
    providers = sorted({choice.provider for choice in used})
    elsewhere = {
        choice: tuple(ModelChoice(other, choice.model) for other in providers if other != choice.provider)
        for choice in used
    }
    wanted = {*used, *smaller_of(used), *(other for others in elsewhere.values() for other in others)}
    known = {choice: card_of(book, choice, at) for choice in wanted}
    cards = {choice: card.card() for choice, card in known.items() if card is not None}
    return Prices(cards, elsewhere, cheaper_first(used, cards))
