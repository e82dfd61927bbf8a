"""LiteLLM's price data: the shipped copy, read into our meters, tiers and regions; and how a copy is made."""

import json
from datetime import date
from fractions import Fraction
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from apps.pricing.litellm import DATA, read_litellm, trimmed
from apps.pricing.sources import Uplift

USD = 10**6


@pytest.fixture(scope="module")
def shipped():
    return read_litellm()


@pytest.fixture(scope="module")
def prices(shipped):
    """(provider, model, service tier) to the price."""
    return {
        (model.provider, model.model, price.service_tier): price for model in shipped.models for price in model.prices
    }


def read(**entries):
    """What is read from entries by name, as LiteLLM would publish them."""
    published = {name.replace("__", "/"): entry for name, entry in entries.items()}
    return read_litellm(trimmed(published, "1", date(2026, 11, 1)))


def read_one(**entry):
    """The prices of one model by service tier."""
    snapshot = read(m={"litellm_provider": "acme", **entry})
    return {price.service_tier: price for model in snapshot.models for price in model.prices}


class TestTheShippedCopy:
    def test_it_names_its_version_and_date(self, shipped):
        assert (shipped.source, shipped.source_version, shipped.published_on) == (
            "litellm",
            "1.109.1",
            date(2026, 11, 12),
        )

    def test_it_holds_no_number_that_is_no_text(self):
        def numbers(value):
            if isinstance(value, dict):
                return [n for inner in value.values() for n in numbers(inner)]
            if isinstance(value, list):
                return [n for inner in value for n in numbers(inner)]
            return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []

        lines = DATA.read_text("utf-8").splitlines()
        assert len(lines) > 4000
        assert [line for line in lines if numbers(json.loads(line))] == []
        assert "MIT" in (DATA.parent / "LICENSE.litellm").read_text("utf-8")

    # USD per million units, taken by hand from the published file.
    @pytest.mark.parametrize(
        ("provider", "model", "tier", "meter", "usd"),
        [
            ("openai", "o3", "standard", "input_tokens", "2"),
            ("openai", "o3", "standard", "output_tokens", "8"),
            ("openai", "o3", "flex", "cache_read_tokens", "0.25"),
            ("openai", "o3", "priority", "cache_read_tokens", "0.875"),
            ("openai", "gpt-4o", "batch", "input_tokens", "1.25"),
            ("openai", "gpt-4o", "batch", "output_tokens", "5"),
            ("anthropic", "claude-sonnet-4-5", "standard", "cache_write_5m_tokens", "3.75"),
            ("anthropic", "claude-sonnet-4-5", "standard", "cache_write_1h_tokens", "6"),
            ("anthropic", "claude-sonnet-4-5", "batch", "cache_read_tokens", "0.15"),
            ("anthropic", "claude-opus-5", "fast", "input_tokens", "10"),
            ("google", "gemini-2.5-pro", "flex", "output_tokens", "5"),
            # 0.0001 USD a second, 0.0043 USD a minute, 0.004 USD a page, 0.1 USD a second.
            ("openai", "whisper-1", "standard", "audio_milliseconds", "0.1"),
            ("deepgram", "nova-3", "standard", "audio_milliseconds", "0.07167"),
            ("mistral", "mistral-ocr-latest", "standard", "pages", "4000"),
            ("openai", "sora-2", "standard", "video_milliseconds", "100"),
            ("openai", "tts-1", "standard", "characters", "15"),
            ("openai", "1024-x-1024/gpt-image-1.5", "standard", "images", "9000"),
            ("aiml", "dall-e-3", "standard", "images", "52000"),
            ("azure", "gpt-5", "standard", "searches", "14000"),
        ],
    )
    def test_well_known_prices(self, prices, provider, model, tier, meter, usd):
        assert Fraction(prices[provider, model, tier].rates[meter], USD) == Fraction(usd)

    @pytest.mark.parametrize(
        ("provider", "model", "tier", "over", "meter", "usd"),
        [
            ("google", "gemini-2.5-pro", "standard", 200_000, "input_tokens", "2.5"),
            ("google", "gemini-2.5-pro", "standard", 200_000, "cache_read_tokens", "0.25"),
            ("google", "gemini-2.5-pro", "priority", 200_000, "output_tokens", "27"),
            ("openai", "gpt-5.5", "batch", 272_000, "output_tokens", "22.5"),
        ],
    )
    def test_well_known_thresholds(self, prices, provider, model, tier, over, meter, usd):
        assert Fraction(prices[provider, model, tier].tiers[over][meter], USD) == Fraction(usd)

    def test_what_has_no_place_is_counted_and_what_is_rounded_is_listed(self, shipped):
        assert shipped.left_out["input_cost_per_pixel"] > 0
        assert shipped.left_out["off_peak_pricing"] > 0
        assert len(shipped.rounded) == len(set(shipped.rounded)) > 0
        assert "azure/gpt-live-transcribe audio_milliseconds: 0.283333333333 per million" in shipped.rounded
        assert "sample_spec" not in {model.model for model in shipped.models}

    def test_regions_cost_more(self, shipped):
        assert Uplift("openai", "gpt-5.5", "eu", Fraction(11, 10)) in shipped.uplifts
        assert Uplift("anthropic", "claude-opus-5", "us", Fraction(11, 10)) in shipped.uplifts
        assert Uplift("aws", "amazon.nova-pro-v1:0", "us-gov-west-1", Fraction(6, 5)) in shipped.uplifts
        assert not [uplift for uplift in shipped.uplifts if uplift.multiplier == 1]


