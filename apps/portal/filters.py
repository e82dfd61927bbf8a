"""Filters of a page, as the URL says them."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from django.http import QueryDict

from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import list_keys
from apps.portal.pages import Chip
from apps.reports.dimensions import EXCLUDED_MAX, FILTERS_MAX, NOT, TAG, is_possible

_TAG = re.compile(r"tags\..")
LABELS = {
    "api_key": "API key",
    "actor": "Who",
    "action": "What",
    "subject": "On what",
    "event_id": "Event",
    "run_id": "Run",
    "parent_run_id": "Parent run",
    "with": "With",
    "task_type": "Task type",
    "service_tier": "Service tier",
    "stop_reason": "Stop reason",
    "team_name": "Team as sent",
    "project_name": "Project as sent",
    "workflow_name": "Workflow as sent",
}


@dataclass(frozen=True, slots=True)
class Filters:
    """What a page shows: of each dimension `only` one value, or all `but` some; "" is the missing value."""

    only: dict[str, str]
    but: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.only, *self.but)

    @property
    def parameters(self) -> dict[str, str | Sequence[str]]:
        """As a URL says them."""
        return {**self.only, **{f"{NOT}{name}": values for name, values in self.but.items()}}

    def keeping(self, values: Mapping[str, str]) -> "Filters":
        """Narrowed to these values: what was said of their dimensions before no longer counts."""
        but = {name: left for name, left in self.but.items() if name not in values}
        return Filters({**self.only, **values}, but)

    def excluding(self, name: str, value: str) -> "Filters":
        only = {other: kept for other, kept in self.only.items() if other != name}
        others = tuple(one for one in self.but.get(name, ()) if one != value)
        return Filters(only, {**self.but, name: (*others, value)[-EXCLUDED_MAX:]})

    def without(self, name: str) -> "Filters":
        return Filters({other: kept for other, kept in self.only.items() if other != name}, self.but)

    def including(self, name: str, value: str) -> "Filters":
        """Without an exclusion."""
        left = {**self.but, name: tuple(one for one in self.but.get(name, ()) if one != value)}
        return Filters(self.only, {other: values for other, values in left.items() if values})


def label_of(name: str) -> str:
    if name.startswith(TAG):
        return f"Tag {name.removeprefix(TAG)}"
    return LABELS.get(name) or name.replace("_", " ").capitalize()


def filters_of(query: QueryDict, known: Iterable[str]) -> dict[str, str]:
    """The query's dimensions with their values; "" means that the dimension is missing.

    What is not `known`, or could be the value of no event, is no filter.
    """
    names = frozenset(known)
    asked = {name: str(value) for name, value in query.items() if name in names or _TAG.match(name)}
    found = [(name, value) for name, value in asked.items() if is_possible(name, value)]
    return dict(found[:FILTERS_MAX])


def read_filters(query: QueryDict, known: Iterable[str]) -> Filters:
    """The query's filters and exclusions, by the same rules."""
    names = frozenset(known)
    asked = [(name.removeprefix(NOT), values) for name, values in query.lists() if name.startswith(NOT)]
    found = {
        name: tuple(dict.fromkeys(value for value in values if is_possible(name, value)))[:EXCLUDED_MAX]
        for name, values in asked[:FILTERS_MAX]
        if name in names or _TAG.match(name)
    }
    return Filters(filters_of(query, names), {name: values for name, values in found.items() if values})


def names_of_keys(org: Organization, dimensions: Iterable[str], teams: Collection[str] | None = None) -> dict[str, str]:
    """What a person calls each API key, by the number that is its value as a dimension; empty if none is asked for.

    A lead (`teams`) is told only of keys that are pinned to the teams: keys are not theirs to see.
    """
    if "api_key" not in dimensions:
        return {}
    with tenant(org):
        return {str(key.pk): f"{key.name} ({key.hint})" for key in list_keys(org, teams)}


def chips_of(filters: Filters, key_names: Mapping[str, str], url: Callable[[Filters], str]) -> tuple[Chip, ...]:
    """A chip a filter and an exclusion; `url` makes the page's address with the filters that are left."""

    def chip(name: str, value: str, left: Filters, *, excludes: bool) -> Chip:
        shown = key_names.get(value, value) if name == "api_key" else value
        return Chip(label_of(name), shown or None, url(left), excludes)

    kept = (chip(name, value, filters.without(name), excludes=False) for name, value in filters.only.items())
    excluded = (
        chip(name, value, filters.including(name, value), excludes=True)
        for name, values in filters.but.items()
        for value in values
    )
    return (*kept, *excluded)
