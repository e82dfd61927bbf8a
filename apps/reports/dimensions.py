"""What spend can be grouped and filtered by, and which store answers."""

import re
from collections.abc import Iterable

from apps.core.errors import DomainError
from apps.usage import facets_sql

# Name -> SQL expression over the columns that rollups, deltas, postings and events share.
_ATTRIBUTED = {name: f"CASE WHEN {name}_id IS NOT NULL THEN {name} END" for name in ("team", "project", "workflow")}
_NAMES = {f"{name}_name": name for name in ("team", "project", "workflow")}
_MODEL = {"provider": "provider", "model": "model"}
SPEND: dict[str, str] = {
    **_ATTRIBUTED,
    **_NAMES,
    **_MODEL,
    "task_type": "task_type",
    "service_tier": "service_tier",
    "environment": "environment",
    "api_key": "key_id::text",
    "status": "status",
    "priced": "priced::text",
}
USER: dict[str, str] = {**_ATTRIBUTED, **_NAMES, **_MODEL, "user": "user_name"}
# Columns that only events have.
EVENTS: dict[str, str] = {name: name for name in facets_sql.FACETS}
TAG = facets_sql.TAG
# Before a dimension in a query: every value but these.
NOT = "not."
# Values of one dimension that a question may leave out.
EXCLUDED_MAX = 32
# Dimensions that a page is filtered by at once.
FILTERS_MAX = 32
VALUE_LENGTH_MAX = 256
NAME_LENGTH_MAX = len(TAG) + VALUE_LENGTH_MAX
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHAPES = {"api_key": re.compile(r"[0-9]{0,18}"), "priced": re.compile("true|false")}
_A_TAG = re.compile(r"tags\.[^\x00-\x1f\x7f]{1,256}")

SOURCE_SPEND, SOURCE_USER, SOURCE_EVENTS = "rollups", "user_rollups", "events"


def source_of(names: Iterable[str]) -> str:
    """The store whose grain answers a question about these dimensions."""
    asked = set(names)
    if asked <= SPEND.keys():
        return SOURCE_SPEND
    return SOURCE_USER if asked <= USER.keys() else SOURCE_EVENTS


def facet_of(names: Iterable[str]) -> str:
    """The one dimension among these that past days are summed up by, where the rollups hold all others; else ""."""
    beyond = set(names) - SPEND.keys()
    facet = beyond.pop() if len(beyond) == 1 else ""
    return facet if facet in EVENTS or facet.startswith(TAG) else ""


def is_possible(name: str, value: str) -> bool:
    """Whether an event could have this value; "" where it has none."""
    if len(name) > NAME_LENGTH_MAX or len(value) > VALUE_LENGTH_MAX or _CONTROL.search(name + value):
        return False
    shape = _SHAPES.get(name)
    return shape is None or shape.fullmatch(value) is not None


def check(name: str, param: str) -> None:
    """Raise `DomainError` with code `dimension_unknown` for what is no dimension."""
    if name in SPEND or name in USER or name in EVENTS or _A_TAG.fullmatch(name):
        return
    known = ", ".join(sorted({*SPEND, *USER, *EVENTS}))
    raise DomainError("dimension_unknown", f"'{name[:64]}' is no dimension. Use {known} or tags.<key>.", param=param)
