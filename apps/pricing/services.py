"""Publishing prices: what would change is planned and listed first, then becomes rows of a new catalog version."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import Any, TypeVar

from django.db import IntegrityError, transaction

from apps.core.errors import DomainError
from apps.core.meters import METER_INDEX, METERS
from apps.pricing import selectors
from apps.pricing.catalog import SERVICE_TIERS, PublishedModel, PublishedPrice, matcher
from apps.pricing.cost import DAY_MINUTES, RATE_MAX, usd_per_million
from apps.pricing.models import NAME_CHARACTERS_MAX, CatalogVersion, PriceDecision, PricedModel, PriceFlag
from apps.pricing.models import Price as PriceRow
from apps.pricing.selectors import REVIEW, SECOND_SOURCES
from apps.pricing.sources import Snapshot

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


@dataclass(frozen=True, slots=True)
class Change:
    """A row to insert, and the one that stands for its key now; None: there is none."""

    row: PriceRow
    standing: PriceRow | None

    def is_in_force(self, at: datetime) -> bool:
        """Whether calls are priced by the standing row at `at`, so that the change rewrites what was valid."""
        return self.standing is not None and not self.standing.withdrawn and self.row.effective_from <= at


@dataclass(slots=True)
class Plan:
    """What publishing a snapshot would do to the catalog of a version. `held` waits for a person."""

    snapshot: Snapshot
    version: int
    models_new: list[PricedModel] = field(default_factory=list)
    models_changed: list[PricedModel] = field(default_factory=list)
    new: list[Change] = field(default_factory=list)
    superseding: list[Change] = field(default_factory=list)
    withdrawing: list[Change] = field(default_factory=list)
    held: list[Change] = field(default_factory=list)
    unchanged: int = 0

    @property
    def models(self) -> list[PricedModel]:
        return self.models_new + self.models_changed

    @property
    def prices(self) -> list[PriceRow]:
        return [change.row for change in (*self.new, *self.superseding, *self.withdrawing)]

    def hold_what_is_in_force(self, at: datetime) -> None:
        """Leave changes of prices that are in force at `at` to a person."""
        for changes in (self.superseding, self.withdrawing):
            self.held += [change for change in changes if change.is_in_force(at)]
            changes[:] = [change for change in changes if not change.is_in_force(at)]


def publish_catalog(*, models: Sequence[PublishedModel], source: str, source_version: str) -> Publication:
    """Plan and publish in one go what a source says of some models."""
    return publish(plan(Snapshot(source, source_version, tuple(models))))


def plan(snapshot: Snapshot, *, known: Collection[tuple[str, str]] = ()) -> Plan:
    """What publishing a source would change; publishing the same prices again changes nothing.

    Models that are `known` by (provider, model) are another source's: this one adds prices to them.

    A price that the source no longer publishes for a model it still lists is withdrawn; a model that it no longer lists
    keeps its prices, since its calls may still arrive. What a person decided stands until the source says something
    new, which is held. Raises `DomainError` (`price_invalid`) for a price that cannot be right.
    """
    for model in snapshot.models:
        for complaint in _complaints(model):
            raise DomainError("price_invalid", f"{model.provider}/{model.model}: {complaint}")
    found = Plan(snapshot, selectors.newest_version())
    offered = _unique((_key(row, selectors.MODEL_KEY), row) for row in map(_model_row, snapshot.models))
    _compare_models(found, {key: row for key, row in offered.items() if key not in known})
    _compare_prices(found, offered)
    return found


def publish(planned: Plan) -> Publication:
    """Insert what was planned. Raises `DomainError` (`catalog_busy`) where another publication got in first."""
    version = planned.version
    if planned.models or planned.prices:
        version += 1
        with transaction.atomic():
            _insert(planned, version)
    return Publication(
        version=version,
        models_new=len(planned.models_new),
        models_changed=len(planned.models_changed),
        prices_new=len(planned.new),
        prices_superseded=len(planned.superseding),
        prices_withdrawn=len(planned.withdrawing),
        prices_unchanged=planned.unchanged,
    )


def _insert(planned: Plan, version: int) -> None:
    source, source_version = planned.snapshot.source, planned.snapshot.source_version
    for price in planned.prices:
        price.source, price.source_version = source, source_version
    insert_version(version, source, source_version, planned.models, planned.prices)


def insert_version(
    version: int, source: str, source_version: str, models: Sequence[PricedModel], prices: Sequence[PriceRow]
) -> None:
    """Append a catalog version and its rows, inside a transaction. Raises `DomainError` (`catalog_busy`)."""
    try:
        with transaction.atomic():
            CatalogVersion.objects.create(
                id=version,
                source=source,
                source_version=source_version,
                models_added=len(models),
                prices_added=len(prices),
            )
    except IntegrityError as error:
        raise DomainError(
            "catalog_busy",
            f"Catalog version {version} has just been published by another process; try again.",
        ) from error
    for model in models:
        model.catalog_version_id = version
    for price in prices:
        price.catalog_version_id = version
    PricedModel.objects.bulk_create(models, batch_size=ROWS_PER_INSERT)
    PriceRow.objects.bulk_create(prices, batch_size=ROWS_PER_INSERT)


def _compare_models(found: Plan, offered: Mapping[_Key, PricedModel]) -> None:
    known = {_key(row, selectors.MODEL_KEY): row for row in selectors.current_models(found.version)}
    for key, row in offered.items():
        if key not in known:
            found.models_new.append(row)
        elif (known[key].match, known[key].context_tokens_max) != (row.match, row.context_tokens_max):
            found.models_changed.append(row)


def _compare_prices(found: Plan, models: Mapping[_Key, PricedModel]) -> None:
    snapshot = found.snapshot
    known = {_key(row, selectors.PRICE_KEY): row for row in selectors.current_prices(found.version)}
    reviewed = _said_before_reviews(snapshot.source, known.values())
    published = [_price_row(model, price) for model in snapshot.models for price in model.prices]
    rows = _unique((_key(row, selectors.PRICE_KEY), row) for row in _dated(snapshot, known, published))
    for key, row in rows.items():
        standing = known.pop(key, None)
        change = Change(row, standing)
        if standing is None or standing.withdrawn:
            found.new.append(change)
        elif _says(standing) == _says(row) or reviewed.get(key) == _says(row):
            found.unchanged += 1
        elif standing.source == REVIEW:
            found.held.append(change)
        else:
            found.superseding.append(change)
    found.withdrawing = [
        Change(_withdrawal(row), row)
        for row in known.values()
        if not row.withdrawn and _key(row, selectors.MODEL_KEY) in models and _is_withdrawn(row, snapshot)
    ]


def _is_withdrawn(row: PriceRow, snapshot: Snapshot) -> bool:
    """Whether a row that a snapshot does not publish, of a model that it does, has lost its reason to stand."""
    if row.source == snapshot.source:
        # A source without history moves the starts of its prices on, but not of those made from another's prices.
        return snapshot.published_on is None or bool(row.region)
    # The default source has come to know a model that only a second one knew: all its prices are the default's.
    return row.source in SECOND_SOURCES and snapshot.source not in SECOND_SOURCES and not row.region


def _dated(snapshot: Snapshot, known: Mapping[_Key, PriceRow], rows: Iterable[PriceRow]) -> Iterator[PriceRow]:
    """Rows with the start from which they hold: what a source without history changes, holds from its date on."""
    if snapshot.published_on is None:
        yield from rows
        return
    since = datetime.combine(snapshot.published_on, time(), UTC)
    latest: dict[_Key, PriceRow] = {}
    for row in known.values():
        place = _place(row)
        if not row.withdrawn and (place not in latest or latest[place].effective_from < row.effective_from):
            latest[place] = row
    for row in rows:
        standing = latest.get(_place(row))
        # What is made from the default source's prices has their dates.
        if standing is not None and not row.region:
            same = _says(standing) == _says(row) or standing.effective_from > since
            row.effective_from = standing.effective_from if same else max(since, standing.effective_from)
        yield row


def _place(row: PriceRow) -> _Key:
    return tuple(getattr(row, column) for column in selectors.PRICE_KEY if column != "effective_from")


def _said_before_reviews(source: str, standing: Iterable[PriceRow]) -> dict[_Key, Any]:
    """What a source said last of the prices that a person has overridden since, be it held and never published."""
    keys = [_key(row, selectors.PRICE_KEY) for row in standing if row.source == REVIEW]
    said = {}
    for key in keys:
        named = dict(zip(selectors.PRICE_KEY, key, strict=True))
        last = PriceRow.objects.filter(source=source, **named).order_by("-catalog_version").first()
        held = PriceFlag.objects.filter(
            kind=PriceFlag.Kind.CHANGED, other_source=source, decisions__verdict=PriceDecision.Verdict.OVERRIDE, **named
        )
        if newest := held.order_by("-id").first():
            said[key] = newest.theirs["rates"], newest.theirs["tiers"]
        elif last is not None:
            said[key] = _says(last)
    return said


def _says(row: PriceRow) -> tuple[Any, Any]:
    return row.rates, row.tiers


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
        region=price.region,
        effective_from=price.effective_from,
        daily_from_minute=price.daily_from_minute,
        daily_until_minute=price.daily_until_minute,
        rates=stored_rates(price.rates),
        tiers=stored_tiers(price.tiers),
        published=dict(price.published),
    )


def _withdrawal(row: PriceRow) -> PriceRow:
    key = {column: getattr(row, column) for column in selectors.PRICE_KEY}
    return PriceRow(**key, rates={}, tiers=[], published={}, withdrawn=True)


def stored_rates(rates: Mapping[str, int]) -> dict[str, str]:
    """Micro-USD per million units as they are stored: USD per million units, as text with 6 decimals."""
    return {meter: format(usd_per_million(rates[meter]), "f") for meter in METERS if meter in rates}


def stored_tiers(tiers: Mapping[int, Mapping[str, int]]) -> list[dict[str, Any]]:
    return [{"over_prompt_tokens": over, "rates": stored_rates(rates)} for over, rates in sorted(tiers.items())]


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
