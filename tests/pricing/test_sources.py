"""Two sources side by side: what the second one adds, and where the two differ."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction

import pytest

from apps.pricing.catalog import EPOCH, Catalog, PublishedModel, PublishedPrice
from apps.pricing.litellm import read_litellm
from apps.pricing.sources import Snapshot, Uplift, breadth, catalog_of, differences

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
RATES = {"input_tokens": 2_000_000, "output_tokens": 8_000_000}


@pytest.fixture(scope="module")
def litellm():
    return read_litellm()


def price(tier="standard", since=EPOCH, *, tiers=None, region="", window=(0, 1440), **rates):
    return PublishedPrice(tier, since, rates, tiers or {}, {}, *window, region)


def model(name, *prices, provider="acme", starts=False):
    clause = {"starts_with": name} if starts else {"equals": name}
    return PublishedModel(provider, name, clause, prices)


def first(*models):
    return Snapshot("first", "1", models)


def second(*models, uplifts=()):
    return Snapshot("second", "2", models, published_on=date(2026, 11, 12), uplifts=tuple(uplifts))


def compare(ours, theirs, at=NOW):
    return differences(catalog_of(first(*ours)), second(*theirs), at)


class TestDifferences:
    @pytest.mark.parametrize(
        ("theirs", "percent"),
        [
            (2_000_000, None),
            (2_020_000, None),
            (1_980_198, "1.0000"),
            (2_020_001, "1.0001"),
            (1_000_000, "100"),
            (0, "10000"),
        ],
    )
    def test_more_than_one_percent_of_the_smaller_rate_is_one(self, theirs, percent):
        found = compare([model("m", price(**RATES))], [model("m", price(**{**RATES, "input_tokens": theirs}))])
        if percent is None:
            assert found == []
        else:
            (difference,) = found
            assert abs(difference.percent - Decimal(percent)) <= Decimal("0.0001")
            assert difference.ours.rates["input_tokens"] == 2_000_000
            assert difference.theirs.rates["input_tokens"] == theirs

    def test_only_rates_that_both_publish_are_compared(self):
        cached = price(**RATES, cache_read_tokens=1)
        assert compare([model("m", price(**RATES))], [model("m", cached)]) == []
        assert compare([model("m", cached)], [model("m", price(**RATES))]) == []

    def test_thresholds_are_compared_where_both_have_them(self):
        ours = price(**RATES, tiers={200_000: {"input_tokens": 4_000_000}})
        theirs = price(**RATES, tiers={200_000: {"input_tokens": 5_000_000}, 9: {"input_tokens": 1}})
        (difference,) = compare([model("m", ours)], [model("m", theirs)])
        assert difference.percent == 25
        assert difference.theirs.tiers[200_000] == {"input_tokens": 5_000_000}

    def test_the_price_of_the_instant_is_compared(self):
        ours = model("m", price(input_tokens=1), price(since=JUNE, input_tokens=2))
        theirs = model("m", price(input_tokens=2))
        assert compare([ours], [theirs]) == []
        assert len(compare([ours], [theirs], EPOCH)) == 1

    def test_each_service_tier_is_compared_with_its_own(self):
        ours = model("m", price(**RATES), price("batch", **RATES))
        theirs = model("m", price(**RATES), price("batch", input_tokens=1_000_000), price("flex", input_tokens=7))
        (difference,) = compare([ours], [theirs])
        assert difference.price.service_tier == "batch"

    def test_one_hour_of_the_day_that_agrees_is_enough(self):
        ours = model("m", price(input_tokens=4, window=(0, 720)), price(input_tokens=2, window=(720, 1440)))
        assert compare([ours], [model("m", price(input_tokens=2))]) == []
        assert compare([ours], [model("m", price(input_tokens=4))]) == []
        assert len(compare([ours], [model("m", price(input_tokens=3))])) == 1

    def test_of_several_names_the_namesake_speaks(self):
        ours = [model("m", price(input_tokens=4), starts=True)]
        dated, namesake = model("m-2026", price(input_tokens=4)), model("m", price(input_tokens=2))
        assert len(compare(ours, [dated, namesake])) == 1
        assert compare(ours, [dated, model("m-2025", price(input_tokens=2))]) == []

    def test_what_a_maker_asks_is_not_compared_with_a_reseller(self):
        ours = [model("gpt-9", price(input_tokens=4), provider="openai")]
        assert compare(ours, [model("gpt-9", price(input_tokens=9), provider="azure")]) == []


class TestBreadth:
    def test_only_models_that_the_first_source_does_not_recognise_are_added(self):
        added = breadth(
            first(model("known", price(**RATES), starts=True)),
            second(model("known-2026", price(**RATES)), model("new", price(**RATES)), model("empty")),
        )
        assert [found.model for found in added.models] == ["new"]
        assert (added.source, added.source_version) == ("second", "2")

    def test_a_known_model_that_has_no_price_is_not_added(self):
        assert breadth(first(model("known")), second(model("known", price(**RATES)))).models == ()

    def test_fees_hold_in_every_tier(self):
        (added,) = breadth(
            first(), second(model("m", price(**RATES, searches=10), price("batch", input_tokens=1, output_tokens=4)))
        ).models
        assert added.prices[1].rates == {"input_tokens": 1, "output_tokens": 4, "searches": 10}

    def test_a_tier_without_a_rate_for_output_has_no_price_of_its_own(self):
        known = model("m", price(**RATES), price("batch", input_tokens=1))
        (added,) = breadth(first(), second(known)).models
        assert [found.service_tier for found in added.prices] == ["standard"]

    def test_a_region_costs_a_multiple_of_the_first_sources_prices(self):
        known = model("m", price(**RATES, searches=10), price(since=JUNE, input_tokens=1_000_000))
        uplift = Uplift("acme", "m", "eu", Fraction(11, 10))
        (added,) = breadth(first(known), second(uplifts=[uplift])).models
        assert [(found.region, found.effective_from, dict(found.rates)) for found in added.prices] == [
            ("eu", EPOCH, {"input_tokens": 2_200_000, "output_tokens": 8_800_000, "searches": 10}),
            ("eu", JUNE, {"input_tokens": 1_100_000}),
        ]

    def test_a_cloud_does_not_uplift_the_makers_price(self):
        known = model("gpt-9", price(**RATES), provider="openai")
        assert breadth(first(known), second(uplifts=[Uplift("azure", "gpt-9", "eu", Fraction(2))])).models == ()


class TestTheInstalledSources:
    def test_they_differ_on_few_prices(self, snapshot_catalog: Catalog, litellm):
        """A reading of one source that went wrong would make them differ on hundreds."""
        found = differences(snapshot_catalog, litellm, NOW)
        assert 0 < len(found) < 100
        keys = [(each.price.provider, each.price.model, each.price.service_tier) for each in found]
        assert len(set(keys)) == len(keys)

    def test_an_uplift_is_exact(self, snapshot, litellm):
        """The multiplier meets rates that were not rounded, so there is one rounding at most."""
        uplifted = {(m.provider, m.model) for m in breadth(snapshot, litellm).models if any(p.region for p in m.prices)}
        rounded = {entry.split(" ")[0] for entry in snapshot.rounded}
        assert uplifted
        assert not [f"{provider}/{name}" for provider, name in uplifted if f"{provider}/{name}" in rounded]

    @pytest.mark.parametrize(
        ("region", "usd"), [("", 5_000_000), ("eu", 5_500_000), ("us", 5_500_000), ("global", 5_000_000)]
    )
    def test_a_call_in_europe_costs_more(self, snapshot, litellm, region, usd):
        added = breadth(snapshot, litellm)
        prices = [m for m in added.models if (m.provider, m.model) == ("openai", "gpt-5.5")]
        known = [m for m in snapshot.models if (m.provider, m.model) == ("openai", "gpt-5.5")]
        both = replace(known[0], prices=(*known[0].prices, *prices[0].prices))
        found = catalog_of(first(both)).find("openai", "gpt-5.5", "", NOW, region)
        assert found.rates[0] == usd
