"""Publishing prices: what changed becomes rows of a new catalog version, in one transaction."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.db import IntegrityError, transaction

from apps.core.errors import DomainError
from apps.core.meters import METER_INDEX, METERS
from apps.pricing import selectors
from apps.pricing.catalog import SERVICE_TIERS, PublishedModel, PublishedPrice, matcher
from apps.pricing.cost import DAY_MINUTES, RATE_MAX, usd_per_million
from apps.pricing.genai import SOURCE, Snapshot, read_snapshot
from apps.pricing.models import NAME_CHARACTERS_MAX, CatalogVersion, PricedModel
from apps.pricing.models import Price as PriceRow

ROWS_PER_INSERT = 1000

# The values of selectors.MODEL_KEY or selectors.PRICE_KEY.
_Key = tuple[Any, ...]
R = TypeVar("R", PricedModel, PriceRow)


@dataclass(frozen=True, slots=True)
class Publication:
    """What one publication did; `version` is the newest catalog version after it."""

    version: int
    models_new: int
    models_changed: int
    prices_new: int
    prices_superseded: int
    prices_withdrawn: int
    prices_unchanged: int


@dataclass(slots=True)
class _Changes:
    """Rows to insert, by what they do to the current catalog."""

    models_new: list[PricedModel] = field(default_factory=list)
    models_changed: list[PricedModel] = field(default_factory=list)
    prices_new: list[PriceRow] = field(default_factory=list)
    prices_superseding: list[PriceRow] = field(default_factory=list)
    prices_withdrawing: list[PriceRow] = field(default_factory=list)
    prices_unchanged: int = 0

    @property
    def models(self) -> list[PricedModel]:
        return self.models_new + self.models_changed

    @property
    def prices(self) -> list[PriceRow]:
        return self.prices_new + self.prices_superseding + self.prices_withdrawing


def publish_installed_catalog() -> tuple[Snapshot, Publication]:
    """Publish the prices of the installed genai-prices package; what is already known is left alone."""
    snapshot = read_snapshot()
    return snapshot, publish_catalog(models=snapshot.models, source=SOURCE, source_version=snapshot.source_version)


def publish_catalog(*, models: Sequence[PublishedModel], source: str, source_version: str) -> Publication:
    """Add what differs from the current catalog; publishing the same prices again adds nothing.

    A price that the source no longer publishes for a model it still lists is withdrawn; a model that it no
    longer lists keeps its prices, since its calls may still arrive. Raises `DomainError`: `price_invalid`
    for a price that cannot be right, `catalog_busy` where another publication got in first.
    """
    for model in models:
        for complaint in _complaints(model):
            raise DomainError("price_invalid", f"{model.provider}/{model.model}: {complaint}")
    with transaction.atomic():
        version = selectors.newest_version()
        changes = _changes(version, models, source)
        if changes.models or changes.prices:
            version += 1
            _insert(changes, version, source, source_version)
    return Publication(
        version=version,
        models_new=len(changes.models_new),
        models_changed=len(changes.models_changed),
        prices_new=len(changes.prices_new),
        prices_superseded=len(changes.prices_superseding),
        prices_withdrawn=len(changes.prices_withdrawing),
        prices_unchanged=changes.prices_unchanged,
    )


def _insert(changes: _Changes, version: int, source: str, source_version: str) -> None:
    try:
        with transaction.atomic():
            CatalogVersion.objects.create(
                id=version,
                source=source,
                source_version=source_version,
                models_added=len(changes.models),
                prices_added=len(changes.prices),
            )
    except IntegrityError as error:
        raise DomainError(
            "catalog_busy",
            f"Catalog version {version} has just been published by another process; try again.",
        ) from error
    for model in changes.models:
        model.catalog_version_id = version
    for price in changes.prices:
        price.catalog_version_id = version
        price.source, price.source_version = source, source_version
    PricedModel.objects.bulk_create(changes.models, batch_size=ROWS_PER_INSERT)
    PriceRow.objects.bulk_create(changes.prices, batch_size=ROWS_PER_INSERT)


def _changes(version: int, models: Sequence[PublishedModel], source: str) -> _Changes:
    changes = _Changes()
    offered = _unique((_key(row, selectors.MODEL_KEY), row) for row in map(_model_row, models))
    _compare_models(changes, offered, version)
    known = {_key(row, selectors.PRICE_KEY): row for row in selectors.current_prices(version)}
    _compare_prices(changes, models, known)
    changes.prices_withdrawing = [
        _withdrawal(row)
        for row in known.values()
        if not row.withdrawn and row.source == source and _key(row, selectors.MODEL_KEY) in offered
    ]
    return changes


def _compare_models(changes: _Changes, offered: Mapping[_Key, PricedModel], version: int) -> None:
    known = {_key(row, selectors.MODEL_KEY): row for row in selectors.current_models(version)}
    for key, row in offered.items():
        if key not in known:
            changes.models_new.append(row)
        elif (known[key].match, known[key].context_tokens_max) != (row.match, row.context_tokens_max):
            changes.models_changed.append(row)


def _compare_prices(changes: _Changes, models: Sequence[PublishedModel], known: dict[_Key, PriceRow]) -> None:
    """Sort the offered prices into new, superseding and unchanged, and take their keys out of `known`."""
    offered = _unique(
        (_key(row, selectors.PRICE_KEY), row)
        for model in models
        for row in (_price_row(model, price) for price in model.prices)
    )
    for key, row in offered.items():
        standing = known.pop(key, None)
        if standing is None or standing.withdrawn:
            changes.prices_new.append(row)
        elif (standing.rates, standing.tiers) != (row.rates, row.tiers):
            changes.prices_superseding.append(row)
        else:
            changes.prices_unchanged += 1


def _key(row: PricedModel | PriceRow, columns: tuple[str, ...]) -> _Key:
    return tuple(getattr(row, column) for column in columns)


def _unique(pairs: Iterable[tuple[_Key, R]]) -> dict[_Key, R]:
    found: dict[_Key, R] = {}
    for key, value in pairs:
        if found.setdefault(key, value) is not value:
            raise DomainError("price_invalid", f"{key!r} is published twice; keep one.")
    return found


def _model_row(model: PublishedModel) -> PricedModel:
    return PricedModel(
        provider=model.provider,
        model=model.model,
        match=dict(model.match),
        context_tokens_max=model.context_tokens_max,
    )


def _price_row(model: PublishedModel, price: PublishedPrice) -> PriceRow:
    return PriceRow(
        provider=model.provider,
        model=model.model,
        service_tier=price.service_tier,
        effective_from=price.effective_from,
        daily_from_minute=price.daily_from_minute,
        daily_until_minute=price.daily_until_minute,
        rates=_rates(price.rates),
        tiers=[{"over_prompt_tokens": over, "rates": _rates(rates)} for over, rates in sorted(price.tiers.items())],
        published=dict(price.published),
    )


def _withdrawal(row: PriceRow) -> PriceRow:
    key = {column: getattr(row, column) for column in selectors.PRICE_KEY}
    return PriceRow(**key, rates={}, tiers=[], published={}, withdrawn=True)


def _rates(rates: Mapping[str, int]) -> dict[str, str]:
    return {meter: format(usd_per_million(rates[meter]), "f") for meter in METERS if meter in rates}


def _complaints(model: PublishedModel) -> Iterator[str]:
    """What cannot be right about a model and its prices."""
    for name in (model.provider, model.model):
        if not 0 < len(name) <= NAME_CHARACTERS_MAX:
            yield f"a name has 1 to {NAME_CHARACTERS_MAX} characters, not {len(name)}."
    try:
        matcher(model.match)
    except (ValueError, re.error) as error:
        yield str(error)
    for price in model.prices:
        if price.service_tier not in SERVICE_TIERS:
            yield f"service tier {price.service_tier!r} is none of {', '.join(SERVICE_TIERS)}."
        if price.effective_from.tzinfo is None:
            yield f"{price.effective_from.isoformat()} has no zone; give the start in UTC."
        if not 0 <= price.daily_from_minute < price.daily_until_minute <= DAY_MINUTES:
            yield f"minutes {price.daily_from_minute} to {price.daily_until_minute} are no window of a day."
        if any(over <= 0 for over in price.tiers):
            yield f"a tier begins over a positive number of prompt tokens, not {min(price.tiers)}."
        for rates in (price.rates, *price.tiers.values()):
            yield from _rate_complaints(rates)


def _rate_complaints(rates: Mapping[str, int]) -> Iterator[str]:
    for meter, rate in rates.items():
        if meter not in METER_INDEX:
            yield f"there is no meter {meter!r}; the meters are {', '.join(METERS)}."
        if not 0 <= rate <= RATE_MAX:
            yield f"{rate} micro-USD per million {meter} is not between 0 and {RATE_MAX}."
