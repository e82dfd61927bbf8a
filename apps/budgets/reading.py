"""Reading what people set: a value as it is kept, or an error that names it and the way out. Inside `tenant(org)`."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from apps.budgets.models import Budget, Stop
from apps.budgets.rules import DIMENSIONS, EACH, TAG, lowered
from apps.core.errors import DomainError
from apps.core.money import USD_PLACES
from apps.core.text import is_name
from apps.organizations.models import ApiKey, Organization
from apps.pricing.catalog import canonical_provider
from apps.pricing.rating import RateBook
from apps.pricing.selectors import load_catalog
from apps.teams.selectors import project_by_slug, team_by_slug, workflow_by_slug
from apps.usage.facts import load_facts

VALUE_LENGTH_MAX = 256
SCOPE_MAX = 6
# A trillion: a year of the dearest budget, counted for a thousand years, still has fewer than 38 digits.
AMOUNT_MAX_USD = Decimal(10) ** 12
THRESHOLDS_MAX = 12
_AMOUNT = re.compile(r"[0-9]{1,40}(\.[0-9]{1,40})?")
RANGE_MAX = timedelta(days=3660)
_NAMED = {"team": team_by_slug, "project": project_by_slug, "workflow": workflow_by_slug}


def read_scope(org: Organization, scope: Mapping[str, Any]) -> dict[str, str]:
    """The scope with names that exist, in a fixed order. Raises `DomainError` (`scope_*`)."""
    if not isinstance(scope, Mapping) or len(scope) > SCOPE_MAX:
        raise DomainError("scope_invalid", f"scope is an object of at most {SCOPE_MAX} dimensions.", param="scope")
    return {dimension: _scope_value(org, dimension, scope[dimension]) for dimension in sorted(scope)}


def _scope_value(org: Organization, dimension: str, value: Any) -> str:
    param = f"scope.{dimension}"[:64]
    if dimension not in DIMENSIONS and not (dimension.startswith(TAG) and is_name(dimension[len(TAG) :], 256)):
        raise DomainError(
            "scope_unknown",
            f"'{dimension[:64]}' is no dimension of a budget: use {', '.join(DIMENSIONS)} or {TAG}<key>.",
            param=param,
        )
    if not isinstance(value, str) or not is_name(value, VALUE_LENGTH_MAX):
        raise DomainError(
            "scope_invalid", f"{dimension} is {value!r:.80}: write 1 to {VALUE_LENGTH_MAX} characters.", param=param
        )
    if dimension in ("provider", "model"):
        value = canonical_provider(value) if dimension == "provider" and value != EACH else value
        return lowered(value)
    if value.endswith(EACH):
        return value
    if (find := _NAMED.get(dimension)) is not None and find(org, value) is None:
        raise DomainError("scope_unknown", f"There is no {dimension} '{value}'.", param=param)
    if dimension == "api_key" and not _is_key(org, value):
        raise DomainError("scope_unknown", f"There is no API key with the id '{value}'.", param=param)
    return value


def _is_key(org: Organization, value: str) -> bool:
    is_number = value.isascii() and value.isdigit() and len(value) < 19
    return is_number and ApiKey.objects.for_org(org).filter(pk=int(value)).exists()


def require_target(org: Organization, kind: str, target: str) -> str:
    """What a stop names. Raises `DomainError` (`target_unknown`)."""
    if kind == Stop.Kind.ORGANIZATION:
        if target:
            raise DomainError("target_unknown", "A stop of the organization names no target.", param="target")
        return ""
    is_known = is_name(target, VALUE_LENGTH_MAX)
    if is_known and kind in _NAMED:
        is_known = _NAMED[kind](org, target) is not None
    elif is_known and kind == Stop.Kind.KEY:
        is_known = _is_key(org, target)
    if not is_known:
        raise DomainError("target_unknown", f"There is no {kind} '{target[:80]}' to stop.", param="target")
    return target


def require_text(text: Any, field: str, length_max: int) -> str:
    code = "reason_invalid" if field == "reason" else "name_invalid"
    if not isinstance(text, str) or not is_name(text.strip(), length_max):
        raise DomainError(code, f"{field} has 1 to {length_max} printable characters.", param=field)
    return text.strip()


def require_amount(value: Any, field: str) -> Decimal:
    """A positive amount in USD. Raises `DomainError` (`amount_invalid`)."""
    amount = value if isinstance(value, Decimal) else None
    if isinstance(value, str) and _AMOUNT.fullmatch(value):
        amount = Decimal(value)
    if amount is None or not amount.is_finite() or not 0 <= amount <= AMOUNT_MAX_USD or _places(amount) > USD_PLACES:
        raise DomainError(
            "amount_invalid",
            f"{field} is {str(value)[:64]!r}: write USD as a decimal string from 0 to {AMOUNT_MAX_USD:f} with at most"
            f" {USD_PLACES} decimals.",
            param=field,
        )
    return amount


def _places(amount: Decimal) -> int:
    exponent = amount.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def require_thresholds(values: Sequence[Any], field: str) -> list[int]:
    """Percentages in rising order, each once. Raises `DomainError` (`thresholds_invalid`)."""
    is_list = isinstance(values, Sequence) and not isinstance(values, str) and len(values) <= THRESHOLDS_MAX
    if not is_list or not all(type(value) is int and 1 <= value <= 1000 for value in values):
        raise DomainError(
            "thresholds_invalid",
            f"{field} are at most {THRESHOLDS_MAX} whole percentages from 1 to 1000, such as [50, 80, 100].",
            param=field,
        )
    return sorted(set(values))


def require_range(period: str, starts_at: datetime | None, ends_at: datetime | None, rollover: bool) -> None:
    """The ends of a fixed range, and of nothing else. Raises `DomainError` (`range_invalid`)."""
    if period != Budget.Period.RANGE:
        if (starts_at, ends_at) != (None, None):
            raise DomainError(
                "range_invalid", f"starts_at and ends_at are for period range, not {period}.", param="starts_at"
            )
        return
    if starts_at is None or ends_at is None:
        raise DomainError("range_invalid", "A budget for a range needs starts_at and ends_at.", param="starts_at")
    if not starts_at < ends_at or ends_at - starts_at > RANGE_MAX:
        raise DomainError(
            "range_invalid",
            f"ends_at ({ends_at.isoformat()}) must come after starts_at ({starts_at.isoformat()}), at most ten years"
            " later.",
            param="ends_at",
        )
    if rollover:
        raise DomainError("range_invalid", "A fixed range has no next period to roll over into.", param="rollover")


def require_downgrade(org: Organization, mode: str, given: Mapping[str, Any] | None) -> dict[str, str] | None:
    """{"provider", "model"}, or {"input_usd", "output_usd"} per million tokens. Raises `DomainError`
    (`downgrade_invalid`).
    """
    if mode != "downgrade":
        if given:
            raise _downgrade_invalid(f"downgrade_to is for mode downgrade, not {mode}.")
        return None
    given = given if isinstance(given, Mapping) else {}
    if set(given) == {"input_usd", "output_usd"}:
        amounts = {name: require_amount(given[name], "downgrade_to") for name in sorted(given)}
        return {name: format(amount, "f") for name, amount in amounts.items()}
    names = [given.get("provider"), given.get("model")]
    if set(given) != {"provider", "model"} or not all(
        isinstance(name, str) and is_name(name, VALUE_LENGTH_MAX) for name in names
    ):
        raise _downgrade_invalid(
            'downgrade_to is {"provider", "model"}, or {"input_usd", "output_usd"}: the most that a million tokens may'
            " cost."
        )
    provider, model = canonical_provider(given["provider"]), given["model"]
    if not _has_price(load_facts(org).book(load_catalog()), provider, model):
        raise _downgrade_invalid(f"No price is known for {provider}/{model}: name a priced model.")
    return {"provider": provider, "model": model}


def _downgrade_invalid(detail: str) -> DomainError:
    return DomainError("downgrade_invalid", detail, param="downgrade_to")


def _has_price(book: RateBook, provider: str, model: str) -> bool:
    return book.price(provider, model, "", "", timezone.now()) is not None