class TestReading:
    @pytest.mark.parametrize(
        ("name", "said", "provider", "model"),
        [
            ("gpt-9", "openai", "openai", "gpt-9"),
            ("azure/gpt-9", "azure", "azure", "gpt-9"),
            ("azure/eu/gpt-9", "azure", "azure", "eu/gpt-9"),
            ("vertex_ai/claude-9", "vertex_ai-anthropic_models", "google", "claude-9"),
            ("gemini/gemini-9", "gemini", "google", "gemini-9"),
            ("anthropic.claude-9-v1:0", "bedrock_converse", "aws", "anthropic.claude-9-v1:0"),
            ("xai/grok-9", "xai", "x-ai", "grok-9"),
            ("openrouter/openai/gpt-9", "openrouter", "openrouter", "openai/gpt-9"),
            ("somebody/M-9", "acme", "acme", "somebody/m-9"),
        ],
    )
    def test_names_lose_the_prefix_of_their_provider(self, build_catalog, name, said, provider, model):
        snapshot = read(**{name: {"litellm_provider": said, "input_cost_per_token": "1e-6"}})
        ((found),) = snapshot.models
        assert (found.provider, found.model) == (provider, model)
        catalog = build_catalog(snapshot.models)
        assert catalog.recognise(provider, name)
        assert catalog.recognise(provider, model)

    def test_a_rate_is_the_published_decimal_and_nothing_is_filled_in(self):
        (price,) = read_one(input_cost_per_token="3e-06", output_cost_per_token="0.0").values()
        assert price.rates == {"input_tokens": 3 * USD, "output_tokens": 0}
        assert price.published == {"input_tokens": "0.000003", "output_tokens": "0.0"}

    @pytest.mark.parametrize("entry", [{}, {"input_cost_per_token": 0, "output_cost_per_token": "0.0"}])
    def test_nothing_but_zeros_is_unknown_and_not_free(self, entry):
        assert read_one(**entry) == {}
        assert read(m={"litellm_provider": "acme", **entry}).unpriced == ("m",)

    def test_a_model_that_is_named_free_is_free(self):
        snapshot = read(**{"m:free": {"litellm_provider": "acme", "input_cost_per_token": 0}})
        assert snapshot.models[0].prices[0].rates == {"input_tokens": 0}

    def test_beyond_a_threshold_what_is_not_named_costs_what_it_did(self):
        (price,) = read_one(
            input_cost_per_token="1e-6", output_cost_per_token="2e-6", input_cost_per_token_above_128k_tokens="4e-6"
        ).values()
        assert price.tiers == {128_000: {"input_tokens": 4 * USD, "output_tokens": 2 * USD}}

    @pytest.mark.parametrize(("provider", "over"), [("acme", 200_000), ("xai", 199_999)])
    def test_one_provider_charges_from_the_threshold_on(self, provider, over):
        (price,) = read_one(
            litellm_provider=provider, input_cost_per_token="1e-6", input_cost_per_token_above_200k_tokens="4e-6"
        ).values()
        assert set(price.tiers) == {over}

    def test_ranges_are_thresholds(self):
        steps = [
            {"range": [0, "32e3"], "input_cost_per_token": "1e-6"},
            {"range": ["32e3", "1e6"], "input_cost_per_token": "3e-6"},
        ]
        (price,) = read_one(tiered_pricing=steps).values()
        assert (price.rates, price.tiers) == ({"input_tokens": USD}, {32_000: {"input_tokens": 3 * USD}})

    def test_fast_multiplies_tokens_and_no_fees(self):
        found = read_one(
            input_cost_per_token="1e-6",
            search_context_cost_per_query={"search_context_size_medium": "0.01"},
            provider_specific_entry={"fast": 6.0},
        )
        assert found["standard"].rates == {"input_tokens": USD, "searches": 10_000 * USD}
        assert found["fast"].rates == {"input_tokens": 6 * USD}

    def test_the_key_that_is_listed_first_counts(self):
        (price,) = read_one(mode="image_generation", input_cost_per_image="0.01", output_cost_per_image="0.04").values()
        assert price.rates == {"images": 40_000 * USD}

    @pytest.mark.parametrize(
        ("local", "multiplier"),
        [
            ({"input_cost_per_token": "1.2e-6", "output_cost_per_token": "6e-6"}, Fraction(6, 5)),
            ({"input_cost_per_token": "1.2e-6", "output_cost_per_token": "7e-6"}, None),
            ({"input_cost_per_token": "1e-6", "output_cost_per_token": "5e-6"}, None),
        ],
    )
    def test_a_region_is_an_uplift_where_all_rates_move_alike(self, local, multiplier):
        base = {"input_cost_per_token": "1e-6", "output_cost_per_token": "5e-6"}
        snapshot = read(**{
            "acme.m-v1:0": {"litellm_provider": "bedrock", **base},
            "bedrock/eu-west-3/acme.m-v1:0": {"litellm_provider": "bedrock", **local},
        })  # fmt: skip
        expected = (Uplift("aws", "acme.m-v1:0", "eu-west-3", multiplier),) if multiplier else ()
        assert snapshot.uplifts == expected


