from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from apps.pricing.catalog import Catalog, PublishedModel
from apps.pricing.cost import Price, RateCard
from apps.pricing.genai import read_snapshot


def catalog_of(models: Iterable[PublishedModel]) -> Catalog:
    """A catalog straight from what a source publishes, without a database."""
    models = list(models)
    published = [(model, price) for model in models for price in model.prices]
    prices = [
        Price(
            id=number,
            provider=model.provider,
            model=model.model,
            service_tier=price.service_tier,
            effective_from=price.effective_from,
            base=RateCard.of(price.rates),
            tiers=tuple(RateCard.of(rates, over) for over, rates in sorted(price.tiers.items())),
            source="test",
            source_version="1",
            daily_from_minute=price.daily_from_minute,
            daily_until_minute=price.daily_until_minute,
        )
        for number, (model, price) in enumerate(published, start=1)
    ]
    return Catalog(1, [(model.provider, model.model, model.match) for model in models], prices)


@pytest.fixture(scope="session")
def build_catalog():
    return catalog_of


@pytest.fixture(scope="session")
def snapshot():
    return read_snapshot()


@pytest.fixture(scope="session")
def snapshot_catalog(snapshot) -> Catalog:
    return catalog_of(snapshot.models)


@pytest.fixture(scope="session")
def today() -> datetime:
    return datetime(2026, 11, 24, 12, tzinfo=UTC)
