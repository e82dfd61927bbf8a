"""The cost of each meter: always adds up, and is each meter's own where the rates explain it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from apps.core.meters import METERS, QUANTITY_MAX
from apps.pricing.catalog import EPOCH, Catalog
from apps.pricing.contracts import DISCOUNT, PRICE, THROUGHPUT, Term
from apps.pricing.cost import RATE_MAX, Price, RateCard
from apps.pricing.rating import RateBook
from apps.reports.meter_costs import UNMETERED, Card, Rates, split_cost

DAY = datetime(2026, 11, 5, tzinfo=UTC)
NOON = DAY + timedelta(hours=12)
IN, OUT, READ = "input_tokens", "output_tokens", "cache_read_tokens"

meters = st.sampled_from(METERS)
used = st.dictionaries(meters, st.integers(-QUANTITY_MAX, QUANTITY_MAX), max_size=6)
rates = st.dictionaries(meters, st.integers(0, RATE_MAX), max_size=8)
cards = st.lists(rates.map(lambda paid: Card(paid, paid)), max_size=3)
costs = st.integers(-(10**24), 10**24)


def card(**paid):
    return Card(paid, paid)


class TestConservation:
    @given(costs, used, cards)
    def test_the_parts_add_up_to_the_cost(self, cost, quantities, known):
        split = split_cost(cost, quantities, known)
        assert sum(split.costs.values()) == cost

    @given(costs, used, cards)
    def test_a_meter_without_quantity_costs_nothing(self, cost, quantities, known):
        split = split_cost(cost, quantities, known)
        assert set(split.costs) <= {meter for meter, quantity in quantities.items() if quantity} | {UNMETERED}
        assert UNMETERED not in split.costs or len(split.costs) == 1

    @given(costs, used, cards)
    def test_what_is_taken_back_is_split_into_the_same_parts(self, cost, quantities, known):
        there = split_cost(cost, quantities, known)
        back = split_cost(-cost, {meter: -quantity for meter, quantity in quantities.items()}, known)
        assert back.costs == {meter: -part for meter, part in there.costs.items()}
        assert back.is_exact == there.is_exact

    @given(used, rates, cards)
    def test_a_cost_that_rates_explain_is_each_meters_own(self, quantities, paid, others):
        assume(all(meter in paid for meter, quantity in quantities.items() if quantity))
        own = {meter: paid[meter] * quantity for meter, quantity in quantities.items() if quantity}
        split = split_cost(sum(own.values()), quantities, [Card(paid, paid), *others])
        assert (split.costs, split.is_exact) == (own, True)


class TestSharesOfACost:
    def test_in_proportion_to_rate_times_quantity(self):
        split = split_cost(1_000, {IN: 10, OUT: 10}, [card(input_tokens=3, output_tokens=12)])
        assert split.costs == {IN: 200, OUT: 800}
        assert not split.is_exact

    def test_the_largest_remainder_gets_what_is_left(self):
        split = split_cost(100, {IN: 1, READ: 1, OUT: 1}, [card(input_tokens=1, cache_read_tokens=1, output_tokens=1)])
        assert split.costs == {IN: 34, READ: 33, OUT: 33}

    def test_by_quantity_where_no_rate_is_known(self):
        split = split_cost(90, {IN: 2, OUT: 1}, [])
        assert (split.costs, split.is_exact, split.card) == ({IN: 60, OUT: 30}, False, None)

    def test_by_quantity_where_every_rate_is_zero(self):
        assert split_cost(90, {IN: 2, OUT: 1}, [card(input_tokens=0, output_tokens=0)]).costs == {IN: 60, OUT: 30}

    def test_what_is_free_costs_nothing_of_its_own(self):
        split = split_cost(0, {IN: 2, OUT: 1}, [card(input_tokens=0, output_tokens=0)])
        assert (split.costs, split.is_exact) == ({IN: 0, OUT: 0}, True)

    def test_a_meter_without_a_rate_is_not_free(self):
        split = split_cost(60, {IN: 20, OUT: 1}, [card(input_tokens=3)])
        assert not split.is_exact

    def test_a_corrected_price_has_no_meter(self):
        split = split_cost(-700, {IN: 0}, [card(input_tokens=3)])
        assert (split.costs, split.is_exact) == ({UNMETERED: -700}, False)

    def test_nothing_has_no_parts(self):
        assert split_cost(0, {}, []).costs == {}

    def test_any_card_of_the_day_may_explain_it(self):
        before, after = card(input_tokens=3), card(input_tokens=2)
        split = split_cost(20, {IN: 10}, [before, after])
        assert (split.is_exact, split.card) == (True, after)


def a_price(effective_from=EPOCH, tiers=(), region="", daily=(0, 1440), **published):
    return Price(
        1, "acme", "m-1", "standard", effective_from, RateCard.of(published),
        tuple(RateCard.of(tier, over) for over, tier in tiers), "test", "1",
        daily_from_minute=daily[0], daily_until_minute=daily[1], region=region,
    )  # fmt: skip


def rates_of(*prices, terms=(), aliases=None):
    catalog = Catalog(1, [("acme", "m-1", {"equals": "m-1"})], prices)
    return Rates(RateBook(catalog, terms, aliases))


def a_term(kind, **fields):
    return Term(7, kind, EPOCH, **fields)


class TestRates:
    def test_the_price_of_the_day(self):
        [found] = rates_of(a_price(input_tokens=3, output_tokens=15)).cards("acme", "m-1", None, DAY)
        assert (found.paid[IN], found.paid[OUT]) == (3, 15)
        assert found.listed == found.paid

    def test_an_unknown_model_has_none(self):
        assert rates_of(a_price(input_tokens=3)).cards("acme", "m-2", "", DAY) == ()

    def test_a_contract_changes_what_is_paid_and_not_what_is_listed(self):
        rates = rates_of(a_price(input_tokens=300), terms=[a_term(DISCOUNT, percent=Decimal(10))])
        [found] = rates.cards("acme", "m-1", "", DAY)
        assert (found.listed[IN], found.paid[IN]) == (300, 270)

    def test_throughput_is_paid_by_the_hour(self):
        [found] = rates_of(a_price(input_tokens=300), terms=[a_term(THROUGHPUT)]).cards("acme", "m-1", "", DAY)
        assert (found.listed[IN], found.paid[IN]) == (300, 0)

    def test_what_only_a_contract_prices_is_not_listed(self):
        [found] = rates_of(terms=[a_term(PRICE, rates={IN: 40})]).cards("acme", "own-model", "", DAY)
        assert (found.listed, found.paid[IN]) == ({}, 40)

    def test_an_alias_means_the_listed_model(self):
        rates = rates_of(a_price(input_tokens=3), aliases={("acme", "prod"): ("acme", "m-1")})
        [found] = rates.cards("acme", "prod", "", DAY)
        assert found.listed[IN] == 3

    def test_a_price_that_changes_within_the_day_has_both(self):
        rates = rates_of(a_price(input_tokens=3), a_price(effective_from=NOON, input_tokens=2))
        assert [found.paid[IN] for found in rates.cards("acme", "m-1", "", DAY)] == [3, 2]
        assert [found.paid[IN] for found in rates.cards("acme", "m-1", "", DAY - timedelta(days=1))] == [3]
        assert [found.paid[IN] for found in rates.cards("acme", "m-1", "", DAY + timedelta(days=1))] == [2]

    @pytest.mark.parametrize("starts", [0, 7, 12, 19])
    def test_a_price_of_some_hours_is_found_wherever_the_day_begins(self, starts):
        rates = rates_of(a_price(input_tokens=3), a_price(input_tokens=1, daily=(990, 1440), effective_from=DAY))
        found = rates.cards("acme", "m-1", "", DAY + timedelta(hours=starts))
        assert {card.paid[IN] for card in found} == {3, 1}

    def test_long_prompts_have_a_card_of_their_own(self):
        rates = rates_of(a_price(input_tokens=3, tiers=[(200, {IN: 6})]), terms=[a_term(DISCOUNT, percent=Decimal(50))])
        assert [(found.listed[IN], found.paid[IN]) for found in rates.cards("acme", "m-1", "", DAY)] == [(3, 2), (6, 3)]

    def test_a_price_by_region_may_have_applied(self):
        rates = rates_of(a_price(input_tokens=10), a_price(input_tokens=11, region="regional"))
        assert [found.paid[IN] for found in rates.cards("acme", "m-1", "", DAY)] == [10, 11]

    def test_a_day_is_asked_once(self):
        rates = rates_of(a_price(input_tokens=3))
        assert rates.cards("acme", "m-1", "", DAY) is rates.cards("acme", "m-1", None, DAY)
