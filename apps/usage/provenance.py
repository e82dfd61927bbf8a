"""Why an event costs what it costs: everything between what was sent and the last decimal."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from apps.core.errors import NotFound
from apps.core.meters import METERS
from apps.core.money import EXACT, usd_from_pico
from apps.core.tenancy import HasPk
from apps.pricing.catalog import Catalog
from apps.pricing.contracts import Term
from apps.pricing.cost import CostLine, Price, cost_pico, explain
from apps.pricing.models import Price as PriceRow
from apps.pricing.names import canonical_provider
from apps.pricing.provenance import Unpriced, rebuilt, why_unpriced
from apps.pricing.rating import RateBook
from apps.pricing.rules import FIRST_RULES, RULE_SETS
from apps.pricing.selectors import load_catalog, load_model_aliases, load_terms, price_of
from apps.usage.deltas import MEASURES
from apps.usage.models import Event, Posting
from apps.usage.postings import Current, current, history_of
from apps.usage.selectors import event_by_id, postings_of

_COST, _UNPRICED = MEASURES.index("cost_usd"), MEASURES.index("unpriced_events")
_QUANTITIES = slice(1, 1 + len(METERS))


@dataclass(frozen=True, slots=True)
class Working:
    """How one cost came about. `adds_up` is false where the lines are not what is stored: then the stored cost counts.

    `row` is the catalog's, `term` the contract's; `price` has both in it. `over_prompt_tokens` is the threshold that
    the prompt exceeded, 0 for none.
    """

    cost_usd: Decimal | None
    row: PriceRow | None
    term: Term | None
    price: Price | None
    rule_set: int
    tier_assumed: bool
    over_prompt_tokens: int
    lines: Sequence[CostLine]
    adds_up: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """An event, what became of it since, and the working of its cost: as it was stored, and as it is now.

    `known_as` is what its names mean today, by which rule; `alias` the organization's own name for it; `unpriced` says
    why there is no cost. `declared_difference_usd` is the client's figure less ours.
    """

    event: Event
    stored: Working
    now: Working
    postings: Sequence[Posting]
    known_as: tuple[str, str, str] | None
    alias: tuple[str, str] | None
    unpriced: Unpriced | None

    @property
    def cost_usd(self) -> Decimal | None:
        return self.now.cost_usd

    @property
    def declared_difference_usd(self) -> Decimal | None:
        declared = self.event.declared_cost_usd
        return None if declared is None or self.cost_usd is None else EXACT.subtract(declared, self.cost_usd)


def explain_event(org: HasPk, event_id: str) -> Explanation:
    """Inside `tenant(org)`. Raises `NotFound`."""
    event = event_by_id(org, event_id)
    if event is None:
        raise NotFound("event")
    postings = postings_of(org, event_id)
    terms, aliases = load_terms(org), load_model_aliases(org)
    catalog = load_catalog()
    book = RateBook(catalog, terms, aliases)
    by_id = {term.id: term for term in terms}
    now = current(event, postings)
    stored = _working(event, Current(event, current(event, ()).measures), by_id)
    alias = aliases.get((canonical_provider(event.provider), event.model.strip().lower()))
    return Explanation(
        event=event,
        stored=stored,
        now=_working(event, now, by_id) if postings else stored,
        postings=postings,
        known_as=_known_as(catalog, *(alias or (event.provider, event.model))),
        alias=alias,
        unpriced=_why(book, event, now) if now.measures[_UNPRICED] else None,
    )


def _working(event: Event, at: Current, terms: dict[int, Term]) -> Working:
    by = at.now
    rules = RULE_SETS.get(by.rule_set or 1, FIRST_RULES)
    row = PriceRow.objects.filter(pk=by.price_id).first() if by.price_id is not None else None
    term = terms.get(by.contract_id) if by.contract_id is not None else None
    price = rebuilt(
        price_of(row, rules) if row else None,
        term,
        provider=event.provider,
        model=event.model,
        service_tier=event.service_tier,
        tier_assumed=bool(by.tier_assumed),
        rules=rules,
    )
    quantities = at.measures[_QUANTITIES]
    pico = None if at.measures[_UNPRICED] else at.measures[_COST]
    return Working(
        cost_usd=None if pico is None else usd_from_pico(pico),
        row=row,
        term=term,
        price=price,
        rule_set=rules.number,
        tier_assumed=bool(by.tier_assumed),
        over_prompt_tokens=price.card_for(quantities).over_prompt_tokens if price else 0,
        lines=explain(price, quantities) if price else _unpriced_lines(quantities),
        adds_up=(cost_pico(price, quantities) if price else None) == pico,
    )


def _unpriced_lines(quantities: Sequence[int]) -> list[CostLine]:
    return [CostLine(meter, q, None, None, "") for meter, q in zip(METERS, quantities, strict=True) if q]


def _known_as(catalog: Catalog, provider: str, model: str) -> tuple[str, str, str] | None:
    found = catalog.recognise(provider, model)
    return None if found is None else (found.provider, found.model, found.rule)


def _why(book: RateBook, event: Event, now: Current) -> Unpriced:
    quantities = now.measures[_QUANTITIES]
    where = (event.service_tier or "", event.region or "", event.occurred_at)
    return why_unpriced(book, event.provider, event.model, *where, quantities)


def current_costs(org: HasPk, events: Sequence[Event]) -> dict[str, "CurrentCost"]:
    """What each of these events costs now, and what it is priced by; one query for all of them."""
    history = history_of(org, [event.event_id for event in events])
    return {event.event_id: _current_cost(event, history[event.event_id]) for event in events}


def prices_of(
    events: Iterable[Event], costs: Mapping[str, "CurrentCost"], terms: Iterable[Term]
) -> dict[str, Price | None]:
    """The price that each of these events has now, its contract's term in it; one query for all of them."""
    rows = PriceRow.objects.in_bulk({cost.price_id for cost in costs.values() if cost.price_id is not None})
    by_id = {term.id: term for term in terms}
    found = {}
    for event in events:
        cost = costs[event.event_id]
        rules = RULE_SETS.get(cost.rule_set or 1, FIRST_RULES)
        row = rows.get(cost.price_id) if cost.price_id else None
        found[event.event_id] = rebuilt(
            price_of(row, rules) if row else None,
            by_id.get(cost.contract_id) if cost.contract_id else None,
            provider=event.provider,
            model=event.model,
            service_tier=event.service_tier,
            tier_assumed=cost.tier_assumed,
            rules=rules,
        )
    return found


def cost_lines(org: HasPk, events: Sequence[Event], costs: Mapping[str, "CurrentCost"]) -> dict[str, list[CostLine]]:
    """What each meter of these events costs now, by event; lines without a cost where there is no price."""
    terms = load_terms(org) if any(cost.contract_id for cost in costs.values()) else []
    return {
        event_id: explain(price, costs[event_id].quantities) if price else _unpriced_lines(costs[event_id].quantities)
        for event_id, price in prices_of(events, costs, terms).items()
    }


@dataclass(frozen=True, slots=True)
class CurrentCost:
    cost_usd: Decimal | None
    quantities: list[int]
    price_id: int | None
    contract_id: int | None
    rule_set: int | None
    tier_assumed: bool


def _current_cost(event: Any, history: Sequence[Posting]) -> CurrentCost:
    found = current(event, history)
    pico = None if found.measures[_UNPRICED] else found.measures[_COST]
    return CurrentCost(
        cost_usd=None if pico is None else usd_from_pico(pico),
        quantities=found.measures[_QUANTITIES],
        price_id=found.now.price_id,
        contract_id=found.now.contract_id,
        rule_set=found.now.rule_set,
        tier_assumed=bool(found.now.tier_assumed),
    )
