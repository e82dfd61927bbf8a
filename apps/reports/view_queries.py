"""What a view asks: the explorer's address after its "?", in the one spelling in which it is kept."""

from collections.abc import Mapping, Sequence
from datetime import date
from urllib.parse import parse_qs, urlencode

from apps.core.errors import DomainError
from apps.core.periods import GRANULARITIES as PERIODS
from apps.reports import dimensions
from apps.reports.dimensions import EXCLUDED_MAX, FILTERS_MAX, NOT
from apps.reports.models import QUERY_LENGTH_MAX

GRANULARITIES = (*PERIODS, "none")
CHARTS = ("stacked", "line")
COMPARE, PREVIOUS = "compare", "previous"
RANGES = ("24h", "7d", "30d", "month", "last-month")
RANGE_DEFAULT = "month"
GROUP_DEFAULT = "team"
DAYS_MAX = 800
YEAR_MIN, YEAR_MAX = 1972, 2200
# What the explorer's controls say, in the order of its address; days are no list.
_CONTROLS: Mapping[str, Sequence[str]] = {
    "group_by": (),
    "then_by": (),
    "granularity": GRANULARITIES,
    "chart": CHARTS,
    COMPARE: (PREVIOUS,),
}
_SPAN: Mapping[str, Sequence[str]] = {"from": (), "to": (), "range": RANGES}
# What an address does not say, since it is so anyway.
_DEFAULTS = {("chart", CHARTS[0]), ("range", RANGE_DEFAULT)}


def read_query(text: str) -> str:
    """The query as the explorer itself would write it.

    Raises `DomainError` (`view_query_invalid`) where it holds what the explorer would not read.
    """
    check_length(text)
    said = parse_qs(text.removeprefix("?"), keep_blank_values=True)
    once = {name: _one(name, values) for name, values in said.items() if not name.startswith(NOT)}
    for name, value in once.items():
        _check(name, value)
    for name, values in said.items():
        if name.startswith(NOT):
            _check_excluded(name, values)
    _check_days(once)
    if once.get("then_by") == once.get("group_by", GROUP_DEFAULT):
        raise _invalid("group_by and then_by are the same dimension")
    chosen = {name: once[name] for name in _CONTROLS if name in once and (name, once[name]) not in _DEFAULTS}
    filters = {name: value for name, value in once.items() if name not in (*_CONTROLS, *_SPAN)}
    excluded = {name: values for name, values in said.items() if name.startswith(NOT)}
    if max(len(filters), len(excluded)) > FILTERS_MAX:
        raise _invalid(f"it has more than {FILTERS_MAX} filters")
    span = {name: once[name] for name in _SPAN if name in once and (name, once[name]) not in _DEFAULTS}
    return urlencode({"group_by": GROUP_DEFAULT, **chosen, **filters, **excluded, **span}, doseq=True)


def check_length(query: str) -> None:
    """Raises `DomainError` (`view_query_invalid`)."""
    if len(query) > QUERY_LENGTH_MAX:
        raise _invalid(f"it is {len(query)} characters long, {QUERY_LENGTH_MAX} at most: take some filters away")


def _one(name: str, values: Sequence[str]) -> str:
    if len(values) > 1:
        raise _invalid(f"{name[:64]} is given {len(values)} times: give it once")
    return values[0]


def _check(name: str, value: str) -> None:
    words = {**_CONTROLS, **_SPAN}.get(name)
    if words is None:
        _check_filter(name, value)
    elif words:
        if value not in words:
            raise _invalid(f"{name} is '{value[:64]}': use {', '.join(words)}")
    elif name in ("group_by", "then_by"):
        _check_dimension(value)
    else:
        _day(name, value)


def _check_dimension(name: str) -> None:
    try:
        dimensions.check(name, "query")
    except DomainError as error:
        raise _invalid(error.detail.removesuffix(".")) from None


def _check_filter(name: str, value: str) -> None:
    _check_dimension(name)
    if not dimensions.is_possible(name, value):
        raise _invalid(f"no event can have {name[:64]} '{value[:64]}'")


def _check_excluded(name: str, values: Sequence[str]) -> None:
    if len(values) > EXCLUDED_MAX:
        raise _invalid(f"{name[:64]} is given {len(values)} times, {EXCLUDED_MAX} at most")
    for value in values:
        _check_filter(name.removeprefix(NOT), value)


def _check_days(said: Mapping[str, str]) -> None:
    if ("from" in said) != ("to" in said) or ("from" in said and "range" in said):
        raise _invalid("a range is either range, or from and to")
    if "from" in said:
        days = (_day("to", said["to"]) - _day("from", said["from"])).days
        if not 0 <= days < DAYS_MAX:
            raise _invalid(f"from ({said['from']}) is {days} days before to ({said['to']}): 0 to {DAYS_MAX - 1}")


def read_day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if YEAR_MIN <= day.year <= YEAR_MAX else None


def _day(name: str, text: str) -> date:
    day = read_day(text)
    if day is None or day.isoformat() != text:
        raise _invalid(f"{name} is '{text[:64]}': write a day like 2026-11-01")
    return day


def _invalid(why: str) -> DomainError:
    return DomainError("view_query_invalid", f"This is no address of the explorer: {why}.", param="query")
