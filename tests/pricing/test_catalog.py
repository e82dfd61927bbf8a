"""Which price applies: names, service tiers, dates and hours; the package itself is the second opinion."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from genai_prices.data_snapshot import find_provider_by_id, get_snapshot
from genai_prices.types import ClauseEquals, ClauseRegex

from apps.pricing.catalog import (
    ANSWERS_MAX,
    EPOCH,
    Catalog,
    PublishedModel,
    PublishedPrice,
    canonical_provider,
    matcher,
)
from apps.pricing.names import PROVIDER_ALIASES, RESOLD_PROVIDERS

JUNE = datetime(2026, 6, 1, tzinfo=UTC)
FLAT = {"input_tokens": 1_000_000, "output_tokens": 2_000_000}


def a_model(name="m-1", *prices, provider="acme", match=None):
    match = match or {"equals": name}
    return PublishedModel(provider, name, match, prices or (PublishedPrice("standard", EPOCH, FLAT),))


def input_rate(catalog, provider, model, tier, at):
    return catalog.find(provider, model, tier, at).rates[0]


class TestClauses:
    @pytest.mark.parametrize(
        ("clause", "yes", "no"),
        [
            ({"equals": "GPT-4o"}, ["gpt-4o"], ["gpt-4o-mini", ""]),
            ({"starts_with": "claude-3"}, ["claude-3", "claude-3-opus"], ["x-claude-3"]),
            ({"ends_with": ":Free"}, ["a:free"], ["a:free-1"]),
            ({"contains": "Nova"}, ["us.amazon.nova-pro"], ["nov-a"]),
            ({"regex": r"^o[13]$"}, ["o1", "o3"], ["o2", "xo1"]),
            ({"or": [{"equals": "a"}, {"ends_with": "z"}]}, ["a", "fizz"], ["b"]),
            ({"and": [{"starts_with": "a"}, {"ends_with": "z"}]}, ["az", "abcz"], ["a", "z"]),
            ({"and": [{"or": [{"equals": "a"}]}, {"contains": "a"}]}, ["a"], ["aa"]),
        ],
    )
    def test_it_matches_lower_case_names(self, clause, yes, no):
        matches = matcher(clause)
        assert all(matches(name) for name in yes)
        assert not any(matches(name) for name in no)

    @pytest.mark.parametrize(
        "clause", [{}, {"equals": 3}, {"like": "x"}, {"equals": "a", "contains": "b"}, {"or": [{"not": "x"}]}]
    )
    def test_it_refuses_a_clause_of_no_known_kind(self, clause):
        with pytest.raises(ValueError, match="no known kind"):
            matcher(clause)


class TestProviders:
    @pytest.mark.parametrize(
        ("sent", "canonical"),
        [
            ("openai", "openai"),
            (" OpenAI ", "openai"),
            ("aws.bedrock", "aws"),
            ("bedrock_converse", "aws"),
            ("azure.ai.openai", "azure"),
            ("azure.ai.inference", "azure"),
            ("azure_ai", "azure"),
            ("gcp.gen_ai", "google"),
            ("gcp.gemini", "google"),
            ("gcp.vertex_ai", "google"),
            ("vertex_ai", "google"),
            ("gemini", "google"),
            ("mistral_ai", "mistral"),
            ("x_ai", "x-ai"),
            ("xai", "x-ai"),
            ("moonshot_ai", "moonshotai"),
            ("moonshot", "moonshotai"),
            ("together_ai", "together"),
            ("fireworks_ai", "fireworks"),
            ("github_copilot", "github-copilot"),
            ("huggingface_together", "huggingface_together"),
            ("ibm.watsonx.ai", "ibm.watsonx.ai"),
            ("", ""),
        ],
    )
    def test_it_knows_a_provider_by_its_other_names(self, sent, canonical):
        assert canonical_provider(sent) == canonical

    def test_every_alias_leads_to_a_provider_of_the_package(self):
        known = {provider.id for provider in get_snapshot().providers}
        assert set(PROVIDER_ALIASES.values()) <= known
        assert {name for name in PROVIDER_ALIASES if name in known and PROVIDER_ALIASES[name] != name} == set()

    def test_it_agrees_with_the_package_about_its_own_aliases(self):
        theirs = {
            name: provider.id
            for name in PROVIDER_ALIASES
            if (provider := find_provider_by_id(get_snapshot().providers, name))
        }
        # The package looks for "openai" anywhere in a name; Azure sells some models at its own prices.
        assert (theirs.pop("azure-openai"), theirs.pop("azure-ai-openai")) == ("openai", "openai")
        assert theirs == {name: PROVIDER_ALIASES[name] for name in theirs}

    def test_resellers_are_those_of_the_package(self):
        theirs = {
            p.id: tuple(p.fallback_model_providers) for p in get_snapshot().providers if p.fallback_model_providers
        }
        assert theirs == RESOLD_PROVIDERS


class TestModels:
    @pytest.mark.parametrize("name", ["m-1", "M-1", " m-1 ", "acme/m-1", "ACME/M-1"])
    def test_it_finds_a_model_as_sent(self, build_catalog, name):
        assert build_catalog([a_model()]).find("acme", name, "", JUNE).model == "m-1"

    @pytest.mark.parametrize("name", ["m-2", "other/m-1", "m-1/acme", "", "/", "m-1\x00"])
    def test_an_unknown_model_has_no_price(self, build_catalog, name):
        assert build_catalog([a_model()]).find("acme", name, "", JUNE) is None

    def test_an_unknown_provider_has_no_price(self, build_catalog):
        assert build_catalog([a_model()]).find("other", "m-1", "", JUNE) is None

    def test_a_model_id_beats_a_pattern_that_comes_first(self, build_catalog):
        catalog = build_catalog([a_model("a", match={"starts_with": "m"}), a_model("m-1", match={"regex": "^$"})])
        assert catalog.find("acme", "m-1", "", JUNE).model == "m-1"
        assert catalog.find("acme", "m-2", "", JUNE).model == "a"

    def test_patterns_are_tried_in_the_order_of_model_ids(self, build_catalog):
        catalog = build_catalog([a_model("b", match={"contains": "m"}), a_model("a", match={"contains": "m"})])
        assert catalog.find("acme", "m", "", JUNE).model == "a"

    def test_a_compact_date_is_read_as_a_date(self, build_catalog):
        catalog = build_catalog([a_model("m-2025-12-11")])
        assert catalog.find("acme", "m-20251211", "", JUNE).model == "m-2025-12-11"
        assert catalog.find("acme", "m-20250231", "", JUNE) is None

    def test_a_prefix_is_dropped_only_where_it_names_the_provider(self, snapshot_catalog, today):
        assert snapshot_catalog.find("openrouter", "openai/gpt-4o", "", today).model == "openai/gpt-4o"
        assert snapshot_catalog.find("vertex_ai", "vertex_ai/gemini-2.5-pro", "", today).model == "gemini-2.5-pro"
        assert snapshot_catalog.find("anthropic", "openai/gpt-4o", "", today) is None

    def test_a_resold_model_has_its_makers_standard_price(self, snapshot_catalog, today):
        price = snapshot_catalog.find("azure", "gpt-5", "batch", today)
        assert (price.provider, price.service_tier, price.tier_assumed) == ("openai", "standard", True)

    def test_it_remembers_a_bounded_number_of_answers(self, build_catalog):
        catalog = build_catalog([a_model()])
        for number in range(ANSWERS_MAX + 100):
            assert catalog.find("acme", f"random-{number}", "", JUNE) is None
        assert catalog._answer.cache_info().currsize == ANSWERS_MAX
        assert catalog.find("acme", "m-1", "", JUNE) is not None

    def test_it_recognises_the_names_that_the_package_recognises(self, snapshot_catalog, today):
        providers = get_snapshot().providers
        disagreements = []
        for provider in providers:
            for name in sorted({name for model in provider.models for name in likely_names(model)}):
                theirs = provider.find_model(name, all_providers=providers)
                ours = snapshot_catalog.find(provider.id, name, "", today)
                if (theirs and theirs.id) != (ours and ours.model):
                    disagreements.append((provider.id, name, theirs and theirs.id, ours and ours.model))
        # A model's own id is always one of its names here; the package knows some only by other names.
        assert [d for d in disagreements if d[2] is not None or d[1] != d[3].lower()] == []
        assert len(disagreements) < 100


class TestTimes:
    def test_the_latest_start_that_has_come_applies(self, build_catalog):
        later = PublishedPrice("standard", JUNE, {"input_tokens": 7})
        catalog = build_catalog([a_model("m-1", PublishedPrice("standard", EPOCH, FLAT), later)])
        instant = timedelta(microseconds=1)
        assert input_rate(catalog, "acme", "m-1", "", JUNE - instant) == 1_000_000
        assert input_rate(catalog, "acme", "m-1", "", JUNE) == 7
        assert input_rate(catalog, "acme", "m-1", "", JUNE.astimezone(timezone(timedelta(hours=-8)))) == 7

    def test_before_the_first_start_there_is_no_price(self, build_catalog):
        catalog = build_catalog([a_model("m-1", PublishedPrice("standard", JUNE, FLAT))])
        assert catalog.find("acme", "m-1", "", JUNE - timedelta(days=1)) is None

    @pytest.mark.parametrize(
        ("hour", "minute", "rate"),
        [(0, 59, 660_000), (1, 0, 1_320_000), (3, 59, 1_320_000), (4, 0, 660_000), (23, 59, 660_000)],
    )
    def test_the_hour_of_the_utc_day_counts(self, snapshot_catalog, hour, minute, rate):
        at = datetime(2026, 9, 1, hour, minute, 59, tzinfo=UTC)
        tokyo = at.astimezone(timezone(timedelta(hours=9)))
        assert input_rate(snapshot_catalog, "deepseek", "deepseek-v4-pro", "", at) == rate
        assert input_rate(snapshot_catalog, "deepseek", "deepseek-v4-pro", "", tokyo) == rate


class TestServiceTiers:
    BATCH = PublishedPrice("batch", JUNE, {"input_tokens": 500_000, "output_tokens": 1_000_000})

    def catalog(self, build_catalog) -> Catalog:
        return build_catalog([a_model("m-1", PublishedPrice("standard", EPOCH, FLAT), self.BATCH)])

    @pytest.mark.parametrize(
        ("tier", "at", "rate", "assumed"),
        [
            ("", JUNE, 1_000_000, False),
            ("standard", JUNE, 1_000_000, False),
            ("batch", JUNE, 500_000, False),
            ("batch", JUNE - timedelta(days=1), 1_000_000, True),
            ("flex", JUNE, 1_000_000, True),
            ("priority", JUNE, 1_000_000, True),
        ],
    )
    def test_a_tier_without_its_own_price_says_so(self, build_catalog, tier, at, rate, assumed):
        price = self.catalog(build_catalog).find("acme", "m-1", tier, at)
        assert (price.rates[0], price.tier_assumed) == (rate, assumed)

    def test_an_assumed_price_keeps_its_id(self, build_catalog):
        catalog = self.catalog(build_catalog)
        assert catalog.find("acme", "m-1", "flex", JUNE).id == catalog.find("acme", "m-1", "", JUNE).id


def likely_names(model):
    """Names that a client may send: the model's id, exact names, and texts of patterns with more behind."""
    yield model.id.lower()
    for leaf in leaves(model.match):
        (text,) = vars(leaf).values()
        if isinstance(leaf, ClauseEquals):
            yield text.lower()
        elif not isinstance(leaf, ClauseRegex):
            for suffix in ("", "-20250101", "-2025-01-01", "-mini", ":free"):
                yield text.lower() + suffix


def leaves(clause):
    parts = vars(clause).values()
    for part in parts:
        if isinstance(part, list):
            for inner in part:
                yield from leaves(inner)
        else:
            yield clause
