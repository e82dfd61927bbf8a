"""Looking through the catalog: what a search finds, what stands at an instant, what a model has cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from apps.pricing.catalog import canonical_provider
from apps.pricing.models import Price, PricedModel
from apps.pricing.selectors import current_models, current_prices, newest_version

PAGE_MAX = 200

# (provider, model) after which a page goes on.
Position = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """A model and the prices that are in force at an instant, one for each service tier, region and window."""

    provider: str
    model: str
    prices: Sequence[Price]


@dataclass(frozen=True, slots=True)
class CatalogPage:
    models: Sequence[ModelPrices]
    following: Position | None


def search_catalog(
    *, text: str = "", provider: str = "", at: datetime, limit: int = 50, after: Position | None = None
) -> CatalogPage:
    """Models whose provider or name holds every word of `text`, by provider and name."""
    version = newest_version()
    found = PricedModel.objects.filter(catalog_version__lte=version)
    if provider:
        found = found.filter(provider=canonical_provider(provider))
    for word in text.split()[:8]:
        found = found.filter(Q(model__icontains=word) | Q(provider__icontains=word))
    if after is not None:
        found = found.filter(Q(provider__gt=after[0]) | Q(provider=after[0], model__gt=after[1]))
    keys = list(found.values_list("provider", "model").distinct().order_by("provider", "model")[: limit + 1])
    page = keys[:limit]
    standing = _in_force(version, page, at)
    models = [ModelPrices(*key, standing.get(key, [])) for key in page]
    return CatalogPage(models, page[-1] if len(keys) > limit else None)


def _in_force(version: int, keys: Sequence[Position], at: datetime) -> dict[Position, list[Price]]:
    """Of each model, the rows that price calls at `at`."""
    wanted = Q(pk__in=[])
    for provider, model in keys:
        wanted |= Q(provider=provider, model=model)
    found: dict[tuple[object, ...], Price] = {}
    for row in current_prices(version).filter(wanted):
        if row.withdrawn or row.effective_from > at:
            continue
        key = (row.provider, row.model, row.service_tier, row.region, row.daily_from_minute, row.daily_until_minute)
        if key not in found or found[key].effective_from < row.effective_from:
            found[key] = row
    by_model: dict[Position, list[Price]] = {}
    for row in found.values():
        by_model.setdefault((row.provider, row.model), []).append(row)
    return by_model


def model_row(provider: str, model: str) -> PricedModel | None:
    """The newest row of a model, by its catalog id in any case."""
    known = current_models(newest_version()).filter(provider=canonical_provider(provider), model__iexact=model)
    return known.first()


def providers() -> list[str]:
    """Every provider of the catalog."""
    return list(PricedModel.objects.values_list("provider", flat=True).distinct().order_by("provider"))
