"""What is known about prices, read from the catalog's rows."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from threading import Lock
from time import monotonic_ns

from django.db.models import F, QuerySet

from apps.core.money import rate_from_usd_per_million
from apps.core.tenancy import HasPk
from apps.pricing import cost
from apps.pricing.catalog import Catalog, canonical_provider
from apps.pricing.contracts import Term
from apps.pricing.models import CatalogVersion, Contract, ModelAlias, Price, PricedModel
from apps.pricing.rating import ModelAliases, RateBook
from apps.pricing.rules import RULES, RuleSet

# Asked for a model only where the default source knows nothing of it.
SECOND_SOURCES = ("litellm",)
# The source of rows that a person decided.
REVIEW = "review"

# The columns of which the newest catalog version stands.
PRICE_KEY = (
    "provider", "model", "service_tier", "region", "effective_from", "daily_from_minute", "daily_until_minute",
)  # fmt: skip
MODEL_KEY = ("provider", "model")


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A catalog and the publication it was built from; the time tells two databases apart."""

    version: int
    loaded_at: datetime
    catalog: Catalog


_loaded: _Loaded | None = None
_loading = Lock()
_recent: tuple[int, Catalog] | None = None


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
                _loaded = loaded = _Loaded(*newest, build_catalog(newest[0]))
    return loaded.catalog


def recent_catalog(max_age_seconds: int = 5) -> Catalog:
    """The catalog as it was at most so long ago: for estimates, which spare the query. Costs take `load_catalog`."""
    global _recent
    now = monotonic_ns()
    if _recent is None or now - _recent[0] > max_age_seconds * 1_000_000_000:
        _recent = (now, load_catalog())
    return _recent[1]


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


def prices_by_id(price_ids: Iterable[int], rules: RuleSet = RULES) -> dict[int, cost.Price]:
    """The prices that events were given, superseded ones included."""
    return {row.id: price_of(row, rules) for row in Price.objects.filter(id__in=set(price_ids))}


def price_of(row: Price, rules: RuleSet = RULES) -> cost.Price:
    """A row as the arithmetic wants it."""
    missing = rules.missing_rates(row.model)
    return cost.Price(
        id=row.id,
        provider=row.provider,
        model=row.model,
        service_tier=row.service_tier,
        region=row.region,
        effective_from=row.effective_from,
        base=cost.RateCard.of(rates_of(row.rates), 0, missing),
        tiers=tuple(cost.RateCard.of(rates, over, missing) for over, rates in tiers_of(row.tiers).items()),
        source=row.source,
        source_version=row.source_version,
        daily_from_minute=row.daily_from_minute,
        daily_until_minute=row.daily_until_minute,
        missing=missing,
    )


def build_catalog(version: int, rules: RuleSet = RULES) -> Catalog:
    """The catalog as it stood at a version; `load_catalog` is the way to the newest one."""
    names: dict[bool, list[tuple[str, str, dict[str, object]]]] = {False: [], True: []}
    known = current_models(version).annotate(source=F("catalog_version__source"))
    for provider, model, match, source in known.values_list("provider", "model", "match", "source"):
        names[source in SECOND_SOURCES].append((provider, model, match))
    prices: Iterator[cost.Price] = (price_of(row, rules) for row in current_prices(version) if not row.withdrawn)
    return Catalog(version, names[False], prices, second=names[True], rules=rules)


def rates_of(stored: dict[str, str]) -> dict[str, int]:
    """Stored rates (USD per million units, as text) as micro-USD per million units."""
    return {meter: rate_from_usd_per_million(Decimal(text)) for meter, text in stored.items()}


def tiers_of(stored: Sequence[dict[str, object]]) -> dict[int, dict[str, int]]:
    """Stored tiers by the number of prompt tokens to exceed, in rising order."""
    found = {int(str(tier["over_prompt_tokens"])): rates_of(dict(tier["rates"])) for tier in stored}  # type: ignore[call-overload]
    return dict(sorted(found.items()))


# --- one organization's own ----------------------------------------------------------------------------


def list_contracts(org: HasPk) -> QuerySet[Contract]:
    """Every term the organization has had, latest start first."""
    return Contract.objects.for_org(org).select_related("team").order_by("-starts_at", "-id")


def list_model_aliases(org: HasPk) -> QuerySet[ModelAlias]:
    """By provider and name. Inside `tenant(org)`."""
    return ModelAlias.objects.for_org(org).order_by("provider", "name")


def load_terms(org: HasPk) -> list[Term]:
    """The organization's terms, as pure rules read them."""
    return [term_of(contract) for contract in list_contracts(org)]


def term_of(row: Contract) -> Term:
    return Term(
        id=row.id,
        kind=row.kind,
        name=row.name,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        provider=row.provider,
        model=row.model,
        service_tier=row.service_tier,
        rates=rates_of(row.rates),
        tiers=tiers_of(row.tiers),
        percent=row.percent,
        amount_usd=row.amount_usd,
        quantity=row.quantity,
        monthly=row.monthly,
        team=row.team.slug if row.team else None,
    )


def load_model_aliases(org: HasPk) -> ModelAliases:
    rows = ModelAlias.objects.for_org(org).values_list("provider", "name", "to_provider", "to_model")
    return {(provider, name): (to_provider, to_model) for provider, name, to_provider, to_model in rows}


def load_rate_book(org: HasPk) -> RateBook:
    """What the organization pays, at the newest catalog. Inside `tenant(org)`."""
    return RateBook(load_catalog(), load_terms(org), load_model_aliases(org))
