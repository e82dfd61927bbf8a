from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from apps.pricing import sources
from apps.pricing.catalog import Catalog, PublishedModel
from apps.pricing.genai import read_snapshot
from apps.pricing.sources import Snapshot


def catalog_of(models: Iterable[PublishedModel]) -> Catalog:
    """A catalog straight from what a source publishes, without a database."""
    return sources.catalog_of(Snapshot("test", "1", tuple(models)))


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
