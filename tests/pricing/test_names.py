"""How models are called, and what is never guessed: a table, the second source's own names, and laws."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.pricing.names import PROVIDER_ALIASES, SPELLINGS_MAX, canonical_provider, spellings

NAMES = [json.loads(line) for line in (Path(__file__).parent / "model_names.jsonl").read_text().splitlines()]
# The names of OpenTelemetry's gen_ai.provider.name (semantic conventions 1.41.1) whose prices the catalog has.
OTEL = {
    "openai": "openai",
    "anthropic": "anthropic",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "gcp.gemini": "google",
    "aws.bedrock": "aws",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "groq": "groq",
    "mistral_ai": "mistral",
    "perplexity": "perplexity",
    "x_ai": "x-ai",
    "xai": "x-ai",
    "moonshot_ai": "moonshotai",
}


@pytest.mark.parametrize("row", NAMES, ids=lambda row: f"{row['provider']}: {row['model']}")
def test_a_name_is_recognised_or_left_unknown(snapshot_catalog, row):
    found = snapshot_catalog.recognise(row["provider"], row["model"])
    assert (found and f"{found.provider}/{found.model}") == row["is"]
    if "rule" in row:
        assert found.rule == row["rule"]


def test_every_model_of_the_catalog_answers_to_its_own_id(snapshot, snapshot_catalog):
    strangers = [
        (model.provider, model.model)
        for model in snapshot.models
        if (found := snapshot_catalog.recognise(model.provider, model.model)) is None
        or (found.provider, found.model) != (model.provider, model.model)
    ]
    assert strangers == []


@pytest.mark.parametrize("name", OTEL)
def test_opentelemetrys_providers_are_the_catalogs(name, snapshot):
    assert canonical_provider(name) == OTEL[name]
    assert OTEL[name] in {model.provider for model in snapshot.models}


def test_every_alias_means_a_provider_that_is_none_itself():
    assert not {provider for provider in PROVIDER_ALIASES.values() if canonical_provider(provider) != provider}


@given(st.sampled_from(["openai", "aws", "azure", "google", "openrouter", "x"]), st.text(max_size=256))
def test_any_text_has_few_spellings_each_once_and_in_lower_case(provider, text):
    found = list(spellings(provider, text))
    assert 1 <= len(found) <= SPELLINGS_MAX
    assert len({spelling.name for spelling in found}) == len(found)
    assert found[0] == (text.strip().lower(), "as-sent")
    assert found == list(spellings(provider, text.upper().lower() if text.isascii() else text))


@given(st.text("abg0123456789-:./@", max_size=256))
def test_long_names_of_the_letters_that_rules_look_at_end(text):
    for provider in ("aws", "azure", "openrouter"):
        assert list(spellings(provider, f"arn:aws:bedrock:us-east-1:1:inference-profile/{text}:0:200k"))
