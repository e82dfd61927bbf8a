"""Filters of a page, as the URL says them."""

import re
from collections.abc import Callable, Iterable, Mapping

from django.http import QueryDict

from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import list_keys
from apps.portal.pages import Chip

_TAG = re.compile(r"tags\..")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHAPES = {"api_key": re.compile(r"[0-9]{0,18}"), "priced": re.compile("true|false")}
FILTERS_MAX = 32
NAME_LENGTH_MAX = len("tags.") + 256
VALUE_LENGTH_MAX = 256
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


def label_of(name: str) -> str:
    return LABELS.get(name) or name.replace("_", " ").capitalize()


def filters_of(query: QueryDict, known: Iterable[str]) -> dict[str, str]:
    """The query's dimensions with their values; "" means that the dimension is missing.

    What is not `known`, or could be the value of no event, is no filter.
    """
    names = frozenset(known)
    asked = {name: str(value) for name, value in query.items() if name in names or _TAG.match(name)}
    found = [(name, value) for name, value in asked.items() if _is_possible(name, value)]
    return dict(found[:FILTERS_MAX])


def _is_possible(name: str, value: str) -> bool:
    if len(name) > NAME_LENGTH_MAX or len(value) > VALUE_LENGTH_MAX or _CONTROL.search(name + value):
        return False
    shape = _SHAPES.get(name)
    return shape is None or shape.fullmatch(value) is not None


def names_of_keys(org: Organization, dimensions: Iterable[str]) -> dict[str, str]:
    """What a person calls each API key, by the number that is its value as a dimension; empty if none is asked for."""
    if "api_key" not in dimensions:
        return {}
    with tenant(org):
        return {str(key.pk): f"{key.name} ({key.hint})" for key in list_keys(org)}


def chips_of(
    filters: Mapping[str, str], key_names: Mapping[str, str], url: Callable[[dict[str, str]], str]
) -> tuple[Chip, ...]:
    """A chip a filter; `url` makes the page's address with the filters that are left."""
    return tuple(
        Chip(
            label=label_of(name),
            value=(key_names.get(value, value) if name == "api_key" else value) or None,
            remove_url=url({other: kept for other, kept in filters.items() if other != name}),
        )
        for name, value in filters.items()
    )
