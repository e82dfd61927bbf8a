"""What nobody knows the price of: by model, how much of it there is, since when, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from apps.core.meters import METERS
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.pricing.provenance import Unpriced, why_unpriced
from apps.pricing.rating import RateBook
from apps.pricing.selectors import load_rate_book
from apps.reports.selectors import Spend, SpendQuestion, spend


@dataclass(frozen=True, slots=True)
class UnpricedModel:
    """The unpriced calls of one model over a range.

    `first_day` and `last_day` begin the days it was seen on, None where there are too many rows to tell. `reason` is
    what stands in the way today.
    """

    provider: str
    model: str
    events: int
    meters: Mapping[str, int]
    first_day: datetime | None
    last_day: datetime | None
    reason: Unpriced


def unpriced_models(
    org: Organization, *, start: datetime, end: datetime, filters: Mapping[str, str] | None = None
) -> list[UnpricedModel]:
    """Most events first. Raises what `spend` raises."""
    question = SpendQuestion(
        start=start, end=end, group_by=("provider", "model"), filters={**(filters or {}), "priced": "false"}
    )
    by_day = spend(org, replace(question, granularity="day"))
    answer = by_day if by_day.following is None else spend(org, question)
    with tenant(org):
        book = load_rate_book(org)
    found = [_model(book, key, answer, end) for key in _keys(answer)]
    return sorted((model for model in found if model.events), key=lambda model: (-model.events, model.model))


def _keys(answer: Spend) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row.groups[0] or "", row.groups[1] or "") for row in answer.rows))


def _model(book: RateBook, key: tuple[str, str], answer: Spend, end: datetime) -> UnpricedModel:
    rows = [row for row in answer.rows if (row.groups[0] or "", row.groups[1] or "") == key]
    days = sorted(row.bucket for row in rows if row.bucket is not None and row.sums.events)
    sums = {meter: sum(row.sums.meters.get(meter, 0) for row in rows) for meter in METERS}
    provider, model = key
    return UnpricedModel(
        provider=provider,
        model=model,
        events=sum(row.sums.events for row in rows),
        meters={meter: quantity for meter, quantity in sums.items() if quantity},
        first_day=days[0] if days else None,
        last_day=days[-1] if days else None,
        reason=why_unpriced(
            book, provider, model, "", "", days[-1] if days else end, [sums[meter] for meter in METERS]
        ),
    )
