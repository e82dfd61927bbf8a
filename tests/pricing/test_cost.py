"""The arithmetic: golden amounts, laws that hold for any price, and the package's own answers."""

from datetime import UTC, datetime
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.meters import METER_INDEX, METERS, NO_QUANTITIES, PROMPT_METERS, QUANTITY_MAX
from apps.core.money import usd_from_pico
from apps.pricing.catalog import EPOCH
from apps.pricing.cost import RATE_MAX, Price, RateCard, cost_pico, explain
from apps.pricing.rules import GENERAL
from bench import cost_agreement

MILLION = 1_000_000
KIN = {rule.meter: [r.from_meter for r in GENERAL if r.meter == rule.meter] for rule in GENERAL}
FREE_IF_UNSAID = {"requests"}
EXACT = Context(prec=200, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])


def quantities(**by_meter):
    vector = list(NO_QUANTITIES)
    for meter, quantity in by_meter.items():
        vector[METER_INDEX[meter]] = quantity
    return tuple(vector)


def a_price(rates, tiers=None):
    cards = tuple(RateCard.of(rates, over) for over, rates in sorted((tiers or {}).items()))
    return Price(1, "acme", "m-1", "standard", EPOCH, RateCard.of(rates), cards, "test", "1")


def cost_usd(price, **by_meter):
    pico = cost_pico(price, quantities(**by_meter))
    return None if pico is None else usd_from_pico(pico)


class TestGoldenAmounts:
    @pytest.mark.parametrize(
        ("provider", "model", "tier", "on", "usage", "usd"),
        [
            ("openai", "o3", "", "2025-06-01", {"input_tokens": MILLION, "output_tokens": MILLION}, "50"),
            ("openai", "o3", "", "2025-07-01", {"input_tokens": MILLION, "output_tokens": MILLION}, "10"),
            (
                "anthropic",
                "claude-sonnet-4-5",
                "standard",
                "2026-11-01",
                {"input_tokens": 1_000_000, "output_tokens": 1_000_000},
                "28.5",
            ),
            (
                "anthropic",
                "claude-sonnet-4-5",
                "batch",
                "2026-11-01",
                {"input_tokens": 1_000_000, "output_tokens": 1_000_000},
                "14.25",
            ),
            ("google", "gemini-2.5-pro", "", "2026-11-01", {"input_tokens": 200_000}, "0.25"),
            ("google", "gemini-2.5-pro", "", "2026-11-01", {"input_tokens": 200_001}, "0.5000025"),
            (
                "google",
                "gemini-2.5-pro",
                "",
                "2026-11-01",
                {"input_tokens": 1, "cache_read_tokens": 200_000, "output_tokens": 10},
                "0.0501525",
            ),
            ("openai", "whisper-1", "", "2026-11-01", {"audio_milliseconds": 60_000, "requests": 1}, "0.006"),
            ("perplexity", "sonar-pro", "", "2026-11-01", {"input_tokens": 1000, "requests": 1}, "0.017"),
            ("anthropic", "claude-sonnet-4-5", "", "2026-11-01", {"searches": 3}, "0.03"),
            ("openrouter", "openai/gpt-oss-20b:free", "", "2026-11-01", {"input_tokens": 5000}, "0"),
        ],
    )
    def test_it_costs(self, snapshot_catalog, provider, model, tier, on, usage, usd):
        price = snapshot_catalog.find(provider, model, tier, datetime.fromisoformat(on).replace(tzinfo=UTC))
        assert not price.tier_assumed
        assert cost_usd(price, **usage) == Decimal(usd)


class TestMissingRates:
    RATES = {"input_tokens": 3_000_000, "output_tokens": 15_000_000}

    @pytest.mark.parametrize(
        ("extra", "meter", "rate"),
        [
            ({}, "cache_read_tokens", 3_000_000),
            ({"cache_read_tokens": 300_000}, "cache_read_tokens", 300_000),
            ({"cache_read_tokens": 0}, "cache_read_tokens", 0),
            ({}, "cache_write_5m_tokens", 3_000_000),
            ({}, "cache_write_1h_tokens", 3_000_000),
            ({"cache_write_5m_tokens": 3_750_000}, "cache_write_1h_tokens", 3_750_000),
            (
                {"cache_write_5m_tokens": 1, "cache_write_1h_tokens": 6_000_000},
                "cache_write_1h_tokens",
                6_000_000,
            ),
            ({}, "reasoning_tokens", 15_000_000),
            ({}, "audio_input_tokens", 3_000_000),
            ({}, "image_input_tokens", 3_000_000),
            ({}, "audio_output_tokens", 15_000_000),
            ({}, "image_output_tokens", 15_000_000),
            ({"requests": 10}, "requests", 10),
        ],
    )
    def test_it_takes_the_rate_of_the_next_of_kin(self, extra, meter, rate):
        price = a_price({**self.RATES, **extra})
        assert price.rates[METER_INDEX[meter]] == rate
        assert cost_pico(price, quantities(**{meter: 7})) == 7 * rate

    @pytest.mark.parametrize("meter", ["images", "audio_milliseconds", "characters", "searches"])
    def test_a_used_meter_of_its_own_kind_makes_the_call_unpriced(self, meter):
        price = a_price(self.RATES)
        assert cost_usd(price, input_tokens=10, **{meter: 1}) is None
        assert cost_usd(price, input_tokens=10) is not None

    @pytest.mark.parametrize("meter", ["output_tokens", "reasoning_tokens", "audio_output_tokens"])
    def test_a_model_priced_by_input_alone_has_no_price_for_output(self, meter):
        assert cost_usd(a_price({"input_tokens": 1}), **{meter: 1}) is None

    def test_free_is_zero_and_unknown_is_none(self):
        assert cost_usd(a_price({"input_tokens": 0, "output_tokens": 0}), input_tokens=10) == 0
        assert cost_usd(a_price({}), input_tokens=10) is None
        assert cost_usd(a_price({}), requests=1) is None


