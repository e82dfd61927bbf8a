"""Recommendations and the ledger as they are read. Inside `tenant(org)`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Q

from apps.core.errors import NotFound
from apps.core.periods import Calendar
from apps.core.tenancy import HasPk
from apps.insights.models_savings import Adoption, Recommendation, SavingsRound
from apps.insights.recommendations import Effect, Portfolio, Standing, together
from apps.usage.shared import uses_of

PAGE_MAX = 200
# What is reckoned together: the largest ones.
TOGETHER_MAX = 200
# Of the ledger's totals: the newest adoptions.
LEDGER_MAX = 1_000
# Longer than what recommendations are made of, and what is measured of those that were followed.
SHARED_DAYS = 90
State = Recommendation.State
_SIX = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Part:
    """What of the organization somebody may see; None: all of it. `without`: workflows that others use too."""

    teams: Sequence[str] | None = None
    project: str | None = None
    without: Collection[str] = ()

    def within(self) -> Q:
        found = Q() if self.teams is None else Q(team__in=list(self.teams))
        found = found if self.project is None else found & Q(project=self.project)
        return found & ~Q(workflow__in=list(self.without)) if self.without else found


EVERYTHING = Part()


def own_part(org: HasPk, clock: Calendar, part: Part, at: datetime) -> Part:
    """The part without workflows that others used in the last `SHARED_DAYS`, in calls or in runs: what is reckoned of
    a workflow is of all its calls, and of those of others nobody else is told.
    """
    asked = {"team": part.teams, "project": None if part.project is None else [part.project]}
    of_it = {name: values for name, values in asked.items() if values is not None}
    if not of_it:
        return part
    names = {
        name
        for rows in (Recommendation.objects.for_org(org), Adoption.objects.for_org(org))
        for name in rows.filter(part.within()).values_list("workflow", flat=True).distinct()
    }
    since = at - timedelta(days=SHARED_DAYS)
    uses = uses_of(org, clock, sorted(names), of_it, since, at) if names else {}
    return replace(part, without=tuple(name for name in sorted(names) if uses[name].is_shared))


def find_recommendations(
    org: HasPk,
    *,
    part: Part = EVERYTHING,
    state: str | None = None,
    workflow: str | None = None,
    kind: str | None = None,
    team: str | None = None,
    vanished: bool | None = None,
    after: tuple[Decimal, int] | None = None,
    limit: int,
) -> list[Recommendation]:
    """The largest headline first, after a headline and an id. Index: insights_rec_largest."""
    wanted: dict[str, Any] = {"state": state, "workflow": workflow, "kind": kind, "team": team}
    rows = Recommendation.objects.for_org(org).filter(part.within())
    rows = rows.filter(**{name: value for name, value in wanted.items() if value is not None})
    if vanished is not None:
        rows = rows.filter(vanished_at__isnull=not vanished)
    if after is not None:
        usd, pk = after
        rows = rows.filter(Q(headline_usd__lt=usd) | Q(headline_usd=usd, id__lt=pk))
    return list(rows.order_by("-headline_usd", "-id")[:limit])


def recommendation_of(org: HasPk, recommendation_id: int, part: Part = EVERYTHING) -> Recommendation:
    """Raises `NotFound`."""
    rows = Recommendation.objects.for_org(org).filter(part.within())
    row = rows.filter(pk=recommendation_id).first() if recommendation_id < 2**63 else None
    if row is None:
        raise NotFound("recommendation")
    return row


def joint(org: HasPk, state: str, part: Part = EVERYTHING) -> Portfolio:
    """What the recommendations of a state that still stand would save together; the `TOGETHER_MAX` largest count."""
    rows = find_recommendations(org, part=part, state=state, vanished=False, limit=TOGETHER_MAX)
    return together([standing_of(row) for row in rows], seed=org.pk)


def standing_of(row: Recommendation) -> Standing:
    cells = [
        Effect(
            cell["cell"],
            cell["prompt_usd"],
            cell["answer_usd"],
            _triple(cell["prompt_kept"]),
            _triple(cell["answer_kept"]),
        )
        for cell in row.effects.get("cells", ())
    ]
    extra = _triple(row.effects.get("extra_usd", (0.0, 0.0, 0.0)))
    return Standing(row.pk, row.kind, str(row.workflow_id), float(row.saving_likely_usd), cells, extra)


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    low, likely, high = values
    return low, likely, high


def last_round(org: HasPk) -> tuple[datetime | None, int]:
    """When workflows were last looked through, and how many days of them."""
    row = SavingsRound.objects.for_org(org).first()
    return (None, 0) if row is None else (row.found_at, row.days)


# --- the ledger -----------------------------------------------------------------------------------------


def find_adoptions(
    org: HasPk, *, part: Part = EVERYTHING, after: tuple[datetime, int] | None = None, limit: int
) -> list[Adoption]:
    """Newest first, what was taken back left out. Index: insights_adoption_newest."""
    rows = Adoption.objects.for_org(org).filter(part.within(), withdrawn_at=None)
    if after is not None:
        at, pk = after
        rows = rows.filter(Q(adopted_at__lt=at) | Q(adopted_at=at, id__lt=pk))
    return list(rows.order_by("-adopted_at", "-id")[:limit])


def adoption_of(org: HasPk, row: Recommendation) -> Adoption | None:
    """The newest that counts."""
    rows = Adoption.objects.for_org(org).filter(recommendation=row, withdrawn_at=None)
    return rows.order_by("-adopted_at", "-id").first()


@dataclass(frozen=True, slots=True)
class LedgerTotals:
    """Of the newest `LEDGER_MAX` adoptions. `predicted_usd` and `realized_usd` sum P50s and what came of them, a month,
    over those that were measured. `at_volume_usd` is what would have been predicted of the work that there then was:
    `ratio` is realized over that, and `coverage` the share that came to lie in its P10 to P90, both None before the
    first. `untold` are those of which nothing can be told.
    """

    adopted: int
    measured: int
    untold: int
    predicted_usd: Decimal
    at_volume_usd: Decimal
    realized_usd: Decimal
    ratio: Decimal | None
    coverage: Decimal | None


def ledger_totals(rows: Sequence[Adoption]) -> LedgerTotals:
    told = [row for row in rows if row.realized_usd is not None]
    at_volume = sum((row.predicted_likely_usd * measurement_of(row).volume for row in told), Decimal(0))
    saved = sum((row.realized_usd for row in told if row.realized_usd is not None), Decimal(0))
    inside = sum(is_inside(row) for row in told)
    return LedgerTotals(
        adopted=len(rows),
        measured=len(told),
        untold=sum(bool(row.why) and row.realized_usd is None for row in rows),
        predicted_usd=sum((row.predicted_likely_usd for row in told), Decimal(0)),
        at_volume_usd=at_volume.quantize(_SIX),
        realized_usd=saved,
        ratio=round(saved / at_volume, 4) if at_volume > 0 else None,
        coverage=round(Decimal(inside) / len(told), 4) if told else None,
    )


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the last measurement that told anything rests on: how many times the work of before there was, and how many
    other changes to the workflow it was shared with.
    """

    volume: Decimal = Decimal(1)
    shared_with: int = 0


def measurement_of(row: Adoption) -> Measurement:
    told = [found for _, found in sorted(row.measurements.items(), key=lambda one: int(one[0])) if "volume" in found]
    if not told:
        return Measurement()
    return Measurement(Decimal(repr(told[-1]["volume"])).quantize(_SIX), told[-1]["shared_with"])


def is_inside(row: Adoption) -> bool:
    """Whether what was realized lies in the interval that was predicted, at the work that there was since."""
    volume = measurement_of(row).volume
    low, high = row.predicted_low_usd * volume, row.predicted_high_usd * volume
    return row.realized_usd is not None and low <= row.realized_usd <= high
