"""What is known about prices, read from the catalog's rows."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from threading import Lock

from django.db.models import QuerySet

from apps.core.money import rate_from_usd_per_million
from apps.pricing import cost
from apps.pricing.catalog import Catalog, canonical_provider
from apps.pricing.models import CatalogVersion, Price, PricedModel

# The columns of which the newest catalog version stands.
PRICE_KEY = ("provider", "model", "service_tier", "effective_from", "daily_from_minute", "daily_until_minute")
MODEL_KEY = ("provider", "model")


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A catalog and the publication it was built from; the time tells two databases apart."""

    version: int
    loaded_at: datetime
    catalog: Catalog


_loaded: _Loaded | None = None
_loading = Lock()


def load_catalog() -> Catalog:
    """The newest catalog, built once per process and version; one query where nothing changed."""
    global _loaded
    newest = CatalogVersion.objects.order_by("-id").values_list("id", "loaded_at").first()
    if newest is None:
        return Catalog(0, (), ())
    loaded = _loaded
    if loaded is None or (loaded.version, loaded.loaded_at) != newest:
        with _loading:
            loaded = _loaded
            if loaded is None or (loaded.version, loaded.loaded_at) != newest:
                _loaded = loaded = _Loaded(*newest, _build_catalog(newest[0]))
    return loaded.catalog


def current_prices(version: int) -> QuerySet[Price]:
    """The rows that stand at a catalog version, withdrawn ones included."""
    rows = Price.objects.filter(catalog_version__lte=version)
    return rows.order_by(*PRICE_KEY, "-catalog_version").distinct(*PRICE_KEY)


def current_models(version: int) -> QuerySet[PricedModel]:
    """The models that stand at a catalog version."""
    rows = PricedModel.objects.filter(catalog_version__lte=version)
    return rows.order_by(*MODEL_KEY, "-catalog_version").distinct(*MODEL_KEY)


def newest_version() -> int:
    """The id of the newest catalog version, 0 before the first."""
    return CatalogVersion.objects.order_by("-id").values_list("id", flat=True).first() or 0


def list_prices(provider: str, model: str) -> QuerySet[Price]:
    """Every price row a model has had, superseded ones included: latest start first, then newest row."""
    rows = Price.objects.filter(provider=canonical_provider(provider), model=model)
    return rows.order_by("-effective_from", "service_tier", "daily_from_minute", "-catalog_version")


def prices_by_id(price_ids: Iterable[int]) -> dict[int, cost.Price]:
    """The prices that events were given, superseded ones included."""
    return {row.id: price_of(row) for row in Price.objects.filter(id__in=set(price_ids))}


def price_of(row: Price) -> cost.Price:
    """A row as the arithmetic wants it."""
    return cost.Price(
        id=row.id,
        provider=row.provider,
        model=row.model,
        service_tier=row.service_tier,
        effective_from=row.effective_from,
        base=cost.RateCard.of(_rates(row.rates)),
        tiers=tuple(cost.RateCard.of(_rates(t["rates"]), t["over_prompt_tokens"]) for t in row.tiers),
        source=row.source,
        source_version=row.source_version,
        daily_from_minute=row.daily_from_minute,
        daily_until_minute=row.daily_until_minute,
    )


def _build_catalog(version: int) -> Catalog:
    models = current_models(version).values_list("provider", "model", "match")
    prices: Iterator[cost.Price] = (price_of(row) for row in current_prices(version) if not row.withdrawn)
    return Catalog(version, models, prices)


def _rates(stored: dict[str, str]) -> dict[str, int]:
    return {meter: rate_from_usd_per_million(Decimal(text)) for meter, text in stored.items()}