class TestTiers:
    TIERED = {200: {"input_tokens": 5}, 1000: {"input_tokens": 11}}

    @pytest.mark.parametrize(
        ("prompt", "rate"), [(0, 2), (199, 2), (200, 2), (201, 5), (1000, 5), (1001, 11), (10**12, 11)]
    )
    def test_the_whole_call_is_priced_by_the_length_of_its_prompt(self, prompt, rate):
        assert cost_pico(a_price({"input_tokens": 2}, self.TIERED), quantities(input_tokens=prompt)) == prompt * rate

    @pytest.mark.parametrize("meter", METERS)
    def test_every_meter_of_the_prompt_counts_towards_its_length(self, meter):
        rates = dict.fromkeys(METERS, 1)
        price = a_price(rates, {100: dict.fromkeys(METERS, 2)})
        assert cost_pico(price, quantities(**{meter: 101})) == 101 * (2 if meter in PROMPT_METERS else 1)


rates = st.dictionaries(st.sampled_from(METERS), st.integers(0, RATE_MAX))
vectors = st.tuples(*(st.integers(0, QUANTITY_MAX) for _ in METERS))
sparse_vectors = st.dictionaries(st.sampled_from(METERS), st.integers(0, QUANTITY_MAX)).map(
    lambda by_meter: quantities(**by_meter)
)


class TestLaws:
    @given(rates, vectors, vectors)
    def test_cost_is_additive_within_a_tier(self, published, one, other):
        price = a_price(published)
        costs = [cost_pico(price, vector) for vector in (one, other)]
        together = cost_pico(price, [a + b for a, b in zip(one, other, strict=True)])
        assert together == (None if None in costs else sum(costs))

    @given(rates, sparse_vectors)
    def test_it_equals_decimal_arithmetic_that_may_not_round(self, published, vector):
        expected = Decimal(0)
        for meter, quantity in zip(METERS, vector, strict=True):
            kin = [meter, *KIN.get(meter, ())]
            rate = next((published[m] for m in kin if m in published), None)
            if rate is None and quantity and not (meter in FREE_IF_UNSAID and published):
                expected = None
                break
            usd_per_million = EXACT.scaleb(Decimal(rate or 0), -6)
            expected = EXACT.add(expected, EXACT.scaleb(EXACT.multiply(usd_per_million, quantity), -6))
        used = {meter for meter, quantity in zip(METERS, vector, strict=True) if quantity}
        if used == {"requests"} and "requests" not in published and any(published.values()):
            expected = None  # a call of which nothing was counted, at a price that is not per call
        pico = cost_pico(a_price(published), vector)
        assert (pico if pico is None else usd_from_pico(pico)) == expected

    @given(rates, rates, st.integers(1, 10**6), sparse_vectors)
    def test_the_lines_of_the_explanation_add_up_to_the_cost(self, base, beyond, over, vector):
        price = a_price(base, {over: beyond})
        lines = explain(price, vector)
        pico = cost_pico(price, vector)
        assert [(line.meter, line.quantity) for line in lines] == [
            (meter, quantity) for meter, quantity in zip(METERS, vector, strict=True) if quantity
        ]
        if pico is None:
            assert any(line.cost_usd is None and line.rate_usd_per_million is None for line in lines)
        else:
            assert sum((line.cost_usd for line in lines), Decimal(0)) == usd_from_pico(pico)
            assert all(line.rate_from in {line.meter, *KIN.get(line.meter, ()), ""} for line in lines)


def test_every_model_and_shape_agrees_with_the_package_or_says_why() -> None:
    """A twentieth of the models on one date; all of them on every date are a benchmark."""
    found = cost_agreement.compare_with_package(every=20, instants=(datetime(2026, 11, 24, 18, tzinfo=UTC),))
    assert found.unexplained == []
    assert found.equal > 900


def test_calls_of_which_nothing_else_is_known_are_unpriced_and_never_free() -> None:
    price = a_price({"input_tokens": 3_000_000, "output_tokens": 15_000_000})
    alone = [0] * len(METERS)
    alone[METER_INDEX["requests"]] = 46
    assert cost_pico(price, alone) is None
    assert [line.cost_usd for line in explain(price, alone)] == [None]
    beside = list(alone)
    beside[METER_INDEX["input_tokens"]] = 10
    assert cost_pico(price, beside) == 30_000_000
    assert cost_pico(a_price({"input_tokens": 0, "output_tokens": 0}), alone) == 0
