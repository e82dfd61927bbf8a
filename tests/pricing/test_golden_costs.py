"""From a provider's usage object to an exact amount, line by line.

`golden_costs.jsonl` holds a call a line: what the provider said (`usage`), the disjoint meters with the catalog's USD
per million units of November 2026 (`lines`; `prices` is the provider's page where they can be looked up) and their
exact sum. `report` is where somebody else's system got such a call wrong; most quantities are made up after it.
"""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from apps.core.money import rate_from_usd_per_million, usd_from_pico
from apps.pricing.catalog import canonical_provider
from apps.pricing.contracts import PRICE, Term
from apps.pricing.cost import explain
from apps.pricing.normalize import normalize_usage, usage_format_for
from apps.pricing.rating import RateBook

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
CALLS = [json.loads(line) for line in Path(__file__).with_name("golden_costs.jsonl").read_text("utf-8").splitlines()]
PROVIDERS = {
    "openai", "azure.ai.openai", "anthropic", "google", "aws", "mistral", "cohere", "x-ai", "perplexity", "deepseek",
    "groq", "openrouter",
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=[call["name"] for call in CALLS])
def test_it_costs_what_the_provider_bills(snapshot_catalog, call):
    terms = []
    if own := call.get("contract"):
        rates = {meter: rate_from_usd_per_million(Decimal(usd)) for meter, usd in own.items()}
        terms = [Term(id=1, kind=PRICE, provider=call["provider"], model=call["model"], starts_at=AT, rates=rates)]
    book = RateBook(snapshot_catalog, terms)
    provider = canonical_provider(call["provider"])
    quantities = normalize_usage(call["usage"], usage_format_for(provider, call["usage"]), provider=provider)
    rated = book.rate(call["provider"], call["model"], call["service_tier"], "", AT, quantities)
    lines = explain(rated.price, rated.quantities)
    assert {line.meter: (line.quantity, line.rate_usd_per_million) for line in lines} == {
        meter: (quantity, Decimal(usd)) for meter, (quantity, usd) in call["lines"].items()
    }
    assert sum(line.cost_usd for line in lines) == usd_from_pico(rated.cost_pico) == Decimal(call["usd"])


def test_every_provider_is_among_them():
    assert {call["provider"] for call in CALLS} >= PROVIDERS
