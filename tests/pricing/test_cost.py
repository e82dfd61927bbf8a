"""The arithmetic: golden amounts, laws that hold for any price, and the package's own answers."""

from datetime import UTC, datetime
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import Usage
from hypothesis import given
from hypothesis import strategies as st

from apps.core.meters import METER_INDEX, METERS, NO_QUANTITIES, PROMPT_METERS, QUANTITY_MAX
from apps.core.money import usd_from_pico
from apps.pricing.catalog import EPOCH
from apps.pricing.cost import FALLBACKS, RATE_MAX, Price, RateCard, cost_pico, explain
from apps.pricing.genai import CONTEXTS, UNITS

MILLION = 1_000_000
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
            kin = [meter, *FALLBACKS.get(meter, ())]
            rate = next((published[m] for m in kin if m in published), None)
            if rate is None and quantity and not (meter in FREE_IF_UNSAID and published):
                expected = None
                break
            usd_per_million = EXACT.scaleb(Decimal(rate or 0), -6)
            expected = EXACT.add(expected, EXACT.scaleb(EXACT.multiply(usd_per_million, quantity), -6))
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
            assert all(line.rate_from in {line.meter, *FALLBACKS.get(line.meter, ()), ""} for line in lines)


SHAPES = {
    "plain": {"input_tokens": 1_234, "output_tokens": 567},
    "cached": {"input_tokens": 11, "cache_read_tokens": 99_991, "output_tokens": 3},
    "written": {
        "input_tokens": 7,
        "cache_read_tokens": 5_003,
        "cache_write_5m_tokens": 2_048,
        "cache_write_1h_tokens": 4_099,
        "output_tokens": 811,
    },
    "reasoning": {"input_tokens": 901, "output_tokens": 33, "reasoning_tokens": 12_345},
    "long": {"input_tokens": 150_001, "cache_read_tokens": 450_000, "output_tokens": 77},
    "at 200,000": {"input_tokens": 200_000, "output_tokens": 1},
    "over 200,000": {"input_tokens": 200_001, "output_tokens": 1},
    "media": {
        "input_tokens": 100,
        "audio_input_tokens": 301,
        "image_input_tokens": 1_105,
        "output_tokens": 40,
        "audio_output_tokens": 207,
        "image_output_tokens": 1_290,
    },
    "search": {"input_tokens": 100, "output_tokens": 40, "searches": 3},
    "audio": {"audio_milliseconds": 61_000},
    "characters": {"characters": 4_097},
}
RARELY_PRICED = {"search", "audio", "characters"}
DATES = [
    datetime(2025, 3, 1, 2, 30, tzinfo=UTC),
    datetime(2025, 6, 10, tzinfo=UTC),
    datetime(2026, 9, 15, 7, 59, 59, tzinfo=UTC),
    datetime(2026, 11, 24, 18, tzinfo=UTC),
    datetime(2027, 1, 1, tzinfo=UTC),
]


class TestAgainstThePackage:
    """Every model and shape, in turn on each date: the same amount, but for what is listed here.

    - The package leaves out what it has no rate for; here such a call is unpriced.
    - A rate with more than 6 decimals is rounded once at import: the difference is below that rounding.
    """

    @pytest.mark.parametrize("shape", SHAPES)
    def test_it_agrees(self, snapshot_catalog, shape):
        vector = quantities(requests=1, **SHAPES[shape])
        usage = package_usage(vector)
        compared = 0
        for turn, (provider, model, name) in enumerate(package_models(), start=len(shape)):
            at = DATES[turn % len(DATES)]
            for tier, context in CONTEXTS.items() if model.price_variants else [("", {})]:
                price = snapshot_catalog.find(provider.id, name, tier, at)
                assert (price.provider, price.model) == (provider.id, model.id)
                ours = cost_pico(price, vector)
                if ours is None:
                    continue
                package = model.get_prices(at, context)
                theirs = package.calc_price(usage)["total_price"]
                difference = abs(usd_from_pico(ours) - theirs)
                assert difference <= rounding_usd(package, sum(vector)), (provider.id, name, tier, at)
                compared += 1
        assert compared >= (4 if shape in RARELY_PRICED else 2_000)


def package_models():
    """Every model with a name by which the package itself finds it."""
    for provider in get_snapshot().providers:
        for model in provider.models:
            name = next((n for n in (model.id, *equals_texts(model.match)) if provider.find_model(n) is model), None)
            if name is not None:
                yield provider, model, name


def equals_texts(clause):
    if text := getattr(clause, "equals", None):
        yield text
    for part in getattr(clause, "or_", ()):
        yield from equals_texts(part)


def package_usage(vector):
    """The same call in the package's terms: totals include their parts, and a call is always one request."""
    by_meter = dict(zip(METERS, vector, strict=True))
    outputs = ("output_tokens", "reasoning_tokens", "audio_output_tokens", "image_output_tokens")
    seconds = Decimal(by_meter["audio_milliseconds"]) / 1000
    return Usage(
        input_tokens=sum(by_meter[meter] for meter in PROMPT_METERS),
        cache_read_tokens=by_meter["cache_read_tokens"],
        cache_write_tokens=by_meter["cache_write_5m_tokens"] + by_meter["cache_write_1h_tokens"],
        cache_write_5m_tokens=by_meter["cache_write_5m_tokens"],
        cache_write_1h_tokens=by_meter["cache_write_1h_tokens"],
        output_tokens=sum(by_meter[meter] for meter in outputs),
        output_reasoning_tokens=by_meter["reasoning_tokens"],
        input_audio_tokens=by_meter["audio_input_tokens"],
        output_audio_tokens=by_meter["audio_output_tokens"],
        input_image_tokens=by_meter["image_input_tokens"],
        output_image_tokens=by_meter["image_output_tokens"],
        cache_audio_read_tokens=0,
        cache_image_read_tokens=0,
        input_video_tokens=0,
        audio_seconds=seconds,
        input_audio_seconds=seconds,
        input_characters=by_meter["characters"],
        web_searches=by_meter["searches"],
    )


def rounding_usd(package_price, units):
    """How far rounding to 6 decimals can move the cost of so many units; 0 where no rate needed it."""
    for key, value in vars(package_price).items():
        if value is None or key not in UNITS:
            continue
        values = [value] if isinstance(value, Decimal) else [value.base, *(tier.price for tier in value.tiers)]
        if key.endswith("_hours") or any(price.as_tuple().exponent < -6 for price in values):
            return units * Decimal("0.5e-12")
    return Decimal(0)


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
