"""What each meter of each model cost on a statement: `docs/chargeback.md`, "Cost by meter"."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

from apps.core.meters import METERS
from apps.core.money import RATE_PLACES, pico_from_usd, usd_from_pico, usd_text
from apps.organizations.models import Organization
from apps.pricing.contracts import Term
from apps.pricing.rating import RateBook
from apps.pricing.selectors import load_catalog, load_model_aliases
from apps.reports import statements_sql
from apps.reports.document import MeterCost
from apps.reports.meter_costs import UNMETERED, Card, Rates, split_cost

_ORDER = {meter: index for index, meter in enumerate((*METERS, UNMETERED))}

Key = tuple[str, str, str]


@dataclass(slots=True)
class _Sum:
    cost_pico: int = 0
    quantity: int = 0
    listed: set[int | None] = field(default_factory=set)


def costs_by_meter(
    org: Organization, month: date, terms: Sequence[Term], *, team: str | None
) -> dict[str | None, list[MeterCost]]:
    """Of each team with priced usage booked in the month, late usage too; the costs of a team add up to that usage.

    With `team`, of it alone ("": of none). Inside `tenant(org)`.
    """
    rates = Rates(RateBook(load_catalog(), terms, load_model_aliases(org)))
    sums: dict[str | None, dict[Key, _Sum]] = defaultdict(lambda: defaultdict(_Sum))
    for group in statements_sql.booked_by_day(org.pk, month, team=team):
        quantities = {meter: quantity for meter, quantity in zip(METERS, group.meters, strict=True) if quantity}
        cards = rates.cards(group.provider, group.model, group.service_tier, group.day)
        split = split_cost(pico_from_usd(group.cost_usd), quantities, cards)
        for meter in {**quantities, **split.costs}:
            found = sums[group.team][group.provider, group.model, meter]
            found.cost_pico += split.costs.get(meter, 0)
            found.quantity += quantities.get(meter, 0)
            found.listed.add(_listed(split.card, meter))
    return {owner: list(_rows(of_team)) for owner, of_team in sums.items()}


def _listed(card: Card | None, meter: str) -> int | None:
    return card.listed.get(meter) if card else None


def _rows(sums: dict[Key, _Sum]) -> Iterator[MeterCost]:
    for provider, model, meter in sorted(sums, key=lambda key: (key[0], key[1], _ORDER[key[2]])):
        found = sums[provider, model, meter]
        [*listed] = found.listed
        cost = usd_text(usd_from_pico(found.cost_pico))
        assert cost is not None
        yield MeterCost(
            provider=provider,
            model=model,
            meter=meter,
            quantity=found.quantity,
            cost_usd=cost,
            list_usd_per_million=_rate(listed[0]) if len(listed) == 1 else None,
        )


def _rate(micro: int | None) -> str | None:
    """A rate of micro-USD per million as USD, without idle zeros."""
    if micro is None:
        return None
    whole, part = divmod(micro, 10**RATE_PLACES)
    return f"{whole}.{part:0{RATE_PLACES}d}".rstrip("0").rstrip(".")
