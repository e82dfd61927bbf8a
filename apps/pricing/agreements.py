"""What an organization agrees on with providers: terms of contracts, and names of models that only it uses."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone

from apps.audit import services as audit
from apps.core.errors import DomainError, NotFound
from apps.core.meters import METER_INDEX, METERS
from apps.core.money import USD_PLACES, rate_from_usd_per_million, usd_text
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.services import touch_facts
from apps.pricing import selectors
from apps.pricing.catalog import SERVICE_TIERS, canonical_provider
from apps.pricing.contracts import CREDIT, DISCOUNT, GRANT, KINDS, PRICE, SEATS, THROUGHPUT
from apps.pricing.cost import RATE_MAX, usd_per_million
from apps.pricing.models import NAME_CHARACTERS_MAX, Contract, ModelAlias
from apps.teams.selectors import team_by_slug

NOTE_LENGTH_MAX = 500
QUANTITY_MAX = 1_000_000
# A month of the dearest fee, and the sum of a hundred thousand of them, still have fewer than 38 digits.
AMOUNT_MAX_USD = Decimal(10) ** 12
# A term beyond these is a slip of the pen, and days of its months could not be reckoned.
YEARS = range(2000, 2200)
RATE_MAX_USD = usd_per_million(RATE_MAX)

# What each kind of term must say, and what it may say beside dates, name, note and team.
_NEEDS: Mapping[str, tuple[str, ...]] = {
    PRICE: ("provider", "model", "rates"),
    DISCOUNT: ("percent",),
    THROUGHPUT: ("provider", "model", "amount_usd"),
    SEATS: ("amount_usd",),
    GRANT: ("amount_usd",),
    CREDIT: ("amount_usd",),
}
_MAY: Mapping[str, tuple[str, ...]] = {
    PRICE: ("service_tier", "tiers"),
    DISCOUNT: ("provider", "model", "service_tier"),
    THROUGHPUT: ("service_tier", "quantity", "team"),
    SEATS: ("provider", "quantity", "team"),
    GRANT: ("provider", "model", "monthly"),
    CREDIT: ("provider", "model", "monthly"),
}


def create_contract(
    *,
    org: Organization,
    actor: object,
    kind: str,
    name: str,
    starts_at: datetime,
    ends_at: datetime | None = None,
    note: str = "",
    **terms: Any,
) -> Contract:
    """A term in force in [starts_at, ends_at); `terms` are the fields that its kind needs and may have.

    Rates are {meter: USD per million units} and tiers [{"over_prompt_tokens", "rates"}], amounts decimal strings or
    Decimals. Events that are stored already keep their cost: a re-rating changes them.

    Raises `DomainError`: `contract_kind_unknown`, `contract_field_missing`, `contract_field_unused`, `name_invalid`,
    `range_invalid`, `rates_invalid`, `percent_invalid`, `amount_invalid`, `quantity_invalid`, `service_tier_unknown`,
    `team_unknown`.
    """
    given = {field: value for field, value in terms.items() if value is not False and value not in (None, "", {}, [])}
    _require_fields(kind, given)
    row = Contract(
        organization=org,
        kind=kind,
        name=_name(name, "name"),
        note=_note(note),
        starts_at=starts_at,
        ends_at=ends_at,
        created_by=str(actor),
        **{field: read(given[field]) for field, read in _READ.items() if field in given},
    )
    _require_year(starts_at, "starts_at")
    _require_year(ends_at, "ends_at")
    if ends_at is not None and ends_at <= starts_at:
        raise DomainError(
            "range_invalid",
            f"ends_at {ends_at.isoformat()} does not lie after starts_at {starts_at.isoformat()}.",
            param="ends_at",
        )
    with tenant(org):
        touch_facts(org)
        if "team" in given:
            row.team = team_by_slug(org, given["team"])
            if row.team is None:
                raise DomainError("team_unknown", f"There is no team '{given['team']}'.", param="team")
        row.save(force_insert=True)
        audit.record(org=org, actor=actor, action="contracts.created", subject=str(row.pk), data=_facts(row))
    return row


def end_contract(*, org: Organization, contract_id: int, ends_at: datetime, actor: object) -> Contract:
    """Let a term end; it can be shortened, never revived.

    Raises `NotFound`, or `DomainError`: `contract_ended`, `range_invalid`.
    """
    _require_year(ends_at, "ends_at")
    with tenant(org):
        touch_facts(org)
        row = contract_by_id(org, contract_id)
        if row.ends_at is not None and row.ends_at <= ends_at:
            raise DomainError(
                "contract_ended",
                f"Contract {row.pk} ends on {row.ends_at.isoformat()}: make a new one to go on after that.",
                param="ends_at",
            )
        if ends_at < row.starts_at:
            raise DomainError(
                "range_invalid",
                f"Contract {row.pk} starts on {row.starts_at.isoformat()}: it cannot end before.",
                param="ends_at",
            )
        row.ends_at = ends_at
        row.save(update_fields=["ends_at"])
        data = {"ends_at": ends_at.isoformat()}
        audit.record(org=org, actor=actor, action="contracts.ended", subject=str(row.pk), data=data)
    return row


def find_contracts(org: Organization, *, at: datetime, kind: str = "", active: str = "") -> QuerySet[Contract]:
    """Terms of a kind, in force at an instant ("true") or not ("false"), latest start first. Inside `tenant(org)`.

    Raises `DomainError`: `contract_kind_unknown`, `active_invalid`.
    """
    found = selectors.list_contracts(org)
    if kind:
        _require_kind(kind)
        found = found.filter(kind=kind)
    if active not in ("", "true", "false"):
        raise DomainError("active_invalid", f"active is '{active}': write true or false.", param="active")
    in_force = Q(starts_at__lte=at) & (Q(ends_at__isnull=True) | Q(ends_at__gt=at))
    return found.filter(in_force if active == "true" else ~in_force) if active else found


def contract_by_id(org: Organization, contract_id: int) -> Contract:
    """Inside `tenant(org)`. Raises `NotFound`."""
    row = selectors.list_contracts(org).filter(pk=contract_id).first()
    if row is None:
        raise NotFound("contract")
    return row


def set_model_alias(
    *, org: Organization, provider: str, name: str, to_provider: str, to_model: str, actor: object
) -> ModelAlias:
    """Say which priced model a name of this organization's calls means; saying it again changes it.

    Events that are stored already keep their cost: a re-rating changes them. Raises `DomainError`: `name_invalid`,
    `model_unknown` where nothing prices the model that is meant.
    """
    provider, name = canonical_provider(_name(provider, "provider")), _name(name, "name").strip().lower()
    to_provider, to_model = canonical_provider(_name(to_provider, "to_provider")), _name(to_model, "to_model").strip()
    catalog = selectors.load_catalog()
    with tenant(org):
        touch_facts(org)
        own = {(term.provider, term.model.lower()) for term in selectors.load_terms(org) if term.kind == PRICE}
        if catalog.recognise(to_provider, to_model) is None and (to_provider, to_model.lower()) not in own:
            raise DomainError(
                "model_unknown",
                f"Neither the catalog nor a contract has a price for {to_provider}/{to_model}:"
                " search the catalog for its name, or set a price.",
                param="to_model",
            )
        row = ModelAlias.objects.for_org(org).filter(provider=provider, name=name).first()
        before = None if row is None else f"{row.to_provider}/{row.to_model}"
        row = row or ModelAlias(organization=org, provider=provider, name=name)
        row.to_provider, row.to_model = to_provider, to_model
        row.save()
        data = {"before": before, "after": f"{to_provider}/{to_model}"}
        audit.record(org=org, actor=actor, action="model_aliases.set", subject=f"{provider}/{name}", data=data)
    return row


def remove_model_alias(*, org: Organization, alias_id: int, actor: object) -> None:
    """Raises `NotFound`."""
    with tenant(org):
        touch_facts(org)
        row = ModelAlias.objects.for_org(org).filter(pk=alias_id).first()
        if row is None:
            raise NotFound("model alias")
        ModelAlias.objects.for_org(org).filter(pk=alias_id).delete()
        data = {"before": f"{row.to_provider}/{row.to_model}", "after": None}
        audit.record(
            org=org, actor=actor, action="model_aliases.removed", subject=f"{row.provider}/{row.name}", data=data
        )


def in_force_from(at: datetime | None) -> datetime:
    """Where nothing else is said, a term starts now."""
    return at or timezone.now()


def _require_year(at: datetime | None, field: str) -> None:
    if at is not None and at.year not in YEARS:
        raise DomainError(
            "range_invalid",
            f"{field} {at.isoformat()} does not lie in the years {YEARS.start} to {YEARS[-1]}.",
            param=field,
        )


def _require_kind(kind: str) -> None:
    if kind not in KINDS:
        raise DomainError(
            "contract_kind_unknown", f"There is no kind of contract '{kind}': use {', '.join(KINDS)}.", param="kind"
        )


def _require_fields(kind: str, given: Mapping[str, Any]) -> None:
    _require_kind(kind)
    for field in _NEEDS[kind]:
        if field not in given:
            raise DomainError("contract_field_missing", f"A contract of kind {kind} needs {field}.", param=field)
    usable = (*_NEEDS[kind], *_MAY[kind])
    for field in given:
        if field not in usable and not (field == "quantity" and given[field] == 1):
            raise DomainError(
                "contract_field_unused",
                f"A contract of kind {kind} has no {field}; it has {', '.join(usable)}.",
                param=field,
            )


def _name(text: str, field: str) -> str:
    if not 0 < len(text.strip()) <= NAME_CHARACTERS_MAX or not text.isprintable():
        raise DomainError(
            "name_invalid",
            f"{field} has {len(text)} characters: write 1 to {NAME_CHARACTERS_MAX} printable ones.",
            param=field,
        )
    return text.strip()


def _model(text: str) -> str:
    name = _name(text, "model")
    if "*" in name[:-1]:
        raise DomainError(
            "name_invalid", f"model is '{name}': a * stands for the rest of a name, at its end only.", param="model"
        )
    return name


def _note(text: str) -> str:
    if len(text) > NOTE_LENGTH_MAX or "\0" in text:
        raise DomainError("name_invalid", f"note has more than {NOTE_LENGTH_MAX} characters.", param="note")
    return text


def read_rates(given: Mapping[str, Any], param: str = "rates") -> dict[str, str]:
    """Rates as they are stored: USD per million units with 6 decimals, rounded once, half-even."""
    if not isinstance(given, Mapping) or not given:
        raise DomainError("rates_invalid", f"{param} is no object of meters and rates.", param=param)
    found = {}
    for meter, value in given.items():
        if meter not in METER_INDEX:
            raise DomainError(
                "rates_invalid", f"{meter!r} is not a meter; the meters are {', '.join(METERS)}.", param=param
            )
        found[meter] = _rate(value, f"{param}.{meter}")
    return {meter: found[meter] for meter in METERS if meter in found}


def _rate(value: Any, param: str) -> str:
    amount = _decimal(value)
    if amount is None or not 0 <= amount <= RATE_MAX_USD:
        raise DomainError(
            "rates_invalid",
            f"{param} is {value!r}: write USD per million units as a decimal string from 0 to {RATE_MAX_USD:f}.",
            param=param,
        )
    return format(usd_per_million(rate_from_usd_per_million(amount)), "f")


def _tiers(given: Sequence[Any]) -> list[dict[str, Any]]:
    found: dict[int, dict[str, str]] = {}
    for index, tier in enumerate(given):
        over = tier.get("over_prompt_tokens") if isinstance(tier, Mapping) else None
        if type(over) is not int or over <= 0 or over in found:
            raise DomainError(
                "rates_invalid",
                f"tiers.{index} needs over_prompt_tokens, a whole number above 0 that no other tier has, and rates.",
                param=f"tiers.{index}",
            )
        found[over] = read_rates(tier.get("rates") or {}, f"tiers.{index}.rates")
    return [{"over_prompt_tokens": over, "rates": found[over]} for over in sorted(found)]


def _percent(value: Any) -> Decimal:
    percent = _decimal(value)
    if percent is None or not 0 < percent <= 100 or _places(percent) > 6:
        raise DomainError(
            "percent_invalid",
            f"percent is {value!r}: write what is taken off as a decimal string above 0 and up to 100.",
            param="percent",
        )
    return percent


def _amount(value: Any) -> Decimal:
    amount = _decimal(value)
    if amount is None or not 0 <= amount <= AMOUNT_MAX_USD or _places(amount) > USD_PLACES:
        raise DomainError(
            "amount_invalid",
            f"amount_usd is {value!r}: write USD as a decimal string from 0 to {AMOUNT_MAX_USD:f} with at most"
            f" {USD_PLACES} decimals.",
            param="amount_usd",
        )
    return amount


def _quantity(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= QUANTITY_MAX:
        raise DomainError(
            "quantity_invalid",
            f"quantity is {value!r}: write a whole number from 1 to {QUANTITY_MAX}.",
            param="quantity",
        )
    return value


def _service_tier(value: str) -> str:
    if value not in SERVICE_TIERS:
        raise DomainError(
            "service_tier_unknown",
            f"There is no service tier '{value}': use {', '.join(SERVICE_TIERS)}.",
            param="service_tier",
        )
    return value


def _decimal(value: Any) -> Decimal | None:
    """A finite number of at most 40 digits that was written as text or is a Decimal; no float is."""
    if not isinstance(value, (str, Decimal)) or len(str(value)) > 40:
        return None
    try:
        found = Decimal(value)
    except InvalidOperation:
        return None
    return found if found.is_finite() and abs(found.adjusted()) < 40 else None


def _places(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


_READ: Mapping[str, Callable[[Any], Any]] = {
    "provider": lambda value: canonical_provider(_name(value, "provider")),
    "model": _model,
    "service_tier": _service_tier,
    "rates": read_rates,
    "tiers": _tiers,
    "percent": _percent,
    "amount_usd": _amount,
    "quantity": _quantity,
    "monthly": bool,
}


def _facts(row: Contract) -> dict[str, Any]:
    """What the audit log keeps of a term."""
    said = {field: getattr(row, field) for field in ("kind", "name", "provider", "model", "service_tier")}
    return {
        **{field: value for field, value in said.items() if value},
        "starts_at": row.starts_at.isoformat(),
        "ends_at": row.ends_at and row.ends_at.isoformat(),
        "rates": row.rates,
        "tiers": row.tiers,
        "percent": row.percent and format(row.percent, "f"),
        "amount_usd": usd_text(row.amount_usd),
        "quantity": row.quantity,
        "monthly": row.monthly,
        "team": row.team and row.team.slug,
    }
