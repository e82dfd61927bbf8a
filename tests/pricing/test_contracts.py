"""Which term of a contract changes a call's price, and what it makes of it: laws over random terms."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.meters import METER_INDEX, NO_QUANTITIES, QUANTITY_MAX
from apps.pricing.catalog import EPOCH
from apps.pricing.contracts import DISCOUNT, PRICE, THROUGHPUT, Term, price_under, standing
from apps.pricing.cost import Price, RateCard, cost_pico
from apps.pricing.rules import AT_THRESHOLD, exceeded

START = datetime(2026, 11, 1, tzinfo=UTC)
THRESHOLD = 200_000
LIST = Price(
    1,
    "acme",
    "m-1",
    "standard",
    EPOCH,
    RateCard.of({"input_tokens": 3_000_000, "output_tokens": 15_000_000}),
    (RateCard.of({"input_tokens": 6_000_000, "output_tokens": 22_500_000}, THRESHOLD),),
    "test",
    "1",
)

quantities = st.integers(0, QUANTITY_MAX)
percents = st.integers(0, 10_000).map(lambda hundredths: Decimal(hundredths) / 100)


def used(input_tokens=0, output_tokens=0):
    vector = list(NO_QUANTITIES)
    vector[METER_INDEX["input_tokens"]] = input_tokens
    vector[METER_INDEX["output_tokens"]] = output_tokens
    return tuple(vector)


def a_term(number=1, kind=DISCOUNT, **fields):
    return Term(number, kind, **{"starts_at": START, **fields})


def under(term):
    price = price_under(term, LIST, "acme", "m-1")
    assert price is not None
    assert price.contract_id == term.id
    return price


class TestWhatATermMakesOfAPrice:
    @given(percents, quantities, quantities)
    def test_a_discount_never_makes_a_call_dearer(self, percent, prompt, answer):
        discounted = cost_pico(under(a_term(percent=percent)), used(prompt, answer))
        listed = cost_pico(LIST, used(prompt, answer))
        assert discounted is not None
        assert listed is not None
        assert 0 <= discounted <= listed

    @given(percents, percents, quantities)
    def test_a_greater_discount_is_never_dearer(self, one, other, prompt):
        less, more = sorted((one, other))
        lesser = cost_pico(under(a_term(percent=less)), used(prompt))
        greater = cost_pico(under(a_term(percent=more)), used(prompt))
        assert greater <= lesser

    def test_a_discount_is_taken_off_every_rate_at_every_length_of_prompt(self):
        discounted = under(a_term(percent=Decimal("12.5")))
        # 3 USD less 12.5 % is 2.625 USD per million; above the threshold 6 USD becomes 5.25 USD.
        assert cost_pico(discounted, used(THRESHOLD)) == THRESHOLD * 2_625_000
        assert cost_pico(discounted, used(THRESHOLD + 1)) == (THRESHOLD + 1) * 5_250_000

    @given(quantities, quantities)
    def test_calls_on_bought_capacity_cost_nothing(self, prompt, answer):
        assert cost_pico(under(a_term(kind=THROUGHPUT)), used(prompt, answer)) == 0

    def test_rates_that_a_price_does_not_name_stay_the_catalogs(self):
        agreed = under(a_term(kind=PRICE, rates={"input_tokens": 2_000_000}))
        assert cost_pico(agreed, used(10, 10)) == 10 * 2_000_000 + 10 * 15_000_000
        assert cost_pico(agreed, used(THRESHOLD + 1, 10)) == (THRESHOLD + 1) * 2_000_000 + 10 * 22_500_000

    def test_a_discount_on_an_unknown_price_is_unknown(self):
        assert price_under(a_term(percent=Decimal(10)), None, "acme", "m-2") is None

    def test_a_price_of_its_own_needs_no_catalog(self):
        agreed = price_under(a_term(kind=PRICE, rates={"input_tokens": 2_000_000}), None, "acme", "m-2")
        assert agreed is not None
        assert cost_pico(agreed, used(10)) == 20_000_000


class TestWhichTermStands:
    @pytest.mark.parametrize(
        ("weaker", "stronger"),
        [
            ({"provider": "acme"}, {"model": "m-*"}),
            ({"model": "m-*", "provider": "acme"}, {"model": "m-1"}),
            ({"model": "m-1"}, {"model": "m-1", "provider": "acme"}),
            ({"starts_at": START - timedelta(days=1)}, {"starts_at": START}),
        ],
    )
    def test_the_more_specific_stands_whatever_was_entered_last(self, weaker, stronger):
        for weak_id, strong_id in ((1, 2), (2, 1)):
            terms = [a_term(weak_id, **weaker), a_term(strong_id, **stronger)]
            for order in permutations(terms):
                assert standing(order, DISCOUNT, START, "").id == strong_id

    def test_of_equals_the_latest_entry_stands(self):
        assert standing([a_term(1), a_term(2)], DISCOUNT, START, "").id == 2

    @pytest.mark.parametrize(
        ("at", "stands"),
        [
            (START - timedelta(microseconds=1), False),
            (START, True),
            (START + timedelta(days=1, microseconds=-1), True),
            (START + timedelta(days=1), False),
        ],
    )
    def test_a_term_holds_from_its_start_until_before_its_end(self, at, stands):
        term = a_term(ends_at=START + timedelta(days=1))
        assert (standing([term], DISCOUNT, at, "") is term) is stands

    @given(st.permutations([a_term(n, model=model) for n, model in enumerate(["", "m-*", "m-1", "m-1", ""])]))
    def test_the_order_of_terms_never_matters(self, terms):
        assert standing(terms, DISCOUNT, START, "").id == 3

    def test_a_price_without_a_tier_is_one_of_the_standard_tier(self):
        assert standing([a_term(kind=PRICE)], PRICE, START, "batch") is None
        assert standing([a_term(kind=DISCOUNT)], DISCOUNT, START, "batch") is not None


@pytest.mark.parametrize(
    ("count", "rate"), [(THRESHOLD - 1, 3_000_000), (THRESHOLD, 3_000_000), (THRESHOLD + 1, 6_000_000)]
)
def test_the_higher_rates_are_due_beyond_the_threshold(count, rate):
    assert cost_pico(LIST, used(count)) == count * rate


def test_a_provider_that_charges_from_the_threshold_on_exceeds_one_token_less():
    assert {provider: exceeded(THRESHOLD, provider) for provider in ("acme", *AT_THRESHOLD)} == {
        "acme": THRESHOLD,
        "x-ai": THRESHOLD - 1,
    }