class TestTheCommand:
    def make(self, tmp_path, text):
        source, copy = tmp_path / "prices.json", tmp_path / "copy.jsonl"
        source.write_text(text, "utf-8")
        out = StringIO()
        arguments = {"source_version": "9.9", "date": date(2026, 12, 1), "to": copy, "stdout": out}
        call_command("import_litellm_prices", source, **arguments)
        return copy, out.getvalue()

    def test_it_keeps_what_a_cost_depends_on(self, tmp_path):
        entry = {
            "litellm_provider": "acme", "mode": "chat", "input_cost_per_token": 2.5e-07, "max_input_tokens": 1000,
            "max_tokens": 9, "source": "https://example.com", "supports_vision": True,
        }  # fmt: skip
        copy, said = self.make(tmp_path, json.dumps({"sample_spec": entry, "m": entry}))
        assert [json.loads(line) for line in copy.read_text("utf-8").splitlines()] == [
            {"source": "litellm", "version": "9.9", "published_on": "2026-12-01"},
            {
                "name": "m",
                "input_cost_per_token": "0.00000025",
                "litellm_provider": "acme",
                "max_input_tokens": "1000",
                "mode": "chat",
            },
        ]
        assert "1 priced models of LiteLLM 9.9" in said

    def test_the_shipped_copy_reads_the_same_when_it_is_made_again(self, tmp_path, shipped):
        head, *lines = DATA.read_text("utf-8").splitlines()
        entries = {entry.pop("name"): entry for entry in map(json.loads, lines)}
        copy, _ = self.make(tmp_path, json.dumps(entries))
        assert copy.read_text("utf-8").splitlines()[1:] == lines
        assert json.loads(head)["version"] == shipped.source_version

    @pytest.mark.parametrize("text", ["{", "[]", '{"m": 5}'])
    def test_it_refuses_a_file_that_is_something_else(self, tmp_path, text):
        with pytest.raises(CommandError, match="cannot be read as LiteLLM's price data"):
            self.make(tmp_path, text)
        assert not (tmp_path / "copy.jsonl").exists()
