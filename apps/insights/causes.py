"""Where an incident's change lies, and the runs that show it; looked for when it opens. Inside `tenant(org)`."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from apps.insights import cells_sql
from apps.insights.cells_sql import Asked
from apps.insights.incidents import ORGANIZATION, TEAM, WORKFLOW, estimate
from apps.insights.loading import Clock
from apps.insights.models import Incident
from apps.insights.rootcause import Cause, Leaves, search
from apps.organizations.models import Organization

DAY = timedelta(days=1)
# The day before the change is left out: it may hold its beginning.
BEFORE_DAYS = 14
DIMENSIONS = {
    WORKFLOW: ("model", "task_type", "environment", "service_tier", "api_key", "status"),
    TEAM: ("workflow", "model", "task_type", "environment", "api_key"),
    ORGANIZATION: ("team", "workflow", "model", "task_type", "environment", "api_key"),
}
CAUSES_SHOWN = 3
# Runs that show it are of the last week, however long ago it began.
RUNS_DAYS = 7
SAVED_AT_ONCE = 500
RATIO_APART = 1.2


def explain(org: Organization, incidents: Sequence[Incident], clock: Clock) -> None:
    """Fill in the likely causes and the most telling runs: all incidents of a kind of scope together, since what
    moves one workflow may have moved thousands.
    """
    for kind in {one.scope_kind for one in incidents}:
        of_kind = [one for one in incidents if one.scope_kind == kind]
        for incident, cells in zip(of_kind, _cells_of(org, kind, of_kind, clock), strict=True):
            incident.cause = {
                "cells": cells[:CAUSES_SHOWN],
                "factors": [
                    {"signal": one["signal"], "change": one["change"], "excess_usd": one["excess_usd"]}
                    for one in incident.signals
                ],
                "words": words_of_cell(cells[0]) if cells else "",
            }
        for signal in {one.signal for one in of_kind if not one.runs}:
            _show_runs(org, kind, signal, [one for one in of_kind if one.signal == signal and not one.runs], clock)
    Incident.objects.for_org(org).bulk_update(incidents, ["cause", "runs"], batch_size=SAVED_AT_ONCE)


def _since(incident: Incident, clock: Clock) -> datetime:
    return min(incident.since, clock.hour - DAY)


def _cells_of(
    org: Organization, kind: str, incidents: Sequence[Incident], clock: Clock
) -> Iterator[list[dict[str, Any]]]:
    """The cells of each, the best first."""
    asked = []
    for incident in incidents:
        began = max((day for day in clock.days if day <= _since(incident, clock)), default=clock.days[0])
        asked.append(Asked(incident.scope, max(clock.days[0], began - BEFORE_DAYS * DAY), began))
    now = (clock.hour - DAY, clock.hour)
    names = DIMENSIONS.get(kind, DIMENSIONS[ORGANIZATION])
    leaves = cells_sql.leaves(org.pk, kind, asked, names, now)
    of_users = cells_sql.user_leaves(org.pk, kind, asked, now)
    for one, rows, user_rows in zip(asked, leaves, of_users, strict=True):
        before = (one.since, one.until)
        found, users = _searched(names, rows, before), _searched(("user", "model"), user_rows, before)
        # Users are only in rollups of their own, in which other dimensions are not: each search is ranked by itself.
        cells = [*found, *(cell for cell in users if "user" in cell["cell"])]
        yield sorted(cells, key=lambda cell: -cell["score"])


def _show_runs(org: Organization, kind: str, signal: str, incidents: Sequence[Incident], clock: Clock) -> None:
    earliest = clock.hour - RUNS_DAYS * DAY
    asked = [Asked(one.scope, max(_since(one, clock), earliest), clock.hour) for one in incidents]
    for incident, runs in zip(incidents, cells_sql.telling_runs(org.pk, kind, asked, signal), strict=True):
        incident.runs = runs


def _searched(
    names: Sequence[str], rows: Sequence[tuple[Any, ...]], before: tuple[datetime, datetime]
) -> list[dict[str, Any]]:
    if not rows:
        return []
    days = max((before[1] - before[0]) / DAY, 1.0)
    count = len(names)
    values: list[list[str]] = [sorted({row[place] for row in rows}) for place in range(count)]
    places = [{value: code for code, value in enumerate(of)} for of in values]
    codes = np.array([[places[place][row[place]] for place in range(count)] for row in rows], dtype=np.int64)
    expected = np.array([max(row[count], 0.0) / days for row in rows])
    actual = np.array([max(row[count + 1], 0.0) for row in rows])
    causes = search(Leaves(tuple(names), codes, expected, actual))
    if causes.excess_usd <= 0:
        return []
    # A dimension with one value explains everything and says nothing; nor does a cell that moved as all others did.
    sums = float(expected.sum()), float(actual.sum())
    found = [one for one in causes.ranked if all(len(values[names.index(name)]) > 1 for name, _ in one.cell)]
    return [_cell(one, names, values) for one in found if _stands_out(one, *sums)]


def _stands_out(cause: Cause, expected: float, actual: float) -> bool:
    """Whether the cell changed by more than what lies outside of it."""
    if cause.ratio <= 1.0:
        return False
    inside = cause.excess_usd / (cause.ratio - 1.0)
    outside = expected - inside
    return outside <= 0.01 * expected or cause.ratio >= RATIO_APART * (actual - inside * cause.ratio) / outside


def _cell(cause: Cause, names: Sequence[str], values: list[list[str]]) -> dict[str, Any]:
    return {
        "cell": {name: values[names.index(name)][code] or None for name, code in cause.cell},
        "excess_usd": f"{estimate(cause.excess_usd):f}",
        "share": round(cause.share, 4),
        "ratio": round(min(cause.ratio, 1e6), 4),
        "score": round(cause.score, 4),
    }


def words_of_cell(cell: dict[str, Any]) -> str:
    """ "model anthropic/claude-opus-4-5, environment production: 83 % of it"; "all of it" from there on."""
    named = ", ".join(f"{name.replace('_', ' ')} {value or 'none'}" for name, value in cell["cell"].items())
    # A share beyond 1 is no mistake: what lies outside of the cell fell meanwhile.
    share = round(100 * cell["share"])
    return f"{named}: {f'{share} %' if share < 100 else 'all'} of it"
