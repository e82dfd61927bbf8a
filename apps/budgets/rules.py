"""Which budgets a call falls under, for which period, and what of it they allow. Pure.

A scope names dimensions: an exact value, a beginning with a "*" after it, or "*" for each value by itself. A call is a
mapping from dimension to value, with tags as `tags.<key>`; a dimension that a scope names and a call lacks takes the
call out of it. Providers and models are compared in lower case.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from apps.core.periods import Calendar

DIMENSIONS = ("team", "project", "workflow", "user", "api_key", "task_type", "provider", "model", "environment")
TAG = "tags."
EACH = "*"
PERIODS_KEPT = 10_000

Call = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Downgrade:
    """The model that calls are sent to, or the prices per million input and output tokens that they may cost."""

    provider: str = ""
    model: str = ""
    input_usd: Decimal | None = None
    output_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Watched:
    """A budget as the rules read it. Periods that were over when it was made, at `since`, are not its own."""

    id: int
    name: str
    scope: Mapping[str, str]
    period: str
    mode: str
    since: datetime
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    downgrade_to: Downgrade | None = None

    def subject(self, call: Call) -> str | None:
        """Whose counter a call falls under: "" for the scope as a whole, a JSON object where it says "*"; None: not
        this budget's.
        """
        each: dict[str, str] = {}
        for dimension, wanted in self.scope.items():
            value = call.get(dimension)
            if value is None or not _matches(wanted, value):
                return None
            if wanted == EACH:
                each[dimension] = value
        return subject_text(each) if each else ""


def subject_text(values: Mapping[str, str]) -> str:
    return json.dumps(values, sort_keys=True, ensure_ascii=False)


def _matches(wanted: str, value: str) -> bool:
    return value.startswith(wanted[:-1]) if wanted.endswith(EACH) else value == wanted


class CounterKey(NamedTuple):
    """What names a counter, and where its period ends."""

    budget_id: int
    period_start: datetime
    period_end: datetime
    subject: str


@dataclass(frozen=True, slots=True)
class Budgets:
    """The budgets of an organization, found by a call's values rather than one by one."""

    watched: Sequence[Watched] = ()
    _by_value: dict[tuple[str, str], list[Watched]] = field(default_factory=dict)
    _for_all: list[Watched] = field(default_factory=list)
    _periods: dict[tuple[str, datetime], tuple[datetime, datetime]] = field(default_factory=dict)

    @classmethod
    def of(cls, watched: Iterable[Watched]) -> "Budgets":
        budgets = cls(tuple(watched))
        for one in budgets.watched:
            exact = next((pair for pair in sorted(one.scope.items()) if not pair[1].endswith(EACH)), None)
            (budgets._for_all if exact is None else budgets._by_value.setdefault(exact, [])).append(one)
        return budgets

    def __bool__(self) -> bool:
        return bool(self.watched)

    def name_of(self, budget_id: int) -> str:
        return next((one.name for one in self.watched if one.id == budget_id), f"number {budget_id}")

    def over(self, call: Call, clock: Calendar, at: datetime) -> list[tuple[Watched, CounterKey]]:
        """The budgets that a call at an instant falls under, with the counter of each."""
        found = []
        for one in self._candidates(call):
            subject = one.subject(call)
            if subject is None or (bounds := self.bounds(one, clock, at)) is None:
                continue
            if bounds[1] > one.since:
                found.append((one, CounterKey(one.id, *bounds, subject)))
        return found

    def bounds(self, one: Watched, clock: Calendar, at: datetime) -> tuple[datetime, datetime] | None:
        """The budget's period [start, end) that holds an instant; None outside a fixed range."""
        if one.starts_at is not None and one.ends_at is not None:
            return (one.starts_at, one.ends_at) if one.starts_at <= at < one.ends_at else None
        key = (one.period, clock.slot(at).day_start)
        if (bounds := self._periods.get(key)) is None:
            if len(self._periods) >= PERIODS_KEPT:
                self._periods.clear()
            bounds = self._periods[key] = clock.period(one.period, at)
        return bounds

    def _candidates(self, call: Call) -> list[Watched]:
        candidates = list(self._for_all)
        for dimension, value in call.items():
            if value is not None:
                candidates += self._by_value.get((dimension, value), ())
        return candidates


def lowered(name: str) -> str:
    """A provider's or model's name as scopes compare it: ASCII letters in lower case, as SQL does it in any locale."""
    return name.encode().lower().decode()


def describe(scope: Mapping[str, str]) -> str:
    """A scope in words: "team search, each user"; "the whole organization" for {}."""
    words = [
        f"each {_word(dimension)}" if value == EACH else f"{_word(dimension)} {value}"
        for dimension, value in scope.items()
    ]
    return ", ".join(words) or "the whole organization"


def _word(dimension: str) -> str:
    if dimension.startswith(TAG):
        return f"tag {dimension.removeprefix(TAG)}"
    return {"api_key": "API key", "task_type": "task type"}.get(dimension, dimension)
