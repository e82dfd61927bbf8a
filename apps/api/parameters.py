"""Reading query parameters: one typed value or a problem that names it."""

import re
from collections.abc import Collection, Mapping
from datetime import date, datetime

import msgspec
from django.http import QueryDict

from apps.core.errors import DomainError
from apps.organizations.selectors import PINS, Principal
from apps.reports.dimensions import EXCLUDED_MAX, NOT, TAG
from apps.reports.statements import parse_month
from apps.usage.facts import load_facts

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
YEAR_MIN, YEAR_MAX = 1971, 2200
VALUE_LENGTH_MAX = 256


def instant(parameters: Mapping[str, str], name: str, default: datetime) -> datetime:
    """An RFC 3339 instant with an offset."""
    text = parameters.get(name)
    if text is None:
        return default
    # A "+" that was not percent-encoded arrives as a space.
    spelled = text.replace(" ", "+") if re.search(r" \d{2}:\d{2}$", text) else text
    try:
        value = msgspec.convert(spelled, datetime)
    except msgspec.ValidationError:
        value = None
    if value is None or value.tzinfo is None or not YEAR_MIN <= value.year <= YEAR_MAX:
        raise DomainError(
            f"{name}_invalid",
            f"{name} is '{text[:64]}': write an instant like 2026-11-01T00:00:00Z.",
            param=name,
        )
    return value


def require_order(start: datetime, end: datetime) -> None:
    if start >= end:
        raise DomainError(
            "range_empty", f"from ({start.isoformat()}) must lie before to ({end.isoformat()}).", param="from"
        )


def month(parameters: QueryDict, name: str = "month", default: date | None = None) -> date:
    text = parameters.get(name)
    if text is None and default is not None:
        return default
    return parse_month(text or "")


def integer(parameters: QueryDict, name: str, default: int, *, minimum: int, maximum: int) -> int:
    text = parameters.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not minimum <= int(text) <= maximum:
        raise DomainError(
            f"{name}_invalid",
            f"{name} is '{text[:64]}': write a whole number from {minimum} to {maximum}.",
            param=name,
        )
    return int(text)


def require_unpinned(principal: Principal) -> None:
    """Raise `DomainError` (`pinned_dimension`) for a key that stands for a part of the organization only."""
    for name in PINS:
        if (pin := getattr(principal, name)) is not None:
            raise DomainError(
                "pinned_dimension", f"This key belongs to {name} '{pin}' and changes nothing of the whole organization."
            )


def within_pins(principal: Principal, asked: Mapping[str, str]) -> dict[str, str]:
    """The filters, and the key's pins: a pinned key reads what is its own.

    Raises `DomainError` (`pinned_dimension`) where it asks for another team, project or environment.
    """
    found = dict(asked)
    for name in PINS:
        pin = getattr(principal, name)
        if pin is None:
            continue
        if name != "environment":  # a pin may be a name that was mapped since
            pin = load_facts(principal.organization).names.aliases.get((name, pin), pin)
        if found.setdefault(name, pin) != pin:
            raise DomainError(
                "pinned_dimension", f"This key belongs to {name} '{pin}' and reads nothing else.", param=name
            )
    return found


def filters(
    parameters: QueryDict,
    known: Collection[str],
    reserved: Collection[str],
    *,
    tags: bool = False,
    exclusive: bool = False,
) -> Mapping[str, str]:
    """Every parameter that is a dimension (with `tags`, also tags.<key>), with its value ("" means missing).

    With `exclusive`, what begins with "not." is for `exclusions` to read.
    """
    found: dict[str, str] = {}
    for name in parameters:
        if name in reserved or (exclusive and name.startswith(NOT)):
            continue
        _check_name(name, name, known, reserved, tags=tags)
        values = parameters.getlist(name)
        if len(values) > 1:
            raise DomainError("parameter_repeated", f"{name} is given {len(values)} times: give it once.", param=name)
        _check_value(name, values[0])
        found[name] = values[0]
    return found


def exclusions(parameters: QueryDict, known: Collection[str], reserved: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Each dimension of a "not.<dimension>", which may be given several times, with the values to leave out."""
    found: dict[str, tuple[str, ...]] = {}
    for name in parameters:
        if not name.startswith(NOT):
            continue
        _check_name(name, name.removeprefix(NOT), known, reserved, tags=True)
        values = parameters.getlist(name)
        for value in values:
            _check_value(name, value)
        if len(values) > EXCLUDED_MAX:
            raise DomainError(
                "parameter_repeated",
                f"{name[:64]} is given {len(values)} times: leave out at most {EXCLUDED_MAX} values.",
                param=name[:64],
            )
        found[name.removeprefix(NOT)] = tuple(values)
    return found


def _check_name(asked: str, name: str, known: Collection[str], reserved: Collection[str], *, tags: bool) -> None:
    if name in known or (tags and name.startswith(TAG) and len(name) > len(TAG)):
        return
    usable = [*sorted({*reserved, *known}), *(["tags.<key>"] if tags else [])]
    raise DomainError(
        "parameter_unknown", f"'{asked[:64]}' is no parameter here. Use {', '.join(usable)}.", param=asked[:64]
    )


def _check_value(name: str, value: str) -> None:
    if len(value) > VALUE_LENGTH_MAX or _CONTROL.search(value + name):
        raise DomainError(
            "parameter_invalid",
            f"{name[:64]} holds a control character or more than {VALUE_LENGTH_MAX} characters.",
            param=name[:64],
        )
