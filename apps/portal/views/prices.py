"""The catalog: searched, and one model's prices over time."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.http import HttpResponse

from apps.core.cursors import cursor_of, position_of
from apps.core.errors import DomainError, NotFound
from apps.core.meters import METER_INDEX, METERS
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb
from apps.portal.pages_prices import ModelPage, ModelRow, Opinion, PriceLine, PricesPage, RateCell, Review
from apps.portal.price_chart import price_history
from apps.portal.views.contracts import contract_row
from apps.portal.views.events import meter_label
from apps.pricing.browse import ModelPrices, Position, model_row, providers, search_catalog
from apps.pricing.catalog import EPOCH, STANDARD, exact_names
from apps.pricing.cost import DAY_MINUTES, usd_per_million
from apps.pricing.models import Price, PriceFlag
from apps.pricing.rating import RateBook
from apps.pricing.reviews import under_review
from apps.pricing.selectors import list_contracts, list_prices, load_rate_book, load_terms

ROWS = 50
NAMES_SHOWN = 12
_INPUT, _READ, _OUTPUT = (METER_INDEX[meter] for meter in ("input_tokens", "cache_read_tokens", "output_tokens"))


@organization_page(section="prices", permission=Permission.VIEW_SPEND)
def prices(visit: Visit) -> HttpResponse:
    text, provider = visit.request.GET.get("q", "")[:256], visit.request.GET.get("provider", "")[:256]
    text, provider = text.replace("\0", ""), provider.replace("\0", "")
    after = _position(visit.request.GET.get("cursor"))
    found = search_catalog(text=text, provider=provider, at=visit.at, limit=ROWS, after=after)
    with tenant(visit.org):
        book = load_rate_book(visit.org)
    flags = under_review((model.provider, model.model) for model in found.models)
    here = {name: value for name, value in (("q", text), ("provider", provider)) if value}
    page = PricesPage(
        text=text,
        provider=provider,
        providers=tuple(providers()),
        rows=tuple(_row(visit, model, book, flags) for model in found.models),
        version=book.catalog.version,
        next_url=visit.url("prices", {**here, "cursor": cursor_of(found.following)}) if found.following else None,
        first_url=visit.url("prices", here) if after else None,
    )
    return visit.render("portal/prices.html", frame=visit.frame("Prices", Crumb("Prices")), prices=page)


def _position(cursor: str | None) -> Position | None:
    try:
        found: Position | None = position_of(cursor, tuple[str, str]) if cursor else None
    except DomainError:
        return None
    return None if found is None or any("\0" in part for part in found) else found


def _row(visit: Visit, model: ModelPrices, book: RateBook, flags: Mapping[Position, Sequence[PriceFlag]]) -> ModelRow:
    standard = next((row for row in model.prices if row.service_tier == STANDARD and not row.region), None)
    rates = {meter: Decimal(standard.rates[meter]) for meter in METERS if meter in standard.rates} if standard else {}
    own = book.price(model.provider, model.model, STANDARD, "", visit.at)
    term = book.terms.get(own.contract_id) if own and own.contract_id is not None else None
    differs = [flag.difference_percent for flag in flags.get((model.provider, model.model), ())]
    others = [meter for meter in rates if meter not in ("input_tokens", "cache_read_tokens", "output_tokens")]
    return ModelRow(
        provider=model.provider,
        model=model.model,
        url=model_url(visit, model.provider, model.model),
        input=rates.get("input_tokens"),
        cache_read=rates.get("cache_read_tokens"),
        output=rates.get("output_tokens"),
        other=", ".join(meter_label(meter).lower() for meter in others),
        long_from=min((tier["over_prompt_tokens"] for tier in standard.tiers), default=None) if standard else None,
        service_tiers=tuple(sorted({row.service_tier for row in model.prices} - {STANDARD})),
        source=standard.source if standard else "",
        differs_percent=max(differs, default=None),
        contract="" if term is None or own is None else _pays(term.kind, term.name, own.base.rates[_INPUT]),
    )


def _pays(kind: str, name: str, rate: int | None) -> str:
    if kind == "throughput":
        return f"{name}: covered by throughput"
    return f"{name}: input {usd_per_million(rate).normalize():f}" if rate is not None else name


def model_url(visit: Visit, provider: str, model: str) -> str:
    return visit.url_below("prices", provider) + visit.url_below("prices", model).removeprefix(visit.url("prices"))


@organization_page(section="prices", permission=Permission.VIEW_SPEND)
def price(visit: Visit, provider: str, model: str) -> HttpResponse:
    known = model_row(provider, model)
    if known is None:
        raise NotFound("model")
    rows = list(list_prices(known.provider, known.model))
    key = (known.provider, known.model)
    with tenant(visit.org):
        terms = {term.id: term for term in load_terms(visit.org)}
        contracts = [
            row for row in list_contracts(visit.org) if terms[row.pk].covers(known.provider, (known.model.lower(),))
        ]
    lines = tuple(_lines(rows, visit.at))
    chart, sentence = price_history(lines, visit.at)
    page = ModelPage(
        provider=known.provider,
        model=known.model,
        names=tuple(sorted({known.model.lower(), *exact_names(known.match)}))[:NAMES_SHOWN],
        chart=chart,
        sentence=sentence,
        lines=lines,
        reviews=tuple(review_of(flag) for flag in under_review([key]).get(key, ())),
        contracts=tuple(contract_row(visit, row, None) for row in contracts),
        events_url=visit.url("events", {"provider": known.provider, "model": known.model, "range": "30d"}),
    )
    crumbs = (Crumb("Prices", visit.url("prices")), Crumb(known.model))
    frame = visit.frame(f"{known.model}", *crumbs)
    return visit.render("portal/price.html", frame=frame, price=page)


def _lines(rows: Sequence[Price], at: datetime) -> Iterable[PriceLine]:
    """Rows as they came, latest start first; the newest row of each key is not superseded."""
    seen: set[tuple[Any, ...]] = set()
    current: set[tuple[Any, ...]] = set()
    for row in rows:
        place = (row.service_tier, row.region, row.daily_from_minute, row.daily_until_minute)
        key = (*place, row.effective_from)
        if key in seen:
            state = "superseded"
        elif row.withdrawn:
            state = "withdrawn"
        elif row.effective_from > at:
            state = "coming"
        else:
            state = "earlier" if place in current else "in force"
            current.add(place)
        seen.add(key)
        yield PriceLine(
            id=row.id,
            state=state,
            service_tier=row.service_tier,
            region=row.region,
            effective_from=row.effective_from if row.effective_from > EPOCH else None,
            window=_window(row),
            rates=_cells(row.rates),
            tiers=tuple((tier["over_prompt_tokens"], _cells(tier["rates"])) for tier in row.tiers),
            source=f"{row.source} {row.source_version}",
            version=row.catalog_version_id,
        )


def _window(row: Price) -> str:
    if row.daily_until_minute - row.daily_from_minute == DAY_MINUTES:
        return ""
    minutes = (row.daily_from_minute, row.daily_until_minute)
    return " to ".join(f"{minute // 60:02d}:{minute % 60:02d}" for minute in minutes) + " UTC"


def _cells(rates: Mapping[str, str]) -> tuple[RateCell, ...]:
    return tuple(RateCell(meter_label(meter), Decimal(rates[meter])) for meter in METERS if meter in rates)


def review_of(flag: Any) -> Review:
    shared = [meter for meter in flag.ours["rates"] if meter in flag.theirs["rates"]]
    opinions = [
        Opinion(meter_label(meter), Decimal(flag.ours["rates"][meter]), Decimal(flag.theirs["rates"][meter]))
        for meter in shared
    ]
    return Review(
        id=flag.pk,
        kind=flag.kind,
        name=f"{flag.provider}/{flag.model}",
        service_tier=flag.service_tier,
        other=f"{flag.other_source} {flag.other_version}",
        percent=flag.difference_percent,
        opinions=tuple(opinion for opinion in opinions if opinion.ours != opinion.theirs),
        flagged_at=flag.flagged_at,
        verdict=flag.verdict or "",
        note=flag.note or "",
        decided_by=flag.decided_by or "",
        decided_at=flag.decided_at,
    )
